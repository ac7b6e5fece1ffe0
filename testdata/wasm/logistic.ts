// The model of logistic.c in AssemblyScript: f64 × 4 -> f64 score, i64 band.
const I64 = 1, F64 = 2, OUTPUT = 0x100;

export function sandgate_abi(): i32 { return 1; }

export function sandgate_column(i: i32): i32 {
  if (i < 4) return F64;
  if (i == 4) return OUTPUT | F64;
  return i == 5 ? OUTPUT | I64 : 0;
}

// An instance is asked for memory once and scores one block, so nothing is freed.
export function sandgate_alloc(bytes: u32): usize { return heap.alloc(bytes); }

function valid(column: usize, row: u32): bool {
  return ((load<u8>(load<u32>(column, 4) + (row >> 3)) >> <u8>(row & 7)) & 1) != 0;
}

function noScore(column: usize, row: u32): void {
  const at = load<u32>(column, 4) + (row >> 3);
  store<u8>(at, load<u8>(at) & ~(<u8>1 << <u8>(row & 7)));
}

function exponential(x: f64): f64 {
  if (!(x > -40)) x = -40;
  if (x > 40) x = 40;
  const k = floor<f64>(x * 1.4426950408889634 + 0.5);
  const r = x - k * 0.6931471805599453;
  let p: f64 = 1.0 / 3628800;
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
  return p * reinterpret<f64>((<i64>k + 1023) << 52);
}

export function sandgate_score(block: usize): i32 {
  const rows = load<u32>(block, 4);
  const c0 = block + 32, c1 = c0 + 16, c2 = c1 + 16, c3 = c2 + 16, score = c3 + 16, band = score + 16;
  const x0 = load<u32>(c0, 8), x1 = load<u32>(c1, 8), x2 = load<u32>(c2, 8), x3 = load<u32>(c3, 8);
  const out = load<u32>(score, 8), bands = load<u32>(band, 8);
  for (let r: u32 = 0; r < rows; r++) {
    if (!valid(c0, r) || !valid(c1, r) || !valid(c2, r) || !valid(c3, r)) {
      noScore(score, r);
      noScore(band, r);
      continue;
    }
    const at = r << 3;
    const z = ((((-1.5 + 0.8 * load<f64>(x0 + at)) + -0.6 * load<f64>(x1 + at)) + 0.3 * load<f64>(x2 + at)) + 1.1 * load<f64>(x3 + at));
    const s = 1 / (1 + exponential(-z));
    store<f64>(out + at, s);
    store<i64>(bands + at, <i64>(s * 10));
  }
  return <i32>rows;
}
