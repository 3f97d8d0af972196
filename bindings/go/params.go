package antenv

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// object is a JSON object being written. A member that is given again takes the place of the earlier one.
type object struct {
	members []member
	err     error
}

type member struct {
	name  string
	value []byte
}

// add adds a member of any value.
func (o *object) add(name string, value any) {
	text, err := json.Marshal(value)
	if err != nil && o.err == nil {
		o.err = fmt.Errorf("antenv: `%s`: %w", name, err)
	}
	o.addJSON(name, text)
}

// addJSON adds a member that is JSON already.
func (o *object) addJSON(name string, value []byte) {
	for i := range o.members {
		if o.members[i].name == name {
			o.members[i].value = value
			return
		}
	}
	if o.members == nil {
		o.members = make([]member, 0, 4)
	}
	o.members = append(o.members, member{name, value})
}

// addFields adds the fields of a struct that are not absent: those that are not the zero value, which Opt{}, nil and "" are.
func (o *object) addFields(params any) {
	eachField(reflect.ValueOf(params), func(name string, field reflect.Value) {
		if !field.IsZero() {
			o.add(name, field.Interface())
		}
	})
}

// nulTerminated is the object as the library takes it.
func (o *object) nulTerminated() ([]byte, error) {
	text := append(make([]byte, 0, 128), '{')
	for i, one := range o.members {
		if i > 0 {
			text = append(text, ',')
		}
		name, _ := json.Marshal(one.name)
		text = append(append(append(text, name...), ':'), one.value...)
	}
	return append(text, '}', 0), o.err
}

// eachField calls a function with the fields of a struct and their names in JSON. One without a name is left out.
func eachField(of reflect.Value, each func(name string, field reflect.Value)) {
	kind := of.Type()
	for i := range kind.NumField() {
		name, _, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			each(name, of.Field(i))
		}
	}
}

// marshalOpen writes a struct that may hold fields of the API which this package does not know.
func marshalOpen(params any, extra map[string]any) ([]byte, error) {
	var o object
	o.addFields(params)
	for name, value := range extra {
		o.add(name, value)
	}
	text, err := o.nulTerminated()
	return text[:len(text)-1], err
}

// unmarshalOpen reads such a struct.
func unmarshalOpen(data []byte, params any, extra *map[string]any) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return err
	}
	var err error
	eachField(reflect.ValueOf(params).Elem(), func(name string, field reflect.Value) {
		if member, ok := members[name]; ok && err == nil {
			err = json.Unmarshal(member, field.Addr().Interface())
		}
		delete(members, name)
	})
	for name, member := range members {
		if *extra == nil {
			*extra = make(map[string]any)
		}
		(*extra)[name] = member
	}
	return err
}

// EnvironmentCreateParams is what Environments.Create takes.
type EnvironmentCreateParams struct {
	// Name is the human-readable name. It is needed.
	Name string `json:"name"`
	// Config says whether the environment is in the cloud or self-hosted.
	Config Opt[ConfigParams] `json:"config"`
	// Description is the user's description.
	Description Opt[string] `json:"description"`
	// Metadata is the user's key-value pairs.
	Metadata map[string]string `json:"metadata"`
	// Scope says who sees it; only for self-hosted ones.
	Scope Opt[Scope] `json:"scope"`
}

// EnvironmentUpdateParams is what Environments.Update takes. What is absent stays as it is.
type EnvironmentUpdateParams struct {
	// Name is the human-readable name.
	Name Opt[string] `json:"name"`
	// Config says whether the environment is in the cloud or self-hosted.
	Config Opt[ConfigParams] `json:"config"`
	// Description is the user's description.
	Description Opt[string] `json:"description"`
	// Metadata is merged into what is there; Null or an empty text deletes a key.
	Metadata map[string]Opt[string] `json:"metadata"`
	// Scope says who sees it; only for self-hosted ones.
	Scope Opt[Scope] `json:"scope"`
}

// EnvironmentListParams is what Environments.List takes.
type EnvironmentListParams struct {
	// IncludeArchived says whether archived environments are listed too.
	IncludeArchived Opt[bool] `json:"include_archived"`
	// Limit is how many items a page may hold.
	Limit Opt[int64] `json:"limit"`
	// Page is a cursor: an earlier page's NextPage.
	Page Opt[string] `json:"page"`
}

// ConfigParams is the configuration of an environment. On update, what is absent stays as it is.
type ConfigParams struct {
	// Type is ConfigCloud or ConfigSelfHosted. It is needed.
	Type ConfigType `json:"type"`
	// Networking is the network policy, in the cloud.
	Networking Opt[NetworkingParams] `json:"networking"`
	// Packages is what is installed, in the cloud.
	Packages Opt[PackagesParams] `json:"packages"`
	// Extra holds fields that this package does not know.
	Extra map[string]any `json:"-"`
}

