//go:build race

package federate_test

// raced: the race detector makes the lattice some twenty times slower, and the core has no
// goroutines for it to watch.
const raced = true
