package antenv

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"time"
)

// Scope is who sees an environment. Later versions may add values.
type Scope string

// The scopes.
const (
	ScopeOrganization Scope = "organization" // all accounts
	ScopeAccount      Scope = "account"      // the owner's account alone
)

// State is the state of a work item. Later versions may add values.
type State string

// The states of a work item.
const (
	StateQueued   State = "queued"
	StateStarting State = "starting"
	StateActive   State = "active"
	StateStopping State = "stopping"
	StateStopped  State = "stopped"
)

// ConfigType is a kind of environment. Later versions may add values.
type ConfigType string

// The kinds of environments.
const (
	ConfigCloud      ConfigType = "cloud"
	ConfigSelfHosted ConfigType = "self_hosted"
)

// NetworkType is a kind of network policy. Later versions may add values.
type NetworkType string

// The kinds of network policies.
const (
	NetworkUnrestricted NetworkType = "unrestricted" // any host may be accessed
	NetworkLimited      NetworkType = "limited"      // only the listed hosts may be accessed
)

// Object is a part of all results: the server's JSON, with the fields that this package does not know.
type Object[T any] struct{ raw json.RawMessage }

// RawJSON returns the object as the server sent it, verbatim. A work item's secret is in it.
func (o Object[T]) RawJSON() string { return string(o.raw) }

// ExtraFields returns the fields that this package does not know.
func (o Object[T]) ExtraFields() map[string]json.RawMessage {
	var members map[string]json.RawMessage
	_ = json.Unmarshal(o.raw, &members)
	var known T
	eachField(reflect.ValueOf(known), func(name string, _ reflect.Value) { delete(members, name) })
	return members
}

// decodeKeeping decodes an object and keeps its JSON. P is the result's type without its methods.
func decodeKeeping[P, T any](data []byte, plain *P, of *Object[T]) error {
	of.raw = append(json.RawMessage(nil), data...)
	return decodeObject(of.raw, reflect.ValueOf(plain).Elem())
}

// JSONObject is a result that has no type of its own. RawJSON is the object as the server sent it, and ExtraFields are its fields besides
// those that nearly all objects have.
type JSONObject struct {
	Object[JSONObject]
	// Type is the kind of object, such as "session".
	Type string `json:"type"`
	// ID is the identifier; "" where the object has none.
	ID string `json:"id"`
}

// UnmarshalJSON decodes the server's JSON.
func (j *JSONObject) UnmarshalJSON(data []byte) error {
	type plain JSONObject
	return decodeKeeping(data, (*plain)(j), &j.Object)
}

// Format prints the fields, whatever the verb.
func (j JSONObject) Format(to fmt.State, _ rune) { format(to, j) }

// LogValue returns the fields for slog.
func (j JSONObject) LogValue() slog.Value { return logValue(j) }

// Environment is an environment. A time is zero where the server sends null.
type Environment struct {
	Object[Environment]
	// Type is "environment".
	Type string `json:"type"`
	// ID is the identifier (env_...).
	ID string `json:"id"`
	// Name is the human-readable name.
	Name string `json:"name"`
	// Config is whether it is in the cloud or self-hosted, and how it is configured.
	Config Config `json:"config"`
	// Description is the user's description.
	Description string `json:"description"`
	// Metadata is the user's key-value pairs.
	Metadata map[string]string `json:"metadata"`
	// Scope is who sees it.
	Scope Scope `json:"scope"`
	// CreatedAt is when it was created.
	CreatedAt time.Time `json:"created_at,omitzero"`
	// UpdatedAt is when it was last updated.
	UpdatedAt time.Time `json:"updated_at,omitzero"`
	// ArchivedAt is when it was archived; zero when it is not.
	ArchivedAt time.Time `json:"archived_at,omitzero"`
}

// UnmarshalJSON decodes the server's JSON.
func (e *Environment) UnmarshalJSON(data []byte) error {
	type plain Environment
	return decodeKeeping(data, (*plain)(e), &e.Object)
}

// Format prints the fields, whatever the verb.
func (e Environment) Format(to fmt.State, _ rune) { format(to, e) }

// LogValue returns the fields for slog.
func (e Environment) LogValue() slog.Value { return logValue(e) }

// Config is the configuration of an environment. Type decides which of the other fields are present.
type Config struct {
	Object[Config]
	// Type is ConfigCloud or ConfigSelfHosted.
	Type ConfigType `json:"type"`
	// Networking is the network policy, in the cloud.
	Networking *Networking `json:"networking"`
	// Packages lists what is installed, in the cloud.
	Packages *Packages `json:"packages"`
}

// UnmarshalJSON decodes the server's JSON.
func (c *Config) UnmarshalJSON(data []byte) error {
	type plain Config
	return decodeKeeping(data, (*plain)(c), &c.Object)
}

// Format prints the fields, whatever the verb.
func (c Config) Format(to fmt.State, _ rune) { format(to, c) }

