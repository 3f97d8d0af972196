package antenv_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"antenv.internal/antenv"
	"antenv.internal/antenv/antenvtest"
)

// workerEnv is an emulator with an environment, for workers.
type workerEnv struct {
	*antenvtest.Emulator
	t           *testing.T
	client      *antenv.Client
	environment string
}

func newWorkerEnv(t *testing.T, options ...string) workerEnv {
	t.Helper()
	emulator := antenvtest.Start(t, options...)
	return workerEnv{emulator, t, emulator.Client(t), emulator.Environment().ID}
}

func (s workerEnv) worker(config antenv.WorkerConfig) *antenv.Worker {
	s.t.Helper()
	config.EnvironmentID = s.environment
	return s.Worker(s.t, config)
}

func (s workerEnv) queue(count int) {
	s.t.Helper()
	equal(s.t, len(s.EnqueueMany(s.environment, count)), count)
}

func (s workerEnv) state(work string) antenv.State {
	s.t.Helper()
	return must(s.client.Environments.Work.Retrieve(ctx, s.environment, work))(s.t).State
}

// only are the requests of one operation so far.
func (s workerEnv) only(operation string) (requests []antenvtest.Request) {
	s.t.Helper()
	for _, request := range s.Requests() {
		if request.Operation == operation {
			requests = append(requests, request)
		}
	}
	return requests
}

func stats(t *testing.T, worker *antenv.Worker) *antenv.WorkerStats {
	t.Helper()
	return must(worker.Stats())(t)
}

type key struct{}

// running is a worker that serves in a goroutine of its own.
type running struct {
	cancel context.CancelFunc
	ended  chan error
}

func run(worker *antenv.Worker, handle func(context.Context, *antenv.Lease) error) running {
	with, cancel := context.WithCancel(context.WithValue(ctx, key{}, "a value"))
	r := running{cancel, make(chan error, 1)}
	go func() { r.ended <- worker.Run(with, handle) }()
	return r
}

// end waits for the worker's end.
func (r running) end() error {
	defer r.cancel()
	return <-r.ended
}

func TestAnItemIsServedAndStopped(t *testing.T) {
	s := newWorkerEnv(t)
	item := s.Enqueue(s.environment, map[string]any{"metadata": map[string]any{"a": "b"}})
	worker := s.worker(antenv.WorkerConfig{WorkerID: "mine"})
	served := make(chan *antenv.Lease, 1)
	r := run(worker, func(ctx context.Context, lease *antenv.Lease) error {
		state := must(lease.State())(t)
		equal(t, [2]any{state.State, state.Reason}, [2]any{antenv.LeaseHeld, antenv.LeaseReason("")})
		equal(t, [2]any{state.WorkID, state.TTLSeconds}, [2]any{lease.Work.ID, int64(300)})
		equal(t, state.Beats > 0 && state.LastHeartbeat != "", true)
		equal(t, ctx.Value(key{}), any("a value"))
		equal(t, ctx.Err() == nil && lease.Err() == nil, true)
		equal(t, s.state(lease.Work.ID), antenv.StateActive)
		served <- lease
		return nil
	})
	lease := <-served
	equal(t, lease.Work.ID, item.ID)
	equal(t, lease.Work.Metadata, map[string]string{"a": "b"})
	equal(t, lease.Work.Data.Type, "session")
	waitFor(t, func() bool { return s.state(item.ID) == antenv.StateStopped })
	<-lease.Done()
	equal(t, lease.Err(), nil)
	for _, err := range []error{
		func() error { _, err := lease.State(); return err }(),
		func() error { _, err := lease.Client(); return err }(),
		func() error { _, err := lease.Finish(ctx); return err }(),
	} {
		equal(t, errors.Is(err, antenv.ErrClosed) && strings.Contains(err.Error(), "lease"), true)
	}
	if secret := string(lease.Work.Secret); secret == "" || strings.Contains(fmt.Sprintf("%v %+v %#v", lease, lease, *lease.Work), secret) {
		t.Fatal("the secret is not there, or shows")
	}
	r.cancel()
	equal(t, r.end(), nil)
	waitFor(t, func() bool {
		counts := stats(t, worker)
		return counts.Claimed == 1 && counts.Finished == 1 && counts.State == antenv.WorkerStopped
	})
	equal(t, strings.Contains(must(worker.Metrics())(t), "antenv_worker_claimed_total"), true)
	polls := s.only("work.poll")
	equal(t, polls[0].Headers["anthropic-worker-id"], "mine")
}

