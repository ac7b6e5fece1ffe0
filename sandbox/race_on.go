//go:build race

package sandbox

// raceEnabled lifts RLIMIT_DATA: the race detector's shadow memory counts
// against it.
const raceEnabled = true