// LogValue returns the fields for slog.
func (c Config) LogValue() slog.Value { return logValue(c) }

// Networking is a network policy.
type Networking struct {
	Object[Networking]
	// Type is NetworkUnrestricted or NetworkLimited.
	Type NetworkType `json:"type"`
	// AllowMCPServers is whether the agent's MCP servers may be accessed in addition to AllowedHosts.
	AllowMCPServers bool `json:"allow_mcp_servers"`
	// AllowPackageManagers is whether public package registries may be accessed in addition to AllowedHosts.
	AllowPackageManagers bool `json:"allow_package_managers"`
	// AllowedHosts are the domains that may be accessed.
	AllowedHosts []string `json:"allowed_hosts"`
}

// UnmarshalJSON decodes the server's JSON.
func (n *Networking) UnmarshalJSON(data []byte) error {
	type plain Networking
	return decodeKeeping(data, (*plain)(n), &n.Object)
}

// Format prints the fields, whatever the verb.
func (n Networking) Format(to fmt.State, _ rune) { format(to, n) }

// LogValue returns the fields for slog.
func (n Networking) LogValue() slog.Value { return logValue(n) }

// Packages lists what package managers install.
type Packages struct {
	Object[Packages]
	// Type is "packages".
	Type string `json:"type"`
	// Apt are Debian and Ubuntu packages.
	Apt []string `json:"apt"`
	// Cargo are Rust packages.
	Cargo []string `json:"cargo"`
	// Gem are Ruby packages.
	Gem []string `json:"gem"`
	// Go are Go packages.
	Go []string `json:"go"`
	// NPM are Node.js packages.
	NPM []string `json:"npm"`
	// Pip are Python packages.
	Pip []string `json:"pip"`
}

// UnmarshalJSON decodes the server's JSON.
func (p *Packages) UnmarshalJSON(data []byte) error {
	type plain Packages
	return decodeKeeping(data, (*plain)(p), &p.Object)
}

// Format prints the fields, whatever the verb.
func (p Packages) Format(to fmt.State, _ rune) { format(to, p) }

// LogValue returns the fields for slog.
func (p Packages) LogValue() slog.Value { return logValue(p) }

// EnvironmentDeleted confirms that an environment was deleted.
type EnvironmentDeleted struct {
	Object[EnvironmentDeleted]
	// Type is "environment_deleted".
	Type string `json:"type"`
	// ID is the environment's identifier.
	ID string `json:"id"`
}

// UnmarshalJSON decodes the server's JSON.
func (e *EnvironmentDeleted) UnmarshalJSON(data []byte) error {
	type plain EnvironmentDeleted
	return decodeKeeping(data, (*plain)(e), &e.Object)
}

// Format prints the fields, whatever the verb.
func (e EnvironmentDeleted) Format(to fmt.State, _ rune) { format(to, e) }

// LogValue returns the fields for slog.
func (e EnvironmentDeleted) LogValue() slog.Value { return logValue(e) }

// Work is a work item of a self-hosted environment. A time is zero where the server sends null.
type Work struct {
	Object[Work]
	// Type is "work".
	Type string `json:"type"`
	// ID is the identifier (work_...).
	ID string `json:"id"`
	// EnvironmentID is the environment it belongs to.
	EnvironmentID string `json:"environment_id"`
	// Data is the work to do.
	Data WorkData `json:"data"`
	// State is its state.
	State State `json:"state"`
	// Metadata is the user's key-value pairs.
	Metadata map[string]string `json:"metadata"`
	// Secret is the credential for serving the item. Only Poll returns it, and not always. Printing and logging the item hide it.
	Secret Secret `json:"secret"`
	// CreatedAt is when it was queued.
	CreatedAt time.Time `json:"created_at,omitzero"`
	// AcknowledgedAt is when it was acknowledged.
	AcknowledgedAt time.Time `json:"acknowledged_at,omitzero"`
	// StartedAt is when work on it began.
	StartedAt time.Time `json:"started_at,omitzero"`
	// LatestHeartbeatAt is when its last heartbeat was recorded.
	LatestHeartbeatAt time.Time `json:"latest_heartbeat_at,omitzero"`
	// StopRequestedAt is when it was asked to stop.
	StopRequestedAt time.Time `json:"stop_requested_at,omitzero"`
	// StoppedAt is when it stopped.
	StoppedAt time.Time `json:"stopped_at,omitzero"`
}

// UnmarshalJSON decodes the server's JSON.
func (w *Work) UnmarshalJSON(data []byte) error {
	type plain Work
	return decodeKeeping(data, (*plain)(w), &w.Object)
}

// String names the item.
func (w Work) String() string { return "work item " + w.ID + " (" + string(w.State) + ")" }

