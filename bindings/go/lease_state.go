package antenv

import (
	"errors"
	"fmt"
	"log/slog"
)

// LeaseStatus is how it stands with a lease. There may be values that this package does not know.
type LeaseStatus string

// How it may stand with a lease.
const (
	LeaseHeld          LeaseStatus = "held"
	LeaseStopRequested LeaseStatus = "stop_requested" // end the work and finish
	LeaseLost          LeaseStatus = "lost"           // stop working at once: somebody else may be at it
)

// LeaseReason is why a lease is no longer simply held. There may be values that this package does not know.
type LeaseReason string

// Why a lease is no longer simply held.
const (
	ReasonStopRequested LeaseReason = "asked"        // stop requested: the item is stopping or stopped at the server
	ReasonNotExtended   LeaseReason = "not_extended" // stop requested: the server did not extend the lease
	ReasonRejected      LeaseReason = "rejected"     // stop requested: a heartbeat was refused permanently
	ReasonShutdown      LeaseReason = "shutdown"     // stop requested: the worker's grace period is over; lost: the library was shut down
	ReasonTaken         LeaseReason = "taken"        // lost: somebody else has it
	ReasonExpired       LeaseReason = "expired"      // lost: no heartbeat was good for as long as the lease lasts
)

// LeaseState is how it stands with a lease, and what is known about it.
type LeaseState struct {
	Object[LeaseState]
	// State is how it stands.
	State LeaseStatus `json:"state"`
	// Reason is why it is no longer simply held, "" while it is.
	Reason LeaseReason `json:"reason"`
	// WorkID is the item's identifier.
	WorkID string `json:"work_id"`
	// TTLSeconds is how many seconds the lease lasts after each heartbeat.
	TTLSeconds int64 `json:"ttl_seconds"`
	// LastHeartbeat is the last good heartbeat's time, as the server wrote it.
	LastHeartbeat string `json:"last_heartbeat"`
	// Beats is how many heartbeats were good.
	Beats int64 `json:"beats"`
}

// UnmarshalJSON reads it.
func (s *LeaseState) UnmarshalJSON(data []byte) error {
	type plain LeaseState
	return decodeKeeping(data, (*plain)(s), &s.Object)
}

// Format prints the fields, whatever the verb.
func (s LeaseState) Format(to fmt.State, _ rune) { format(to, s) }

// LogValue returns the fields for slog.
func (s LeaseState) LogValue() slog.Value { return logValue(s) }

// ErrStopRequested is the kind of a *LeaseError that says that the item is to be stopped. The other kind is ErrLeaseLost.
var ErrStopRequested = errors.New("antenv: the item is to be stopped")

// LeaseError says that a lease is no longer simply held: errors.Is finds ErrLeaseLost or ErrStopRequested in it.
type LeaseError struct {
	// State is how it stood with the lease then.
	State LeaseState
}

// Error names the item and the reason.
func (e *LeaseError) Error() string {
	if e.Is(ErrLeaseLost) {
		return fmt.Sprintf("antenv: the lease on work item %s is lost (%s)", e.State.WorkID, e.State.Reason)
	}
	return fmt.Sprintf("antenv: work item %s is to be stopped (%s)", e.State.WorkID, e.State.Reason)
}

// Is tells the kind: errors.Is(err, antenv.ErrLeaseLost).
func (e *LeaseError) Is(target error) bool {
	if e.State.State == LeaseLost {
		return target == ErrLeaseLost
	}
	return target == ErrStopRequested
}
