package antenv_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"antenv.internal/antenv"
	"antenv.internal/antenv/antenvtest"
)

type step = antenvtest.Step

var results = step{"wait": "results"}

// soon ends a session shortly after its turn.
var soon = antenv.WithMaxIdle(300 * time.Millisecond)

func use(tool string, input any) step { return step{"custom_tool": tool, "input": input} }

func inThread(thread string, call step) step {
	call["thread"] = thread
	return call
}

// queueAgent queues an item whose session's agent takes these steps.
func (s workerEnv) queueAgent(steps ...step) *antenv.Work {
	s.t.Helper()
	s.Control("POST", "scripts", map[string]any{"environment_id": s.environment, "steps": steps}, nil)
	return s.Enqueue(s.environment, nil)
}

// lease claims an item.
func (s workerEnv) lease(config antenv.WorkerConfig) *antenv.Lease {
	s.t.Helper()
	lease := must(s.worker(config).Next(ctx))(s.t)
	s.t.Cleanup(lease.Abandon)
	return lease
}

// replies are how the calls of an item's session ended: "answered: the text", "answered: error: the text", "interrupted" and so on.
func (s workerEnv) replies(item *antenv.Work) (replies []string) {
	s.t.Helper()
	var played struct {
		Data []struct {
			Calls []struct {
				Ending   string
				Attempts []struct {
					Accepted bool
					IsError  bool `json:"is_error"`
					Content  []json.RawMessage
				}
			}
		}
	}
	s.Control("GET", "scripts?session_id="+item.Data.ID, nil, &played)
	for _, call := range played.Data[0].Calls {
		reply := call.Ending
		for _, attempt := range call.Attempts {
			if !attempt.Accepted {
				continue
			}
			reply += ":"
			if attempt.IsError {
				reply += " error:"
			}
			for _, block := range attempt.Content {
				var text struct{ Type, Text string }
				_ = json.Unmarshal(block, &text)
				if text.Type != "text" {
					text.Text = string(block)
				}
				reply += " " + text.Text
			}
		}
		replies = append(replies, reply)
	}
	return replies
}

type city struct {
	City string `json:"city"`
	Days int    `json:"days,omitempty"`
}

// returning makes a tool that returns this, whatever it is called with.
func returning[Out any](name string, out Out, err error) antenv.ServedTool {
	return antenv.Tool(name, "", func(context.Context, struct{}) (Out, error) { return out, err })
}

