package antenv

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
)

// Results are decoded here, and not by encoding/json alone, because that reads an object four times for each level with an UnmarshalJSON of
// its own: half of what a call cost in Go. The text is valid JSON: the library has checked it, or encoding/json, which does so before it
// calls an UnmarshalJSON. Values that are not simple are left to encoding/json.

var errInvalidJSON = errors.New("antenv: not valid JSON")

// decodeObject decodes an object's members into the struct's fields with their names.
func decodeObject(text []byte, into reflect.Value) error {
	if text = bytes.TrimSpace(text); len(text) == 0 || text[0] != '{' {
		return json.Unmarshal(text, into.Addr().Interface()) // null, or an error
	}
	known := fieldsOf(into.Type())
	return eachMember(text, '{', func(name string, value []byte) error {
		if i, ok := known[name]; ok {
			return decodeValue(value, into.Field(i))
		}
		return nil
	})
}

// decodeValue decodes a value into a field.
func decodeValue(text []byte, into reflect.Value) error {
	if own, ok := into.Addr().Interface().(json.Unmarshaler); ok {
		return own.UnmarshalJSON(text)
	}
	switch kind := into.Kind(); {
	case kind == reflect.String && isPlain(text):
		into.SetString(string(text[1 : len(text)-1]))
		return nil
	case kind == reflect.Pointer && string(text) != "null":
		into.Set(reflect.New(into.Type().Elem()))
		return decodeValue(text, into.Elem())
	case kind == reflect.Slice && len(text) > 0 && text[0] == '[':
		into.Set(reflect.MakeSlice(into.Type(), 0, bytes.Count(text, []byte{','})+1))
		return eachMember(text, '[', func(_ string, value []byte) error {
			into.Set(reflect.Append(into, reflect.Zero(into.Type().Elem())))
			return decodeValue(value, into.Index(into.Len()-1))
		})
	}
	return json.Unmarshal(text, into.Addr().Interface())
}

// isPlain reports whether a value is a string without escapes.
func isPlain(text []byte) bool {
	return len(text) >= 2 && text[0] == '"' && bytes.IndexByte(text, '\\') < 0
}

// eachMember calls a function with each member of an object or each element of an array, whichever `open` begins, without the space
// around it.
func eachMember(text []byte, open byte, each func(name string, value []byte) error) error {
	i := skipSpace(text, 1)
	if i < len(text) && text[i] == open+2 { // `}` and `]` come two after `{` and `[`
		return nil
	}
	for i < len(text) {
		var name string
		if open == '{' {
			end := valueEnd(text, i)
			if end <= i+1 || text[i] != '"' {
				return errInvalidJSON
			}
			if name = string(text[i+1 : end-1]); !isPlain(text[i:end]) {
				if err := json.Unmarshal(text[i:end], &name); err != nil {
					return err
				}
			}
			i = skipSpace(text, skipSpace(text, end)+1) // the colon
		}
		end := valueEnd(text, i)
		if end <= i {
			return errInvalidJSON
		}
		if err := each(name, text[i:end]); err != nil {
			return err
		}
		if i = skipSpace(text, end); i == len(text) || text[i] == open+2 {
			break
		}
		i = skipSpace(text, i+1) // the comma
	}
	return nil
}

// skipSpace returns the index at which the white space at `i` ends.
func skipSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r') {
		i++
	}
	return min(i, len(text))
}

// valueEnd returns the index at which the value at `i` ends.
func valueEnd(text []byte, i int) int {
	for depth := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			end := stringEnd(text, i+1)
			if depth == 0 {
				return end
			}
			i = end - 1
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth <= 0 {
				return i + 1 + min(depth, 0) // a bracket too many belongs to what the value is in
			}
		case depth == 0 && (c == ',' || c == ':' || c == ' ' || c == '\n' || c == '\t' || c == '\r'):
			return i
		}
	}
	return len(text)
}

// stringEnd returns the index after the quote that ends the string whose text begins at `i`. Most of a response is in strings, and
// IndexByte looks at many bytes at a time.
func stringEnd(text []byte, i int) int {
	for quote := -1; i < len(text); {
		if quote < i {
			found := bytes.IndexByte(text[i:], '"')
			if found < 0 {
				break
			}
			quote = i + found
		}
		escape := bytes.IndexByte(text[i:quote], '\\')
		if escape < 0 {
			return quote + 1
		}
		i += escape + 2
	}
	return len(text)
}

var fieldCache sync.Map // a struct's type to its fields

// fieldsOf returns the indices of a struct's fields by their names in JSON.
func fieldsOf(kind reflect.Type) map[string]int {
	if known, ok := fieldCache.Load(kind); ok {
		return known.(map[string]int)
	}
	known := make(map[string]int)
	for i := range kind.NumField() {
		if name, _, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			known[name] = i
		}
	}
	fieldCache.Store(kind, known)
	return known
}
