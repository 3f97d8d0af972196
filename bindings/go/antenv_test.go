package antenv_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"antenv.internal/antenv"
	"antenv.internal/antenv/antenvtest"
)

var ctx = context.Background()

func must[T any](result T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
}

func equal[T any](t *testing.T, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

// waitFor waits for a condition.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the condition did not become true")
		}
	}
}

func failure(t *testing.T, err error) *antenv.Error {
	t.Helper()
	var failed *antenv.Error
	if !errors.As(err, &failed) {
		t.Fatalf("%v is no *antenv.Error", err)
	}
	return failed
}

func TestAnEnvironmentLivesThroughAllOperations(t *testing.T) {
	environments := antenvtest.Start(t).Client(t).Environments
	created := must(environments.Create(ctx, antenv.EnvironmentCreateParams{
		Name:     "one",
		Metadata: map[string]string{"a": "b"},
		Config: antenv.Set(antenv.ConfigParams{
			Type: antenv.ConfigCloud,
			Networking: antenv.Set(antenv.NetworkingParams{
				Type: antenv.NetworkLimited, AllowedHosts: antenv.Set([]string{"a.example"}), AllowPackageManagers: antenv.Bool(true),
			}),
			Packages: antenv.Set(antenv.PackagesParams{Pip: antenv.Set([]string{"numpy"})}),
		}),
	}))(t)
	equal(t, created.Config.Type, antenv.ConfigCloud)
	equal(t, created.Config.Networking.AllowedHosts, []string{"a.example"})
	equal(t, created.Config.Packages.Pip, []string{"numpy"})
	equal(t, must(environments.Retrieve(ctx, created.ID))(t), created)
	updated := must(environments.Update(ctx, created.ID, antenv.EnvironmentUpdateParams{
		Name:     antenv.String("two"),
		Metadata: map[string]antenv.Opt[string]{"a": antenv.Null[string](), "c": antenv.String("d")},
	}))(t)
	equal(t, updated.Name, "two")
	equal(t, updated.Metadata, map[string]string{"c": "d"})
	equal(t, len(must(environments.ListPage(ctx, antenv.EnvironmentListParams{}))(t).Data), 1)
	if must(environments.Archive(ctx, created.ID))(t).ArchivedAt.IsZero() {
		t.Fatal("it is not archived")
	}
	equal(t, len(must(environments.ListPage(ctx, antenv.EnvironmentListParams{}))(t).Data), 0)
	deleted := must(environments.Delete(ctx, created.ID))(t)
	equal(t, deleted.ID, created.ID)
	equal(t, deleted.Type, "environment_deleted")
}

func TestAWorkItemLivesThroughAllOperations(t *testing.T) {
	emulator := antenvtest.Start(t)
	owner := emulator.Client(t)
	environment := must(owner.Environments.Create(ctx, antenv.EnvironmentCreateParams{
		Name: "hosts", Config: antenv.Set(antenv.ConfigParams{Type: antenv.ConfigSelfHosted}),
	}))(t).ID
	client := must(owner.With(antenv.WithEnvironmentKey(emulator.EnvironmentKey(environment))))(t)
	defer client.Close()
	work := client.Environments.Work
	if item := must(work.Poll(ctx, environment, antenv.WorkPollParams{}))(t); item != nil {
		t.Fatal("the queue is not empty")
	}
	queued := emulator.Enqueue(environment, nil)
	for item, err := range work.List(ctx, environment, antenv.WorkListParams{}) {
		equal(t, must(item, err)(t).ID, queued.ID)
	}
	equal(t, must(work.Stats(ctx, environment))(t).Depth, 1)
	item := must(work.Poll(ctx, environment, antenv.WorkPollParams{BlockMs: antenv.Int(999), WorkerID: antenv.String("w")}))(t)
	equal(t, item.State, antenv.StateQueued)
	equal(t, item.Data.Type, "session")
	if item.Secret != "" {
		equal(t, strings.Contains(fmt.Sprintf("%v %+v %#v %s", item, *item, item, item.Secret), string(item.Secret)), false)
	}
	equal(t, must(work.Ack(ctx, environment, item.ID))(t).State, antenv.StateStarting)
	first := antenv.WorkHeartbeatParams{ExpectedLastHeartbeat: antenv.String(antenv.NoHeartbeat)}
	beat := must(work.Heartbeat(ctx, environment, item.ID, first))(t)
	equal(t, beat.LeaseExtended, true)
	if _, err := work.Heartbeat(ctx, environment, item.ID, first); !errors.Is(err, antenv.ErrPreconditionFailed) {
		t.Fatal(err)
	}
	must(work.Stop(ctx, environment, item.ID, antenv.WorkStopParams{Force: antenv.Bool(true)}))(t)
	equal(t, must(owner.Environments.Work.Retrieve(ctx, environment, item.ID))(t).State, antenv.StateStopped)
	changed := must(owner.Environments.Work.Update(ctx, environment, item.ID,
		antenv.WorkUpdateParams{Metadata: map[string]antenv.Opt[string]{"k": antenv.String("v")}}))(t)
	equal(t, changed.Metadata, map[string]string{"k": "v"})
}

