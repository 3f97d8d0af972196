package antenv

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"
)

// WorkerConfig says what a worker is to do. A field that has its zero value is left to the library, which is what is told here. Durations
// are sent in whole milliseconds, DesiredTTL in whole seconds, rounded up.
type WorkerConfig struct {
	// EnvironmentID is the environment whose queue is served. Without it: ANTHROPIC_ENVIRONMENT_ID.
	EnvironmentID string `json:"environment_id"`
	// EnvironmentKey is its key. Without it: the client's environment key, then ANTHROPIC_ENVIRONMENT_KEY.
	EnvironmentKey Secret `json:"environment_key"`
	// WorkerID is who polls, one name per worker, for the queue's numbers. Without it: the host's name and twelve hex digits.
	WorkerID string `json:"worker_id"`
	// Concurrency is how many items are held at once, 1 to 100000. Without it: 1.
	Concurrency int `json:"concurrency"`
	// Block is how long a poll waits at the server, up to 999 ms. Absent: 999 ms; with Drain, not at all.
	Block Opt[time.Duration] `json:"block_ms"`
	// ReclaimOlderThan has polls also take items that were unacknowledged for longer than this. Absent: the server's 5 seconds.
	ReclaimOlderThan Opt[time.Duration] `json:"reclaim_older_than_ms"`
	// Drain ends the worker when the queue is empty.
	Drain bool `json:"drain"`
	// DesiredTTL is how long a heartbeat is to extend a lease. Without it: as the server likes.
	DesiredTTL time.Duration `json:"desired_ttl_seconds"`
	// IdleAfter is after how long without an item the worker pauses between polls. Absent: a minute.
	IdleAfter Opt[time.Duration] `json:"idle_after_ms"`
	// IdleMin is how long those pauses are at least. Absent: 1 second.
	IdleMin Opt[time.Duration] `json:"idle_min_ms"`
	// IdleMax is how long they are at most. Absent: 3 seconds.
	IdleMax Opt[time.Duration] `json:"idle_max_ms"`
	// Grace is how long items go on when the worker was stopped. Absent: 30 seconds.
	Grace Opt[time.Duration] `json:"grace_ms"`
	// RescueAfter is after how long items that somebody acknowledged and left without a heartbeat are put back into the queue; 0: never.
	// Absent: a minute.
	RescueAfter Opt[time.Duration] `json:"rescue_after_ms"`
	// Extra holds keys of the library's configuration that this package does not know.
	Extra map[string]any `json:"-"`

	// OnError is told when serving an item failed under Worker.Run: what the handler returned, a *PanicError if it panicked, and why the
	// item could not be stopped. Handlers' goroutines call it. Without it, the error goes to the logger of SetLogger, without one to
	// slog.Default().
	OnError func(lease *Lease, err error) `json:"-"`
}

// Format prints the fields that are set. It hides the key.
func (c WorkerConfig) Format(to fmt.State, _ rune) { format(to, c) }

// LogValue returns the fields that are set for slog. It hides the key.
func (c WorkerConfig) LogValue() slog.Value { return logValue(c) }

// object is the configuration as the library takes it.
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

// nameWorkerField has an error about a duration name the field instead of the library's key, which has a unit of its own.
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
