//go:build !antenv_static

package antenv

// #cgo pkg-config: antenv
import "C"
