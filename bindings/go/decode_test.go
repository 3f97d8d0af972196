package antenv

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"
)

// sample is a result with a field of each kind.
type sample struct {
	Object[sample]
	Text   string            `json:"text"`
	Named  Scope             `json:"named"`
	Number int64             `json:"number"`
	Maybe  *int64            `json:"maybe"`
	Flag   bool              `json:"flag"`
	Texts  []string          `json:"texts"`
	Map    map[string]string `json:"map"`
	Inner  Config            `json:"inner"`
	Other  *Networking       `json:"other"`
	Many   []*WorkData       `json:"many"`
}

func (s *sample) UnmarshalJSON(data []byte) error {
	type plain sample
	return decodeKeeping(data, (*plain)(s), &s.Object)
}

func TestAResultIsReadAsEncodingJSONReadsIt(t *testing.T) {
	type plain sample
	for _, text := range []string{
		`{}`, ` { } `, `null`, `[]`, `7`, `""`,
		`{"text":"a","named":"b","number":-12,"maybe":7,"flag":true,"texts":["x","y"],"map":{"k":"v"}}`,
		"\n{ \"text\" :\t\"a\" ,\r\n\"number\" : 1 , \"texts\" : [ \"x\" , \"y\" ] } ",
		`{"text":"\u00e9\n\"}{][,:","\u0074exts":["\\","\"",""],"map":{"\"":"\\"}}`,
		`{"text":null,"named":null,"number":null,"maybe":null,"flag":null,"texts":null,"map":null,"inner":null,"other":null,"many":null}`,
		`{"texts":[],"map":{},"many":[],"inner":{},"other":{}}`,
		`{"text":"first","text":"second","new":{"deep":[1,{"text":"no"}]},"number":2}`,
		`{"inner":{"type":"cloud","networking":{"type":"limited","allowed_hosts":["h"]}},"other":{"allow_mcp_servers":true}}`,
		`{"many":[{"id":"1"},null,{"id":"2","type":"session"}]}`,
		`{"text":1}`, `{"number":"1"}`, `{"number":1.5}`, `{"flag":0}`, `{"texts":"x"}`, `{"texts":[1]}`, `{"map":[]}`, `{"inner":[]}`, `{"many":[1]}`,
	} {
		var got sample
		var want plain
		failed, wanted := json.Unmarshal([]byte(text), &got), json.Unmarshal([]byte(text), &want)
		if (failed == nil) != (wanted == nil) {
			t.Fatalf("%s: %v instead of %v", text, failed, wanted)
		}
		want.Object = got.Object
		if wanted == nil && !reflect.DeepEqual(got, sample(want)) {
			t.Fatalf("%s: %+v instead of %+v", text, got, want)
		}
	}
}

// Whatever is valid is split as encoding/json splits it; what is not does no harm.
func FuzzSplitting(f *testing.F) {
	for _, seed := range []string{`{"a":1,"b":[{"c":"}"}],"d":"\\\"","e":null}`, `[1,[2],{"a":"]"},"\\",true]`, `{"a`, `["`, `[1 2`, `{"a" 1}`, `[}`, `{"":"\`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var all sample
		_ = all.UnmarshalJSON(text)
		if len(text) == 0 || text[0] != '{' && text[0] != '[' {
			return
		}
		members, elements := make(map[string]string), []string{}
		err := eachMember(text, text[0], func(name string, value []byte) error {
			members[name] = string(value)
			elements = append(elements, string(value))
			return nil
		})
		if !json.Valid(text) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if text[0] == '[' {
			var want []json.RawMessage
			_ = json.Unmarshal(text, &want)
			if !slices.EqualFunc(elements, want, func(a string, b json.RawMessage) bool { return a == string(b) }) {
				t.Fatalf("%q instead of %q", elements, want)
			}
			return
		}
		var want map[string]json.RawMessage
		_ = json.Unmarshal(text, &want)
		if !maps.EqualFunc(members, want, func(a string, b json.RawMessage) bool { return a == string(b) }) {
			t.Fatalf("%q instead of %q", members, want)
		}
	})
}
