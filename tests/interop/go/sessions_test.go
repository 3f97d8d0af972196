// The worker of the official Go client, unchanged, serves the sessions of scripted agents to their end.
package interop

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go/v2"
	"github.com/anthropics/anthropic-sdk-go/v2/lib/environments"
	"github.com/anthropics/anthropic-sdk-go/v2/option"
	"github.com/anthropics/anthropic-sdk-go/v2/toolrunner"
	"github.com/anthropics/anthropic-sdk-go/v2/tools/agenttoolset"
)

// Only a failing test waits for that long.
const timeout = 90 * time.Second

type object = map[string]any

// page is a list that a control endpoint returns.
type page[T any] struct{ Data []T }

// report is the emulator's report of how the agent of a session was answered.
type report struct {
	Done  bool
	Calls []struct {
		ID, Label, Name, Answered, Ending string
		Attempts                          []struct {
			Accepted   bool
			IsError    bool `json:"is_error"`
			Credential string
			Content    []struct{ Text string }
		}
	}
}

// labels returns each call's label and how often it was answered, in the order of the calls.
func (r report) labels() (labels []string) {
	for _, call := range r.Calls {
		labels = append(labels, call.Label+" "+call.Answered)
	}
	return labels
}

// answers returns the text of each call's first answer, and the labels of those that are errors.
func (r report) answers(t *testing.T) (texts []string, failed []string) {
	t.Helper()
	for _, call := range r.Calls {
		if len(call.Attempts) == 0 {
			texts = append(texts, "")
			continue
		}
		attempt := call.Attempts[0]
		equal(t, attempt.Accepted, true)
		equal(t, attempt.Credential, "sessions_token")
		texts = append(texts, attempt.Content[0].Text)
		if attempt.IsError {
			failed = append(failed, call.Label)
		}
	}
	return texts, failed
}

// host is an environment, with what the official worker needs to serve it.
type host struct {
	client           anthropic.Client
	id, key, workdir string
}

// newHost resets the emulator and creates an environment.
func newHost(t *testing.T) host {
	t.Helper()
	control[any](t, "reset", object{})
	client := connect(option.WithAPIKey("sk-ant-api03-interop"))
	environment, key := hosted(t, client)
	return host{client, environment.ID, key, t.TempDir()}
}

// create creates a session whose agent plays these steps, and returns its identifier. Without overrides, the agent is a plain one.
func (h host) create(t *testing.T, params anthropic.BetaSessionNewParams, steps ...object) string {
	t.Helper()
	control[object](t, "scripts", object{"environment_id": h.id, "steps": steps})
	params.EnvironmentID = h.id
	if params.Agent.OfBetaManagedAgentsAgentWithOverridess == nil {
		params.Agent.OfString = anthropic.String("agent_interop")
	}
	return must(h.client.Beta.Sessions.New(ctx, params))(t).ID
}

// worker returns the official worker with its own toolset and one custom tool.
func (h host) worker(t *testing.T) *environments.EnvironmentWorker {
	t.Helper()
	schema := []byte(`{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}`)
	type input struct{ City string }
	weather := must(toolrunner.NewBetaToolFromBytes("weather", "Reports the weather of a city.", schema,
		func(_ context.Context, input input) (anthropic.BetaToolResultBlockParamContentUnion, error) {
			text := anthropic.BetaTextBlockParam{Text: "sunny in " + input.City}
			return anthropic.BetaToolResultBlockParamContentUnion{OfText: &text}, nil
		}))(t)
	idle := 200 * time.Millisecond
	return environments.NewEnvironmentWorker(h.client, environments.EnvironmentWorkerOptions{
		EnvironmentID:  h.id,
		EnvironmentKey: h.key,
		Workdir:        h.workdir,
		MaxIdle:        &idle,
		Logger:         slog.New(slog.NewTextHandler(t.Output(), nil)),
		ToolsFunc: func(env *agenttoolset.AgentToolContext) []anthropic.BetaTool {
			return append(agenttoolset.BetaAgentToolset20260401(env), weather)
		},
	})
}

// serve runs the official worker until the agent has played all its steps and every item is stopped. While the worker runs, it calls user,
// if there is one. It returns how the agent was answered.
func (h host) serve(t *testing.T, session string, user func()) report {
	t.Helper()
	running, stop := context.WithCancel(ctx)
	result := make(chan error, 1)
	worker := h.worker(t)
	go func() { result <- worker.Run(running) }()
	defer func() {
		stop()
		if err := <-result; err != nil {
			t.Error(err)
		}
	}()
	if user != nil {
		user()
	}
	var found report
	eventually(t, func() bool {
		found = reported(t, session)
		return found.Done && h.idle(t)
	})
	return found
}

