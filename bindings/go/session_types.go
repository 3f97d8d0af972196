package antenv

import (
	"fmt"
	"log/slog"
	"time"
)

// SessionStatus is the status of a session. Later versions may add values.
type SessionStatus string

// The statuses of a session.
const (
	SessionIdle         SessionStatus = "idle"         // it waits for an event
	SessionRunning      SessionStatus = "running"      // its agent is at work
	SessionRescheduling SessionStatus = "rescheduling" // it goes on soon
	SessionTerminated   SessionStatus = "terminated"   // it has ended
)

// Session is a session: an agent at work in an environment. A time is zero where the server sends null.
type Session struct {
	Object[Session]
	// Type is "session".
	Type string `json:"type"`
	// ID is the identifier (sesn_...).
	ID string `json:"id"`
	// Status is its status.
	Status SessionStatus `json:"status"`
	// EnvironmentID is the environment that it runs in.
	EnvironmentID string `json:"environment_id"`
	// Agent is its agent.
	Agent SessionAgent `json:"agent"`
	// Resources are what is attached to it.
	Resources []*SessionResource `json:"resources"`
	// Title is the human-readable title.
	Title string `json:"title"`
	// Metadata is the user's key-value pairs.
	Metadata map[string]string `json:"metadata"`
	// CreatedAt is when it was created.
	CreatedAt time.Time `json:"created_at,omitzero"`
	// UpdatedAt is when it was last changed.
	UpdatedAt time.Time `json:"updated_at,omitzero"`
	// ArchivedAt is when it was archived. An archived session takes no events.
	ArchivedAt time.Time `json:"archived_at,omitzero"`
}

// UnmarshalJSON decodes the server's JSON.
func (s *Session) UnmarshalJSON(data []byte) error {
	type plain Session
	return decodeKeeping(data, (*plain)(s), &s.Object)
}

// Format prints the fields, whatever the verb.
func (s Session) Format(to fmt.State, _ rune) { format(to, s) }

// LogValue returns the fields for slog.
func (s Session) LogValue() slog.Value { return logValue(s) }

// SessionAgent is the agent of a session.
type SessionAgent struct {
	Object[SessionAgent]
	// Type is "agent".
	Type string `json:"type"`
	// ID is the identifier (agent_...).
	ID string `json:"id"`
	// Name is the human-readable name.
	Name string `json:"name"`
	// Skills are the skills that the agent may use.
	Skills []*SessionSkill `json:"skills"`
}

// UnmarshalJSON decodes the server's JSON.
func (s *SessionAgent) UnmarshalJSON(data []byte) error {
	type plain SessionAgent
	return decodeKeeping(data, (*plain)(s), &s.Object)
}

// Format prints the fields, whatever the verb.
func (s SessionAgent) Format(to fmt.State, _ rune) { format(to, s) }

// LogValue returns the fields for slog.
func (s SessionAgent) LogValue() slog.Value { return logValue(s) }

// SessionSkill names a version of a skill: see SkillVersions.
type SessionSkill struct {
	Object[SessionSkill]
	// Type is "anthropic" or "custom".
	Type string `json:"type"`
	// SkillID is the skill.
	SkillID string `json:"skill_id"`
	// Version is the version, or "latest".
	Version string `json:"version"`
}

// UnmarshalJSON decodes the server's JSON.
func (s *SessionSkill) UnmarshalJSON(data []byte) error {
	type plain SessionSkill
	return decodeKeeping(data, (*plain)(s), &s.Object)
}

// Format prints the fields, whatever the verb.
func (s SessionSkill) Format(to fmt.State, _ rune) { format(to, s) }

// LogValue returns the fields for slog.
func (s SessionSkill) LogValue() slog.Value { return logValue(s) }

// SessionResource is attached to a session. Type decides which of the other fields are present.
type SessionResource struct {
	Object[SessionResource]
	// Type is "memory_store", "file" or "github_repository".
	Type string `json:"type"`
	// MountPath is where the agent finds it.
	MountPath string `json:"mount_path"`
	// MemoryStoreID is the memory store: see Memories.
	MemoryStoreID string `json:"memory_store_id"`
	// Access is "read_write" or "read_only", for a memory store.
	Access string `json:"access"`
	// Name is the memory store's name.
	Name string `json:"name"`
	// Description is the memory store's description.
	Description string `json:"description"`
	// Instructions is what the agent is to do with the memory store.
	Instructions string `json:"instructions"`
	// FileID is the file.
	FileID string `json:"file_id"`
	// URL is the repository's address.
	URL string `json:"url"`
}

