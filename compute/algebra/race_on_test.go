//go:build race

package algebra_test

// slower is how much more time the race detector is given.
const slower = 20