// idle reports whether the environment had items, and all of them are stopped.
func (h host) idle(t *testing.T) bool {
	t.Helper()
	type entry struct {
		WorkID string `json:"work_id"`
		Event  string
	}
	last := map[string]string{}
	for _, entry := range control[page[entry]](t, "history?environment_id="+h.id, nil).Data {
		last[entry.WorkID] = entry.Event
	}
	for _, event := range last {
		if event != "stopped" {
			return false
		}
	}
	return len(last) > 0
}

// send sends a user's event to a session.
func (h host) send(session string, event anthropic.BetaManagedAgentsEventParamsUnion) error {
	events := []anthropic.BetaManagedAgentsEventParamsUnion{event}
	_, err := h.client.Beta.Sessions.Events.Send(ctx, session, anthropic.BetaSessionEventSendParams{Events: events})
	return err
}

// message returns the event of a user's message.
func message(text string) anthropic.BetaManagedAgentsEventParamsUnion {
	block := anthropic.BetaManagedAgentsTextBlockParam{Text: text}
	return anthropic.BetaManagedAgentsEventParamsUnion{OfUserMessage: &anthropic.BetaManagedAgentsUserMessageEventParams{
		Content: []anthropic.BetaManagedAgentsUserMessageEventParamsContentUnion{{OfText: &block}},
	}}
}

// reported returns how the agent of a session has been answered so far.
func reported(t *testing.T, session string) report {
	t.Helper()
	return control[page[report]](t, "scripts?session_id="+session, nil).Data[0]
}

// request is a request that the emulator recorded.
type request struct{ HTTP string }

// requests returns the recorded requests of an operation.
func requests(t *testing.T, operation string) []request {
	t.Helper()
	return control[page[request]](t, "requests?operation="+operation, nil).Data
}

// eventually waits until the condition holds.
func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(timeout); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the condition did not hold in time")
		}
	}
}

// exists reports whether there is a file or folder with this path.
func exists(path ...string) bool {
	_, err := os.Stat(filepath.Join(path...))
	return err == nil
}

// tool returns a step that calls one of the worker's tools.
func tool(name string, input object) object { return object{"tool": name, "input": input} }

// bash returns a step that runs a command.
func bash(command string) object { return tool("bash", object{"command": command}) }

// with adds a member to a step.
func with(step object, name string, value any) object {
	step[name] = value
	return step
}

var results = object{"wait": "results"}

func TestTheOfficialWorkerServesASessionToItsEnd(t *testing.T) {
	host := newHost(t)
	session := host.create(t, anthropic.BetaSessionNewParams{},
		object{"thinking": true},
		object{"text": "I write a file, and look at it."},
		tool("write", object{"file_path": "notes/a.txt", "content": "one\ntwo\n"}), results,
		tool("edit", object{"file_path": "notes/a.txt", "old_string": "two", "new_string": "three"}), results,
		// Three at once.
		tool("read", object{"file_path": "notes/a.txt"}),
		tool("glob", object{"pattern": "**/*.txt"}),
		tool("grep", object{"pattern": "thr", "path": "notes"}), results,
		with(bash("cat notes/a.txt; touch ran; (exit 3)"), "permission", "ask"), object{"wait": "confirmations"},
		object{"custom_tool": "weather", "input": object{"city": "Berlin"}}, results,
		with(with(bash("touch denied"), "permission", "deny"), "label", "denied"),
		object{"start_thread": "helper"},
		with(with(bash("true"), "thread", "helper"), "label", "helper"), results,
		object{"text": "Done."},
	)
	found := host.serve(t, session, func() {
		var held string
		eventually(t, func() bool {
			for _, call := range reported(t, session).Calls {
				if call.Name == "bash" {
					held = call.ID
				}
			}
			return held != ""
		})
		must(0, host.send(session, anthropic.BetaManagedAgentsEventParamsUnion{
			OfUserToolConfirmation: &anthropic.BetaManagedAgentsUserToolConfirmationEventParams{ToolUseID: held, Result: "allow"},
		}))(t)
	})
	equal(t, strings.Join(found.labels(), ", "), "write once, edit once, read once, glob once, grep once, bash once, weather once, "+
		"denied never, helper once")
	texts, failed := found.answers(t)
	equal(t, texts[2], "one\nthree\n")
	for number, part := range map[int]string{3: "notes/a.txt", 4: "three", 5: "three"} {
		if !strings.Contains(texts[number], part) {
			t.Errorf("%q is not in %q", part, texts[number])
		}
	}
	equal(t, texts[6], "sunny in Berlin")
	equal(t, texts[8], "(no output)")
	equal(t, strings.Join(failed, ", "), "bash")
	equal(t, exists(host.workdir, "ran"), true)
	equal(t, exists(host.workdir, "denied"), false)

	var kinds []string
	events := host.client.Beta.Sessions.Events.ListAutoPaging(ctx, session, anthropic.BetaSessionEventListParams{Limit: anthropic.Int(3)})
	for events.Next() {
		kinds = append(kinds, events.Current().Type)
	}
	must(0, events.Err())(t)
	equal(t, strings.Join(kinds[:3], ", "), "session.status_running, agent.thinking, agent.message")
	equal(t, kinds[len(kinds)-1], "session.status_idle")
	// The service itself answers the call that was denied.
	equal(t, slices.Index(kinds, "agent.tool_result") > 0, true)

	version := "1.1"
	if strings.HasPrefix(url, "https:") {
		version = "2"
	}
	streams := requests(t, "sessions.events.stream")
	equal(t, len(streams) > 0, true)
	for _, stream := range streams {
		equal(t, stream.HTTP, version)
	}
}

