package antenv

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"reflect"
)

// do calls an operation and decodes its result; nil when that is null.
func do[T any](ctx context.Context, c *core, operation []byte, s *settings) (*T, error) {
	return decoded[T](c.call(ctx, submission{operation: operation}, s))
}

// decoded decodes a call's result, unless the call failed; nil when the result is null.
func decoded[T any](text []byte, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	var result *T
	if err := decodeValue(bytes.TrimSpace(text), reflect.ValueOf(&result).Elem()); err != nil {
		return nil, fmt.Errorf("antenv: the response is not what the API describes: %w", err)
	}
	return result, nil
}

// pages fetches one page after the other, as long as the caller asks for items.
func pages[T any](fetch func(cursor string) (*Page[T], error)) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		for cursor := ""; ; {
			page, err := fetch(cursor)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, item := range page.Data {
				if !yield(item, nil) {
					return
				}
			}
			if cursor = page.NextPage; cursor == "" {
				return
			}
		}
	}
}

// callSettings returns the settings of a call: its options, its parameters (a struct, or nil), and the name and value of each identifier.
func callSettings(options []Option, params any, ids ...string) *settings {
	s := newSettings(options)
	for i := 0; i < len(ids); i += 2 {
		s.add(ids[i], ids[i+1])
	}
	if params != nil {
		s.addFields(params)
	}
	return s
}
