// The official Go client, unchanged, drives the emulator at ANTENV_EMULATOR_URL, which checks credentials as the service does. Where the
// two disagree, the emulator is wrong. test_go_sdk.py starts it and runs this.
package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go/v2"
	"github.com/anthropics/anthropic-sdk-go/v2/lib/environments"
	"github.com/anthropics/anthropic-sdk-go/v2/option"
	"github.com/anthropics/anthropic-sdk-go/v2/packages/param"
)

var (
	url = os.Getenv("ANTENV_EMULATOR_URL")
	ctx = context.Background()
)

func connect(credential option.RequestOption) anthropic.Client {
	return anthropic.NewClient(credential, option.WithBaseURL(url), option.WithMaxRetries(0))
}

// control posts a body to a control endpoint of the emulator, or gets the endpoint if the body is nil. No TLS is needed there.
func control[T any](t *testing.T, path string, body any) (result T) {
	t.Helper()
	path = strings.Replace(url, "https:", "http:", 1) + "/_emulator/" + path
	var answer *http.Response
	var err error
	if body == nil {
		answer, err = http.Get(path)
	} else {
		answer, err = http.Post(path, "application/json", bytes.NewReader(must(json.Marshal(body))(t)))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&result); err != nil || answer.StatusCode >= 300 {
		t.Fatal(answer.Status, err)
	}
	return result
}

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func equal[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%v instead of %v", got, want)
	}
}

func status(t *testing.T, err error) int {
	t.Helper()
	var refused *anthropic.Error
	if !errors.As(err, &refused) {
		t.Fatalf("%v is no error of the API's", err)
	}
	return refused.StatusCode
}

// hosted makes a self-hosted environment; it returns the environment's key, too.
func hosted(t *testing.T, client anthropic.Client) (*anthropic.BetaEnvironment, string) {
	t.Helper()
	config := anthropic.NewBetaSelfHostedConfigParams()
	made := must(client.Beta.Environments.New(ctx, anthropic.BetaEnvironmentNewParams{
		Name: "workshop", Config: anthropic.BetaEnvironmentNewParamsConfigUnion{OfSelfHosted: &config},
	}))(t)
	return made, control[map[string]string](t, "environment_keys", map[string]string{"environment_id": made.ID})["environment_key"]
}

func TestAnEnvironmentLivesThroughAllOperations(t *testing.T) {
	client := connect(option.WithAPIKey("sk-ant-api03-interop"))
	service := client.Beta.Environments
	made, _ := hosted(t, client)
	equal(t, made.Config.Type, "self_hosted")
	equal(t, must(service.Get(ctx, made.ID, anthropic.BetaEnvironmentGetParams{}))(t).RawJSON(), made.RawJSON())
	updated := must(service.Update(ctx, made.ID, anthropic.BetaEnvironmentUpdateParams{
		Name: anthropic.String("renamed"), Metadata: map[string]string{"team": "blue"},
	}))(t)
	equal(t, updated.Name, "renamed")
	equal(t, updated.Metadata["team"], "blue")
	seen := 0
	for pages := service.ListAutoPaging(ctx, anthropic.BetaEnvironmentListParams{Limit: anthropic.Int(1)}); pages.Next(); seen++ {
	}
	if seen == 0 {
		t.Fatal("no environment is listed")
	}
	archived := must(service.Archive(ctx, made.ID, anthropic.BetaEnvironmentArchiveParams{}))(t)
	equal(t, archived.ArchivedAt != "", true)
	equal(t, must(service.Delete(ctx, made.ID, anthropic.BetaEnvironmentDeleteParams{}))(t).ID, made.ID)
	_, err := service.Get(ctx, made.ID, anthropic.BetaEnvironmentGetParams{})
	equal(t, status(t, err), http.StatusNotFound)
}

func TestAWorkItemLivesThroughAllOperations(t *testing.T) {
	client := connect(option.WithAPIKey("sk-ant-api03-interop"))
	environment, key := hosted(t, client)
	holder, id := connect(option.WithAuthToken(key)), environment.ID
	work := holder.Beta.Environments.Work
	queued := control[anthropic.BetaSelfHostedWork](t, "work", map[string]string{"environment_id": id}).ID

	_, err := client.Beta.Environments.Work.Poll(ctx, id, anthropic.BetaEnvironmentWorkPollParams{})
	equal(t, status(t, err), http.StatusForbidden)
	item := must(work.Poll(ctx, id, anthropic.BetaEnvironmentWorkPollParams{BlockMs: anthropic.Int(999)}))(t)
	equal(t, item.ID, queued)
	must(work.Ack(ctx, item.ID, anthropic.BetaEnvironmentWorkAckParams{EnvironmentID: id}))(t)
	beat := must(work.Heartbeat(ctx, item.ID, anthropic.BetaEnvironmentWorkHeartbeatParams{
		EnvironmentID: id, ExpectedLastHeartbeat: anthropic.String("NO_HEARTBEAT"),
	}))(t)
	equal(t, beat.LeaseExtended, true)
	_, err = work.Heartbeat(ctx, item.ID, anthropic.BetaEnvironmentWorkHeartbeatParams{
		EnvironmentID: id, ExpectedLastHeartbeat: anthropic.String("NO_HEARTBEAT"),
	})
	equal(t, status(t, err), http.StatusPreconditionFailed)
	must(work.Stop(ctx, item.ID, anthropic.BetaEnvironmentWorkStopParams{
		EnvironmentID:                 id,
		BetaSelfHostedWorkStopRequest: anthropic.BetaSelfHostedWorkStopRequestParam{Force: anthropic.Bool(true)},
	}))(t)
	got := must(client.Beta.Environments.Work.Get(ctx, item.ID, anthropic.BetaEnvironmentWorkGetParams{EnvironmentID: id}))(t)
	equal(t, string(got.State), "stopped")
	stats := must(work.Stats(ctx, id, anthropic.BetaEnvironmentWorkStatsParams{}))(t)
	equal(t, stats.Depth, 0)
}

func TestTheOfficialPollerDrainsAQueue(t *testing.T) {
	client := connect(option.WithAPIKey("sk-ant-api03-interop"))
	environment, key := hosted(t, client)
	queued := make(map[string]bool)
	for range 3 {
		queued[control[anthropic.BetaSelfHostedWork](t, "work", map[string]string{"environment_id": environment.ID}).ID] = true
	}
	poller := environments.NewWorkPoller(ctx, client, environments.WorkPollerOptions{
		EnvironmentID: environment.ID, EnvironmentKey: key, Drain: true, BlockMs: param.NewOpt[int64](100),
	})
	defer poller.Close()
	for item := range poller.All() {
		equal(t, queued[item.ID], true)
		delete(queued, item.ID)
	}
	if err := poller.Err(); err != nil || len(queued) > 0 {
		t.Fatal(err, queued)
	}
}
