//go:build !race

package sanitize_test

const sizeShift = 0