// Format prints the fields for %+v and %#v, what String returns for any other verb, and never the secret.
func (w Work) Format(to fmt.State, verb rune) {
	if verb == 'v' && (to.Flag('+') || to.Flag('#')) {
		format(to, w)
	} else {
		_, _ = to.Write([]byte(w.String()))
	}
}

// LogValue returns the fields for slog. It hides the secret.
func (w Work) LogValue() slog.Value { return logValue(w) }

// Secret is a text that printing and logging hide: a key, or an item's secret. string(secret) is the text. encoding/json writes the text, too,
// and fmt prints it in an unexported field of another package's struct, because it calls no methods there.
type Secret string

// String hides the text.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// Format hides the text, whatever the verb.
func (s Secret) Format(to fmt.State, _ rune) { _, _ = to.Write([]byte(s.String())) }

// LogValue hides the text.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// WorkData is the work to do.
type WorkData struct {
	Object[WorkData]
	// Type is "session".
	Type string `json:"type"`
	// ID is the session's identifier.
	ID string `json:"id"`
}

// UnmarshalJSON decodes the server's JSON.
func (w *WorkData) UnmarshalJSON(data []byte) error {
	type plain WorkData
	return decodeKeeping(data, (*plain)(w), &w.Object)
}

// Format prints the fields, whatever the verb.
func (w WorkData) Format(to fmt.State, _ rune) { format(to, w) }

// LogValue returns the fields for slog.
func (w WorkData) LogValue() slog.Value { return logValue(w) }

// WorkHeartbeat confirms that a heartbeat was recorded.
type WorkHeartbeat struct {
	Object[WorkHeartbeat]
	// Type is "work_heartbeat".
	Type string `json:"type"`
	// LastHeartbeat is the heartbeat's time, verbatim: the next heartbeat's ExpectedLastHeartbeat.
	LastHeartbeat string `json:"last_heartbeat"`
	// LeaseExtended is whether the lease was extended.
	LeaseExtended bool `json:"lease_extended"`
	// State is the item's state.
	State State `json:"state"`
	// TTLSeconds is how many seconds the lease now lasts.
	TTLSeconds int64 `json:"ttl_seconds"`
}

// UnmarshalJSON decodes the server's JSON.
func (w *WorkHeartbeat) UnmarshalJSON(data []byte) error {
	type plain WorkHeartbeat
	return decodeKeeping(data, (*plain)(w), &w.Object)
}

// Format prints the fields, whatever the verb.
func (w WorkHeartbeat) Format(to fmt.State, _ rune) { format(to, w) }

// LogValue returns the fields for slog.
func (w WorkHeartbeat) LogValue() slog.Value { return logValue(w) }

// WorkQueueStats has the statistics of an environment's work queue.
type WorkQueueStats struct {
	Object[WorkQueueStats]
	// Type is "work_queue_stats".
	Type string `json:"type"`
	// Depth is how many items wait to be picked up.
	Depth int64 `json:"depth"`
	// Pending is how many items were polled and are not acknowledged yet.
	Pending int64 `json:"pending"`
	// OldestQueuedAt is when the oldest waiting item was queued; zero when none waits.
	OldestQueuedAt time.Time `json:"oldest_queued_at,omitzero"`
	// WorkersPolling is how many workers polled in the last 30 seconds; nil when the server does not report it.
	WorkersPolling *int64 `json:"workers_polling"`
}

// UnmarshalJSON decodes the server's JSON.
func (w *WorkQueueStats) UnmarshalJSON(data []byte) error {
	type plain WorkQueueStats
	return decodeKeeping(data, (*plain)(w), &w.Object)
}

// Format prints the fields, whatever the verb.
func (w WorkQueueStats) Format(to fmt.State, _ rune) { format(to, w) }

// LogValue returns the fields for slog.
func (w WorkQueueStats) LogValue() slog.Value { return logValue(w) }

// Page is one page of a list.
type Page[T any] struct {
	Object[Page[T]]
	// Data are the page's items.
	Data []*T `json:"data"`
	// NextPage is the next page's cursor; "" on the last page.
	NextPage string `json:"next_page"`
}

// UnmarshalJSON decodes the server's JSON.
func (p *Page[T]) UnmarshalJSON(data []byte) error {
	type plain Page[T]
	return decodeKeeping(data, (*plain)(p), &p.Object)
}

// Format prints the fields, whatever the verb.
func (p Page[T]) Format(to fmt.State, _ rune) { format(to, p) }

// LogValue returns the fields for slog.
func (p Page[T]) LogValue() slog.Value { return logValue(p) }

// Response describes the HTTP response to a call: see WithResponse.
type Response struct {
	// HTTPStatus is the HTTP status; 0 when no response came.
	HTTPStatus int `json:"http_status"`
	// RequestID is the server's identifier of the request.
	RequestID string `json:"request_id"`
	// Header holds the response's headers.
	Header http.Header `json:"-"`
	// Attempts is how many requests were made, retries included.
	Attempts int `json:"attempts"`
}