func TestWhatAToolReturnsIsPosted(t *testing.T) {
	s := newWorkerEnv(t)
	var logged syncedText
	if err := antenv.SetLogger(slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelError}))); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = antenv.SetLogger(nil) }()
	type named string
	tools := antenv.Tools{
		antenv.Tool("weather", "Returns the weather of a city.", func(ctx context.Context, in city) (string, error) {
			event := antenv.CallEvent(ctx)
			equal(t, event.Name == "weather" && event.Type == antenv.EventAgentCustomToolUse && event.ID != "", true)
			return fmt.Sprintf("<%s> %d", in.City, in.Days), nil
		}),
		returning("bytes", []byte("of text"), nil),
		returning("named", named("a text"), nil),
		returning("number", 7, nil),
		returning("object", map[string]any{"a": []any{1, "<", nil}}, nil),
		returning("raw", json.RawMessage(`{"b": 2}`), nil),
		returning("nothing", struct{}{}, nil),
		returning("nil", any(nil), nil),
		returning("empty", "", nil),
		returning("text", antenv.Text("one block"), nil),
		returning("blocks", []antenv.Content{
			antenv.Image("image/png", []byte("png")), antenv.Document("application/pdf", []byte("pdf")), antenv.Document("text/plain", []byte("plain")),
		}, nil),
		returning("failed", antenv.ToolResult{Content: []antenv.Content{antenv.Text("no luck")}, IsError: true}, nil),
		returning("error", "ignored", errors.New("it \"failed\"\n")),
		returning("channel", make(chan int), nil),
		antenv.Tool("panic", "", func(context.Context, struct{}) (string, error) {
			var none []int
			return fmt.Sprint(none[len(none)]), nil
		}),
		antenv.Tool("exit", "", func(context.Context, struct{}) (string, error) { runtime.Goexit(); return "", nil }),
	}
	png := `{"source":{"data":"cG5n","media_type":"image/png","type":"base64"},"type":"image"}`
	pdf := `{"source":{"data":"cGRm","media_type":"application/pdf","type":"base64"},"type":"document"}`
	plain := `{"source":{"data":"plain","media_type":"text/plain","type":"text"},"type":"document"}`
	cases := []struct {
		tool  string
		input any
		want  string
	}{
		{"weather", city{"Bern", 2}, "<Bern> 2"},
		{"weather", map[string]any{"days": 1}, "error: `input.city` is missing"},
		{"weather", map[string]any{"city": "Bern", "days": "2"}, "error: `input.days` must be of the type integer, not string"},
		{"bytes", nil, "of text"},
		{"named", nil, "a text"},
		{"number", nil, "7"},
		{"object", nil, `{"a":[1,"<",null]}`},
		{"raw", nil, `{"b": 2}`},
		{"nothing", nil, "(no output)"},
		{"nil", nil, "(no output)"},
		{"empty", nil, "(no output)"},
		{"text", nil, "one block"},
		{"blocks", nil, png + " " + pdf + " " + plain},
		{"failed", nil, "error: no luck"},
		{"error", nil, "error: it \"failed\"\n"},
		{"channel", nil, "error: json: unsupported type: chan int"},
		{"panic", nil, "error: the tool panicked: runtime error: index out of range [0] with length 0"},
		{"exit", nil, "error: the tool ended its goroutine"},
	}
	var steps []step
	var want []string
	for _, one := range cases {
		if one.input == nil {
			one.input = map[string]any{}
		}
		steps = append(steps, use(one.tool, one.input), results)
		want = append(want, "answered: "+one.want)
	}
	item := s.queueAgent(steps...)
	equal(t, s.worker(antenv.WorkerConfig{Drain: true}).Run(ctx, tools.Handler(soon)), nil)
	for i, got := range s.replies(item) {
		if sortedBlocks(got) != sortedBlocks(want[i]) {
			t.Errorf("%s: got %q, want %q", cases[i].tool, got, want[i])
		}
	}
	equal(t, len(s.replies(item)), len(want))
	equal(t, s.state(item.ID), antenv.StateStopped)
	equal(t, strings.Count(logged.String(), "a tool panicked") == 1 && strings.Contains(logged.String(), "serve_test.go"), true)
}

// sortedBlocks is a text with the members of its JSON objects in order.
func sortedBlocks(text string) string {
	parts := strings.Split(text, " ")
	for i, part := range parts {
		var block map[string]any
		if json.Unmarshal([]byte(part), &block) == nil {
			sorted, _ := json.Marshal(block)
			parts[i] = string(sorted)
		}
	}
	return strings.Join(parts, " ")
}

type syncedText struct {
	sync.Mutex
	strings.Builder
}

func (s *syncedText) Write(text []byte) (int, error) {
	s.Lock()
	defer s.Unlock()
	return s.Builder.Write(text)
}

func (s *syncedText) String() string {
	s.Lock()
	defer s.Unlock()
	return s.Builder.String()
}

func TestHeldCallsRunOnlyWhenAUserAllowsThem(t *testing.T) {
	s := newWorkerEnv(t)
	ask := func(label string) step {
		return step{"tool": "bash", "input": map[string]any{"label": label}, "label": label, "permission": "ask"}
	}
	item := s.queueAgent(ask("yes"), ask("no"), step{"wait": "stream"}, step{"confirm": "no", "result": "deny"},
		step{"confirm": "yes", "result": "allow"}, results, step{"tool": "other", "input": map[string]any{}}, step{"wait": "stream"},
		step{"answer": "other", "content": []any{step{"type": "text", "text": "by another"}}}, results)
	bash := antenv.Tool("bash", "", func(ctx context.Context, in map[string]string) (string, error) {
		equal(t, antenv.CallEvent(ctx).EvaluatedPermission, antenv.PermissionAsk)
		return in["label"], nil
	})
	end := must(s.lease(antenv.WorkerConfig{}).Serve(ctx, antenv.Tools{bash}, soon))(t)
	equal(t, end, antenv.EndIdle)
	equal(t, s.replies(item), []string{"answered: yes", "denied", "answered: by another"})
}

// waysToWait wait until a context is done, each by other means of it.
var waysToWait = []func(context.Context){
	func(ctx context.Context) { <-ctx.Done() },
	func(ctx context.Context) { poll(func() bool { return ctx.Err() != nil }) },
	func(ctx context.Context) { poll(func() bool { return context.Cause(ctx) != nil }) },
	func(ctx context.Context) {
		child, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		<-child.Done()
	},
	func(ctx context.Context) {
		done := make(chan struct{})
		context.AfterFunc(ctx, func() { close(done) })
		<-done
	},
}

