/* i64 seed, utf8 text -> i64: 64-bit FNV-1a of the text, xored with the seed.
 * A missing text has no score; a missing seed counts as 0. */
#include "sandgate.h"

extern u8 __heap_base;

SANDGATE_EXPORT(sandgate_abi) i32 abi(void) { return SANDGATE_ABI; }

SANDGATE_EXPORT(sandgate_column) i32 column(i32 i) {
  switch (i) {
  case 0: return SANDGATE_I64;
  case 1: return SANDGATE_UTF8;
  case 2: return SANDGATE_OUTPUT | SANDGATE_I64;
  }
  return 0;
}

SANDGATE_EXPORT(sandgate_alloc) u32 alloc(u32 bytes) {
  u32 at = ((u32)&__heap_base + 15) & ~15u;
  u32 have = __builtin_wasm_memory_size(0);
  u32 want = (u32)(((u64)at + bytes + 65535) >> 16);
  if (want > have && __builtin_wasm_memory_grow(0, want - have) == (u32)-1) return 0;
  return at;
}

SANDGATE_EXPORT(sandgate_score) i32 score(const struct sandgate_block *b) {
  const struct sandgate_column *seed = b->column, *text = seed + 1, *out = text + 1;
  const u8 *bytes = (const u8 *)text->data;
  const u32 *offsets = (const u32 *)text->offsets;
  for (u32 r = 0; r < b->rows; r++) {
    if (!sandgate_valid(text, r)) {
      sandgate_no_score(out, r);
      continue;
    }
    u64 h = 0xcbf29ce484222325ull;
    for (u32 i = offsets[r]; i < offsets[r + 1]; i++) h = (h ^ bytes[i]) * 0x100000001b3ull;
    ((u64 *)out->data)[r] = h ^ (u64)((const i64 *)seed->data)[r];
  }
  return (i32)b->rows;
}
