//go:build antenv_static

package antenv

// Files of their own: Go's build cache tells packages apart by their files, not by what pkg-config says.

// #cgo pkg-config: antenv-static
import "C"