func TestAHandlersErrorDoesNotEndTheWorker(t *testing.T) {
	s := newWorkerEnv(t)
	s.queue(4)
	type report struct {
		lease *antenv.Lease
		err   error
	}
	reports := make(chan report, 4)
	worker := s.worker(antenv.WorkerConfig{Drain: true, OnError: func(lease *antenv.Lease, err error) { reports <- report{lease, err} }})
	tired, number := errors.New("tired"), 0
	equal(t, worker.Run(ctx, func(context.Context, *antenv.Lease) error {
		number++
		switch number {
		case 1:
			return tired
		case 2:
			panic(fmt.Errorf("very %w", tired))
		case 3:
			runtime.Goexit()
		}
		return nil
	}), nil)
	equal(t, [2]int{number, len(reports)}, [2]int{4, 3})
	// The next item may be handed out, and its error reported, before the error of the one before is.
	kinds := map[string]int{}
	for range 3 {
		got := <-reports
		equal(t, s.state(got.lease.Work.ID), antenv.StateStopped)
		var panicked *antenv.PanicError
		switch {
		case errors.As(got.err, &panicked):
			kinds["panic"]++
			if !errors.Is(got.err, tired) || !strings.Contains(string(panicked.Stack), "TestAHandlersError") || !strings.Contains(got.err.Error(), "very tired") {
				t.Fatal(got.err)
			}
		case errors.Is(got.err, tired):
			kinds["error"]++
		default:
			kinds["exit"]++
		}
	}
	equal(t, fmt.Sprint(kinds), "map[error:1 exit:1 panic:1]")
	waitFor(t, func() bool { return stats(t, worker).Finished == 4 })
}

func TestTheErrorPolicyDecidesAboutTheItem(t *testing.T) {
	s := newWorkerEnv(t)
	for policy, want := range map[antenv.ErrorPolicy]int{"": 1, antenv.FinishOnError: 1, antenv.AbandonOnError: 0} {
		for name, handle := range map[string]func(*antenv.Worker) error{
			"an error": func(*antenv.Worker) error { return errors.New("tired") },
			"a panic":  func(*antenv.Worker) error { panic("tired") },
		} {
			t.Run(string(policy)+" after "+name, func(t *testing.T) {
				before := len(s.only("work.stop"))
				reports := make(chan *antenv.Lease, 1)
				worker := s.worker(antenv.WorkerConfig{ErrorPolicy: policy, OnError: func(lease *antenv.Lease, _ error) { reports <- lease }})
				s.queue(1)
				r := run(worker, func(context.Context, *antenv.Lease) error {
					worker.Stop() // or it would claim an abandoned item again
					return handle(worker)
				})
				_, err := (<-reports).State()
				equal(t, errors.Is(err, antenv.ErrClosed), true)
				equal(t, r.end(), nil)
				equal(t, len(s.only("work.stop"))-before, want)
				waitFor(t, func() bool { return stats(t, worker).Abandoned == int64(1-want) })
				if want == 0 { // leaves the queue empty for the next one
					s.Advance(time.Hour)
					rest := s.worker(antenv.WorkerConfig{Drain: true})
					equal(t, rest.Run(ctx, func(context.Context, *antenv.Lease) error { return nil }), nil)
					waitFor(t, func() bool { return stats(t, rest).Finished == 1 })
				}
			})
		}
	}
	_, err := s.client.NewWorker(antenv.WorkerConfig{ErrorPolicy: "odd"})
	equal(t, failure(t, err).Parameter, "ErrorPolicy")
	equal(t, errors.Is(err, antenv.ErrConfig), true)
}

func TestAnItemThatIsToBeStoppedIsNotAbandoned(t *testing.T) {
	s := newWorkerEnv(t, "--lease-ttl", "10")
	item := s.Enqueue(s.environment, nil)
	worker := s.worker(antenv.WorkerConfig{Drain: true, ErrorPolicy: antenv.AbandonOnError, OnError: func(*antenv.Lease, error) {}})
	equal(t, worker.Run(ctx, func(ctx context.Context, lease *antenv.Lease) error {
		must(s.client.Environments.Work.Stop(ctx, s.environment, item.ID, antenv.WorkStopParams{}))(t)
		<-ctx.Done()
		return context.Cause(ctx)
	}), nil)
	equal(t, s.state(item.ID), antenv.StateStopped)
}