func TestASecretIsNotShown(t *testing.T) {
	var item antenv.Work
	if err := json.Unmarshal([]byte(`{"id":"work_1","secret":"s3cr3t","state":"queued"}`), &item); err != nil {
		t.Fatal(err)
	}
	config := antenv.WorkerConfig{EnvironmentID: "env_1", EnvironmentKey: "s3cr3t", Grace: antenv.Set(time.Minute)}
	type holder struct{ Secret antenv.Secret }
	var shown strings.Builder
	for _, value := range []any{item, &item, []*antenv.Work{&item}, item.Secret, &item.Secret, config, &config, holder{item.Secret}, antenv.Set(item.Secret)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
			fmt.Fprintf(&shown, verb+"\n", value)
		}
		slog.New(slog.NewTextHandler(&shown, nil)).Info("", "value", value)
	}
	for _, value := range []any{item, &item, item.Secret, config, &config, antenv.Set(item.Secret)} {
		slog.New(slog.NewJSONHandler(&shown, nil)).Info("", "value", value)
	}
	if strings.Contains(shown.String(), "s3cr3t") || strings.Contains(shown.String(), fmt.Sprintf("%x", "s3cr3t")) {
		t.Fatal(shown.String())
	}
	equal(t, string(item.Secret), "s3cr3t")
	equal(t, fmt.Sprint(item), "work item work_1 (queued)")
	equal(t, fmt.Sprintf("%+v", item), "[id=work_1 state=queued secret=***]")
	equal(t, strings.Contains(fmt.Sprintf("%+v", config), "[environment_id=env_1 environment_key=*** "), true)
	equal(t, strings.Contains(fmt.Sprintf("%+v", config), " grace_ms=1m0s]"), true)
}

func TestAKeyMayBeASecret(t *testing.T) {
	emulator := antenvtest.Start(t)
	environment := emulator.Environment().ID
	key := emulator.EnvironmentKey(environment)
	for _, options := range [][]antenv.Option{
		{antenv.WithAPIKey(antenv.Secret("an-api-key"))},
		{antenv.WithAPIKey(string("an-api-key"))},
		{antenv.WithEnvironmentKey(key)},
		{antenv.WithAuthToken(key)},
	} {
		client := must(antenv.NewClient(append(options, antenv.WithBaseURL(emulator.URL))...))(t)
		must(client.Environments.Work.Stats(ctx, environment))(t)
		client.Close()
	}
}

