//go:build race

package gateway_test

// slack is how much slower the race detector may make things.
const slack = 4