func TestATimeoutReportsThePollsThatFailed(t *testing.T) {
	s := newWorkerEnv(t)
	worker := s.worker(antenv.WorkerConfig{})
	s.Faults(antenvtest.Fault{"operation": "work.poll", "status": 500, "count": 1_000})
	with, cancel := context.WithCancel(ctx)
	ended := make(chan error)
	go func() {
		_, err := worker.Next(with)
		ended <- err
	}()
	waitFor(t, func() bool { return len(stats(t, worker).Failures["poll"]) > 0 })
	cancel()
	err := <-ended
	equal(t, errors.Is(err, context.Canceled), true)
	equal(t, strings.HasPrefix(err.Error(), "antenv: worker.next: context canceled; the last poll failed: "), true)
	equal(t, strings.Contains(err.Error(), "500 server_error"), true)
}

func TestWithoutOnErrorTheErrorGoesToTheLog(t *testing.T) {
	s := newWorkerEnv(t)
	item := s.Enqueue(s.environment, nil)
	var mutex sync.Mutex
	var text strings.Builder
	logger := slog.New(slog.NewTextHandler(writer(func(line []byte) {
		mutex.Lock()
		defer mutex.Unlock()
		text.Write(line)
	}), &slog.HandlerOptions{Level: slog.LevelError}))
	if err := antenv.SetLogger(logger); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = antenv.SetLogger(nil) }()
	worker := s.worker(antenv.WorkerConfig{Drain: true})
	equal(t, worker.Run(ctx, func(context.Context, *antenv.Lease) error { return errors.New("tired") }), nil)
	mutex.Lock()
	defer mutex.Unlock()
	if !strings.Contains(text.String(), "work_id="+item.ID+" error=tired") {
		t.Fatal(text.String())
	}
}

type writer func([]byte)

func (w writer) Write(line []byte) (int, error) { w(line); return len(line), nil }

func TestAsManyItemsAsAllowedAreServedAtOnce(t *testing.T) {
	s := newWorkerEnv(t)
	s.queue(20)
	var now, most atomic.Int32
	all := make(chan struct{})
	worker := s.worker(antenv.WorkerConfig{Concurrency: 5, Drain: true})
	equal(t, worker.Run(ctx, func(context.Context, *antenv.Lease) error {
		if many := now.Add(1); many >= 5 && most.Swap(max(many, most.Load())) < 5 {
			close(all)
		}
		<-all // which five of them reach
		now.Add(-1)
		return nil
	}), nil)
	equal(t, most.Load(), int32(5))
	waitFor(t, func() bool { return stats(t, worker).Finished == 20 })
}

func TestALostLeaseCancelsTheHandler(t *testing.T) {
	s := newWorkerEnv(t, "--lease-ttl", "10")
	reports := make(chan error, 1)
	worker := s.worker(antenv.WorkerConfig{OnError: func(_ *antenv.Lease, err error) { reports <- err }})
	s.queue(1)
	gone, finish := make(chan error), make(chan struct{})
	r := run(worker, func(ctx context.Context, lease *antenv.Lease) error {
		s.Advance(time.Minute)
		<-ctx.Done()
		equal(t, errors.Is(lease.Err(), antenv.ErrLeaseLost), true)
		gone <- context.Cause(ctx)
		<-finish
		_, err := lease.Finish(context.WithoutCancel(ctx))
		return err
	})
	cause := <-gone
	equal(t, errors.Is(cause, antenv.ErrLeaseLost) && !errors.Is(cause, antenv.ErrStopRequested), true)
	var lost *antenv.LeaseError
	equal(t, errors.As(cause, &lost), true)
	equal(t, lost.State.State, antenv.LeaseLost)
	equal(t, lost.State.Reason, antenv.ReasonTaken)
	equal(t, strings.Contains(cause.Error(), lost.State.WorkID+" is lost (taken)"), true)
	worker.Stop() // or it would claim the item again
	close(finish)
	equal(t, errors.Is(<-reports, antenv.ErrLeaseLost), true)
	equal(t, r.end(), nil)
	equal(t, len(s.only("work.stop")), 0)
	equal(t, stats(t, worker).Lost, 1)
}