func poll(is func() bool) {
	for !is() {
		time.Sleep(time.Millisecond)
	}
}

func TestAToolIsCancelledWhenItsCallIsVoid(t *testing.T) {
	s := newWorkerEnv(t)
	worker := s.worker(antenv.WorkerConfig{})
	for i, one := range []struct {
		reason  antenv.VoidReason
		then    []step
		options []antenv.Option
		end     antenv.SessionEnd
		reply   string
	}{
		{antenv.VoidInterrupted, []step{{"interrupt": true}}, nil, antenv.EndIdle, "interrupted"},
		{antenv.VoidThreadTerminated, []step{{"end_thread": "t"}}, nil, antenv.EndIdle, "thread_terminated"},
		{antenv.VoidAnswered, []step{{"answer": "slow", "content": []any{step{"type": "text", "text": "mine"}}}}, nil, antenv.EndIdle,
			"answered: mine"},
		{antenv.VoidSessionEnded, []step{{"terminate": true}}, nil, antenv.EndTerminated, "session_terminated"},
		{antenv.VoidTimedOut, nil, []antenv.Option{antenv.WithToolTimeout(50 * time.Millisecond)}, antenv.EndIdle,
			"answered: error: slow did not finish within 50 ms"},
	} {
		t.Run(string(one.reason), func(t *testing.T) {
			wait := waysToWait[i]
			steps := []step{{"start_thread": "t"}, inThread("t", use("slow", city{City: "Bern"}))}
			if one.then == nil {
				steps = append(steps, results)
			}
			item := s.queueAgent(steps...)
			causes := make(chan error, 1)
			slow := antenv.Tool("slow", "", func(ctx context.Context, in city) (string, error) {
				if one.then != nil {
					s.Script(item.Data.ID, one.then...)
				}
				wait(ctx)
				causes <- context.Cause(ctx)
				return "too late", nil
			})
			lease := must(worker.Next(ctx))(t)
			equal(t, must(lease.Serve(ctx, antenv.Tools{slow}, append(one.options, soon)...))(t), one.end)
			void := &antenv.VoidError{}
			equal(t, errors.As(<-causes, &void), true)
			equal(t, void.Reason, one.reason)
			equal(t, s.replies(item), []string{one.reply})
			must(lease.Finish(ctx))(t)
		})
	}
}

func TestTheStatsOfASession(t *testing.T) {
	s := newWorkerEnv(t)
	s.queueAgent(use("look", struct{}{}), results)
	lease := s.lease(antenv.WorkerConfig{})
	equal(t, must(lease.SessionStats())(t), nil)
	var during *antenv.SessionStats
	look := antenv.Tool("look", "", func(context.Context, struct{}) (string, error) {
		during = must(lease.SessionStats())(t)
		return "seen", nil
	})
	equal(t, must(lease.Serve(ctx, antenv.Tools{look}, soon))(t), antenv.EndIdle)
	equal(t, [5]any{during.SessionID, during.State, during.End, during.OpenCalls, during.Posted},
		[5]any{lease.Work.Data.ID, antenv.ServingLive, antenv.SessionEnd(""), int64(1), int64(0)})
	must(lease.Finish(ctx))(t)
	after := must(lease.SessionStats())(t)
	equal(t, [6]any{after.SessionID, after.State, after.End, after.OpenCalls, after.Calls, after.Posted},
		[6]any{lease.Work.Data.ID, antenv.ServingEnded, antenv.EndIdle, int64(0), int64(1), int64(1)})
	equal(t, string(after.Confinement), "null")

	// Each member of the library's has a field.
	equal(t, len(after.ExtraFields()), 0)
	all := membersOf(t, after.RawJSON())
	equal(t, len(all), reflect.TypeFor[antenv.SessionStats]().NumField()-1)
	equal(t, len(membersOf(t, string(all["memory"]))), reflect.TypeFor[antenv.MemoryStats]().NumField())
}

// membersOf returns the members of a JSON object.
func membersOf(t *testing.T, object string) (members map[string]json.RawMessage) {
	t.Helper()
	if err := json.Unmarshal([]byte(object), &members); err != nil {
		t.Fatal(err)
	}
	return members
}

