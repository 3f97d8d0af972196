// Package antenvtest runs an emulator of the Environments API, for the tests of programs that use antenv.
//
//	emulator := antenvtest.Start(t)
//	client := emulator.Client(t)
//	worker := emulator.Worker(t, antenv.WorkerConfig{EnvironmentID: emulator.Environment().ID})
//
// The emulator is the program antenv-emulator: the one that the environment variable ANTENV_EMULATOR names, or the first on the PATH. In
// antenv's repository, make install and cargo install --path emulator install it; pip installs it with the Python package.
package antenvtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"antenv.internal/antenv"
)

// Emulator is a running emulator, on a free port of 127.0.0.1. A method that fails fails the test.
type Emulator struct {
	// URL is its address: a base URL for clients.
	URL string
	// CAFile is the root certificate that clients have to trust (antenv.WithCAFile) if the emulator was started with "--tls"; else "".
	CAFile string

	t testing.TB
}

// Start starts an emulator. It ends with the test, and with the test's process should that be killed. Options are those of the program,
// such as "--auth=any" to accept every credential, or "--tls" to serve HTTPS with HTTP/2; antenv-emulator --help lists them. The test fails
// if the program is missing or does not start.
func Start(t testing.TB, options ...string) *Emulator {
	t.Helper()
	program := os.Getenv("ANTENV_EMULATOR")
	if program == "" {
		var err error
		if program, err = exec.LookPath("antenv-emulator"); err != nil {
			t.Fatal("antenv-emulator is not on the PATH: install it (make install, or cargo install --path emulator, in antenv's " +
				"repository), or name it in ANTENV_EMULATOR")
		}
	}
	process := exec.Command(program, append([]string{"--port", "0", "--until-stdin-closes"}, options...)...)
	process.Stderr = os.Stderr
	in, err := process.StdinPipe() // the system closes it when the test's process ends, however it does
	if err != nil {
		t.Fatal(err)
	}
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = process.Wait()
	})
	output := bufio.NewReader(out)
	line, err := output.ReadString('\n')
	emulator := &Emulator{URL: strings.TrimSpace(line), t: t}
	if err == nil && strings.HasPrefix(emulator.URL, "https://") {
		line, err = output.ReadString('\n')
		emulator.CAFile = strings.TrimSpace(line)
	}
	if err != nil || !strings.HasPrefix(emulator.URL, "http") {
		t.Fatalf("%s did not start: it printed %q", program, line)
	}
	return emulator
}

