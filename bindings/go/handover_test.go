package antenv_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"antenv.internal/antenv"
)

// taken is the next item's lease, which must come.
func taken(t *testing.T, worker *antenv.Worker) *antenv.Lease {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return must(worker.Next(limited))(t)
}

// adoption is the configuration that goes on with a lease.
func adoption(handover *antenv.Handover) antenv.AdoptConfig {
	return antenv.AdoptConfig{
		WorkID:                handover.WorkID,
		EnvironmentID:         handover.EnvironmentID,
		SessionID:             handover.SessionID,
		EnvironmentKey:        handover.Environment["ANTHROPIC_ENVIRONMENT_KEY"],
		WorkSecret:            handover.WorkSecret,
		ExpectedLastHeartbeat: handover.LastHeartbeat,
		DesiredTTL:            100 * time.Second,
	}
}

func TestALeaseGoesFromHolderToHolder(t *testing.T) {
	for _, heartbeat := range []bool{true, false} {
		env := newWorkerEnv(t)
		env.queue(1)
		worker := env.worker(antenv.WorkerConfig{Heartbeat: antenv.Set(heartbeat)})
		lease := taken(t, worker)
		status := map[bool]antenv.LeaseStatus{true: antenv.LeaseHeld, false: antenv.LeaseClaimed}[heartbeat]
		equal(t, must(lease.State())(t).State, status)
		handover := must(lease.Release())(t)
		<-lease.Done()
		equal(t, lease.Err(), nil)
		_, err := lease.Release()
		equal(t, errors.Is(err, antenv.ErrClosed), true)
		equal(t, len(handover.Environ()), map[bool]int{true: 6, false: 5}[heartbeat])
		for range 3 {
			lease = must(env.client.Adopt(ctx, adoption(handover)))(t)
			equal(t, lease.Work.ID, handover.WorkID)
			equal(t, lease.Work.Data.ID, handover.SessionID)
			state := must(lease.State())(t)
			equal(t, state.State, antenv.LeaseHeld)
			equal(t, state.TTLSeconds, 100)
			_, err = env.client.Adopt(ctx, adoption(handover))
			equal(t, errors.Is(err, antenv.ErrLeaseLost), true)
			handover = must(lease.Release())(t)
		}
		lease = must(env.client.Adopt(ctx, adoption(handover)))(t)
		equal(t, env.state(lease.Work.ID), "active")
		must(lease.Finish(ctx))(t)
		equal(t, env.state(handover.WorkID), "stopped")
		waitFor(t, func() bool { return stats(t, worker).Released == 1 })
	}
}

func TestAHandlerMayReleaseItsLease(t *testing.T) {
	env := newWorkerEnv(t)
	env.queue(1)
	handovers := make(chan *antenv.Handover, 1)
	r := run(env.worker(antenv.WorkerConfig{}), func(_ context.Context, lease *antenv.Lease) error {
		handover, err := lease.Release()
		handovers <- handover
		return err
	})
	handover := <-handovers
	r.cancel()
	equal(t, <-r.ended, nil)
	equal(t, env.state(handover.WorkID), "active")
}

func TestAnAdoptionFailsOrIsGivenUp(t *testing.T) {
	env := newWorkerEnv(t)
	_, err := env.client.Adopt(ctx, antenv.AdoptConfig{WorkID: "work_1", EnvironmentID: env.environment})
	equal(t, errors.Is(err, antenv.ErrConfig), true)
	equal(t, failure(t, err).Parameter, "session_id")
	done, cancel := context.WithCancel(ctx)
	cancel()
	_, err = env.client.Adopt(done, antenv.AdoptConfig{})
	equal(t, errors.Is(err, context.Canceled), true)
}

func TestAHandoverHidesItsSecrets(t *testing.T) {
	handover := antenv.Handover{WorkID: "work_1", WorkSecret: "s3cr3t", Environment: map[string]antenv.Secret{"ANTHROPIC_WORK_SECRET": "s3cr3t"}}
	config := antenv.AdoptConfig{WorkID: "work_1", WorkSecret: "s3cr3t", EnvironmentKey: "s3cr3t"}
	var shown strings.Builder
	for _, value := range []any{handover, &handover, config, &config} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			fmt.Fprintf(&shown, verb+"\n", value)
		}
		slog.New(slog.NewTextHandler(&shown, nil)).Info("", "value", value)
		slog.New(slog.NewJSONHandler(&shown, nil)).Info("", "value", value)
	}
	if strings.Contains(shown.String(), "s3cr3t") || strings.Contains(shown.String(), fmt.Sprintf("%x", "s3cr3t")) {
		t.Fatal(shown.String())
	}
	equal(t, strings.Contains(shown.String(), "work_1"), true)
}
