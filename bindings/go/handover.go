package antenv

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"time"
)

// Handover is what the next holder of a released lease must know. Printing and logging it hide its secrets.
type Handover struct {
	// WorkID is the item's identifier.
	WorkID string `json:"work_id"`
	// EnvironmentID is its environment's identifier.
	EnvironmentID string `json:"environment_id"`
	// SessionID is the identifier of the session to serve.
	SessionID string `json:"session_id"`
	// WorkSecret is the item's secret; "" if it has none.
	WorkSecret Secret `json:"work_secret"`
	// LastHeartbeat is the last heartbeat, verbatim; "" if there was none.
	LastHeartbeat string `json:"last_heartbeat"`
	// Environment holds the same, and the environment's key, as environment variables.
	Environment map[string]Secret `json:"environment"`
}

// Environ returns the environment variables as os/exec takes them: append them to os.Environ(). They hold secrets.
func (h *Handover) Environ() []string {
	variables := make([]string, 0, len(h.Environment))
	for name, value := range h.Environment {
		variables = append(variables, name+"="+string(value))
	}
	return variables
}

// Format prints the fields, whatever the verb. It hides the secrets.
func (h Handover) Format(to fmt.State, _ rune) { format(to, h) }

// LogValue returns the fields for slog. It hides the secrets.
func (h Handover) LogValue() slog.Value { return logValue(h) }

// Release ends the lease so that another process can go on with it, and returns what that must know. No heartbeat and no stop is sent any
// more. Give it to one process only: one that calls Client.Adopt, or an official client's handle_item. A lease that is released and not
// adopted runs out, and the queue hands the item out again.
//
// The error is ErrLeaseLost when the lease is lost, ErrClosed when it had ended before. The lease ends in either case. Release blocks while
// the result of a heartbeat is unknown: as a rule not at all.
func (l *Lease) Release() (*Handover, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil, errLeaseClosed
	}
	text, err := releaseLease(l.handle)
	l.markEnded()
	return decoded[Handover](text, replaceInvalidHandle(err, errLeaseClosed))
}

// AdoptConfig says which lease to adopt. A field with its zero value comes from an environment variable, as Handover.Environ returns it.
type AdoptConfig struct {
	// WorkID is the item's identifier. Default: ANTHROPIC_WORK_ID.
	WorkID string `json:"work_id"`
	// EnvironmentID is its environment's identifier. Default: ANTHROPIC_ENVIRONMENT_ID.
	EnvironmentID string `json:"environment_id"`
	// SessionID is the identifier of the session to serve. Default: ANTHROPIC_SESSION_ID.
	SessionID string `json:"session_id"`
	// EnvironmentKey is used if the item's secret holds no token. Default: the client's environment key, then ANTHROPIC_ENVIRONMENT_KEY.
	EnvironmentKey Secret `json:"environment_key"`
	// WorkSecret is the item's secret. Default: ANTHROPIC_WORK_SECRET.
	WorkSecret Secret `json:"work_secret"`
	// ExpectedLastHeartbeat is the last heartbeat of the process that handed the lease over, verbatim. Default:
	// ANTHROPIC_WORK_LAST_HEARTBEAT, or there was none.
	ExpectedLastHeartbeat string `json:"expected_last_heartbeat"`
	// DesiredTTL is how long a heartbeat should extend the lease, 1 second to 24 hours, rounded up to seconds. Default: the server decides.
	DesiredTTL time.Duration `json:"-"`
}

// Format prints the fields, whatever the verb. It hides the secrets.
func (c AdoptConfig) Format(to fmt.State, _ rune) { format(to, c) }

// LogValue returns the fields for slog. It hides the secrets.
func (c AdoptConfig) LogValue() slog.Value { return logValue(c) }

// Adopt adopts the lease on an item that another process claimed, and keeps it by heartbeats. The caller has to end it, as a lease of a
// worker. No worker is needed, and the client may be closed first.
//
// The error is ErrLeaseLost when the item is not this process's to serve: another has it, it is in the queue again, or it was to be
// stopped. It is ErrConfig when a field is missing or invalid, and otherwise the error of the heartbeat, which was refused or not answered
// in time: that takes at most 10 seconds, and stopping an item up to 60 more. When ctx is done first, the error wraps ctx.Err(), and the
// lease is abandoned.
func (c *Client) Adopt(ctx context.Context, config AdoptConfig) (*Lease, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx, "adopt")
	}
	var object object
	object.addFields(config)
	if config.DesiredTTL != 0 {
		object.add("desired_ttl_seconds", roundUp(config.DesiredTTL, time.Second))
	}
	text, err := object.nulTerminated()
	if err != nil {
		return nil, err
	}
	type outcome struct {
		handle leaseHandle
		item   []byte
		err    error
	}
	done := make(chan outcome)
	go func() {
		defer runtime.KeepAlive(c.core)
		var o outcome
		o.handle, o.item, o.err = adoptLease(c.handle, text)
		select {
		case done <- o:
		case <-ctx.Done():
			abandonLease(o.handle)
		}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, o.err
		}
		return newLease(nil, o.handle, o.item)
	case <-ctx.Done():
		return nil, contextError(ctx, "adopt")
	}
}