func TestResultsAreReadableWhenPrintedAndLogged(t *testing.T) {
	var environment antenv.Environment
	if err := json.Unmarshal([]byte(`{"type":"environment","id":"env_1","name":"n","description":"","scope":null,"new":1,
		"config":{"type":"cloud","networking":{"type":"limited","allowed_hosts":["a","b"]},"packages":null},
		"metadata":{"z":"1","a":"2"},"created_at":"2026-03-15T10:00:00.25Z","updated_at":null}`), &environment); err != nil {
		t.Fatal(err)
	}
	equal(t, environment.CreatedAt, time.Date(2026, 3, 15, 10, 0, 0, 25e7, time.UTC))
	equal(t, environment.UpdatedAt.IsZero() && environment.ArchivedAt.IsZero(), true)
	text := "[type=environment id=env_1 name=n config=[type=cloud networking=[type=limited allow_mcp_servers=false " +
		"allow_package_managers=false allowed_hosts=[a b]]] metadata=[a=2 z=1] created_at=2026-03-15T10:00:00.25Z]"
	polling := int64(3)
	for value, want := range map[any]string{
		&environment:                  text,
		environment.Config.Networking: "[type=limited allow_mcp_servers=false allow_package_managers=false allowed_hosts=[a b]]",
		&antenv.Page[antenv.Environment]{Data: []*antenv.Environment{&environment}, NextPage: "p"}: "[data=[" + text + "] next_page=p]",
		&antenv.WorkQueueStats{Depth: 1, WorkersPolling: &polling}:                                 "[depth=1 pending=0 workers_polling=3]",
		&antenv.LeaseState{State: antenv.LeaseHeld}:                                                "[state=held ttl_seconds=0 beats=0]",
	} {
		equal(t, fmt.Sprintf("%v", value), want)
		equal(t, fmt.Sprintf("%+v", value), want)
		equal(t, fmt.Sprintf("%+v", reflect.ValueOf(value).Elem().Interface()), want)
	}
	equal(t, fmt.Sprintf("%v %+v %d %v", antenv.Int(7), antenv.Set(time.Second), antenv.Null[int64](), antenv.Opt[bool]{}), "7 1s null absent")
	equal(t, fmt.Sprintf("%+v", antenv.EnvironmentListParams{Limit: antenv.Int(2)}), "{IncludeArchived:absent Limit:2 Page:absent}")
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(groups []string, one slog.Attr) slog.Attr {
		if len(groups) == 0 && (one.Key == slog.TimeKey || one.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return one
	}}))
	logger.Info("m", "e", environment, "limit", antenv.Int(2), "null", antenv.Null[string](), "absent", antenv.Opt[string]{})
	equal(t, log.String(), `{"msg":"m","e":{"type":"environment","id":"env_1","name":"n","config":{"type":"cloud","networking":`+
		`{"type":"limited","allow_mcp_servers":false,"allow_package_managers":false,"allowed_hosts":["a","b"]}},`+
		`"metadata":{"a":"2","z":"1"},"created_at":"2026-03-15T10:00:00.25Z"},"limit":2,"null":null}`+"\n")
}

func TestTheStatsHaveEveryMemberOfTheLibrarys(t *testing.T) {
	emulator := antenvtest.Start(t)
	client := emulator.Client(t)
	emulator.Faults(antenvtest.Fault{"status": 529, "headers": map[string]string{"retry-after-ms": "1"}, "count": 1})
	_, err := client.Environments.Retrieve(ctx, "env_missing")
	equal(t, errors.Is(err, antenv.ErrNotFound), true)
	stats := must(client.Stats())(t)
	equal(t, len(stats.ExtraFields()), 0)
	equal(t, stats.Calls, antenv.CallCounts{Started: 1, Failed: 1})
	equal(t, stats.Attempts, 2)
	equal(t, stats.Retries, map[string]int64{"overloaded": 1})
	equal(t, stats.Failures, map[string]int64{"not_found": 1})
	equal(t, stats.ConnectionsOpened > 0 && stats.Bytes.Received > 0, true)
	latency := stats.Latency["environments.retrieve"]
	equal(t, latency.Count, 1)
	equal(t, latency.Sum > 0 && latency.Max == latency.Sum && latency.Buckets[0].Below > latency.Max, true)
	equal(t, latency.Buckets[0].Count, 1)
	worker := must(emulator.Worker(t, antenv.WorkerConfig{EnvironmentID: "env_1", EnvironmentKey: "k", WorkerID: "w"}).Stats())(t)
	equal(t, len(worker.ExtraFields()), 0)
	equal(t, [3]any{worker.EnvironmentID, worker.WorkerID, worker.State}, [3]any{"env_1", "w", antenv.WorkerRunning})
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(worker.RawJSON()), &members); err != nil {
		t.Fatal(err)
	}
	equal(t, len(members), reflect.TypeFor[antenv.WorkerStats]().NumField()-1)
	equal(t, worker.Failures["poll"], map[string]int64{})
}

func TestAbsentNullAndZeroAreDifferent(t *testing.T) {
	emulator := antenvtest.Start(t, "--auth", "any")
	environments := emulator.Client(t).Environments
	created := must(environments.Create(ctx, antenv.EnvironmentCreateParams{Name: "n", Description: antenv.String("d")}))(t)
	for _, params := range []antenv.EnvironmentUpdateParams{
		{}, {Description: antenv.Null[string]()}, {Description: antenv.String("")}, {Metadata: map[string]antenv.Opt[string]{}},
	} {
		must(environments.Update(ctx, created.ID, params))(t)
	}
	var bodies []string
	for _, request := range emulator.Requests()[1:] {
		bodies = append(bodies, string(request.Body))
	}
	equal(t, bodies, []string{`{}`, `{"description":null}`, `{"description":""}`, `{"metadata":{}}`})
}

