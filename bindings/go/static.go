//go:build antenv_static

package antenv

// This is a file of its own because Go's build cache distinguishes packages by their files, not by pkg-config's output.

// #cgo pkg-config: antenv-static
import "C"
