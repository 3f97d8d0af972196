package antenv_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"antenv.internal/antenv"
	"antenv.internal/antenv/antenvtest"
)

// sessionEnv is a session whose agent plays scripts.
type sessionEnv struct {
	*antenvtest.Emulator
	client *antenv.Client
	id     string
}

func newSessionEnv(t *testing.T, options ...string) sessionEnv {
	t.Helper()
	emulator := antenvtest.Start(t, options...)
	return sessionEnv{emulator, emulator.Client(t), emulator.Session(emulator.Environment().ID).ID}
}

func (s sessionEnv) stream(with context.Context, options ...antenv.Option) iter.Seq2[*antenv.Event, error] {
	return s.client.Sessions.Events.Stream(with, s.id, antenv.SessionEventStreamParams{}, options...)
}

// open is how many streams are open at the emulator.
func (s sessionEnv) open() int {
	var connections struct {
		Streams int `json:"streams_open"`
	}
	s.Control("GET", "connections", nil, &connections)
	return connections.Streams
}

func TestASessionIsServedWithItsItemsToken(t *testing.T) {
	s := newWorkerEnv(t)
	s.queue(1)
	lease := must(s.worker(antenv.WorkerConfig{}).Next(ctx))(t)
	defer lease.Abandon()
	client := must(lease.Client())(t)
	defer client.Close()
	id := lease.Work.Data.ID
	session := must(client.Sessions.Retrieve(ctx, id))(t)
	equal(t, session.ID == id && session.EnvironmentID == s.environment && session.Status == antenv.SessionIdle, true)
	s.Script(id, antenvtest.Step{"wait": "stream"}, antenvtest.Step{"text": "I look."},
		antenvtest.Step{"tool": "bash", "input": map[string]any{"command": "ls"}},
		antenvtest.Step{"custom_tool": "weather", "input": map[string]any{"city": "Bern"}}, antenvtest.Step{"wait": "results"})
	var said string
	for event, err := range client.Sessions.Events.Stream(ctx, id, antenv.SessionEventStreamParams{}) {
		if err != nil {
			t.Fatal(err)
		}
		if event.Type == antenv.EventSessionStatusIdle && event.StopReason.Type == "end_turn" {
			break
		}
		answer := map[string]any{"content": []any{map[string]any{"type": "text", "text": "an answer"}}}
		switch event.Type {
		case antenv.EventAgentMessage:
			said += event.Text()
			continue
		case antenv.EventAgentToolUse:
			equal(t, event.Name == "bash" && string(event.Input) == `{"command":"ls"}`, true)
			answer["type"], answer["tool_use_id"] = antenv.EventUserToolResult, event.ID
		case antenv.EventAgentCustomToolUse:
			answer["type"], answer["custom_tool_use_id"], answer["is_error"] = antenv.EventUserCustomToolResult, event.ID, true
		default:
			continue
		}
		sent := must(client.Sessions.Events.Send(ctx, id, antenv.SessionEventSendParams{Events: []any{answer}}))(t)

		equal(t, len(sent.Data) == 1 && sent.Data[0].ID != "" && sent.Data[0].Text() == "an answer", true)
	}
	equal(t, said, "I look.")
	played := s.Played(id)
	equal(t, played.Done && len(played.Calls) == 2, true)
	for _, call := range played.Calls {
		equal(t, call.Ending+" "+call.Answered, "answered once")
	}
	failed := 0
	for event, err := range client.Sessions.Events.List(ctx, id, antenv.SessionEventListParams{Limit: antenv.Int(2)}) {
		if err != nil {
			t.Fatal(err)
		}
		if isError, _ := event.IsError.Get(); isError {
			failed++
			equal(t, event.CustomToolUseID == played.Calls[1].ID && !event.ProcessedAt.IsZero(), true)
		}
	}
	equal(t, failed, 1)
	for _, request := range s.Requests() {
		if strings.HasPrefix(request.Operation, "sessions.") && !strings.HasPrefix(request.Headers["authorization"], "Bearer sk-ant-req-") {
			t.Error(request.Operation, "was sent with another credential")
		}
	}
}

