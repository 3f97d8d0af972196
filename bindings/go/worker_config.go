package antenv

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"
)

// WorkerConfig configures a worker. The library decides what a field with its zero value means; the comments describe that. Durations are
// sent in whole milliseconds, DesiredTTL in whole seconds, rounded up. Except where a comment says otherwise they may be 0 to 24 hours.
type WorkerConfig struct {
	// EnvironmentID is the environment whose queue is served. Default: ANTHROPIC_ENVIRONMENT_ID.
	EnvironmentID string `json:"environment_id"`
	// EnvironmentKey is its key. Default: the client's environment key, then ANTHROPIC_ENVIRONMENT_KEY.
	EnvironmentKey Secret `json:"environment_key"`
	// WorkerID names the worker in the queue's statistics; each worker has its own. Default: the host's name and twelve hex digits.
	WorkerID string `json:"worker_id"`
	// Concurrency is how many items the worker holds at once, 1 to 100000. Default: 1.
	Concurrency int `json:"concurrency"`
	// Block is how long a poll waits at the server, 0 to 999 ms. Default: 999 ms; with Drain 0.
	Block Opt[time.Duration] `json:"block_ms"`
	// ReclaimOlderThan has polls also take items that have been unacknowledged for longer. Default: the server's, 5 seconds.
	ReclaimOlderThan Opt[time.Duration] `json:"reclaim_older_than_ms"`
	// Drain ends the worker when the queue is empty.
	Drain bool `json:"drain"`
	// Heartbeat set to false has the worker only claim items: they are acknowledged and handed out without a heartbeat, for other
	// processes to serve, as Lease.Release describes. Default: true.
	Heartbeat Opt[bool] `json:"heartbeat"`
	// DesiredTTL is how long a heartbeat should extend a lease, 1 second to 24 hours. Default: the server decides.
	DesiredTTL time.Duration `json:"desired_ttl_seconds"`
	// IdleAfter is how long no item must have come before the worker pauses between polls. Default: 1 minute.
	IdleAfter Opt[time.Duration] `json:"idle_after_ms"`
	// IdleMin is the shortest such pause. Default: 1 second.
	IdleMin Opt[time.Duration] `json:"idle_min_ms"`
	// IdleMax is the longest such pause. Default: 3 seconds.
	IdleMax Opt[time.Duration] `json:"idle_max_ms"`
	// Grace is how long items may go on after the worker was stopped. Default: 30 seconds.
	Grace Opt[time.Duration] `json:"grace_ms"`
	// RescueAfter is how long an item that another worker acknowledged may be without a heartbeat before this worker puts it back into the
	// queue; 0: no item is put back. Default: 1 minute.
	RescueAfter Opt[time.Duration] `json:"rescue_after_ms"`
	// Extra holds keys of the library's configuration that this package does not know.
	Extra map[string]any `json:"-"`

	// ErrorPolicy is what Run does with an item whose handler failed. Default: FinishOnError.
	ErrorPolicy ErrorPolicy `json:"-"`
	// OnError receives what went wrong when Run served an item: the handler's error, a *PanicError if it panicked, and the reason why the
	// item could not be stopped. It runs in the handler's goroutine, after the lease has ended. Default: the error goes to the logger of
	// SetLogger, or else to slog.Default().
	OnError func(lease *Lease, err error) `json:"-"`
}

// Format prints the fields, whatever the verb. It hides the key.
func (c WorkerConfig) Format(to fmt.State, _ rune) { format(to, c) }

// LogValue returns the fields for slog. It hides the key.
func (c WorkerConfig) LogValue() slog.Value { return logValue(c) }

// object returns the configuration as the library takes it.
func (c WorkerConfig) object() (o object) {
	eachField(reflect.ValueOf(c), func(name string, field reflect.Value) {
		if field.IsZero() {
			return
		}
		value, unit := field.Interface(), time.Millisecond
		if strings.HasSuffix(name, "_seconds") {
			unit = time.Second
		}
		switch duration := value.(type) {
		case time.Duration:
			value = roundUp(duration, unit)
		case Opt[time.Duration]:
			value = nil
			if given, is := duration.Get(); is {
				value = roundUp(given, unit)
			}
		}
		o.add(name, value)
	})
	for name, value := range c.Extra {
		o.add(name, value)
	}
	return o
}

// nameWorkerField has an error about a duration name its field, because the library's key has a unit.
func nameWorkerField(err error) error {
	var failed *Error
	if !errors.As(err, &failed) {
		return err
	}
	config := reflect.TypeFor[WorkerConfig]()
	for i := range config.NumField() {
		if field := config.Field(i); field.Tag.Get("json") == failed.Parameter && isDuration(field.Type) {
			failed.nameParameter(field.Name)
		}
	}
	return failed
}

func isDuration(kind reflect.Type) bool {
	return kind == reflect.TypeFor[time.Duration]() || kind == reflect.TypeFor[Opt[time.Duration]]()
}
