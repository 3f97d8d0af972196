package antenv

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// schema is the JSON Schema of a Go type, as far as a tool's input needs it.
type schema struct {
	Type        string            `json:"type,omitempty"` // "": any value
	Description string            `json:"description,omitempty"`
	Format      string            `json:"format,omitempty"`
	Encoding    string            `json:"contentEncoding,omitempty"`
	Enum        []json.RawMessage `json:"enum,omitempty"`
	Items       *schema           `json:"items,omitempty"`
	Properties  properties        `json:"properties,omitempty"`
	Required    []string          `json:"required,omitempty"`
	Additional  any               `json:"additionalProperties,omitempty"` // a *schema, or false
}

// properties are the members of an object, in the order of the struct's fields.
type properties []property

type property struct {
	name   string
	schema *schema
}

// MarshalJSON encodes them as an object.
func (p properties) MarshalJSON() ([]byte, error) {
	var o object
	for _, one := range p {
		o.add(one.name, one.schema)
	}
	text, err := o.nulTerminated()
	return text[:len(text)-1], err
}

// inputSchema returns the schema of a tool's input. It panics if no object fits the type.
func inputSchema(of reflect.Type) *schema {
	found := schemaOf(of, nil)
	if found.Type == "" {
		found.Type = "object"
	}
	if found.Type != "object" {
		panic(fmt.Sprintf("antenv.Tool: %v cannot be the input of a tool, which is an object", of))
	}
	return found
}

var (
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	optional        = reflect.TypeFor[interface{ valueType() reflect.Type }]()
)

// schemaOf returns the schema of a type. Of a type within itself, it says only that it may be anything.
func schemaOf(of reflect.Type, within []reflect.Type) *schema {
	if slices.Contains(within, of) {
		return &schema{}
	}
	within = append(slices.Clip(within), of)
	switch pointer := reflect.PointerTo(of); {
	case of.Kind() == reflect.Pointer:
		return schemaOf(of.Elem(), within)
	case of.Implements(optional):
		return schemaOf(reflect.Zero(of).Interface().(interface{ valueType() reflect.Type }).valueType(), within)
	case of == reflect.TypeFor[time.Time]():
		return &schema{Type: "string", Format: "date-time"}
	case of == reflect.TypeFor[json.Number]():
		return &schema{Type: "number"}
	case pointer.Implements(unmarshaler):
		return &schema{}
	case pointer.Implements(textUnmarshaler):
		return &schema{Type: "string"}
	}
	switch of.Kind() {
	case reflect.Interface:
		return &schema{}
	case reflect.String:
		return &schema{Type: "string"}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return &schema{Type: "integer"}
	case reflect.Float32, reflect.Float64:
		return &schema{Type: "number"}
	case reflect.Slice, reflect.Array:
		if of.Kind() == reflect.Slice && of.Elem().Kind() == reflect.Uint8 {
			return &schema{Type: "string", Encoding: "base64"}
		}
		return &schema{Type: "array", Items: schemaOf(of.Elem(), within)}
	case reflect.Map:
		return &schema{Type: "object", Additional: schemaOf(of.Elem(), within)}
	case reflect.Struct:
		found := &schema{Type: "object", Additional: false}
		found.addFields(of, within)
		return found
	}
	panic(fmt.Sprintf("antenv.Tool: JSON cannot hold %v", of))
}

// addFields adds the fields of a struct, and those of the structs that are embedded in it.
func (s *schema) addFields(of reflect.Type, within []reflect.Type) {
	for i := range of.NumField() {
		field := of.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		embedded := field.Type
		if embedded.Kind() == reflect.Pointer {
			embedded = embedded.Elem()
		}
		switch {
		case name == "-" && options == "":
			continue
		case field.Anonymous && name == "" && embedded.Kind() == reflect.Struct:
			s.addFields(embedded, within)
			continue
		case !field.IsExported():
			continue
		case name == "":
			name = field.Name
		}
		member := *schemaOf(field.Type, within)
		if slices.Contains(strings.Split(options, ","), "string") {
			member = schema{Type: "string"}
		}
		member.Description = field.Tag.Get("description")
		if values := field.Tag.Get("enum"); values != "" {
			for _, value := range strings.Split(values, ",") {
				text := json.RawMessage(value)
				if member.Type == "string" {
					text, _ = json.Marshal(value)
				}
				member.Enum = append(member.Enum, text)
			}
		}
		s.Properties = append(s.Properties, property{name, &member})
		isOptional := strings.Contains(options, "omit") || field.Type.Kind() == reflect.Pointer || field.Type.Implements(optional)
		if !isOptional {
			s.Required = append(s.Required, name)
		}
	}
}

// decode checks an input and decodes it.
func (s *schema) decode(input []byte, into any) error {
	if err := s.check("input", input); err != nil {
		return err
	}
	if err := json.Unmarshal(input, into); err != nil {
		return fmt.Errorf("the input is invalid: %w", err)
	}
	return nil
}

// check reports what does not fit: the type of a value, a required member that is missing, a value that is none of those listed.
func (s *schema) check(where string, text []byte) error {
	text = bytes.TrimSpace(text)
	if kind := kindOf(text); s.Type != "" && kind != s.Type && !(kind == "integer" && s.Type == "number") {
		return fmt.Errorf("`%s` must be of the type %s, not %s", where, s.Type, kind)
	}
	if s.Enum != nil && !slices.ContainsFunc(s.Enum, func(one json.RawMessage) bool { return bytes.Equal(one, text) }) {
		return fmt.Errorf("`%s` must be one of %s", where, bytes.Join(asBytes(s.Enum), []byte(", ")))
	}
	switch kindOf(text) {
	case "array":
		if s.Items == nil {
			return nil
		}
		index := 0
		return eachMember(text, '[', func(_ string, value []byte) error {
			index++
			return s.Items.check(fmt.Sprintf("%s[%d]", where, index-1), value)
		})
	case "object":
		return s.checkMembers(where, text)
	}
	return nil
}

func (s *schema) checkMembers(where string, text []byte) error {
	missing := slices.Clone(s.Required)
	err := eachMember(text, '{', func(name string, value []byte) error {
		of, _ := s.Additional.(*schema)
		if i := slices.IndexFunc(s.Properties, func(one property) bool { return one.name == name }); i >= 0 {
			of = s.Properties[i].schema
		}
		missing = slices.DeleteFunc(missing, func(one string) bool { return one == name })
		if of == nil || string(value) == "null" && !slices.Contains(s.Required, name) {
			return nil
		}
		return of.check(where+"."+name, value)
	})
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("`%s.%s` is missing", where, missing[0])
	}
	return err
}

// kindOf returns the type of a JSON value.
func kindOf(text []byte) string {
	if len(text) == 0 {
		return "nothing"
	}
	switch text[0] {
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "array"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	if bytes.ContainsAny(text, ".eE") {
		return "number"
	}
	return "integer"
}

func asBytes(of []json.RawMessage) [][]byte {
	texts := make([][]byte, len(of))
	for i, one := range of {
		texts[i] = one
	}
	return texts
}