func TestEveryEventArrivesInOrder(t *testing.T) {
	s := newSessionEnv(t)
	s.Script(s.id, antenvtest.Step{"wait": "stream"}, antenvtest.Step{"text": strings.Repeat("x", 100), "count": 5000}, antenvtest.Step{"terminate": true})
	messages, latest := 0, time.Time{}
	for event, err := range s.stream(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if event.Type == antenv.EventSessionStatusTerminated {
			break
		}
		if event.Type == antenv.EventAgentMessage {
			messages++
			equal(t, len(event.Text()) == 100 && event.ProcessedAt.After(latest), true)
			latest = event.ProcessedAt
		}
	}
	equal(t, messages, 5000)
}

func TestAServerWaitsForASlowReader(t *testing.T) {
	const total = 32_000
	var written atomic.Int64
	event := "event: agent.message\n" + `data: {"type":"agent.message","content":[{"type":"text","text":"` + strings.Repeat("x", 1000) + `"}]}` + "\n\n"
	server := httptest.NewServer(http.HandlerFunc(func(to http.ResponseWriter, _ *http.Request) {
		to.Header().Set("content-type", "text/event-stream")
		for range total {
			if _, err := io.WriteString(to, event); err != nil {
				return
			}
			written.Add(1)
		}
	}))
	defer server.Close()
	client := must(antenv.NewClient(antenv.WithAPIKey("k"), antenv.WithBaseURL(server.URL)))(t)
	defer client.Close()
	count := 0
	for event, err := range client.Sessions.Events.Stream(ctx, "sesn_1", antenv.SessionEventStreamParams{}) {
		if err != nil || len(event.Text()) != 1000 {
			t.Fatal(event, err)
		}
		if count++; count == 1 {
			waitFor(t, func() bool { // until nothing more is written
				before := written.Load()
				time.Sleep(200 * time.Millisecond)
				return before == written.Load()
			})
			equal(t, written.Load() < total, true)
		}
	}
	equal(t, count, total)
}

func TestAStreamIsClosedWithItsLoopOrItsContext(t *testing.T) {
	s := newSessionEnv(t)
	s.greet()
	for range s.stream(ctx) {
		equal(t, s.open(), 1)
		break
	}
	waitFor(t, func() bool { return s.open() == 0 })
	// While it waits for an event, which none of these streams gets.
	cause := errors.New("enough")
	with, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		for s.open() == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel(cause)
	}()
	count := 0
	for event, err := range s.stream(with) {
		count++
		equal(t, event == nil && errors.Is(err, context.Canceled) && errors.Is(err, cause), true)
		equal(t, err.Error(), "antenv: sessions.events.stream: context canceled: enough")
	}
	equal(t, count, 1)
	waitFor(t, func() bool { return s.open() == 0 })
	// While the loop's body runs.
	s.greet()
	with, cancelNow := context.WithCancelCause(ctx)
	defer cancelNow(nil)
	for _, err := range s.stream(with) {
		if err == nil {
			cancelNow(cause)
			waitFor(t, func() bool { return s.open() == 0 })
		}
	}
	// While it opens, and before.
	s.Faults(antenvtest.Fault{"operation": "sessions.events.stream", "hold": true})
	late, stop := context.WithTimeout(ctx, 20*time.Millisecond)
	defer stop()
	for _, err := range s.stream(late) {
		equal(t, errors.Is(err, context.DeadlineExceeded), true)
	}
	for _, err := range s.stream(with) {
		equal(t, errors.Is(err, cause), true)
	}
}

// greet has the session's agent say something to its next stream.
func (s sessionEnv) greet() {
	s.Script(s.id, antenvtest.Step{"wait": "stream"}, antenvtest.Step{"text": "hello"})
}

