package antenv

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"time"
)

// ClientStats counts what a client, and those that share its connections, did so far in this process.
type ClientStats struct {
	Object[ClientStats]
	// Calls counts calls.
	Calls CallCounts `json:"calls"`
	// Attempts is how many requests were made, retries included.
	Attempts int64 `json:"attempts"`
	// Retries counts retries by their reason, such as "overloaded"; antenv.h lists them at antenv_client_stats.
	Retries map[string]int64 `json:"retries"`
	// Failures counts failed calls by the name of their status, such as "not_found".
	Failures map[string]int64 `json:"failures"`
	// ConnectionsOpened is how many times the client connected or tried to.
	ConnectionsOpened int64 `json:"connections_opened"`
	// Bytes counts the bytes of bodies, without headers and encryption.
	Bytes ByteCounts `json:"bytes"`
	// Latency is how long calls took, retries included, by operation ("request" for other endpoints). Cancelled calls are left out.
	Latency map[string]Histogram `json:"latency_us"`
}

// UnmarshalJSON decodes the library's JSON.
func (s *ClientStats) UnmarshalJSON(data []byte) error {
	type plain ClientStats
	return decodeKeeping(data, (*plain)(s), &s.Object)
}

// Format prints the fields, whatever the verb.
func (s ClientStats) Format(to fmt.State, _ rune) { format(to, s) }

// LogValue returns the fields for slog.
func (s ClientStats) LogValue() slog.Value { return logValue(s) }

// CallCounts counts a client's calls.
type CallCounts struct {
	// Started is how many calls began.
	Started int64 `json:"started"`
	// Succeeded is how many of them succeeded.
	Succeeded int64 `json:"succeeded"`
	// Failed is how many of them failed.
	Failed int64 `json:"failed"`
	// InFlight is how many of them have not ended yet.
	InFlight int64 `json:"in_flight"`
}

// ByteCounts counts the bytes of bodies.
type ByteCounts struct {
	// Sent is how many bytes were sent.
	Sent int64 `json:"sent"`
	// Received is how many bytes were received.
	Received int64 `json:"received"`
}

// WorkerStatus is what a worker is doing. Later versions may add values.
type WorkerStatus string

// The statuses of a worker.
const (
	WorkerRunning  WorkerStatus = "running"  // it claims items
	WorkerStopping WorkerStatus = "stopping" // it claims no more items, and some are still held
	WorkerStopped  WorkerStatus = "stopped"  // it was stopped, and holds no items
	WorkerDrained  WorkerStatus = "drained"  // the queue was empty (WorkerConfig.Drain)
	WorkerFailed   WorkerStatus = "failed"   // it gave up; Worker.Next returns the error
)

// WorkerStats counts what a worker did so far.
type WorkerStats struct {
	Object[WorkerStats]
	// EnvironmentID is the environment whose queue is served.
	EnvironmentID string `json:"environment_id"`
	// WorkerID is the worker's name at the server.
	WorkerID string `json:"worker_id"`
	// State is what the worker is doing.
	State WorkerStatus `json:"state"`
	// Concurrency is how many items the worker may hold at once.
	Concurrency int64 `json:"concurrency"`
	// LeasesHeld is how many items the worker holds now.
	LeasesHeld int64 `json:"leases_held"`
	// Claimed is how many items were acknowledged and had a successful heartbeat.
	Claimed int64 `json:"claimed"`
	// Finished is how many items the worker stopped.
	Finished int64 `json:"finished"`
	// Lost is how many leases were lost.
	Lost int64 `json:"lost"`
	// StopRequested is how many leases had an item that was to be stopped before its handler was done.
	StopRequested int64 `json:"stop_requested"`
	// Released is how many leases were handed over to another process.
	Released int64 `json:"released"`
	// Abandoned is how many leases were given up.
	Abandoned int64 `json:"abandoned"`
	// Undelivered is how many of the abandoned items were never taken by Next or Run.
	Undelivered int64 `json:"undelivered"`
	// HealthChecks is how many items had no session; the worker acknowledges and stops them itself.
	HealthChecks int64 `json:"health_checks"`
	// Rescued is how many items that another worker had acknowledged and left were put back into the queue.
	Rescued int64 `json:"rescued"`
	// Refused is how many items were left to the queue because their acknowledgement or first heartbeat was refused permanently.
	Refused int64 `json:"refused"`
	// Gateway is how many requests something on the way to the API refused with a page of its own. They are sent again.
	Gateway int64 `json:"gateway"`
	// Faults is how many faults in the library were caught; please report them.
	Faults int64 `json:"faults"`
	// Failures counts failed requests by step ("poll", "ack", "heartbeat", "stop", "rescue") and the name of their status.
	Failures map[string]map[string]int64 `json:"failures"`
	// LastPollFailure is why the last poll failed; empty after one that succeeded.
	LastPollFailure string `json:"last_poll_failure"`
	// Claim is the time from a poll's response to the first successful heartbeat.
	Claim Histogram `json:"claim_us"`
	// Heartbeat is how long heartbeats took.
	Heartbeat Histogram `json:"heartbeat_us"`
	// HeartbeatLate is how late heartbeats were sent.
	HeartbeatLate Histogram `json:"heartbeat_late_us"`
}

// UnmarshalJSON decodes the library's JSON.
func (s *WorkerStats) UnmarshalJSON(data []byte) error {
	type plain WorkerStats
	return decodeKeeping(data, (*plain)(s), &s.Object)
}

// Format prints the fields, whatever the verb.
func (s WorkerStats) Format(to fmt.State, _ rune) { format(to, s) }

// LogValue returns the fields for slog.
func (s WorkerStats) LogValue() slog.Value { return logValue(s) }

// Histogram is a distribution of times. The buckets of all histograms have the same bounds: those of several clients or processes are
// merged by adding the counts.
type Histogram struct {
	// Count is how many times were measured.
	Count int64 `json:"count"`
	// Sum is their sum.
	Sum time.Duration `json:"sum"`
	// Max is the longest of them.
	Max time.Duration `json:"max"`
	// Buckets are the buckets that are not empty, the shortest times first.
	Buckets []Bucket `json:"-"`
}

// Bucket is how many times were shorter than a bound and belong to no smaller bucket.
type Bucket struct {
	// Below is the bound.
	Below time.Duration
	// Count is how many times the bucket holds.
	Count int64
}

// UnmarshalJSON decodes the library's JSON, whose times are in microseconds.
func (h *Histogram) UnmarshalJSON(data []byte) error {
	var us struct {
		Count, Sum, Max int64
		Buckets         [][2]int64
	}
	if err := json.Unmarshal(data, &us); err != nil {
		return err
	}
	*h = Histogram{Count: us.Count, Sum: time.Duration(us.Sum) * time.Microsecond, Max: time.Duration(us.Max) * time.Microsecond}
	for _, bucket := range us.Buckets {
		h.Buckets = append(h.Buckets, Bucket{time.Duration(bucket[0]) * time.Microsecond, bucket[1]})
	}
	return nil
}
