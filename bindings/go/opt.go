package antenv

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
)

// Opt is an optional value. Its zero value is absent, and nothing is sent; Null sends null; Set, String, Int and Bool send a value, zero
// included. It prints as its value.
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

// Set returns a value that is present.
func Set[T any](value T) Opt[T] { return Opt[T]{value, set} }

// Null returns null.
func Null[T any]() Opt[T] { return Opt[T]{state: null} }

// String returns a string that is present.
func String(value string) Opt[string] { return Set(value) }

// Int returns a whole number that is present.
func Int(value int64) Opt[int64] { return Set(value) }

// Bool returns a boolean that is present.
func Bool(value bool) Opt[bool] { return Set(value) }

// Get returns the value, and whether it is present.
func (o Opt[T]) Get() (T, bool) { return o.value, o.state == set }

// IsNull reports whether it is null.
func (o Opt[T]) IsNull() bool { return o.state == null }

// IsZero reports whether it is absent.
func (o Opt[T]) IsZero() bool { return o.state == absent }

// valueType returns the type of the value.
func (o Opt[T]) valueType() reflect.Type { return reflect.TypeFor[T]() }

// any returns the value, nil when there is none.
func (o Opt[T]) any() any {
	if o.state != set {
		return nil
	}
	return o.value
}

// Format prints the value as the verb says, "null" or "absent".
func (o Opt[T]) Format(to fmt.State, verb rune) {
	switch o.state {
	case set:
		_, _ = fmt.Fprintf(to, fmt.FormatString(to, verb), o.value)
	case null:
		_, _ = to.Write([]byte("null"))
	default:
		_, _ = to.Write([]byte("absent"))
	}
}

// LogValue returns the value for slog; one that is absent is left out.
func (o Opt[T]) LogValue() slog.Value {
	if o.IsZero() {
		return slog.GroupValue()
	}
	return logValue(o)
}

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