// UnmarshalJSON decodes the server's JSON.
func (s *SessionResource) UnmarshalJSON(data []byte) error {
	type plain SessionResource
	return decodeKeeping(data, (*plain)(s), &s.Object)
}

// Format prints the fields, whatever the verb.
func (s SessionResource) Format(to fmt.State, _ rune) { format(to, s) }

// LogValue returns the fields for slog.
func (s SessionResource) LogValue() slog.Value { return logValue(s) }

// SkillVersion is a version of a skill.
type SkillVersion struct {
	Object[SkillVersion]
	// Type is "skill_version".
	Type string `json:"type"`
	// ID is the identifier: the version that SkillVersions.Download takes.
	ID string `json:"id"`
	// SkillID is the skill that it belongs to.
	SkillID string `json:"skill_id"`
	// Version is the version.
	Version string `json:"version"`
	// Name is the name.
	Name string `json:"name"`
	// Description is what the skill is for.
	Description string `json:"description"`
	// Directory is the name of the archive's top folder.
	Directory string `json:"directory"`
	// CreatedAt is when it was created.
	CreatedAt time.Time `json:"created_at,omitzero"`
}

// UnmarshalJSON decodes the server's JSON.
func (s *SkillVersion) UnmarshalJSON(data []byte) error {
	type plain SkillVersion
	return decodeKeeping(data, (*plain)(s), &s.Object)
}

// Format prints the fields, whatever the verb.
func (s SkillVersion) Format(to fmt.State, _ rune) { format(to, s) }

// LogValue returns the fields for slog.
func (s SkillVersion) LogValue() slog.Value { return logValue(s) }

// Memory is a text in a memory store. In a list, an item of the type "memory_prefix" stands for all memories below Path.
type Memory struct {
	Object[Memory]
	// Type is "memory" or "memory_prefix".
	Type string `json:"type"`
	// ID is the identifier (mem_...).
	ID string `json:"id"`
	// MemoryStoreID is the memory store that it belongs to.
	MemoryStoreID string `json:"memory_store_id"`
	// MemoryVersionID is the version of the content.
	MemoryVersionID string `json:"memory_version_id"`
	// Path is the path in the store, such as /notes/todo.md.
	Path string `json:"path"`
	// Content is the text; nil in the view "basic".
	Content *string `json:"content"`
	// ContentSHA256 is the SHA-256 of the content, in lowercase hexadecimal.
	ContentSHA256 string `json:"content_sha256"`
	// ContentSizeBytes is the size of the content.
	ContentSizeBytes *int64 `json:"content_size_bytes"`
	// CreatedAt is when it was created.
	CreatedAt time.Time `json:"created_at,omitzero"`
	// UpdatedAt is when it was last changed.
	UpdatedAt time.Time `json:"updated_at,omitzero"`
}

// UnmarshalJSON decodes the server's JSON.
func (m *Memory) UnmarshalJSON(data []byte) error {
	type plain Memory
	return decodeKeeping(data, (*plain)(m), &m.Object)
}

// Format prints the fields, whatever the verb.
func (m Memory) Format(to fmt.State, _ rune) { format(to, m) }

// LogValue returns the fields for slog.
func (m Memory) LogValue() slog.Value { return logValue(m) }

// MemoryDeleted confirms that a memory was deleted.
type MemoryDeleted struct {
	Object[MemoryDeleted]
	// Type is "memory_deleted".
	Type string `json:"type"`
	// ID is the memory's identifier.
	ID string `json:"id"`
}

// UnmarshalJSON decodes the server's JSON.
func (m *MemoryDeleted) UnmarshalJSON(data []byte) error {
	type plain MemoryDeleted
	return decodeKeeping(data, (*plain)(m), &m.Object)
}

// Format prints the fields, whatever the verb.
func (m MemoryDeleted) Format(to fmt.State, _ rune) { format(to, m) }

// LogValue returns the fields for slog.
func (m MemoryDeleted) LogValue() slog.Value { return logValue(m) }
