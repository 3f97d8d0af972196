package antenv

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Results are printed and logged here, and not by fmt's own rules, which show the server's JSON as a list of bytes and pointers as
// addresses.

// format prints a struct for any verb, such as [type=environment id=env_1 config=[type=cloud]].
func format(to fmt.State, of any) { _, _ = to.Write([]byte(logValue(of).String())) }

// logValue returns a struct as a group with the API's names. Absent fields are left out; numbers and booleans never are.
func logValue(of any) slog.Value { return logged(reflect.ValueOf(of)) }

func logged(value reflect.Value) slog.Value {
	value = resolve(value)
	if !value.IsValid() {
		return slog.AnyValue(nil)
	}
	if at, is := value.Interface().(time.Time); is {
		return slog.StringValue(at.Format(time.RFC3339Nano))
	}
	if text, is := value.Interface().(json.RawMessage); is {
		return slog.StringValue(string(text))
	}
	var group []slog.Attr
	switch value.Kind() {
	case reflect.Struct:
		eachField(value, func(name string, field reflect.Value) {
			if !isAbsent(field) {
				group = append(group, slog.Attr{Key: name, Value: logged(field)})
			}
		})
	case reflect.Map:
		keys := value.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, key := range keys {
			group = append(group, slog.Attr{Key: key.String(), Value: logged(value.MapIndex(key))})
		}
	case reflect.Slice: // slog has no lists of groups
		elements := make([]string, value.Len())
		for i := range elements {
			elements[i] = logged(value.Index(i)).String()
		}
		return slog.AnyValue(elements)
	default:
		return slog.AnyValue(value.Interface()).Resolve() // which hides a Secret
	}
	return slog.GroupValue(group...)
}

// isAbsent reports whether a field holds nothing.
func isAbsent(field reflect.Value) bool {
	switch field.Kind() {
	case reflect.Pointer, reflect.String, reflect.Slice, reflect.Map:
		return field.IsZero()
	case reflect.Struct: // an Opt, or a time
		optional, is := field.Interface().(interface{ IsZero() bool })
		return is && optional.IsZero()
	}
	return false
}

// resolve returns the value behind pointers, interfaces and Opts. It is not valid when there is none.
func resolve(value reflect.Value) reflect.Value {
	for value.IsValid() {
		if optional, is := value.Interface().(interface{ any() any }); is {
			value = reflect.ValueOf(optional.any())
		} else if value.Kind() == reflect.Pointer || value.Kind() == reflect.Interface {
			value = value.Elem()
		} else {
			break
		}
	}
	return value
}
