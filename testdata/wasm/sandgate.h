/* Sandgate WebAssembly scoring ABI, version 1. See docs/wasm.md. */
#ifndef SANDGATE_H
#define SANDGATE_H

typedef signed int i32;
typedef unsigned int u32;
typedef signed long long i64;
typedef unsigned long long u64;
typedef unsigned char u8;

#define SANDGATE_ABI 1
#define SANDGATE_EXPORT(name) __attribute__((export_name(#name)))

/* Column types: what sandgate_column answers. */
#define SANDGATE_I64 1
#define SANDGATE_F64 2
#define SANDGATE_UTF8 3
#define SANDGATE_OUTPUT 0x100

struct sandgate_column {
  u32 type;     /* one of the above */
  u32 validity; /* address of a bitmap: bit r set means row r has a value */
  u32 data;     /* address of rows values of 8 bytes, or of the text */
  u32 offsets;  /* address of rows+1 u32 for text, else 0 */
};

struct sandgate_block {
  u32 abi, rows, inputs, outputs, bytes, reserved[3];
  struct sandgate_column column[]; /* inputs, then outputs */
};

static inline int sandgate_valid(const struct sandgate_column *c, u32 row) {
  return ((const u8 *)c->validity)[row >> 3] >> (row & 7) & 1;
}
static inline void sandgate_no_score(const struct sandgate_column *c, u32 row) {
  ((u8 *)c->validity)[row >> 3] &= (u8) ~(1u << (row & 7));
}
#endif