func TestAStopRequestCancelsTheHandler(t *testing.T) {
	s := newWorkerEnv(t, "--lease-ttl", "10")
	worker := s.worker(antenv.WorkerConfig{Drain: true})
	item := s.Enqueue(s.environment, nil)
	equal(t, worker.Run(ctx, func(ctx context.Context, lease *antenv.Lease) error {
		must(s.client.Environments.Work.Stop(ctx, s.environment, item.ID, antenv.WorkStopParams{}))(t)
		<-ctx.Done()
		cause := context.Cause(ctx)
		equal(t, errors.Is(cause, antenv.ErrStopRequested) && !errors.Is(cause, antenv.ErrLeaseLost), true)
		equal(t, strings.Contains(cause.Error(), item.ID+" is to be stopped (asked)"), true)
		equal(t, must(lease.State())(t).State, antenv.LeaseStopRequested)
		return nil
	}), nil)
	equal(t, s.state(item.ID), antenv.StateStopped)
}

func TestAHandlerMayEndItsLeaseItself(t *testing.T) {
	s := newWorkerEnv(t)
	s.queue(2)
	worker := s.worker(antenv.WorkerConfig{Concurrency: 2})
	var finished atomic.Bool
	ended := make(chan string, 2)
	r := run(worker, func(ctx context.Context, lease *antenv.Lease) error {
		if finished.CompareAndSwap(false, true) {
			var response antenv.Response
			work := must(lease.Finish(ctx, antenv.WithTimeout(time.Minute), antenv.WithConfig("force", true), antenv.WithResponse(&response)))(t)
			equal(t, [2]any{work.ID, work.State}, [2]any{lease.Work.ID, antenv.StateStopped})
			equal(t, response.HTTPStatus, 200)
			lease.Abandon() // changes nothing
		} else {
			lease.Abandon()
			lease.Abandon()
		}
		<-lease.Done()
		equal(t, ctx.Err() == nil && lease.Err() == nil, true) // ending the lease does not cancel the handler
		ended <- lease.Work.ID
		return nil
	})
	<-ended
	<-ended
	r.cancel()
	equal(t, r.end(), nil)
	equal(t, len(s.only("work.stop")), 1)
	waitFor(t, func() bool { counts := stats(t, worker); return counts.Finished == 1 && counts.Abandoned == 1 })
}

func TestFinishReportsWhatIsWrong(t *testing.T) {
	s := newWorkerEnv(t)
	s.queue(1)
	lease := must(s.worker(antenv.WorkerConfig{}).Next(ctx))(t)
	_, err := lease.Finish(ctx, antenv.WithConfig("odd", 1))
	equal(t, failure(t, err).Parameter, "odd")
	_, err = lease.Finish(ctx, antenv.WithConfig("force", func() {}))
	equal(t, err != nil && strings.Contains(err.Error(), "force"), true)
	done, cancel := context.WithCancel(ctx)
	cancel()
	_, err = lease.Finish(done)
	equal(t, errors.Is(err, context.Canceled), true)
	equal(t, must(lease.State())(t).State, antenv.LeaseHeld) // none of that ended it
	s.Faults(antenvtest.Fault{"operation": "work.stop", "latency_ms": 60_000})
	soon, cancel := context.WithCancel(ctx)
	ended := make(chan error)
	go func() {
		_, err := lease.Finish(soon)
		ended <- err
	}()
	waitFor(t, func() bool { return len(s.only("work.stop")) == 1 })
	cancel()
	equal(t, errors.Is(<-ended, context.Canceled), true)
	_, err = lease.Finish(ctx)
	equal(t, errors.Is(err, antenv.ErrClosed), true)
	s.queue(1)
	s.Control("DELETE", "faults", nil, nil)
	again := must(s.worker(antenv.WorkerConfig{}).Next(ctx))(t)
	s.Faults(antenvtest.Fault{"operation": "work.stop", "status": 403})
	_, err = again.Finish(ctx)
	equal(t, errors.Is(err, antenv.StatusPermissionDenied), true)
}

func TestAContextThatIsDoneDrainsTheWorker(t *testing.T) {
	s := newWorkerEnv(t)
	s.queue(1)
	worker := s.worker(antenv.WorkerConfig{})
	started, finish := make(chan struct{}), make(chan struct{})
	r := run(worker, func(ctx context.Context, lease *antenv.Lease) error {
		close(started)
		<-finish
		if ctx.Err() != nil {
			t.Error("the handler was cancelled")
		}
		return nil
	})
	<-started
	r.cancel()
	waitFor(t, func() bool { return stats(t, worker).State == antenv.WorkerStopped })
	s.queue(1) // which is not claimed
	polls := len(s.only("work.poll"))
	select {
	case err := <-r.ended:
		t.Fatal(err)
	default:
	}
	close(finish)
	equal(t, <-r.ended, nil)
	equal(t, len(s.only("work.poll")), polls)
	waitFor(t, func() bool { counts := stats(t, worker); return counts.Claimed == 1 && counts.Finished == 1 })
	equal(t, run(worker, nil).end(), nil) // there is nothing more to come
	_, err := worker.Next(ctx)
	equal(t, errors.Is(err, antenv.ErrDone), true)
}