func TestUnknownFieldsTravelBothWays(t *testing.T) {
	emulator := antenvtest.Start(t, "--auth", "any")
	environments := emulator.Client(t).Environments
	answer := `{"id":"env_1","novel":{"x":[1]},"config":{"type":"lunar","crater":3}}`
	emulator.Faults(antenvtest.Fault{"status": 200, "body": json.RawMessage(answer), "count": 1})
	got := must(environments.Create(ctx, antenv.EnvironmentCreateParams{
		Name:   "n",
		Config: antenv.Set(antenv.ConfigParams{Type: "lunar", Extra: map[string]any{"crater": 3}}),
	}, antenv.WithExtraBody(map[string]any{"more": true})))(t)
	equal(t, string(emulator.Requests()[0].Body), `{"name":"n","config":{"type":"lunar","crater":3},"more":true}`)
	equal(t, got.RawJSON(), answer)
	equal(t, got.ExtraFields(), map[string]json.RawMessage{"novel": json.RawMessage(`{"x":[1]}`)})
	equal(t, got.Config.Type, "lunar")
	equal(t, got.Config.ExtraFields(), map[string]json.RawMessage{"crater": json.RawMessage("3")})
	var params antenv.ConfigParams
	if err := json.Unmarshal([]byte(`{"type":"cloud","packages":null,"crater":3}`), &params); err != nil {
		t.Fatal(err)
	}
	equal(t, params.Packages.IsNull(), true)
	equal(t, params.Networking.IsZero(), true)
	equal(t, params.Extra, map[string]any{"crater": json.RawMessage("3")})
}

func TestAListYieldsEveryItemOfEveryPage(t *testing.T) {
	emulator := antenvtest.Start(t, "--auth", "any")
	environments := emulator.Client(t).Environments
	for number := range 5 {
		must(environments.Create(ctx, antenv.EnvironmentCreateParams{Name: strconv.Itoa(number)}))(t)
	}
	seen := map[string]bool{}
	var response antenv.Response
	limit := antenv.EnvironmentListParams{Limit: antenv.Int(2)}
	for environment, err := range environments.List(ctx, limit, antenv.WithResponse(&response)) {
		seen[must(environment, err)(t).Name] = true
	}
	equal(t, len(seen), 5)
	equal(t, response.HTTPStatus, 200)
	before := len(emulator.Requests())
	for range environments.List(ctx, limit) {
		break
	}
	equal(t, len(emulator.Requests())-before, 1)
	emulator.Faults(antenvtest.Fault{"status": 400, "count": 1})
	items, failures := 0, 0
	for _, err := range environments.List(ctx, limit) {
		items++
		if errors.Is(err, antenv.ErrBadRequest) {
			failures++
		}
	}
	equal(t, [2]int{items, failures}, [2]int{1, 1})
}

func TestErrorsCarryEverything(t *testing.T) {
	client := antenvtest.Start(t).Client(t)
	_, err := client.Environments.Retrieve(ctx, "env_missing")
	failed := failure(t, err)
	equal(t, errors.Is(err, antenv.ErrNotFound), true)
	equal(t, errors.Is(err, antenv.ErrConflict), false)
	equal(t, failed.Status, antenv.StatusNotFound)
	equal(t, failed.HTTPStatus, 404)
	equal(t, failed.Type, "not_found_error")
	equal(t, failed.ErrorCode, "environment_not_found")
	equal(t, failed.Attempts, 1)
	if !strings.HasPrefix(failed.RequestID, "req_") || !json.Valid(failed.Body) || !json.Valid([]byte(failed.RawJSON())) {
		t.Fatalf("%+v", failed)
	}
	equal(t, failed.Operation, "environments.retrieve")
	equal(t, failed.Header.Get("Request-Id"), failed.RequestID)
	equal(t, failed.Message, `There is no environment "env_missing".`)
	equal(t, err.Error(), `antenv: environments.retrieve: 404 not_found: There is no environment "env_missing". (`+failed.RequestID+")")
	equal(t, antenv.StatusNotFound.String(), "not_found")

	_, err = client.Environments.Create(ctx, antenv.EnvironmentCreateParams{})
	equal(t, failure(t, err).Parameter, "name")
	equal(t, errors.Is(err, antenv.ErrInvalidArgument), true)
	_, err = client.Request(ctx, "GET", "/v1/\x00")
	equal(t, failure(t, err).Parameter, "path")
	_, err = client.Call(ctx, "nonsense", nil)
	equal(t, errors.Is(err, antenv.ErrInvalidArgument), true)
	_, err = client.Call(ctx, "environments.list", func() {})
	if err == nil || !strings.Contains(err.Error(), "params") {
		t.Fatal(err)
	}
	_, err = client.Environments.Retrieve(ctx, "env_1", antenv.WithConfig("timeout_ms", 0))
	equal(t, failure(t, err).Parameter, "timeout_ms")
	if said := err.Error(); !strings.Contains(said, "invalid_argument: `WithTimeout` (timeout_ms) must be") {
		t.Fatal(said)
	}
	_, err = antenv.NewClient(antenv.WithAPIKey("k"), antenv.WithBaseURL("http://example.com"))
	equal(t, failure(t, err).Parameter, "base_url")
	equal(t, errors.Is(err, antenv.ErrConfig), true)
	_, err = antenv.NewClient(antenv.WithAPIKey(""))
	equal(t, failure(t, err).Parameter, "api_key")
	t.Setenv("ANTHROPIC_API_KEY", "")
	_, err = antenv.NewClient()
	equal(t, failure(t, err).Parameter, "ANTHROPIC_API_KEY")
}

