//go:build !race

package algebra_test

const slower = 1