func TestHandlersAreCancelledWhenTheGracePeriodIsOver(t *testing.T) {
	s := newWorkerEnv(t)
	s.queue(2)
	worker := s.worker(antenv.WorkerConfig{Concurrency: 2, Grace: antenv.Set(50 * time.Millisecond)})
	started, causes := make(chan struct{}, 2), make(chan error, 2)
	r := run(worker, func(ctx context.Context, lease *antenv.Lease) error {
		started <- struct{}{}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return nil
	})
	<-started
	<-started
	r.cancel()
	equal(t, r.end(), nil)
	for range 2 {
		cause := <-causes
		var lease *antenv.LeaseError
		equal(t, errors.Is(cause, antenv.ErrStopRequested) && errors.As(cause, &lease), true)
		equal(t, lease.State.Reason, antenv.ReasonShutdown)
		equal(t, s.state(lease.State.WorkID), antenv.StateStopped)
	}
}

func TestAWorkerWhoseContextIsDoneClaimsNothing(t *testing.T) {
	s := newWorkerEnv(t)
	s.queue(1)
	done, cancel := context.WithCancel(ctx)
	cancel()
	worker := s.worker(antenv.WorkerConfig{})
	_, err := worker.Next(done)
	equal(t, errors.Is(err, context.Canceled), true)
	equal(t, worker.Run(done, nil), nil)
	equal(t, len(s.only("work.poll")), 0)
}

func TestAPermanentRefusalEndsTheWorker(t *testing.T) {
	s := newWorkerEnv(t)
	worker := s.Worker(t, antenv.WorkerConfig{EnvironmentID: s.environment, EnvironmentKey: "sk-ant-oat01-never-issued"})
	for range 2 {
		err := worker.Run(ctx, nil)
		equal(t, errors.Is(err, antenv.ErrAuthentication), true)
		equal(t, failure(t, err).HTTPStatus, 401)
	}
	equal(t, stats(t, worker).State, antenv.WorkerFailed)
}

func TestALeaseHasAClientWithItsOwnToken(t *testing.T) {
	s := newWorkerEnv(t)
	s.queue(1)
	worker := s.worker(antenv.WorkerConfig{})
	lease := must(worker.Next(ctx))(t)
	client := must(lease.Client())(t)
	defer client.Close()
	must(lease.Finish(ctx))(t)
	worker.Close()
	must(client.Request(ctx, "GET", "/v1/sessions/"+lease.Work.Data.ID))(t) // it outlives both
	requests := s.only("sessions.retrieve")
	if len(requests) != 1 || !strings.HasPrefix(requests[0].Headers["authorization"], "Bearer sk-ant-req-") {
		t.Fatal(requests)
	}
}

func TestNextReturnsItemsUntilThereAreNone(t *testing.T) {
	s := newWorkerEnv(t)
	s.queue(3)
	worker := s.worker(antenv.WorkerConfig{Concurrency: 2, Drain: true})
	for range 3 {
		must(must(worker.Next(ctx))(t).Finish(ctx))(t)
	}
	lease, err := worker.Next(ctx)
	equal(t, lease == nil && err == antenv.ErrDone, true)
}

func TestWaitersForAnItemAreWoken(t *testing.T) {
	s := newWorkerEnv(t)
	worker := s.worker(antenv.WorkerConfig{Concurrency: 100})
	type next struct {
		lease *antenv.Lease
		err   error
	}
	found := make(chan next)
	for range 50 {
		go func() {
			lease, err := worker.Next(ctx)
			found <- next{lease, err}
		}()
	}
	soon, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err := worker.Next(soon)
	equal(t, errors.Is(err, context.DeadlineExceeded) && strings.Contains(err.Error(), "worker.next"), true)
	s.queue(40)
	ids := map[string]bool{}
	for range 40 {
		got := <-found
		if got.err != nil {
			t.Fatal(got.err)
		}
		ids[got.lease.Work.ID] = true
		got.lease.Abandon()
	}
	equal(t, len(ids), 40)
	worker.Close()
	for range 10 {
		equal(t, (<-found).err, error(antenv.ErrDone))
	}
	_, err = worker.Next(ctx)
	equal(t, err, error(antenv.ErrDone))
	_, err = worker.Stats()
	equal(t, errors.Is(err, antenv.ErrClosed) && strings.Contains(err.Error(), "worker"), true)
	_, err = worker.Metrics()
	equal(t, errors.Is(err, antenv.ErrClosed), true)
	worker.Stop()
	worker.Close()
}

