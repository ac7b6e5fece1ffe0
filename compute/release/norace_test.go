//go:build !race

package release

// slowdown divides quick trial counts; without the race detector none is needed.
const slowdown = 1