func TestAnOpenStreamHasWhatHappensFromThenOn(t *testing.T) {
	s := newSessionEnv(t)
	with, cancel := context.WithCancel(ctx)
	defer cancel()
	open := func(options ...antenv.Option) *antenv.EventStream {
		return must(s.client.Sessions.Events.Open(with, s.id, antenv.SessionEventStreamParams{}, options...))(t)
	}
	var response antenv.Response
	stream := open(antenv.WithResponse(&response))
	equal(t, response.HTTPStatus == 200 && response.Attempts == 1, true)
	message := map[string]any{"type": "user.message", "content": []any{map[string]any{"type": "text", "text": "hello"}}}
	must(s.client.Sessions.Events.Send(ctx, s.id, antenv.SessionEventSendParams{Events: []any{message}}))(t)
	seen := map[string]int{}
	for range 2 { // a loop that is left does not end the stream
		for event, err := range stream.Events() {
			if err != nil {
				t.Fatal(err)
			}
			seen[event.ID]++
			if event.Type == antenv.EventUserMessage || event.Type == antenv.EventSessionStatusIdle {
				break
			}
		}
	}
	equal(t, len(seen) >= 3, true)
	for _, times := range seen {
		equal(t, times, 1)
	}
	go stream.Close() // wakes the loop
	for event, err := range stream.Events() {
		equal(t, event == nil && errors.Is(err, antenv.ErrClosed) && err.Error() == "antenv: invalid_handle: the stream was closed", true)
	}
	stream.Close()
	waitFor(t, func() bool { return s.open() == 0 })
	open() // and forgotten
	waitFor(t, func() bool { runtime.GC(); return s.open() == 0 })
}

func TestAStreamReportsItsEnd(t *testing.T) {
	s := newSessionEnv(t)
	ends := func(fault antenvtest.Fault, options ...antenv.Option) (events int, failed error) {
		fault["operation"] = "sessions.events.stream"
		waitFor(t, func() bool { return s.open() == 0 }) // else the agent speaks to the stream before
		s.Faults(fault)
		s.greet()
		for _, err := range s.stream(ctx, options...) {
			if failed != nil {
				t.Error("an event after the end")
			}
			if failed = err; err == nil {
				events++
			}
		}
		return events, failed
	}
	stream := func(then string) antenvtest.Fault {
		return antenvtest.Fault{"stream": map[string]any{"after": 1, "then": then, "pieces": 3}}
	}
	var response antenv.Response
	events, err := ends(stream("end"), antenv.WithResponse(&response))
	equal(t, events == 1 && err == nil && response.HTTPStatus == 200 && response.RequestID != "" && response.Attempts == 1, true)
	equal(t, response.Header.Get("content-type"), "text/event-stream")
	events, err = ends(stream("cut"))
	equal(t, events == 1 && errors.Is(err, antenv.ErrConnection), true)
	events, err = ends(stream("error"))
	equal(t, events == 1 && failure(t, err).Type == "overloaded_error" && failure(t, err).HTTPStatus == 200, true)
	events, err = ends(stream("silence"), antenv.WithIdleTimeout(300*time.Millisecond))
	equal(t, events <= 1 && errors.Is(err, antenv.ErrTimeout) && failure(t, err).Parameter == "idle_timeout_ms", true)
	equal(t, strings.Contains(err.Error(), "`WithIdleTimeout` (idle_timeout_ms)"), true)
	_, err = ends(stream("end"), antenv.WithMaxEventBytes(10))
	equal(t, errors.Is(err, antenv.ErrResponse), true)
	_, err = ends(antenvtest.Fault{"status": 404}, antenv.WithResponse(&response))
	equal(t, errors.Is(err, antenv.ErrNotFound) && response.HTTPStatus == 404, true)
	events, err = ends(antenvtest.Fault{"status": 200, "headers": map[string]string{"content-type": "text/html"}, "body": "<p>"})
	equal(t, events == 0 && errors.Is(err, antenv.ErrResponse), true)
	for _, err := range s.stream(ctx, antenv.WithConfig("odd", 1)) {
		equal(t, errors.Is(err, antenv.ErrInvalidArgument), true)
	}
	s.client.Close()
	for _, err := range s.stream(ctx) {
		equal(t, errors.Is(err, antenv.ErrClosed), true)
	}
}

