/* Scores four numbers with a logistic model: f64 × 4 -> f64 score, i64 band.
 * Only operations that IEEE 754 fixes bit for bit are used, so logistic.ts and
 * the Go reference in the tests give the very same bits. */
#include "sandgate.h"

extern u8 __heap_base;

SANDGATE_EXPORT(sandgate_abi) i32 abi(void) { return SANDGATE_ABI; }

SANDGATE_EXPORT(sandgate_column) i32 column(i32 i) {
  if (i < 4) return SANDGATE_F64;
  if (i == 4) return SANDGATE_OUTPUT | SANDGATE_F64;
  return i == 5 ? SANDGATE_OUTPUT | SANDGATE_I64 : 0;
}

SANDGATE_EXPORT(sandgate_alloc) u32 alloc(u32 bytes) {
  u32 at = ((u32)&__heap_base + 15) & ~15u;
  u32 have = __builtin_wasm_memory_size(0);
  u32 want = (u32)(((u64)at + bytes + 65535) >> 16);
  if (want > have && __builtin_wasm_memory_grow(0, want - have) == (u32)-1) return 0;
  return at;
}

static double exponential(double x) {
  if (!(x > -40)) x = -40;
  if (x > 40) x = 40;
  double k = __builtin_floor(x * 1.4426950408889634 + 0.5);
  double r = x - k * 0.6931471805599453;
  double p = 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1;
  p = p * r + 1;
  union { i64 i; double d; } power = {((i64)k + 1023) << 52};
  return p * power.d;
}

SANDGATE_EXPORT(sandgate_score) i32 score(const struct sandgate_block *b) {
  const struct sandgate_column *c = b->column, *score = c + 4, *band = c + 5;
  const double *x0 = (const double *)c[0].data, *x1 = (const double *)c[1].data;
  const double *x2 = (const double *)c[2].data, *x3 = (const double *)c[3].data;
  double *out = (double *)score->data;
  i64 *bands = (i64 *)band->data;
  for (u32 r = 0; r < b->rows; r++) {
    if (!sandgate_valid(c, r) || !sandgate_valid(c + 1, r) || !sandgate_valid(c + 2, r) || !sandgate_valid(c + 3, r)) {
      sandgate_no_score(score, r);
      sandgate_no_score(band, r);
      continue;
    }
    double z = ((((-1.5 + 0.8 * x0[r]) + -0.6 * x1[r]) + 0.3 * x2[r]) + 1.1 * x3[r]);
    double s = 1 / (1 + exponential(-z));
    out[r] = s;
    bands[r] = (i64)(s * 10);
  }
  return (i32)b->rows;
}
