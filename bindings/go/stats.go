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

// ServingStatus is what serving a session is at. Later versions may add values.
type ServingStatus string

// The statuses of serving a session.
const (
	ServingConnecting ServingStatus = "connecting" // its stream is not open, or its history not read yet
	ServingLive       ServingStatus = "live"       // its calls are handed out
	ServingEnded      ServingStatus = "ended"      // it is over
)

// SessionStats counts what happened in a session that Lease.Serve serves.
type SessionStats struct {
	Object[SessionStats]
	// SessionID is the item's session.
	SessionID string `json:"session_id"`
	// State is what serving the session is at.
	State ServingStatus `json:"state"`
	// End is why it is over, as Serve returns it, or "refused", "failed" or "shutdown", when Serve returns an error; empty before.
	End SessionEnd `json:"end"`
	// OpenCalls is how many calls the program has, or may take.
	OpenCalls int64 `json:"open_calls"`
	// Calls is how many calls were handed out to tools.
	Calls int64 `json:"calls"`
	// Posted is how many results the session has taken.
	Posted int64 `json:"posted"`
	// Void is how many calls became void while their tools ran.
	Void int64 `json:"void"`
	// TimedOut is how many calls took too long.
	TimedOut int64 `json:"timed_out"`
	// LetGo is how many calls were let go.
	LetGo int64 `json:"let_go"`
	// Denied is how many calls a user or the session's configuration has denied.
	Denied int64 `json:"denied"`
	// Sends is how many attempts were made to post results.
	Sends int64 `json:"sends"`
	// SendFailures is how many of them failed.
	SendFailures int64 `json:"send_failures"`
	// Streams is how many streams were opened.
	Streams int64 `json:"streams"`
	// Histories is how many times the history was read.
	Histories int64 `json:"histories"`
	// HistoryFailures is how many of these readings failed.
	HistoryFailures int64 `json:"history_failures"`
	// ToolsetCalls is how many calls the toolset was given.
	ToolsetCalls int64 `json:"toolset_calls"`
	// ToolsetStarts is how often the toolset's process was started: more than once if it died.
	ToolsetStarts int64 `json:"toolset_starts"`
	// Confinement is what confines that process, as docs/security.md describes it; null before its start, and without a toolset.
	Confinement json.RawMessage `json:"confinement"`
	// SkillsInstalled is how many skills of the agent were unpacked.
	SkillsInstalled int64 `json:"skills_installed"`
	// SkillsFailed is how many could not be.
	SkillsFailed int64 `json:"skills_failed"`
	// Memory counts what happened to memories.
	Memory MemoryStats `json:"memory"`
}

// UnmarshalJSON decodes the library's JSON.
func (s *SessionStats) UnmarshalJSON(data []byte) error {
	type plain SessionStats
	return decodeKeeping(data, (*plain)(s), &s.Object)
}

// Format prints the fields, whatever the verb.
func (s SessionStats) Format(to fmt.State, _ rune) { format(to, s) }

// LogValue returns the fields for slog.
func (s SessionStats) LogValue() slog.Value { return logValue(s) }

// MemoryStats counts what a session did with the memory stores that it has as directories.
type MemoryStats struct {
	// Syncs is how often directories were synced with their stores.
	Syncs int64 `json:"syncs"`
	// FailedSyncs is how many of these failed.
	FailedSyncs int64 `json:"failed_syncs"`
	// Pulled is how many memories were written to files.
	Pulled int64 `json:"pulled"`
	// Uploaded is how many files were sent to the stores.
	Uploaded int64 `json:"uploaded"`
	// Deleted is how many memories were deleted because their files were removed.
	Deleted int64 `json:"deleted"`
	// Overwritten is how many changes of files the store's changes replaced.
	Overwritten int64 `json:"overwritten"`
	// Rejected is how many files the server rejected.
	Rejected int64 `json:"rejected"`
	// Refused is how many memories have paths that can be no files.
	Refused int64 `json:"refused"`
}

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