func TestServingEndsWithItsContext(t *testing.T) {
	s := newWorkerEnv(t)
	item := s.queueAgent(use("slow", city{City: "Bern"}), results)
	lease := s.lease(antenv.WorkerConfig{})
	goroutines := runtime.NumGoroutine()
	why := errors.New("the program ends")
	with, cancel := context.WithCancelCause(ctx)
	hasReturned := false
	slow := antenv.Tool("slow", "", func(ctx context.Context, in city) (string, error) {
		cancel(why)
		<-ctx.Done()
		equal(t, context.Cause(ctx), why)
		hasReturned = true
		return "too late", nil
	})
	_, err := lease.Serve(with, antenv.Tools{slow})
	equal(t, errors.Is(err, context.Canceled) && errors.Is(err, why) && strings.Contains(err.Error(), "lease.serve"), true)
	equal(t, hasReturned, true)
	_, err = lease.Serve(with, antenv.Tools{slow})
	equal(t, errors.Is(err, context.Canceled), true)
	waitFor(t, func() bool { return runtime.NumGoroutine() <= goroutines })
	equal(t, s.replies(item), []string{""})

	// The item is still held, and another Serve goes on with its call.
	end := must(lease.Serve(ctx, antenv.Tools{returning("slow", "in time", nil)}, soon))(t)
	equal(t, end, antenv.EndIdle)
	equal(t, s.replies(item), []string{"answered: in time"})
	must(lease.Finish(ctx))(t)
	_, err = lease.Serve(ctx, antenv.Tools{slow})
	equal(t, errors.Is(err, antenv.ErrClosed) && strings.Contains(err.Error(), "lease"), true)
}

func TestServingEndsWithItsLease(t *testing.T) {
	s := newWorkerEnv(t, "--lease-ttl", "2")
	for _, one := range []struct {
		end   antenv.SessionEnd
		cause func(lease *antenv.Lease)
	}{
		{antenv.EndStopRequested, func(lease *antenv.Lease) {
			must(s.client.Environments.Work.Stop(ctx, s.environment, lease.Work.ID, antenv.WorkStopParams{}))(t)
		}},
		{antenv.EndLeaseLost, func(*antenv.Lease) { s.Advance(time.Minute) }},
		{antenv.EndLeaseEnded, func(lease *antenv.Lease) { lease.Abandon() }},
	} {
		t.Run(string(one.end), func(t *testing.T) {
			s.queueAgent(use("slow", city{City: "Bern"}), results)
			worker := s.worker(antenv.WorkerConfig{OnError: func(*antenv.Lease, error) {}})
			ends := make(chan antenv.SessionEnd, 1)
			// The handler's context is cancelled because of the lease: that is not the end of Serve's own.
			r := run(worker, func(ctx context.Context, lease *antenv.Lease) error {
				slow := antenv.Tool("slow", "", func(ctx context.Context, in city) (string, error) {
					worker.Stop()
					one.cause(lease)
					<-ctx.Done()
					return "", nil
				})
				end, err := lease.Serve(ctx, antenv.Tools{slow})
				equal(t, err, nil)
				ends <- end
				return nil
			})
			equal(t, <-ends, one.end)
			equal(t, r.end(), nil)
		})
	}
}

func TestFiftySessionsAreServedAtOnce(t *testing.T) {
	const sessions = 50
	s := newWorkerEnv(t)
	var items []*antenv.Work
	for range sessions {
		items = append(items, s.queueAgent(use("meet", city{City: "Bern"}), results, use("echo", city{City: "Basel"}), results))
	}
	var arrived sync.WaitGroup
	arrived.Add(sessions)
	most := 0
	var once sync.Once
	tools := antenv.Tools{
		antenv.Tool("meet", "", func(ctx context.Context, in city) (string, error) {
			arrived.Done()
			arrived.Wait() // until the calls of all sessions run
			once.Do(func() { most = threads(t) })
			return in.City, ctx.Err()
		}),
		antenv.Tool("echo", "", func(ctx context.Context, in city) (string, error) { return in.City, nil }),
	}
	worker := s.worker(antenv.WorkerConfig{Concurrency: sessions, Drain: true})
	equal(t, worker.Run(ctx, tools.Handler(soon)), nil)
	for _, item := range items {
		equal(t, s.replies(item), []string{"answered: Bern", "answered: Basel"})
		equal(t, s.state(item.ID), antenv.StateStopped)
	}
	if most > maxThreads {
		t.Errorf("%d threads for %d sessions", most, sessions)
	}
}

