package antenv

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
)

// Tools are the tools that a program serves: Lease.Serve runs them, and Handler makes a handler for Worker.Run. No two may have the same
// name.
type Tools []ServedTool

// ServedTool is a tool that a program serves. Tool makes one; its fields may be changed before it is served.
type ServedTool struct {
	// Name is the name by which the agent calls the tool.
	Name string
	// Description says to the agent what the tool does.
	Description string
	// InputSchema is the JSON Schema of the input, an object's.
	InputSchema json.RawMessage

	run func(ctx context.Context, input []byte) (any, error)
}

// Tool makes a tool from a function: antenv.Tool("weather", "Returns the weather of a city.", func(ctx context.Context, in City) (string, error)).
//
// In is the tool's input, which encoding/json decodes: a struct as a rule. The schema follows from its fields. One is required unless its tag
// has omitempty or omitzero, or it is a pointer or an Opt. The tag `description:"..."` describes a field, and `enum:"a,b"` lists its values. In may also be a
// map with string keys, json.RawMessage, any, or a type with an UnmarshalJSON; then the schema allows any object, which InputSchema may narrow.
// Tool panics if In is another type, or has a field that JSON cannot hold.
//
// An input that does not fit In is answered with an error that names the member, and the function is not called.
//
// Out is the result: a string or []byte, which become a text; a Content, or several as a []Content; a ToolResult; or any other value, which
// becomes a text that holds its JSON. An error becomes a result with is_error and its message, and so does a panic, which the logger of
// SetLogger (or else slog.Default()) receives with its stack.
//
// The function runs in a goroutine of its own, and its context is cancelled when the call needs no reply any more: context.Cause is then a
// *VoidError. It should return then; what it returns is dropped. CallEvent returns the event of the call.
func Tool[In, Out any](name, description string, run func(ctx context.Context, in In) (Out, error)) ServedTool {
	schema := inputSchema(reflect.TypeFor[In]())
	text, _ := json.Marshal(schema)
	return ServedTool{Name: name, Description: description, InputSchema: text, run: func(ctx context.Context, input []byte) (any, error) {
		var in In
		if err := schema.decode(input, &in); err != nil {
			return nil, err
		}
		return run(ctx, in)
	}}
}

// ToolDefinition describes a custom tool, as the tools of an agent list it.
type ToolDefinition struct {
	// Type is "custom".
	Type string `json:"type"`
	// Name is the tool's name.
	Name string `json:"name"`
	// Description is what the tool does.
	Description string `json:"description"`
	// InputSchema is the JSON Schema of its input.
	InputSchema json.RawMessage `json:"input_schema"`
}

// Definition returns the tool as an agent's custom tool.
func (t ServedTool) Definition() ToolDefinition {
	return ToolDefinition{Type: "custom", Name: t.Name, Description: t.Description, InputSchema: t.InputSchema}
}

// Definitions returns the tools as an agent's custom tools.
func (t Tools) Definitions() []ToolDefinition {
	definitions := make([]ToolDefinition, len(t))
	for i, tool := range t {
		definitions[i] = tool.Definition()
	}
	return definitions
}

// byName returns the tools by their names.
func (t Tools) byName() (map[string]ServedTool, error) {
	tools := make(map[string]ServedTool, len(t))
	for _, tool := range t {
		problem := ""
		if _, twice := tools[tool.Name]; twice {
			problem = "is there twice"
		}
		if tool.run == nil {
			problem = "has no function: make it with Tool"
		}
		if problem != "" {
			return nil, &Error{Status: StatusConfig, Message: fmt.Sprintf("`tools`: %q %s", tool.Name, problem), Parameter: "tools"}
		}
		tools[tool.Name] = tool
	}
	return tools, nil
}

// Content is a block of a tool's result. Text, Image and Document make the usual ones.
type Content struct {
	// Type is "text", "image" or "document".
	Type string `json:"type"`
	// Text is the text of a text block.
	Text string `json:"text,omitempty"`
	// Source is where an image or a document is.
	Source *ContentSource `json:"source,omitempty"`
	// Title is the title of a document; "" for none.
	Title string `json:"title,omitempty"`
	// Context says more about a document; "" for nothing.
	Context string `json:"context,omitempty"`
}

// ContentSource is where an image or a document is.
type ContentSource struct {
	// Type is "base64", "text", "url" or "file", which decides which of the other fields are used.
	Type string `json:"type"`
	// MediaType is the media type of Data, such as "image/png".
	MediaType string `json:"media_type,omitempty"`
	// Data is the data: in base64, or a text.
	Data string `json:"data,omitempty"`
	// URL is the address.
	URL string `json:"url,omitempty"`
	// FileID is the identifier of a file at the API.
	FileID string `json:"file_id,omitempty"`
}

// Text makes a text block. Of an empty text the library makes "(no output)", for the API takes no empty ones.
func Text(text string) Content { return Content{Type: "text", Text: text} }

// Image makes a block of an image, such as one of the media type "image/png".
func Image(mediaType string, data []byte) Content {
	return Content{Type: "image", Source: base64Source(mediaType, data)}
}

// Document makes a block of a document, of the media type "application/pdf" or "text/plain".
func Document(mediaType string, data []byte) Content {
	if mediaType == "text/plain" {
		return Content{Type: "document", Source: &ContentSource{Type: "text", MediaType: mediaType, Data: string(data)}}
	}
	return Content{Type: "document", Source: base64Source(mediaType, data)}
}

func base64Source(mediaType string, data []byte) *ContentSource {
	return &ContentSource{Type: "base64", MediaType: mediaType, Data: base64.StdEncoding.EncodeToString(data)}
}

// ToolResult is the result of a tool that also decides whether it is an error: one with content, for example.
type ToolResult struct {
	// Content are the blocks of the result.
	Content []Content
	// IsError is whether the tool failed.
	IsError bool
}

// encodeResult returns the JSON of what a tool returned, with a NUL at its end.
func encodeResult(value any, err error) []byte {
	var content any
	isError := err != nil
	switch value := value.(type) {
	case ToolResult:
		content, isError = value.Content, isError || value.IsError
	case []Content:
		content = value
	case Content:
		content = []Content{value}
	case []byte:
		content = string(value)
	case json.RawMessage:
		content = string(value)
	case nil, struct{}:
	default:
		if of := reflect.ValueOf(value); of.Kind() == reflect.String {
			content = of.String()
		} else if text, failed := plainJSON(value); failed == nil {
			content = string(text)
		} else if err == nil {
			return encodeResult(nil, failed)
		}
	}
	if err != nil {
		content = err.Error()
	}
	var result object
	if content != nil {
		result.add("content", content)
	}
	result.add("is_error", isError)
	text, _ := result.nulTerminated()
	return text
}

// plainJSON encodes a value for a reader who is no browser: `<` stays as it is.
func plainJSON(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}
