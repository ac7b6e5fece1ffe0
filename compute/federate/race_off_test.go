//go:build !race

package federate_test

const raced = false