// Calls of different threads of a session run at once, those of one thread one after the other: the first call of thread "a" goes on until
// both calls of thread "b" have begun, of which the first waits for it.
func TestCallsOfDifferentThreadsRunAtOnce(t *testing.T) {
	s := newWorkerEnv(t)
	call := func(thread, label string) step { return inThread(thread, use("work", map[string]any{"label": label})) }
	item := s.queueAgent(step{"start_thread": "a"}, step{"start_thread": "b"},
		call("a", "a1"), call("a", "a2"), call("b", "b1"), call("b", "b2"), results)
	begun := map[string]chan struct{}{"a1": make(chan struct{}), "a2": make(chan struct{}), "b1": make(chan struct{}), "b2": make(chan struct{})}
	var mu sync.Mutex
	running := map[string]int{}
	work := antenv.Tool("work", "", func(ctx context.Context, in map[string]string) (string, error) {
		thread, label := antenv.CallEvent(ctx).SessionThreadID, in["label"]
		equal(t, thread != "", true)
		mu.Lock()
		running[thread]++
		atOnce := running[thread]
		mu.Unlock()
		defer func() {
			mu.Lock()
			running[thread]--
			mu.Unlock()
		}()
		close(begun[label])
		for _, other := range map[string][]string{"a1": {"b1", "b2"}, "b1": {"a1"}}[label] {
			select {
			case <-begun[other]:
			case <-ctx.Done():
				return "", context.Cause(ctx)
			}
		}
		select {
		case <-begun["a2"]:
			if label == "a1" {
				return "", errors.New("a2 has begun before a1 has ended")
			}
		default:
		}
		return fmt.Sprintf("%s: %d", label, atOnce), nil
	})
	end := must(s.lease(antenv.WorkerConfig{}).Serve(ctx, antenv.Tools{work}, antenv.WithConcurrency(4), soon))(t)
	equal(t, end, antenv.EndIdle)
	equal(t, s.replies(item), []string{"answered: a1: 1", "answered: a2: 1", "answered: b1: 1", "answered: b2: 1"})
}

func TestServingRejectsWhatIsInvalid(t *testing.T) {
	s := newWorkerEnv(t)
	s.queue(2)
	lease := s.lease(antenv.WorkerConfig{})
	echo := returning("echo", "", nil)
	for _, one := range []struct {
		tools   antenv.Tools
		options []antenv.Option
		want    string
	}{
		{antenv.Tools{echo, echo}, nil, "`tools`: \"echo\" is there twice"},
		{antenv.Tools{{Name: "echo"}}, nil, "`tools`: \"echo\" has no function: make it with Tool"},
		{antenv.Tools{echo}, []antenv.Option{antenv.WithMaxIdle(-time.Second)}, "`WithMaxIdle` (max_idle_ms)"},
		{antenv.Tools{echo}, []antenv.Option{antenv.WithConcurrency(0)}, "`concurrency`"},
		{antenv.Tools{echo}, []antenv.Option{antenv.WithAPIKey("key")}, "`api_key`"},
	} {
		_, err := lease.Serve(ctx, one.tools, one.options...)
		equal(t, failure(t, err).Status, antenv.StatusConfig)
		if !strings.Contains(err.Error(), one.want) {
			t.Errorf("got %q, want %q", err, one.want)
		}
	}
	_, err := s.lease(antenv.WorkerConfig{Heartbeat: antenv.Set(false)}).Serve(ctx, antenv.Tools{echo})
	equal(t, failure(t, err).Status, antenv.StatusInvalidArgument)
	s.Faults(antenvtest.Fault{"operation": "sessions.events.stream", "status": 403})
	_, err = lease.Serve(ctx, antenv.Tools{echo})
	equal(t, errors.Is(err, antenv.ErrPermissionDenied), true)
}

func TestADefinitionIsWhatAnAgentTakes(t *testing.T) {
	tool := antenv.Tool("weather", "Returns the weather.", func(context.Context, city) (string, error) { return "", nil })
	text := must(json.Marshal(antenv.Tools{tool}.Definitions()))(t)
	equal(t, string(text), `[{"type":"custom","name":"weather","description":"Returns the weather.","input_schema":{"type":"object",`+
		`"properties":{"city":{"type":"string"},"days":{"type":"integer"}},"required":["city"],"additionalProperties":false}}]`)
}
