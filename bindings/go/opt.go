package antenv

import (
	"bytes"
	"encoding/json"
)

// Opt is an optional value. Its zero value is absent, and nothing is sent; Null sends null; Set, String, Int and Bool send a value, be
// it zero.
type Opt[T any] struct {
	value T
	state optState
}

type optState uint8

const (
	absent optState = iota
	null
	set
)

// Set is a value that is there.
func Set[T any](value T) Opt[T] { return Opt[T]{value, set} }

// Null is null.
func Null[T any]() Opt[T] { return Opt[T]{state: null} }

// String is a string that is there.
func String(value string) Opt[string] { return Set(value) }

// Int is a whole number that is there.
func Int(value int64) Opt[int64] { return Set(value) }

// Bool is a truth value that is there.
func Bool(value bool) Opt[bool] { return Set(value) }

// Get returns the value, and whether there is one.
func (o Opt[T]) Get() (T, bool) { return o.value, o.state == set }

// IsNull tells whether it is null.
func (o Opt[T]) IsNull() bool { return o.state == null }

// IsZero tells whether it is absent.
func (o Opt[T]) IsZero() bool { return o.state == absent }

// MarshalJSON writes the value, or null.
func (o Opt[T]) MarshalJSON() ([]byte, error) {
	if o.state != set {
		return []byte("null"), nil
	}
	return json.Marshal(o.value)
}

// UnmarshalJSON reads a value, or null.
func (o *Opt[T]) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("null")) {
		*o = Null[T]()
		return nil
	}
	o.state = set
	return json.Unmarshal(data, &o.value)
}
