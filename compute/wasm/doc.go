// Package wasm runs scoring code that came as a WebAssembly module: columns in,
// scores out, nothing else.
//
// A module is first read by Check, which is pure and allows what docs/wasm.md
// says and nothing more: no import, no start function, one memory with a declared
// maximum, five known exports, WebAssembly 2.0 without threads, relaxed SIMD or
// anything newer. A Host then compiles and runs it in a jailed worker of its own
// kind, which has no data set, no file and no network: batches come in on a
// pipe and scores leave as frames. Code is made once; before the module's first
// instruction runs, the worker gives up the right to make any more
// (sandbox.SealCode). Every batch is scored twice, each time by a fresh instance
// with zeroed memory, and both must give the same bits.
//
// Whatever a module does, its host learns scores or a *policies.Reason.
package wasm
