package antenv

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

type embedded struct {
	Inner string `json:"inner"`
}

type everything struct {
	embedded
	Text     string            `json:"text" description:"What to say."`
	Unit     string            `json:"unit" enum:"c,f"`
	Level    int               `json:"level,omitempty" enum:"1,2"`
	Size     float64           `json:"size,omitempty"`
	On       bool              `json:"on,omitempty"`
	Tags     []string          `json:"tags,omitempty"`
	Data     []byte            `json:"data,omitempty"`
	Map      map[string]int    `json:"map,omitempty"`
	Pointer  *string           `json:"pointer"`
	Maybe    Opt[int]          `json:"maybe"`
	When     time.Time         `json:"when,omitzero"`
	Address  netip.Addr        `json:"address,omitempty"`
	Number   json.Number       `json:"number,omitempty"`
	Quoted   int               `json:"quoted,omitempty,string"`
	Raw      json.RawMessage   `json:"raw,omitempty"`
	Any      any               `json:"any,omitempty"`
	Children []everything      `json:"children,omitempty"`
	Nested   []map[string]city `json:"nested,omitempty"`
	Plain    int
	Hidden   int `json:"-"`
	private  int
}

type city struct {
	Name string `json:"name"`
}

func TestTheSchemaFollowsFromTheType(t *testing.T) {
	text, err := json.MarshalIndent(inputSchema(reflect.TypeFor[everything]()), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Type       string
		Properties map[string]json.RawMessage
		Required   []string
		Additional *bool `json:"additionalProperties"`
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if want := []string{"inner", "text", "unit", "Plain"}; !reflect.DeepEqual(got.Required, want) || got.Type != "object" || *got.Additional {
		t.Fatalf("got %+v, want %v", got, want)
	}
	nested := `{"type":"object","properties":{"name":{"type":"string"}},"required":["name"],"additionalProperties":false}`
	for name, want := range map[string]string{
		"inner":    `{"type":"string"}`,
		"text":     `{"type":"string","description":"What to say."}`,
		"unit":     `{"type":"string","enum":["c","f"]}`,
		"level":    `{"type":"integer","enum":[1,2]}`,
		"size":     `{"type":"number"}`,
		"on":       `{"type":"boolean"}`,
		"tags":     `{"type":"array","items":{"type":"string"}}`,
		"data":     `{"type":"string","contentEncoding":"base64"}`,
		"map":      `{"type":"object","additionalProperties":{"type":"integer"}}`,
		"pointer":  `{"type":"string"}`,
		"maybe":    `{"type":"integer"}`,
		"when":     `{"type":"string","format":"date-time"}`,
		"address":  `{"type":"string"}`,
		"number":   `{"type":"number"}`,
		"quoted":   `{"type":"string"}`,
		"raw":      `{}`,
		"any":      `{}`,
		"children": `{"type":"array","items":{}}`,
		"nested":   `{"type":"array","items":{"type":"object","additionalProperties":` + nested + `}}`,
		"Plain":    `{"type":"integer"}`,
	} {
		var member, expected any
		_ = json.Unmarshal(got.Properties[name], &member)
		_ = json.Unmarshal([]byte(want), &expected)
		if !reflect.DeepEqual(member, expected) {
			t.Errorf("%s: got %s, want %s", name, got.Properties[name], want)
		}
		delete(got.Properties, name)
	}
	if len(got.Properties) > 0 {
		t.Errorf("there is more: %v", got.Properties)
	}
}

func TestAnInputThatDoesNotFitIsNamed(t *testing.T) {
	found := inputSchema(reflect.TypeFor[everything]())
	for members, want := range map[string]string{
		``:                                "",
		`,"size":2`:                       "",
		`,"level":null,"maybe":null`:      "",
		`,"quoted":"7","more":[1]`:        "",
		`,"level":2.5`:                    "`input.level` must be of the type integer, not number",
		`,"level":3`:                      "`input.level` must be one of 1, 2",
		`,"tags":["a",1]`:                 "`input.tags[1]` must be of the type string, not integer",
		`,"map":{"a":1,"b":true}`:         "`input.map.b` must be of the type integer, not boolean",
		`,"nested":[{"a":{"name":null}}]`: "`input.nested[0].a.name` must be of the type string, not null",
		`,"nested":[{},{"a":{}}]`:         "`input.nested[1].a.name` is missing",
		`,"children":[{"text":7}]`:        "the input is invalid: ",
		`,"when":"today"`:                 "the input is invalid: ",
		`,"level":99999999999999999999`:   "`input.level` must be one of 1, 2",
	} {
		var into everything
		err := found.decode([]byte(`{"inner":"i","text":"t","unit":"c","Plain": 1`+members+`}`), &into)
		if got := fmt.Sprint(err); want == "" && err != nil || want != "" && !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s, want %s", members, got, want)
		}
		if err == nil && (into.Inner != "i" || into.Plain != 1) {
			t.Errorf("%s: got %+v", members, into)
		}
	}
	for _, input := range []string{``, `null`, `[]`, `"text"`} {
		if err := found.decode([]byte(input), &everything{}); err == nil {
			t.Errorf("%q is taken", input)
		}
	}
}

func TestAnInputIsAnObject(t *testing.T) {
	run := func(name string, make func() ServedTool, want string) {
		defer func() {
			if problem := fmt.Sprint(recover()); !strings.Contains(problem, want) {
				t.Errorf("%s: got %s, want %s", name, problem, want)
			}
		}()
		if got := string(make().InputSchema); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
		panic(want)
	}
	run("any", func() ServedTool { return Tool("", "", func(context.Context, any) (any, error) { return nil, nil }) }, `{"type":"object"}`)
	run("raw", func() ServedTool {
		return Tool("", "", func(context.Context, json.RawMessage) (any, error) { return nil, nil })
	}, `{"type":"object"}`)
	run("pointer", func() ServedTool { return Tool("", "", func(context.Context, *city) (any, error) { return nil, nil }) },
		`{"type":"object","properties":{"name":{"type":"string"}},"required":["name"],"additionalProperties":false}`)
	run("number", func() ServedTool { return Tool("", "", func(context.Context, int) (any, error) { return nil, nil }) }, "cannot be the input")
	run("function", func() ServedTool {
		return Tool("", "", func(context.Context, struct{ F func() }) (any, error) { return nil, nil })
	}, "JSON cannot hold func()")
}

func TestOptionsOfASessionGoToTheLibraryUnchanged(t *testing.T) {
	tool := Tool("a", "", func(context.Context, any) (any, error) { return nil, nil })
	text, err := Tools{tool}.config([]Option{
		WithConcurrency(3), WithMaxIdle(1500 * time.Microsecond), WithToolTimeout(0), WithToolset(map[string]any{"bash": true}), WithWorkdir("/w"),
		WithSandbox("required"), WithSkills(true), WithMemory("read_only"), WithConfig("novel", []int{1}),
	})
	want := `{"tools":["a"],"concurrency":3,"max_idle_ms":2,"tool_timeout_ms":0,"toolset":{"bash":true},"workdir":"/w",` +
		`"sandbox":"required","skills":true,"memory":"read_only","novel":[1]}` + "\x00"
	if err != nil || string(text) != want {
		t.Fatalf("got %s, %v, want %s", text, err, want)
	}
}