func TestTheOfficialWorkerHasTheSessionsSkillAndMemory(t *testing.T) {
	host := newHost(t)
	skill := control[object](t, "skills", object{"name": "pdf", "files": object{
		"SKILL.md": "# How to read a PDF", "run.sh": object{"text": "exit", "executable": true},
	}})["skill_id"].(string)
	store := control[object](t, "memory_stores", object{"name": "Notes", "memories": object{
		"/todo.md": "old", "/done.md": "gone soon",
	}})["id"].(string)
	params := anthropic.BetaSessionNewParams{
		Agent: anthropic.BetaSessionNewParamsAgentUnion{
			OfBetaManagedAgentsAgentWithOverridess: &anthropic.BetaManagedAgentsAgentWithOverridesParams{
				ID: "agent_interop",
				Skills: []anthropic.BetaManagedAgentsSkillParamsUnion{{
					OfCustom: &anthropic.BetaManagedAgentsCustomSkillParams{SkillID: skill, Version: anthropic.String("latest")},
				}},
			},
		},
		Resources: []anthropic.BetaSessionNewParamsResourceUnion{{
			OfMemoryStore: &anthropic.BetaManagedAgentsMemoryStoreResourceParam{MemoryStoreID: store, Access: "read_write"},
		}},
	}
	found := host.serve(t, host.create(t, params,
		tool("read", object{"file_path": "skills/pdf/SKILL.md"}),
		bash("cat memory/"+store+"/todo.md && test -x skills/pdf/run.sh"), results,
		tool("write", object{"file_path": "memory/" + store + "/todo.md", "content": "new"}),
		bash("echo added > memory/"+store+"/sub.md"), results,
	), nil)
	equal(t, strings.Join(found.labels(), ", "), "read once, bash once, write once, bash once")
	texts, failed := found.answers(t)
	equal(t, len(failed), 0)
	equal(t, texts[0], "# How to read a PDF")
	equal(t, strings.TrimSpace(texts[1]), "old")

	var memories []string
	list := host.client.Beta.MemoryStores.Memories.ListAutoPaging(ctx, store, anthropic.BetaMemoryStoreMemoryListParams{View: "full"})
	for list.Next() {
		memories = append(memories, list.Current().Path+": "+list.Current().Content)
	}
	must(0, list.Err())(t)
	slices.Sort(memories)
	equal(t, strings.Join(memories, ", "), "/done.md: gone soon, /sub.md: added\n, /todo.md: new")
	equal(t, exists(host.workdir, "memory", store) || exists(host.workdir, "skills", "pdf"), false)
}

func TestASecondMessageGetsASecondItemAndASecondTurn(t *testing.T) {
	host := newHost(t)
	session := host.create(t, anthropic.BetaSessionNewParams{}, object{"idle": "end_turn"}, bash("echo second"), results)
	found := host.serve(t, session, func() {
		eventually(t, func() bool { return host.idle(t) })
		must(0, host.send(session, message("and now?")))(t)
	})
	texts, _ := found.answers(t)
	equal(t, strings.Join(found.labels(), ", "), "bash once")
	equal(t, strings.TrimSpace(texts[0]), "second")
}