func TestUnknownEventsAreKept(t *testing.T) {
	var event antenv.Event
	text := ` {"type":"agent.new_kind","id":"sevt_1","content":"no list","error":[1],"processed_at":"soon","new":{"a":1},"input":{"b":2}}`
	if err := json.Unmarshal([]byte(text), &event); err != nil {
		t.Fatal(err)
	}
	equal(t, event.Type == "agent.new_kind" && event.ID == "sevt_1" && event.Error == nil && event.Text() == "", true)
	equal(t, event.RawJSON(), text[1:])
	equal(t, string(event.ExtraFields()["new"]), `{"a":1}`)
	shown := `[type=agent.new_kind id=sevt_1 input={"b":2}]`
	equal(t, fmt.Sprintf("%+v %v", event, &event), shown+" "+shown)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "e", &event)
	equal(t, strings.HasSuffix(log.String(), `e.type=agent.new_kind e.id=sevt_1 e.input="{\"b\":2}"`+"\n"), true)
	if json.Unmarshal([]byte(`["no object"]`), &event) == nil {
		t.Error("an array is no event")
	}
}

func TestStreamsTakeNoThreadsAndLeaveNothing(t *testing.T) {
	s := newSessionEnv(t)
	many := min(1000, (openFiles(t)-500)/3)
	s.client.Close()
	antenv.Shutdown(5 * time.Minute)
	http.DefaultClient.CloseIdleConnections()
	goroutines, files := runtime.NumGoroutine(), len(must(os.ReadDir("/proc/self/fd"))(t))
	s.client = s.Client(t)
	var ended sync.WaitGroup
	for range many {
		ended.Add(1)
		go func() {
			defer ended.Done()
			for event, err := range s.stream(ctx, antenv.WithTimeout(10*time.Minute), antenv.WithAttemptTimeout(10*time.Minute)) {
				if err != nil {
					t.Error(err)
				}
				if err != nil || event.Type == antenv.EventAgentMessage {
					return
				}
			}
			t.Error("a stream ended")
		}()
	}
	waitFor(t, func() bool { return s.open() == many })
	before := threads(t)
	s.Script(s.id, antenvtest.Step{"text": "hello"})
	ended.Wait()
	if most := max(before, threads(t)); most > maxThreads {
		t.Errorf("%d threads for %d streams", most, many)
	}
	waitFor(t, func() bool { return s.open() == 0 })
	s.client.Close()
	antenv.Shutdown(5 * time.Minute)
	waitFor(t, func() bool {
		http.DefaultClient.CloseIdleConnections()
		return runtime.NumGoroutine() <= goroutines && len(must(os.ReadDir("/proc/self/fd"))(t)) <= files+2
	})
}

