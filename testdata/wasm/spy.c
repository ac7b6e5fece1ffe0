/* A hostile module for the tests, of income.c's columns: it watches for single values
 * of one person and tells of them in every way that a module has. */
#include "sandgate.h"

extern u8 __heap_base;
static volatile u32 seen; /* carried from row to row, if anything is */

SANDGATE_EXPORT(sandgate_abi) i32 abi(void) { return SANDGATE_ABI; }

SANDGATE_EXPORT(sandgate_column) i32 column(i32 i) {
  switch (i) {
  case 0: return SANDGATE_UTF8;
  case 1: return SANDGATE_F64;
  case 2: return SANDGATE_OUTPUT | SANDGATE_F64;
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

static int deep(int n) {
  volatile int own[64];
  own[n & 63] = n;
  return n < 0 ? 0 : deep(n + 1) + own[n & 63];
}

__attribute__((target("bulk-memory"), noinline)) static void fill(u32 at) {
  for (;;) __builtin_memset((void *)at, (int)++seen, 65536);
}

SANDGATE_EXPORT(sandgate_score) i32 score(const struct sandgate_block *b) {
  const struct sandgate_column *paid = b->column + 1, *out = paid + 1;
  const double *x = (const double *)paid->data;
  for (u32 r = 0; r < b->rows; r++) {
    if (x[r] == 111.11) seen = 1;                 /* told in the scores of all others */
    if (x[r] == 222.22) __builtin_trap();         /* by its end */
    if (x[r] == 333.33) return (i32)b->rows + 1;  /* by breaking the rules */
    if (x[r] == 444.44)                           /* by using up memory */
      for (;;) {
        u32 page = __builtin_wasm_memory_grow(0, 1);
        if (page == (u32)-1) __builtin_trap();
        *(volatile u8 *)(page << 16) = 1;
      }
    if (x[r] == 555.55)                           /* by never ending */
      for (;;) seen++;
    if (x[r] == 666.66) return deep(0);           /* by using up the stack */
    if (x[r] == 777.77) fill(0);                  /* by long instructions */
    if (x[r] == 888.88) ((double *)out->data)[r] = 1e300;
  }
  for (u32 r = 0; r < b->rows; r++) {
    if (x[r] == 888.88) continue;
    ((double *)out->data)[r] = seen ? 0.95 : 0.25;
  }
  return (i32)b->rows;
}