func TestAFailureCarriesItsResponse(t *testing.T) {
	emulator := antenvtest.Start(t, "--auth", "any")
	client := emulator.Client(t, antenv.WithMaxRetries(0))
	emulator.Faults(antenvtest.Fault{"status": 429, "headers": map[string]string{"retry-after": "2", "x-more": "1"}, "count": 1})
	var response antenv.Response
	_, err := client.Environments.Retrieve(ctx, "env_1", antenv.WithResponse(&response))
	failed := failure(t, err)
	equal(t, errors.Is(err, antenv.ErrRateLimited), true)
	equal(t, failed.RetryAfter, 2*time.Second)
	equal(t, failed.Header.Get("X-More"), "1")
	equal(t, response, antenv.Response{HTTPStatus: 429, RequestID: failed.RequestID, Header: failed.Header, Attempts: 1})
	emulator.Faults(antenvtest.Fault{"drop": true, "count": 1})
	_, err = client.Environments.Retrieve(ctx, "env_1", antenv.WithResponse(&response))
	failed = failure(t, err)
	equal(t, errors.Is(err, antenv.ErrConnection), true)
	equal(t, failed.RetryAfter, 0)
	equal(t, len(failed.Header), 0)
	equal(t, [2]int{response.HTTPStatus, response.Attempts}, [2]int{0, failed.Attempts})
	if said := err.Error(); !strings.HasPrefix(said, "antenv: environments.retrieve: connection: ") {
		t.Fatal(said)
	}
}

func TestOptionsChangeACallOrAClient(t *testing.T) {
	emulator := antenvtest.Start(t, "--auth", "any")
	client := emulator.Client(t, antenv.WithMaxRetries(0))
	emulator.Faults(antenvtest.Fault{"status": 500, "headers": map[string]string{"retry-after-ms": "1"}, "count": 3})
	_, err := client.Environments.Retrieve(ctx, "env_1")
	equal(t, failure(t, err).Attempts, 1)
	_, err = client.Environments.Retrieve(ctx, "env_1", antenv.WithMaxRetries(1))
	equal(t, failure(t, err).Attempts, 2)
	derived := must(client.With(antenv.WithDefaultHeaders(map[string]any{"x-test": "derived"}), antenv.WithTimeout(5*time.Minute)))(t)
	client.Close()
	var response antenv.Response
	must(derived.Environments.ListPage(ctx, antenv.EnvironmentListParams{}, antenv.WithResponse(&response),
		antenv.WithExtraQuery(map[string]any{"q": []int{1, 2}}), antenv.WithExtraHeaders(map[string]any{"x-call": "1"}),
		antenv.WithBetas("one-2026")))(t)
	equal(t, response.RequestID, response.Header.Get("Request-Id"))
	equal(t, response.Attempts, 1)
	requests := emulator.Requests()
	last := requests[len(requests)-1]
	equal(t, [2]string{last.Headers["x-test"], last.Headers["x-call"]}, [2]string{"derived", "1"})
	equal(t, len(last.Query), 2)
	equal(t, strings.Contains(last.Headers["anthropic-beta"], "one-2026"), true)
	emulator.Faults(antenvtest.Fault{"latency_ms": 60_000, "count": 1})
	_, err = derived.Environments.Retrieve(ctx, "env_1", antenv.WithTimeout(50*time.Millisecond))
	equal(t, errors.Is(err, antenv.ErrTimeout), true)
	_, err = client.Environments.Retrieve(ctx, "env_1")
	equal(t, errors.Is(err, antenv.ErrClosed), true)
	derived.Close()
	derived.Close()
	_, err = derived.Environments.Retrieve(ctx, "env_1")
	equal(t, errors.Is(err, antenv.ErrClosed), true)
	_, err = derived.Stats()
	equal(t, errors.Is(err, antenv.ErrClosed), true)
}

