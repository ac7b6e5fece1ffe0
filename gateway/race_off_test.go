//go:build !race

package gateway_test

// slack is 1: see race_on_test.go.
const slack = 1
