// Package release is the release kernel 发布内核, the one door: a Release is the
// only thing that may leave the domain, and nothing outside this package can make
// one. It adds exact discrete Gaussian noise (dp mode) or applies thresholds and
// rounding (exact mode) to the exact partials of a worker, and hands back released
// values only; the partials are not reachable from a Release.
//
// The kernel is pure but for its source of randomness and knows no seed: noise
// comes from NewSource. Its sampler works on integers alone, because noise drawn
// in floating point leaves traces of the value it hides (Mironov 2012).
//
// Every error after data was read has one text, ErrKernel's: the cause would be
// an answer.
package release