func TestAnyOtherEndpointCanBeReached(t *testing.T) {
	client := antenvtest.Start(t).Client(t)
	made := must(client.Request(ctx, "POST", "/v1/environments", antenv.WithBody(map[string]any{"name": "by hand"})))(t)
	var environment antenv.Environment
	if err := json.Unmarshal(made, &environment); err != nil {
		t.Fatal(err)
	}
	again := must(client.Call(ctx, "environments.retrieve", map[string]any{"environment_id": environment.ID}))(t)
	equal(t, string(again), string(made))
	listed := must(client.Request(ctx, "GET", "/v1/environments", antenv.WithQuery(map[string]any{"limit": 1})))(t)
	equal(t, bytes.Contains(listed, made), true)
}

func TestAContextThatIsDoneCancelsTheCall(t *testing.T) {
	// With one processor the call waits for the goroutine that drains the queue, with many in the library.
	for _, processors := range []int{1, 8} {
		t.Run(fmt.Sprint(processors), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
			aContextThatIsDoneCancelsTheCall(t)
		})
	}
}

func aContextThatIsDoneCancelsTheCall(t *testing.T) {
	emulator := antenvtest.Start(t, "--auth", "any")
	client := emulator.Client(t)
	tired := errors.New("tired")
	for name, end := range map[string]func() (context.Context, func()){
		"cancelled": func() (context.Context, func()) {
			with, cancel := context.WithCancel(ctx)
			return with, cancel
		},
		"cancelled with a cause": func() (context.Context, func()) {
			with, cancel := context.WithCancelCause(ctx)
			return with, func() { cancel(tired) }
		},
		"past its deadline": func() (context.Context, func()) {
			with, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			return with, func() { <-with.Done(); cancel() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			emulator.Faults(antenvtest.Fault{"latency_ms": 60_000, "count": 1})
			with, cancel := end()
			before, ended := len(emulator.Requests()), make(chan error)
			go func() {
				_, err := client.Environments.Retrieve(with, "env_1")
				ended <- err
			}()
			waitFor(t, func() bool { return len(emulator.Requests()) > before || with.Err() != nil })
			cancel()
			err := <-ended // the call's own timeouts are longer, and would be another error
			if !errors.Is(err, with.Err()) || !strings.Contains(err.Error(), "environments.retrieve") {
				t.Fatal(err)
			}
			equal(t, errors.Is(err, tired), name == "cancelled with a cause")
			waitFor(t, func() bool { return must(client.Stats())(t).Calls.InFlight == 0 })
			_, err = client.Environments.Retrieve(with, "env_1")
			equal(t, errors.Is(err, with.Err()), true)
			emulator.Control("DELETE", "faults", nil, nil)
		})
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return int(min(limit.Cur, 1<<20))
}

func threads(t *testing.T) int {
	t.Helper()
	return len(must(os.ReadDir("/proc/self/task"))(t))
}

// maxThreads is how many threads the tests' process may have, whatever waits: some for each processor, and Go never ends one that an earlier
// test needed.
const maxThreads = 50

func TestTenThousandGoroutinesInCallsTakeFewThreads(t *testing.T) {
	emulator := antenvtest.Start(t, "--auth", "any", "--request-log", "0")
	client := emulator.Client(t)
	environment := must(client.Environments.Create(ctx, antenv.EnvironmentCreateParams{
		Name: "n", Config: antenv.Set(antenv.ConfigParams{Type: antenv.ConfigSelfHosted}),
	}))(t)
	many := 10_000
	if limit := openFiles(t); limit < many+500 {
		many = limit - 500 // each poll has a connection
	}
	with, cancel := context.WithCancel(ctx)
	defer cancel()
	// Held for so long that all are there at once, however long that takes.
	emulator.Faults(antenvtest.Fault{"operation": "work.poll", "latency_ms": 100_000, "count": 2 * many})
	var polls sync.WaitGroup
	for range many {
		polls.Add(1)
		go func() {
			defer polls.Done()
			for with.Err() == nil {
				_, err := client.Environments.Work.Poll(with, environment.ID, antenv.WorkPollParams{BlockMs: antenv.Int(999)},
					antenv.WithAttemptTimeout(5*time.Minute))
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
					return
				}
			}
		}()
	}
	most := 0
	var waiting struct {
		Polls int `json:"requests_open"`
	}
	waitFor(t, func() bool {
		most = max(most, threads(t))
		emulator.Control("GET", "connections", nil, &waiting)
		return waiting.Polls >= many*9/10
	})
	cancel()
	polls.Wait()
	t.Logf("%d goroutines in calls, %d at the server at once, %d threads at most", many, waiting.Polls, most)
	if most > maxThreads {
		t.Fatalf("%d threads", most)
	}
}

