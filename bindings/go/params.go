package antenv

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// object is a JSON object under construction. A member that is added again replaces the earlier one.
type object struct {
	members []member
	err     error
}

type member struct {
	name  string
	value []byte
}

// add adds a member with any value.
func (o *object) add(name string, value any) {
	text, err := json.Marshal(value)
	if err != nil && o.err == nil {
		o.err = fmt.Errorf("antenv: `%s`: %w", name, err)
	}
	o.addJSON(name, text)
}

// addJSON adds a member whose value is JSON.
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

// remove removes a member.
func (o *object) remove(name string) {
	o.members = slices.DeleteFunc(o.members, func(one member) bool { return one.name == name })
}

// addFields adds the fields of a struct that are not their zero value, which Opt{}, nil and "" are.
func (o *object) addFields(params any) {
	eachField(reflect.ValueOf(params), func(name string, field reflect.Value) {
		if !field.IsZero() {
			o.add(name, field.Interface())
		}
	})
}

// nulTerminated returns the object's JSON with a NUL at its end.
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

// eachField calls a function with the fields of a struct that have a name in JSON.
func eachField(of reflect.Value, each func(name string, field reflect.Value)) {
	kind := of.Type()
	for i := range kind.NumField() {
		name, _, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			each(name, of.Field(i))
		}
	}
}

// marshalOpen encodes a struct and the fields of the API in it that this package does not know.
func marshalOpen(params any, extra map[string]any) ([]byte, error) {
	var o object
	o.addFields(params)
	for name, value := range extra {
		o.add(name, value)
	}
	text, err := o.nulTerminated()
	return text[:len(text)-1], err
}

// unmarshalOpen decodes such a struct.
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

// ConfigParams is the configuration of an environment. On update, absent fields change nothing.
type ConfigParams struct {
	// Type is ConfigCloud or ConfigSelfHosted. Required.
	Type ConfigType `json:"type"`
	// Networking is the network policy, in the cloud.
	Networking Opt[NetworkingParams] `json:"networking"`
	// Packages lists what to install, in the cloud.
	Packages Opt[PackagesParams] `json:"packages"`
	// Extra holds fields that this package does not know.
	Extra map[string]any `json:"-"`
}

// MarshalJSON encodes the fields that are not absent.
func (p ConfigParams) MarshalJSON() ([]byte, error) { return marshalOpen(p, p.Extra) }

// UnmarshalJSON decodes the fields; unknown ones go to Extra.
func (p *ConfigParams) UnmarshalJSON(data []byte) error { return unmarshalOpen(data, p, &p.Extra) }

// NetworkingParams is a network policy.
type NetworkingParams struct {
	// Type is NetworkUnrestricted or NetworkLimited. Required.
	Type NetworkType `json:"type"`
	// AllowMCPServers allows access to the agent's MCP servers in addition to AllowedHosts.
	AllowMCPServers Opt[bool] `json:"allow_mcp_servers"`
	// AllowPackageManagers allows access to public package registries in addition to AllowedHosts.
	AllowPackageManagers Opt[bool] `json:"allow_package_managers"`
	// AllowedHosts are the domains that may be accessed.
	AllowedHosts Opt[[]string] `json:"allowed_hosts"`
	// Extra holds fields that this package does not know.
	Extra map[string]any `json:"-"`
}

// MarshalJSON encodes the fields that are not absent.
func (p NetworkingParams) MarshalJSON() ([]byte, error) { return marshalOpen(p, p.Extra) }

// UnmarshalJSON decodes the fields; unknown ones go to Extra.
func (p *NetworkingParams) UnmarshalJSON(data []byte) error { return unmarshalOpen(data, p, &p.Extra) }

// PackagesParams lists what package managers install. Versions are written as the manager writes them, such as "pandas==2.2.0".
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

// MarshalJSON encodes the fields that are not absent.
func (p PackagesParams) MarshalJSON() ([]byte, error) { return marshalOpen(p, p.Extra) }

// UnmarshalJSON decodes the fields; unknown ones go to Extra.
func (p *PackagesParams) UnmarshalJSON(data []byte) error { return unmarshalOpen(data, p, &p.Extra) }

// NoHeartbeat is the ExpectedLastHeartbeat of an item's first heartbeat.
const NoHeartbeat = "NO_HEARTBEAT"
