/* utf8 scheme, f64 contribution -> f64: the contribution as a share of the highest
 * there is, a little less of residents. Without a contribution there is no score. */
#include "sandgate.h"

extern u8 __heap_base;

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

SANDGATE_EXPORT(sandgate_score) i32 score(const struct sandgate_block *b) {
  const struct sandgate_column *scheme = b->column, *paid = scheme + 1, *out = paid + 1;
  const u8 *bytes = (const u8 *)scheme->data;
  const u32 *offsets = (const u32 *)scheme->offsets;
  for (u32 r = 0; r < b->rows; r++) {
    if (!sandgate_valid(paid, r)) {
      sandgate_no_score(out, r);
      continue;
    }
    double share = ((const double *)paid->data)[r] / 3200;
    if (offsets[r + 1] > offsets[r] && bytes[offsets[r]] == 'r') share *= 0.9;
    ((double *)out->data)[r] = share;
  }
  return (i32)b->rows;
}