func TestNothingIsLeftWhenTheLastClientIsClosed(t *testing.T) {
	emulator := antenvtest.Start(t, "--auth", "any")
	goroutines := runtime.NumGoroutine()
	files := len(must(os.ReadDir("/proc/self/fd"))(t))
	for range 3 {
		client := must(antenv.NewClient(antenv.WithAPIKey("k"), antenv.WithBaseURL(emulator.URL)))(t)
		other := must(client.With())(t)
		var calls sync.WaitGroup
		for range 200 {
			calls.Add(1)
			go func() {
				defer calls.Done()
				with, cancel := context.WithTimeout(ctx, time.Millisecond)
				defer cancel()
				_, _ = client.Environments.ListPage(with, antenv.EnvironmentListParams{})
			}()
		}
		calls.Wait()
		client.Close()
		other.Close()
	}
	antenv.Shutdown(5 * time.Minute) // closes the connections, too
	waitFor(t, func() bool {
		return runtime.NumGoroutine() <= goroutines && len(must(os.ReadDir("/proc/self/fd"))(t)) <= files+2
	})
}

func TestACallGoesOnWhenItsClientIsClosed(t *testing.T) {
	emulator := antenvtest.Start(t, "--auth", "any")
	goroutines := runtime.NumGoroutine()
	client := must(antenv.NewClient(antenv.WithAPIKey("k"), antenv.WithBaseURL(emulator.URL)))(t)
	emulator.Faults(antenvtest.Fault{"hold": true})
	ended := make(chan error)
	go func() {
		_, err := client.Environments.ListPage(ctx, antenv.EnvironmentListParams{})
		ended <- err
	}()
	waitFor(t, func() bool { return len(emulator.Requests()) == 1 })
	client.Close()
	emulator.Control("DELETE", "holds", nil, nil)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	// The control calls above keep connections of net/http's.
	waitFor(t, func() bool { http.DefaultClient.CloseIdleConnections(); return runtime.NumGoroutine() <= goroutines })
}

func TestAForgottenClientIsClosed(t *testing.T) {
	emulator := antenvtest.Start(t, "--auth", "any")
	before := runtime.NumGoroutine()
	func() {
		client := must(antenv.NewClient(antenv.WithAPIKey("k"), antenv.WithBaseURL(emulator.URL)))(t)
		must(client.Environments.ListPage(ctx, antenv.EnvironmentListParams{}))(t)
	}()
	waitFor(t, func() bool { runtime.GC(); return runtime.NumGoroutine() <= before })
}

func TestClientsMayBeUsedByAnyNumberOfGoroutines(t *testing.T) {
	client := antenvtest.Start(t).Client(t)
	var mutex sync.Mutex
	names := map[string]bool{}
	var all sync.WaitGroup
	for number := range 200 {
		all.Add(1)
		go func() {
			defer all.Done()
			with, cancel := context.WithCancel(ctx)
			defer cancel()
			made, err := client.Environments.Create(with, antenv.EnvironmentCreateParams{Name: strconv.Itoa(number)})
			if err != nil || made.Name != strconv.Itoa(number) {
				t.Error(made, err)
				return
			}
			mutex.Lock()
			defer mutex.Unlock()
			names[made.Name] = true
		}()
	}
	all.Wait()
	equal(t, len(names), 200)
}