// Client makes a client of the emulator, which is closed when the test ends. It has an API key, unless an option gives another credential.
func (e *Emulator) Client(t testing.TB, options ...antenv.Option) *antenv.Client {
	t.Helper()
	all := []antenv.Option{antenv.WithBaseURL(e.URL), antenv.WithAPIKey("an-api-key")}
	if e.CAFile != "" {
		all = append(all, antenv.WithCAFile(e.CAFile))
	}
	client, err := antenv.NewClient(append(all, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// Worker makes a worker for the emulator, which is closed when the test ends. It has a key of its environment, unless the configuration
// gives one.
func (e *Emulator) Worker(t testing.TB, config antenv.WorkerConfig) *antenv.Worker {
	t.Helper()
	if config.EnvironmentKey == "" {
		config.EnvironmentKey = e.EnvironmentKey(config.EnvironmentID)
	}
	worker, err := e.Client(t).NewWorker(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(worker.Close)
	return worker
}

// Environment creates a self-hosted environment.
func (e *Emulator) Environment() *antenv.Environment {
	e.t.Helper()
	environment, err := e.Client(e.t).Environments.Create(context.Background(), antenv.EnvironmentCreateParams{
		Name: "tests", Config: antenv.Set(antenv.ConfigParams{Type: antenv.ConfigSelfHosted}),
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return environment
}

// Advance moves the emulator's clock forward. Leases expire by that clock.
func (e *Emulator) Advance(by time.Duration) {
	e.t.Helper()
	e.Control("POST", "clock", map[string]any{"advance_ms": by.Milliseconds()}, nil)
}

// EnvironmentKey issues a key of an environment.
func (e *Emulator) EnvironmentKey(environmentID string) antenv.Secret {
	e.t.Helper()
	var issued struct {
		Key antenv.Secret `json:"environment_key"`
	}
	e.Control("POST", "environment_keys", map[string]any{"environment_id": environmentID}, &issued)
	return issued.Key
}

// Enqueue queues a work item and returns it. docs/emulator.md lists the fields that it may have besides environment_id; nil for none.
func (e *Emulator) Enqueue(environmentID string, fields map[string]any) *antenv.Work {
	e.t.Helper()
	body := map[string]any{"environment_id": environmentID}
	for name, value := range fields {
		body[name] = value
	}
	var item antenv.Work
	e.Control("POST", "work", body, &item)
	return &item
}

// EnqueueMany queues that many work items and returns them.
func (e *Emulator) EnqueueMany(environmentID string, count int) []*antenv.Work {
	e.t.Helper()
	var queued struct{ Data []*antenv.Work }
	e.Control("POST", "work", map[string]any{"environment_id": environmentID, "count": count}, &queued)
	return queued.Data
}

// Skill is a version of a skill to upload.
type Skill struct {
	// ID is the skill, which gets another version if it exists; "" for a new skill.
	ID string `json:"id,omitempty"`
	// Version is the version's id, which the skill must not have yet; "" for a new one.
	Version string `json:"version,omitempty"`
	// Name is the skill's name. Its files lie below a folder of this name.
	Name string `json:"name"`
	// Description is the description.
	Description string `json:"description,omitempty"`
	// Files holds the texts of the files to pack, by relative path.
	Files map[string]string `json:"files,omitempty"`
	// Format is how the files are packed: "zip", also if it is "", or "tar.gz".
	Format string `json:"format,omitempty"`
	// Archive, in place of Files and Format, is the archive that downloads return.
	Archive []byte `json:"archive,omitempty"`
}

// SkillVersion is a version of a skill.
type SkillVersion struct {
	// ID is the version's id.
	ID string `json:"id"`
	// SkillID is the skill's id.
	SkillID string `json:"skill_id"`
	// Name is the skill's name.
	Name string `json:"name"`
	// Description is the description.
	Description string `json:"description"`
	// CreatedAt is when it was uploaded, by the emulator's clock.
	CreatedAt time.Time `json:"created_at"`
}

// UploadSkill uploads a version of a skill and returns it.
func (e *Emulator) UploadSkill(skill Skill) *SkillVersion {
	e.t.Helper()
	var version SkillVersion
	e.Control("POST", "skills", skill, &version)
	return &version
}

// CreateMemoryStore creates a memory store and returns its id. Memories holds the contents of its first memories by path; nil for none.
func (e *Emulator) CreateMemoryStore(name string, memories map[string]string) string {
	e.t.Helper()
	var store struct {
		ID string `json:"id"`
	}
	e.Control("POST", "memory_stores", map[string]any{"name": name, "memories": memories}, &store)
	return store.ID
}

// Session creates a session in an environment. Its agent plays what Script says.
func (e *Emulator) Session(environmentID string) *antenv.Session {
	e.t.Helper()
	session, err := e.Client(e.t).Sessions.Create(context.Background(), antenv.SessionCreateParams{
		Agent: "agent_1", EnvironmentID: environmentID,
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return session
}

// Step is a step of a session's agent: {"tool": "bash", "input": {"command": "ls"}}. docs/emulator.md lists the steps.
type Step map[string]any

// Script has a session's agent take steps, from now on or after those that it has still to take.
func (e *Emulator) Script(sessionID string, steps ...Step) {
	e.t.Helper()
	e.Control("POST", "scripts", map[string]any{"session_id": sessionID, "steps": steps}, nil)
}

// Played reports how far a session's agent has come, and how its calls were answered.
type Played struct {
	// Status is the session's status.
	Status antenv.SessionStatus `json:"status"`
	// Done is whether all steps are taken.
	Done bool `json:"done"`
	// Calls are the calls, in order.
	Calls []ScriptedCall `json:"calls"`
}

// ScriptedCall is a call that a session's agent made.
type ScriptedCall struct {
	// ID is the id of the call's event.
	ID string `json:"id"`
	// Name is the tool.
	Name string `json:"name"`
	// Ending is how it ended, such as "answered" or "denied"; "" while it is open.
	Ending string `json:"ending"`
	// Answered is when results came: "once", "twice", "early", "late" or "never".
	Answered string `json:"answered"`
}

// Played returns how far a session's agent has come.
func (e *Emulator) Played(sessionID string) *Played {
	e.t.Helper()
	var played struct{ Data []*Played }
	e.Control("GET", "scripts?session_id="+url.QueryEscape(sessionID), nil, &played)
	return played.Data[0]
}

// Fault is a fault of the next requests: {"status": 529, "count": 2}. docs/emulator.md lists the fields.
type Fault map[string]any

// Faults adds faults, which the next requests meet in this order.
func (e *Emulator) Faults(faults ...Fault) {
	e.t.Helper()
	e.Control("POST", "faults", faults, nil)
}

// Request is a request that the emulator recorded.
type Request struct {
	// Operation is the operation's name, such as "environments.create".
	Operation string `json:"operation"`
	// Method is the HTTP method.
	Method string `json:"method"`
	// Path is the path.
	Path string `json:"path"`
	// Query holds the names and values of the query, in order.
	Query [][]string `json:"query"`
	// Headers holds the headers, with lower-case names.
	Headers map[string]string `json:"headers"`
	// Body is the body.
	Body json.RawMessage `json:"body"`
}

// Requests returns the requests so far, the oldest first, including those that still wait for a response.
func (e *Emulator) Requests() []Request {
	e.t.Helper()
	var recorded struct{ Data []Request }
	e.Control("GET", "requests", nil, &recorded)
	return recorded.Data
}

// Control calls a control endpoint, a path below /_emulator/, and decodes its response into `into`, unless that is nil. docs/emulator.md
// lists the endpoints.
func (e *Emulator) Control(method, path string, body, into any) {
	e.t.Helper()
	if err := e.control(method, path, body, into); err != nil {
		e.t.Fatalf("antenvtest: %s %s: %v", method, path, err)
	}
}

func (e *Emulator) control(method, path string, body, into any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	// Control endpoints are served without TLS as well.
	request, err := http.NewRequest(method, strings.Replace(e.URL, "https:", "http:", 1)+"/_emulator/"+path, content)
	if err != nil {
		return err
	}
	request.Header.Set("content-type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s: %s", response.Status, text)
	}
	if into == nil || len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, into)
}
