//go:build race

package release

// slowdown divides quick trial counts where the race detector makes each dearer.
const slowdown = 3
