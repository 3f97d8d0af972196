// The driver makes the calls that a test describes on standard input, through this module, and reports each on standard output. Its language
// is that of tests/c/driver.c, of which it understands the lines client, derive, call, named, request, open, event and download.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"

	"antenv.internal/antenv"
)

var ctx = context.Background()

// raw is what all results implement.
type raw interface{ RawJSON() string }

// text returns a result's JSON.
func text[T raw](result T, err error) (string, error) {
	if err != nil {
		return "", err
	}
	if any(result) == any(*new(T)) { // nil
		return "null", nil
	}
	return result.RawJSON(), nil
}

// options returns a JSON object's members as options.
func options(object string) (all []antenv.Option) {
	for name, value := range members(object) {
		all = append(all, antenv.WithConfig(name, value))
	}
	return all
}

func members(object string) (members map[string]json.RawMessage) {
	if object != "" {
		if err := json.Unmarshal([]byte(object), &members); err != nil {
			fail(err)
		}
	}
	return members
}

// params returns a call's parameters that are a struct's fields; the others are options. A value that does not fit its field is an option,
// too: the library has to reject it.
func params[P any](object string) (params P, rest []antenv.Option) {
	for name, value := range members(object) {
		alone, _ := json.Marshal(map[string]json.RawMessage{name: value})
		with, decoder := params, json.NewDecoder(strings.NewReader(string(alone)))
		decoder.DisallowUnknownFields()
		if decoder.Decode(&with) == nil {
			params = with
		} else {
			rest = append(rest, antenv.WithConfig(name, value))
		}
	}
	return params, rest
}

// stream is the stream that is open.
type stream struct {
	*antenv.EventStream
	next func() (*antenv.Event, error, bool)
}

func open(client *antenv.Client, object string) (*stream, error) {
	p, rest := params[antenv.SessionEventStreamParams](object)
	opened, err := client.Sessions.Events.Open(ctx, member(object, "session_id"), p, rest...)
	if err != nil {
		return nil, err
	}
	next, _ := iter.Pull2(opened.Events())
	return &stream{opened, next}, nil
}

// event returns the next event, or antenv.ErrDone at the end.
func (s *stream) event() (string, error) {
	event, err, more := s.next()
	if !more {
		return "", antenv.ErrDone
	}
	return text(event, err)
}

// download downloads a version of a skill, with a context that may be cancelled.
func download(client *antenv.Client, object, path string) (string, error) {
	cancellable, cancel := context.WithCancel(ctx)
	defer cancel()
	id, version := member(object, "skill_id"), member(object, "version")
	result, err := client.Skills.Versions.Download(cancellable, id, version, path, options(object)...)
	if err != nil {
		return "", err
	}
	described, err := json.Marshal(result)
	return string(described), err
}

// member returns a text of a JSON object.
func member(object, name string) (value string) {
	if err := json.Unmarshal(members(object)[name], &value); err != nil {
		fail(err)
	}
	return value
}

func fail(what any) {
	fmt.Fprintln(os.Stderr, "driver:", what)
	os.Exit(2)
}

func main() {
	var client *antenv.Client
	var streaming *stream
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		field := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		for i := range field {
			if field[i] == "\x01" {
				field[i] = ""
			}
		}
		var result string
		switch field[0] {
		case "client":
			client, err = antenv.NewClient(options(field[1])...)
		case "derive":
			client, err = client.With(options(field[1])...)
		case "call":
			var json json.RawMessage
			json, err = client.Call(ctx, field[1], members(field[2]))
			result = string(json)
		case "request":
			var json json.RawMessage
			json, err = client.Request(ctx, field[1], field[2], options(field[3])...)
			result = string(json)
		case "named":
			result, err = named(client, field[1], [2]string{field[2], field[3]}, field[4])
		case "open":
			if streaming != nil {
				streaming.Close()
			}
			streaming, err = open(client, field[2])
		case "event":
			result, err = streaming.event()
		case "download":
			result, err = download(client, field[2], field[3])
		default:
			fail("unknown line: " + field[0])
		}
		var failure *antenv.Error
		status := antenv.StatusOK
		if errors.As(err, &failure) {
			status, result = failure.Status, failure.RawJSON()
		} else if errors.As(err, &status) { // the end of a stream
			result = ""
		} else if err != nil {
			fail(err)
		}
		fmt.Printf("%d %d\n%s\n", status, len(result), result)
	}
}