func TestLeasesHeldTakeNoThreads(t *testing.T) {
	const many = 1_000
	s := newWorkerEnv(t, "--request-log", "0")
	s.queue(many)
	before := threads(t)
	worker := s.worker(antenv.WorkerConfig{Concurrency: many})
	var held atomic.Int32
	all := make(chan struct{})
	r := run(worker, func(context.Context, *antenv.Lease) error {
		if held.Add(1) == many {
			close(all)
		}
		<-all
		return nil
	})
	most := 0
	waitFor(t, func() bool { most = max(most, threads(t)); return held.Load() == many })
	r.cancel()
	equal(t, r.end(), nil)
	waitFor(t, func() bool { return stats(t, worker).Finished == many })
	t.Logf("%d leases held, %d threads at most, %d before", many, most, before)
	if most > maxThreads {
		t.Fatalf("%d threads", most)
	}
}

func TestAForgottenLeaseIsAbandoned(t *testing.T) {
	s := newWorkerEnv(t, "--lease-ttl", "2")
	item := s.Enqueue(s.environment, nil)
	worker := s.worker(antenv.WorkerConfig{})
	func() { must(worker.Next(ctx))(t) }()
	worker.Stop() // or it would claim the item again
	waitFor(t, func() bool { runtime.GC(); return stats(t, worker).Abandoned == 1 })
	waitFor(t, func() bool { return s.state(item.ID) == antenv.StateQueued }) // there were no more heartbeats
}

func TestAHeldLeaseIsNotForgotten(t *testing.T) {
	s := newWorkerEnv(t)
	s.queue(1)
	lease := func() *antenv.Lease { return must(s.worker(antenv.WorkerConfig{}).Next(ctx))(t) }()
	for range 3 {
		runtime.GC()
	}
	equal(t, must(lease.State())(t).State, antenv.LeaseHeld)
	must(lease.Finish(ctx))(t)
}

func TestNothingIsLeftOfAWorker(t *testing.T) {
	s := newWorkerEnv(t)
	goroutines := runtime.NumGoroutine()
	key := s.EnvironmentKey(s.environment)
	for _, forgotten := range []bool{false, true} {
		func() {
			s.queue(3)
			client := must(antenv.NewClient(antenv.WithEnvironmentKey(key), antenv.WithBaseURL(s.URL)))(t)
			worker := must(client.NewWorker(antenv.WorkerConfig{EnvironmentID: s.environment, Concurrency: 3}))(t)
			client.Close()
			s.client.Close()
			r := run(worker, func(_ context.Context, lease *antenv.Lease) error { return nil })
			waitFor(t, func() bool { return stats(t, worker).Finished == 3 })
			r.cancel()
			equal(t, <-r.ended, nil)
			if !forgotten {
				worker.Close()
			}
		}()
		waitFor(t, func() bool {
			runtime.GC()
			http.DefaultClient.CloseIdleConnections()
			return runtime.NumGoroutine() <= goroutines
		})
	}
}

func TestALeaseOutlivesItsWorkerAndItsClient(t *testing.T) {
	s := newWorkerEnv(t)
	item := s.Enqueue(s.environment, nil)
	client := must(antenv.NewClient(antenv.WithEnvironmentKey(s.EnvironmentKey(s.environment)), antenv.WithBaseURL(s.URL)))(t)
	worker := must(client.NewWorker(antenv.WorkerConfig{EnvironmentID: s.environment}))(t)
	lease := must(worker.Next(ctx))(t)
	client.Close()
	worker.Close()
	equal(t, must(lease.State())(t).State, antenv.LeaseHeld)
	equal(t, must(lease.Finish(ctx))(t).State, antenv.StateStopped)
	equal(t, s.state(item.ID), antenv.StateStopped)
}