// MarshalJSON writes what is not absent.
func (p ConfigParams) MarshalJSON() ([]byte, error) { return marshalOpen(p, p.Extra) }

// UnmarshalJSON reads it; unknown fields go to Extra.
func (p *ConfigParams) UnmarshalJSON(data []byte) error { return unmarshalOpen(data, p, &p.Extra) }

// NetworkingParams is a network policy.
type NetworkingParams struct {
	// Type is NetworkUnrestricted or NetworkLimited. It is needed.
	Type NetworkType `json:"type"`
	// AllowMCPServers lets MCP servers configured on the agent be reached beyond AllowedHosts.
	AllowMCPServers Opt[bool] `json:"allow_mcp_servers"`
	// AllowPackageManagers lets public package registries be reached beyond AllowedHosts.
	AllowPackageManagers Opt[bool] `json:"allow_package_managers"`
	// AllowedHosts are domains that may be reached.
	AllowedHosts Opt[[]string] `json:"allowed_hosts"`
	// Extra holds fields that this package does not know.
	Extra map[string]any `json:"-"`
}

// MarshalJSON writes what is not absent.
func (p NetworkingParams) MarshalJSON() ([]byte, error) { return marshalOpen(p, p.Extra) }

// UnmarshalJSON reads it; unknown fields go to Extra.
func (p *NetworkingParams) UnmarshalJSON(data []byte) error { return unmarshalOpen(data, p, &p.Extra) }

// PackagesParams is what package managers install; versions in the manager's own spelling, as in "pandas==2.2.0".
type PackagesParams struct {
	// Type is "packages", or absent.
	Type Opt[string] `json:"type"`
	// Apt are Debian and Ubuntu packages.
	Apt Opt[[]string] `json:"apt"`
	// Cargo are Rust packages.
	Cargo Opt[[]string] `json:"cargo"`
	// Gem are Ruby packages.
	Gem Opt[[]string] `json:"gem"`
	// Go are Go packages.
	Go Opt[[]string] `json:"go"`
	// NPM are Node.js packages.
	NPM Opt[[]string] `json:"npm"`
	// Pip are Python packages.
	Pip Opt[[]string] `json:"pip"`
	// Extra holds fields that this package does not know.
	Extra map[string]any `json:"-"`
}

// MarshalJSON writes what is not absent.
func (p PackagesParams) MarshalJSON() ([]byte, error) { return marshalOpen(p, p.Extra) }

// UnmarshalJSON reads it; unknown fields go to Extra.
func (p *PackagesParams) UnmarshalJSON(data []byte) error { return unmarshalOpen(data, p, &p.Extra) }

// WorkListParams is what Work.List takes.
type WorkListParams struct {
	// Limit is how many items a page may hold.
	Limit Opt[int64] `json:"limit"`
	// Page is a cursor: an earlier page's NextPage.
	Page Opt[string] `json:"page"`
}

// WorkPollParams is what Work.Poll takes.
type WorkPollParams struct {
	// BlockMs is how many milliseconds to wait for work, 1 to 999. Absent: the server answers at once.
	BlockMs Opt[int64] `json:"block_ms"`
	// ReclaimOlderThanMs reclaims items polled and not acknowledged for longer than this many milliseconds. Absent: 5000.
	ReclaimOlderThanMs Opt[int64] `json:"reclaim_older_than_ms"`
	// WorkerID says who polls, for the queue's numbers.
	WorkerID Opt[string] `json:"anthropic_worker_id"`
}

// WorkUpdateParams is what Work.Update takes.
type WorkUpdateParams struct {
	// Metadata is merged into what is there; Null deletes a key. It is needed.
	Metadata map[string]Opt[string] `json:"metadata"`
}

// WorkHeartbeatParams is what Work.Heartbeat takes.
type WorkHeartbeatParams struct {
	// DesiredTTLSeconds is how many seconds the lease is to last.
	DesiredTTLSeconds Opt[int64] `json:"desired_ttl_seconds"`
	// ExpectedLastHeartbeat is NoHeartbeat for the first heartbeat, then the last reply's LastHeartbeat to the letter.
	ExpectedLastHeartbeat Opt[string] `json:"expected_last_heartbeat"`
}

// NoHeartbeat is what the first heartbeat of an item expects.
const NoHeartbeat = "NO_HEARTBEAT"

// WorkStopParams is what Work.Stop takes.
type WorkStopParams struct {
	// Force stops at once instead of asking the worker to.
	Force Opt[bool] `json:"force"`
}