func TestADownloadIsWholeOrNotThere(t *testing.T) {
	emulator := antenvtest.Start(t)
	client, folder := emulator.Client(t), t.TempDir()
	archive := strings.Repeat("any bytes", 100_000)
	uploaded := emulator.UploadSkill(antenvtest.Skill{Name: "pdf", Description: "Reads PDF", Archive: []byte(archive)})
	version := must(client.Skills.Versions.Retrieve(ctx, uploaded.SkillID, "latest"))(t)
	equal(t, version.SkillID == uploaded.SkillID && version.ID == uploaded.ID && version.Name == "pdf" && !version.CreatedAt.IsZero(), true)
	cancellable, cancel := context.WithCancel(ctx)
	path := filepath.Join(folder, "skill.zip")
	download := func(with context.Context, path string, options ...antenv.Option) (*antenv.Download, error) {
		return client.Skills.Versions.Download(with, version.SkillID, version.ID, path, options...)
	}
	files := func() (names []string) {
		for _, one := range must(os.ReadDir(folder))(t) {
			names = append(names, one.Name())
		}
		return names
	}
	for _, with := range []context.Context{ctx, cancellable} {
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := download(with, path, antenv.WithMaxBytes(1000))
		equal(t, errors.Is(err, antenv.ErrResponse), true)
		equal(t, string(must(os.ReadFile(path))(t)), "old")
		emulator.Faults(antenvtest.Fault{"status": 503, "headers": map[string]string{"retry-after-ms": "1"}})
		result := must(download(with, path))(t)
		equal(t, result.Path == path && result.Bytes == int64(len(archive)) && result.ContentType != "", true)
		equal(t, string(must(os.ReadFile(path))(t)) == archive, true)
		emulator.Faults(antenvtest.Fault{"status": 404})
		_, err = download(with, path+".new")
		equal(t, errors.Is(err, antenv.ErrNotFound), true)
		for _, wrong := range []string{folder, filepath.Join(folder, "missing", "file"), "a\x00b"} {
			_, err = download(with, wrong)
			equal(t, errors.Is(err, antenv.ErrInvalidArgument) && failure(t, err).Parameter == "path", true)
		}
		equal(t, files(), []string{"skill.zip"})
	}
	emulator.Faults(antenvtest.Fault{"operation": "skills.versions.download", "hold": true})
	go func() {
		for len(files()) == 1 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, err := download(cancellable, path+".new")
	equal(t, errors.Is(err, context.Canceled), true)
	equal(t, files(), []string{"skill.zip"})
	_, err = download(cancellable, path)
	equal(t, errors.Is(err, context.Canceled), true)
	emulator.Control("DELETE", "holds", nil, nil)
}

func TestDownloadsInFlightTakeNoThreads(t *testing.T) {
	const downloads = 50
	emulator := antenvtest.Start(t)
	client, folder := emulator.Client(t), t.TempDir()
	emulator.Faults(antenvtest.Fault{"operation": "skills.versions.download", "hold": true, "count": downloads})
	skill := emulator.UploadSkill(antenvtest.Skill{Name: "pdf", Description: "Reads PDF", Archive: []byte("PK")})
	threads := func() int { return len(must(os.ReadDir("/proc/self/task"))(t)) }
	before, ended := threads(), make(chan error, downloads)
	for i := range downloads {
		go func() {
			_, err := client.Skills.Versions.Download(ctx, skill.SkillID, skill.ID, filepath.Join(folder, strconv.Itoa(i)))
			ended <- err
		}()
	}
	waitFor(t, func() bool { return len(must(os.ReadDir(folder))(t)) == downloads })
	more := threads() - before
	emulator.Control("DELETE", "holds", nil, nil)
	for range downloads {
		equal(t, <-ended, nil)
	}
	if more > downloads/2 {
		t.Errorf("%d downloads took %d threads", downloads, more)
	}
	equal(t, len(must(os.ReadDir(folder))(t)), downloads)
}

func TestAMemoryLivesThroughAllOperations(t *testing.T) {
	emulator := antenvtest.Start(t, "--auth", "any")
	memories, store := emulator.Client(t).MemoryStores.Memories, emulator.CreateMemoryStore("Notes", nil)
	full := antenv.String("full")
	created := must(memories.Create(ctx, store, antenv.MemoryCreateParams{Path: "/a/b.md", Content: antenv.String("one"), View: full}))(t)
	equal(t, created.Type == "memory" && created.Path == "/a/b.md" && *created.Content == "one" && *created.ContentSizeBytes == 3, true)
	found := must(memories.Retrieve(ctx, store, created.ID, antenv.MemoryRetrieveParams{View: full}))(t)
	equal(t, found.ContentSHA256 == created.ContentSHA256 && found.MemoryStoreID == store, true)
	wrong := map[string]any{"type": "content_sha256", "content_sha256": strings.Repeat("0", 64)}
	_, err := memories.Update(ctx, store, created.ID, antenv.MemoryUpdateParams{Content: antenv.String("two"), Precondition: wrong}, antenv.WithMaxRetries(0))
	equal(t, errors.Is(err, antenv.ErrConflict), true)
	updated := must(memories.Update(ctx, store, created.ID, antenv.MemoryUpdateParams{Path: antenv.String("/c.md")}))(t)
	equal(t, updated.Path == "/c.md" && updated.ContentSHA256 == created.ContentSHA256, true)
	for memory, err := range memories.List(ctx, store, antenv.MemoryListParams{}) {
		equal(t, err == nil && memory.ID == created.ID && memory.Content == nil, true)
	}
	deleted := must(memories.Delete(ctx, store, created.ID, antenv.MemoryDeleteParams{ExpectedContentSHA256: antenv.String(created.ContentSHA256)}))(t)
	equal(t, deleted.ID == created.ID && deleted.Type == "memory_deleted", true)
}
