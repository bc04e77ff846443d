//go:build race

package sanitize_test

// sizeShift makes the texts whose time is measured smaller under the race detector, which slows all of it down.
const sizeShift = 3