func TestTheWorkersKeysAreThoseOfTheLibrary(t *testing.T) {
	client := must(antenv.NewClient(antenv.WithAPIKey("k"), antenv.WithBaseURL("http://127.0.0.1:9")))(t)
	defer client.Close()
	t.Setenv("ANTHROPIC_ENVIRONMENT_ID", "") // and back at the end
	os.Unsetenv("ANTHROPIC_ENVIRONMENT_ID")
	here, config := map[string]bool{}, reflect.TypeOf(antenv.WorkerConfig{})
	for i := range config.NumField() {
		if name := config.Field(i).Tag.Get("json"); name != "-" {
			here[name] = true
		}
	}
	_, err := client.NewWorker(antenv.WorkerConfig{Extra: map[string]any{"odd": 0}})
	equal(t, here, known(t, err))
	valid := antenv.WorkerConfig{EnvironmentID: "env_1", EnvironmentKey: "hidden"}
	equal(t, strings.Contains(fmt.Sprintf("%v %+v %#v", valid, valid, valid), "hidden"), false)
	must(client.NewWorker(valid))(t).Close()
	for parameter, change := range map[string]func(*antenv.WorkerConfig){
		"environment_id":        func(c *antenv.WorkerConfig) { c.EnvironmentID = "" },
		"environment_key":       func(c *antenv.WorkerConfig) { c.EnvironmentKey = "" },
		"concurrency":           func(c *antenv.WorkerConfig) { c.Concurrency = -1 },
		"block_ms":              func(c *antenv.WorkerConfig) { c.Block = antenv.Set(999*time.Millisecond + 1) },
		"reclaim_older_than_ms": func(c *antenv.WorkerConfig) { c.ReclaimOlderThan = antenv.Set(-time.Second) },
		"desired_ttl_seconds":   func(c *antenv.WorkerConfig) { c.DesiredTTL = 24*time.Hour + 1 },
		"idle_after_ms":         func(c *antenv.WorkerConfig) { c.IdleAfter = antenv.Set(25 * time.Hour) },
		"idle_min_ms":           func(c *antenv.WorkerConfig) { c.IdleMin = antenv.Set(25 * time.Hour) },
		"idle_max_ms":           func(c *antenv.WorkerConfig) { c.IdleMax = antenv.Set(time.Duration(0)) },
		"grace_ms":              func(c *antenv.WorkerConfig) { c.Grace = antenv.Set(25 * time.Hour) },
	} {
		config := valid
		change(&config)
		if parameter == "idle_max_ms" {
			config.IdleMin = antenv.Set(time.Second)
		}
		_, err := client.NewWorker(config)
		equal(t, failure(t, err).Parameter, parameter)
		if strings.HasSuffix(parameter, "_ms") || strings.HasSuffix(parameter, "_seconds") {
			equal(t, strings.Contains(err.Error(), "` ("+parameter+") "), true) // after the field's name
		}
		equal(t, errors.Is(err, antenv.ErrConfig), true)
	}
	valid.DesiredTTL, valid.Grace = 1500*time.Millisecond, antenv.Null[time.Duration]()
	valid.Block, valid.IdleMin, valid.IdleMax = antenv.Set(time.Duration(0)), antenv.Set(time.Duration(0)), antenv.Set(time.Duration(0))
	must(client.NewWorker(valid))(t).Close()
	_, err = client.NewWorker(antenv.WorkerConfig{Extra: map[string]any{"odd": func() {}}})
	equal(t, err != nil && strings.Contains(err.Error(), "odd"), true)
	client.Close()
	_, err = client.NewWorker(valid)
	equal(t, errors.Is(err, antenv.ErrClosed), true)
}

func TestTheStatesAndReasonsAreThoseOfTheHeader(t *testing.T) {
	before, _, _ := strings.Cut(header(t), "antenv_status antenv_lease_state(")
	said := before[strings.LastIndex(before, "/**"):]
	for _, known := range []string{
		string(antenv.LeaseHeld), string(antenv.LeaseStopRequested), string(antenv.LeaseLost),
		string(antenv.ReasonStopRequested), string(antenv.ReasonNotExtended), string(antenv.ReasonRejected),
		string(antenv.ReasonShutdown), string(antenv.ReasonTaken), string(antenv.ReasonExpired),
	} {
		if !strings.Contains(said, `"`+known+`"`) {
			t.Errorf("%s is not in the header", known)
		}
	}
}
