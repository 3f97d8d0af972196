package antenv_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"antenv.internal/antenv"
	"antenv.internal/antenv/antenvtest"
)

func Example() {
	client, done := exampleClient()
	defer done()
	ctx := context.Background()

	created, err := client.Environments.Create(ctx, antenv.EnvironmentCreateParams{
		Name:   "tests",
		Config: antenv.Set(antenv.ConfigParams{Type: antenv.ConfigSelfHosted}),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(created.Name, created.Config.Type)
	for environment, err := range client.Environments.List(ctx, antenv.EnvironmentListParams{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(environment.ID == created.ID)
	}
	// Output:
	// tests self_hosted
	// true
}

func ExampleError() {
	client, done := exampleClient()
	defer done()

	_, err := client.Environments.Retrieve(context.Background(), "env_missing")
	var failure *antenv.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.HTTPStatus, failure.ErrorCode)
	}
	fmt.Println(errors.Is(err, antenv.ErrNotFound))
	// Output:
	// 404 environment_not_found
	// true
}

func ExampleWorkQueue_Poll() {
	client, done := exampleClient()
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // cancels the call
	defer cancel()

	environment, err := client.Environments.Create(ctx, antenv.EnvironmentCreateParams{
		Name:   "hosts",
		Config: antenv.Set(antenv.ConfigParams{Type: antenv.ConfigSelfHosted}),
	})
	if err != nil {
		log.Fatal(err)
	}
	item, err := client.Environments.Work.Poll(ctx, environment.ID, antenv.WorkPollParams{BlockMs: antenv.Int(10)})
	fmt.Println(item == nil, err)
	// Output: true <nil>
}

func ExampleWorker_Run() {
	worker, done := exampleWorker() // in a program: client.NewWorker(antenv.WorkerConfig{Concurrency: 4})
	defer done()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	err := worker.Run(ctx, func(ctx context.Context, lease *antenv.Lease) error {
		fmt.Println("serving a", lease.Work.Data.Type) // end early when ctx is done
		return nil                                     // the item is stopped
	})
	fmt.Println(err)
	// Output:
	// serving a session
	// <nil>
}

func ExampleSessionEvents_Stream() {
	client, sessionID, done := exampleSession()
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // ends the stream
	defer cancel()

	for event, err := range client.Sessions.Events.Stream(ctx, sessionID, antenv.SessionEventStreamParams{}) {
		if err != nil {
			log.Fatal(err)
		}
		switch event.Type {
		case antenv.EventAgentMessage:
			fmt.Println(event.Text())
		case antenv.EventAgentToolUse:
			fmt.Printf("%s %s\n", event.Name, event.Input)
		}
		if event.Type == antenv.EventSessionStatusIdle {
			fmt.Println(event.StopReason.Type)
			break // closes the stream
		}
	}
	// Output:
	// I look at the files.
	// bash {"command":"ls"}
	// requires_action
}

func ExampleSkillVersions_Download() {
	client, skillID, done := exampleSkill()
	defer done()
	ctx := context.Background()

	version, err := client.Skills.Versions.Retrieve(ctx, skillID, "latest")
	if err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(os.TempDir(), version.ID+".zip")
	defer os.Remove(path)
	file, err := client.Skills.Versions.Download(ctx, skillID, version.ID, path)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(version.Name, file.Bytes)
	// Output: pdf 9
}

// exampleSession returns a client, and a session whose agent acts as soon as there is a stream.
func exampleSession() (*antenv.Client, string, func()) {
	t := &exampleTB{}
	emulator := antenvtest.Start(t)
	session := emulator.Session(emulator.Environment().ID).ID
	emulator.Script(session, antenvtest.Step{"wait": "stream"}, antenvtest.Step{"text": "I look at the files."},
		antenvtest.Step{"tool": "bash", "input": map[string]any{"command": "ls"}}, antenvtest.Step{"wait": "results"})
	return emulator.Client(t), session, t.end
}

// exampleSkill returns a client and a skill.
func exampleSkill() (*antenv.Client, string, func()) {
	t := &exampleTB{}
	emulator := antenvtest.Start(t)
	version := emulator.UploadSkill(antenvtest.Skill{Name: "pdf", Archive: []byte("any bytes")})
	return emulator.Client(t), version.SkillID, t.end
}

// exampleWorker returns a worker whose queue holds one item, and which ends when that is served.
func exampleWorker() (*antenv.Worker, func()) {
	t := &exampleTB{}
	emulator := antenvtest.Start(t)
	environment := emulator.Environment().ID
	emulator.Enqueue(environment, nil)
	return emulator.Worker(t, antenv.WorkerConfig{EnvironmentID: environment, Drain: true}), t.end
}

// exampleClient returns a client of an emulator. A program calls antenv.NewClient().
func exampleClient() (*antenv.Client, func()) {
	t := &exampleTB{}
	return antenvtest.Start(t, "--auth", "any").Client(t), t.end
}

// exampleTB lets an example use antenvtest.
type exampleTB struct {
	testing.TB
	cleanups []func()
}

func (t *exampleTB) Helper()                {}
func (t *exampleTB) Fatal(what ...any)      { log.Fatal(what...) }
func (t *exampleTB) Cleanup(cleanup func()) { t.cleanups = append(t.cleanups, cleanup) }
func (t *exampleTB) end() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}

func ExampleTool() {
	type place struct {
		City string `json:"city" description:"The name of the city."`
	}
	weather := antenv.Tool("weather", "Returns the weather in a city.", func(ctx context.Context, in place) (string, error) {
		return in.City + ": 12 degrees", nil
	})
	fmt.Println(string(weather.Definition().InputSchema))
	// err := worker.Run(ctx, antenv.Tools{weather}.Handler())

	// Output:
	// {"type":"object","properties":{"city":{"type":"string","description":"The name of the city."}},"required":["city"],"additionalProperties":false}
}