func TestTheLogGoesToSlog(t *testing.T) {
	emulator := antenvtest.Start(t, "--auth", "any")
	client := emulator.Client(t, antenv.WithAPIKey("the-secret-key"))
	var mutex sync.Mutex
	var text bytes.Buffer
	logger := slog.New(slog.NewTextHandler(lockedWriter{&mutex, &text}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if err := antenv.SetLogger(logger); err != nil {
		t.Fatal(err)
	}
	emulator.Faults(antenvtest.Fault{"status": 529, "headers": map[string]string{"retry-after-ms": "1"}, "count": 1})
	must(client.Environments.ListPage(ctx, antenv.EnvironmentListParams{}))(t)
	logged := func() string {
		mutex.Lock()
		defer mutex.Unlock()
		return text.String()
	}
	waitFor(t, func() bool { return strings.Contains(logged(), "call done") })
	for _, words := range []string{"level=INFO msg=retrying target=antenv::client", "http_status=529", "level=DEBUG"} {
		if !strings.Contains(logged(), words) {
			t.Fatalf("%s is not in %s", words, logged())
		}
	}
	if strings.Contains(logged(), "the-secret-key") {
		t.Fatal("a secret was logged")
	}
	if err := antenv.SetLogger(nil); err != nil {
		t.Fatal(err)
	}
	before := logged()
	must(client.Environments.ListPage(ctx, antenv.EnvironmentListParams{}))(t)
	equal(t, logged(), before)
}

type lockedWriter struct {
	*sync.Mutex
	*bytes.Buffer
}

func (w lockedWriter) Write(text []byte) (int, error) {
	w.Lock()
	defer w.Unlock()
	return w.Buffer.Write(text)
}

func TestShuttingDownCancelsAndALaterCallStartsAfresh(t *testing.T) {
	emulator := antenvtest.Start(t, "--auth", "any")
	client := emulator.Client(t)
	emulator.Faults(antenvtest.Fault{"latency_ms": 60_000, "count": 1})
	ended := make(chan error)
	go func() {
		_, err := client.Environments.Retrieve(ctx, "env_1")
		ended <- err
	}()
	waitFor(t, func() bool { return len(emulator.Requests()) == 1 })
	equal(t, antenv.Shutdown(0), false)
	equal(t, errors.Is(<-ended, antenv.ErrCancelled), true)
	must(client.Environments.ListPage(ctx, antenv.EnvironmentListParams{}))(t)
	equal(t, antenv.Shutdown(-1), true)
}

// The tests below compare this package with the header and with the table of operations.

func header(t *testing.T) string {
	t.Helper()
	return string(must(os.ReadFile(filepath.Join("..", "..", "include", "antenv.h")))(t))
}

func TestTheStatusesAreThoseOfTheHeader(t *testing.T) {
	source := string(must(os.ReadFile("errors.go"))(t))
	declared := map[string]string{}
	for _, found := range regexp.MustCompile(`(?m)^ +ANTENV_(\w+) = (\d+)`).FindAllStringSubmatch(header(t), -1) {
		declared[strings.ReplaceAll(strings.ToLower(found[1]), "_", "")] = found[2]
	}
	here := map[string]string{}
	for _, found := range regexp.MustCompile(`(?m)^\tStatus(\w+) +Status = (\d+)`).FindAllStringSubmatch(source, -1) {
		here[strings.ToLower(found[1])] = found[2]
	}
	equal(t, here, declared)
	for _, number := range declared {
		value, _ := strconv.Atoi(number)
		if antenv.Status(value).String() == "unknown" {
			t.Fatalf("the library does not know %d", value)
		}
	}
}

// known returns the names that the library lists when it rejects an unknown one.
func known(t *testing.T, err error) map[string]bool {
	t.Helper()
	_, list, found := strings.Cut(failure(t, err).Message, "known are: ")
	if !found {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, name := range strings.Split(list, ", ") {
		names[name] = true
	}
	return names
}

var callOptions = []string{
	"betas", "workspace_id", "timeout_ms", "attempt_timeout_ms", "max_retries", "extra_headers", "extra_query", "extra_body", "with_response",
}

func TestThereIsAnOptionForEveryKey(t *testing.T) {
	source := string(must(os.ReadFile("options.go"))(t))
	here := map[string]bool{"with_response": true}
	for _, found := range regexp.MustCompile(`setting\("(\w+)"`).FindAllStringSubmatch(source, -1) {
		here[found[1]] = true
	}
	_, err := antenv.NewClient(antenv.WithConfig("odd", 0))
	keys := known(t, err)
	client := must(antenv.NewClient(antenv.WithAPIKey("k")))(t)
	defer client.Close()
	_, err = client.Request(ctx, "GET", "/", antenv.WithConfig("odd", 0))
	for key := range known(t, err) {
		keys[key] = true
	}
	for _, key := range callOptions {
		keys[key] = true
	}
	for _, err = range client.Sessions.Events.Stream(ctx, "sesn_1", antenv.SessionEventStreamParams{}, antenv.WithConfig("odd", 0)) {
	}
	of := known(t, err)
	_, err = client.Skills.Versions.Download(ctx, "skill_1", "1", filepath.Join(t.TempDir(), "file"), antenv.WithConfig("odd", 0))
	for key := range known(t, err) {
		of[key] = true
	}
	for _, parameter := range []string{"session_id", "event_deltas", "skill_id", "version"} {
		delete(of, parameter)
	}
	for key := range of {
		keys[key] = true
	}
	delete(keys, "headers") // of a request: the same as extra_headers
	equal(t, here, keys)
}
