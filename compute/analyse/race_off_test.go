//go:build !race

package analyse_test

const slower = 1
