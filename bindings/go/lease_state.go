package antenv

import (
	"errors"
	"fmt"
	"log/slog"
)

// LeaseStatus is the status of a lease. Later versions may add values.
type LeaseStatus string

// The statuses of a lease.
const (
	LeaseHeld          LeaseStatus = "held"
	LeaseClaimed       LeaseStatus = "claimed"        // acknowledged without a heartbeat, for another process to serve
	LeaseStopRequested LeaseStatus = "stop_requested" // end the work and finish
	LeaseLost          LeaseStatus = "lost"           // stop working at once: another worker may be serving the item
)

// LeaseReason is why a lease is lost or its item is to be stopped. Later versions may add values.
type LeaseReason string

// The reasons.
const (
	ReasonStopRequested LeaseReason = "asked"        // stop requested: the item is stopping or stopped at the server
	ReasonNotExtended   LeaseReason = "not_extended" // stop requested: the server did not extend the lease
	ReasonRejected      LeaseReason = "rejected"     // stop requested: a heartbeat was refused permanently
	ReasonShutdown      LeaseReason = "shutdown"     // stop requested: the worker's grace period is over; lost: the library was shut down
	ReasonTaken         LeaseReason = "taken"        // lost: another worker holds it
	ReasonExpired       LeaseReason = "expired"      // lost: no heartbeat succeeded for as long as the lease lasts
)

// LeaseState is the state of a lease.
type LeaseState struct {
	Object[LeaseState]
	// State is the lease's status.
	State LeaseStatus `json:"state"`
	// Reason is why the lease is lost or the item is to be stopped; "" while the lease is held or claimed.
	Reason LeaseReason `json:"reason"`
	// WorkID is the item's identifier.
	WorkID string `json:"work_id"`
	// TTLSeconds is how many seconds the lease lasts after each heartbeat.
	TTLSeconds int64 `json:"ttl_seconds"`
	// LastHeartbeat is the time of the last successful heartbeat, verbatim: the server compares it as a text.
	LastHeartbeat string `json:"last_heartbeat"`
	// Beats is how many heartbeats succeeded.
	Beats int64 `json:"beats"`
}

// UnmarshalJSON decodes the library's JSON.
func (s *LeaseState) UnmarshalJSON(data []byte) error {
	type plain LeaseState
	return decodeKeeping(data, (*plain)(s), &s.Object)
}

// Format prints the fields, whatever the verb.
func (s LeaseState) Format(to fmt.State, _ rune) { format(to, s) }

// LogValue returns the fields for slog.
func (s LeaseState) LogValue() slog.Value { return logValue(s) }

// ErrStopRequested is the kind of a *LeaseError that reports that the item is to be stopped. The other kind is ErrLeaseLost.
var ErrStopRequested = errors.New("antenv: the item is to be stopped")

// LeaseError reports that a lease is lost or that its item is to be stopped: errors.Is finds ErrLeaseLost or ErrStopRequested in it.
type LeaseError struct {
	// State is the lease's state at that moment.
	State LeaseState
}

// Error returns a message with the item and the reason.
func (e *LeaseError) Error() string {
	if e.Is(ErrLeaseLost) {
		return fmt.Sprintf("antenv: the lease on work item %s is lost (%s)", e.State.WorkID, e.State.Reason)
	}
	return fmt.Sprintf("antenv: work item %s is to be stopped (%s)", e.State.WorkID, e.State.Reason)
}

// Is reports whether the error is of a kind: errors.Is(err, antenv.ErrLeaseLost).
func (e *LeaseError) Is(target error) bool {
	if e.State.State == LeaseLost {
		return target == ErrLeaseLost
	}
	return target == ErrStopRequested
}