func TestTheOfficialWorkerGetsOverStreamsThatBreak(t *testing.T) {
	host := newHost(t)
	stream := "sessions.events.stream"
	control[any](t, "faults", []object{
		{"operation": stream, "status": 503},
		{"operation": stream, "stream": object{"then": "end"}},
		{"operation": stream, "stream": object{"after": 1, "then": "cut", "pieces": 5}},
		{"operation": stream, "stream": object{"after": 1, "then": "error"}},
		{"operation": "sessions.events.list", "status": 500},
		{"operation": "sessions.events.send", "status": 409},
		{"operation": stream, "stream": object{"pieces": 3}, "count": 100},
	})
	var steps []object
	for range 4 {
		steps = append(steps, bash("echo $((++n))"), results)
	}
	found := host.serve(t, host.create(t, anthropic.BetaSessionNewParams{}, steps...), nil)
	equal(t, strings.Join(found.labels(), ", "), "bash once, bash once, bash once, bash once")
	texts, _ := found.answers(t)
	equal(t, strings.Join(strings.Fields(strings.Join(texts, " ")), " "), "1 2 3 4")
	// A call that came when its stream had ended is only seen over the next one.
	equal(t, len(requests(t, stream)) > 2, true)
}

func TestAnEndedThreadAndATerminatedSessionTakeNoMoreResults(t *testing.T) {
	host := newHost(t)
	session := host.create(t, anthropic.BetaSessionNewParams{},
		object{"start_thread": "helper"},
		with(with(bash("touch dead"), "thread", "helper"), "label", "dead"),
		object{"end_thread": "helper"},
		with(bash("echo alive"), "label", "alive"), results,
		object{"terminate": true},
	)
	found := host.serve(t, session, nil)
	equal(t, strings.Join(found.labels(), ", "), "dead never, alive once")
	ended := must(host.client.Beta.Sessions.Get(ctx, session, anthropic.BetaSessionGetParams{}))(t)
	equal(t, string(ended.Status), "terminated")
	equal(t, status(t, host.send(session, message("still there?"))), http.StatusBadRequest)
}

func TestAnInterruptCancelsARunningCallWhoseResultIsNotSent(t *testing.T) {
	host := newHost(t)
	session := host.create(t, anthropic.BetaSessionNewParams{},
		with(bash("touch started; sleep 600"), "label", "long"), results,
		with(bash("echo after"), "label", "after"), results,
	)
	found := host.serve(t, session, func() {
		eventually(t, func() bool { return exists(host.workdir, "started") })
		interrupt := anthropic.BetaManagedAgentsUserInterruptEventParams{}
		must(0, host.send(session, anthropic.BetaManagedAgentsEventParamsUnion{OfUserInterrupt: &interrupt}))(t)
	})
	equal(t, strings.Join(found.labels(), ", "), "long never, after once")
	equal(t, found.Calls[0].Ending, "interrupted")
}

func TestTheOfficialWorkerContinuesALeaseThatAnotherProcessBegan(t *testing.T) {
	host := newHost(t)
	session := host.create(t, anthropic.BetaSessionNewParams{}, bash("echo adopted"), results)
	work := connect(option.WithAuthToken(host.key)).Beta.Environments.Work
	item := must(work.Poll(ctx, host.id, anthropic.BetaEnvironmentWorkPollParams{BlockMs: anthropic.Int(999)}))(t)
	must(work.Ack(ctx, item.ID, anthropic.BetaEnvironmentWorkAckParams{EnvironmentID: host.id}))(t)
	beat := must(work.Heartbeat(ctx, item.ID, anthropic.BetaEnvironmentWorkHeartbeatParams{
		EnvironmentID: host.id, ExpectedLastHeartbeat: anthropic.String("NO_HEARTBEAT"),
	}))(t)
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	must(0, host.worker(t).HandleItem(bounded, environments.HandleItemOptions{
		WorkID: item.ID, EnvironmentID: host.id, SessionID: session, WorkSecret: item.Secret, ExpectedLastHeartbeat: beat.LastHeartbeat,
	}))(t)
	found := reported(t, session)
	equal(t, strings.Join(found.labels(), ", "), "bash once")
	equal(t, found.Done && host.idle(t), true)
}
