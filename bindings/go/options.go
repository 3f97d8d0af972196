package antenv

import (
	"math"
	"time"
)

// Option sets something for a client, for one call, or for a session that Lease.Serve serves. The library rejects an option that does not belong where it is given, and one whose
// value is invalid.
type Option func(*settings)

type settings struct {
	object
	response *Response
}

func newSettings(options []Option) *settings {
	s := &settings{}
	for _, option := range options {
		option(s)
	}
	return s
}

// goNames maps names in the library's messages to options that have no unit in their names.
var goNames = map[string]string{
	"timeout_ms":         "WithTimeout",
	"attempt_timeout_ms": "WithAttemptTimeout",
	"connect_timeout_ms": "WithConnectTimeout",
	"idle_timeout_ms":    "WithIdleTimeout",
	"max_idle_ms":        "WithMaxIdle",
	"tool_timeout_ms":    "WithToolTimeout",
}

func setting(key string, value any) Option { return func(s *settings) { s.add(key, value) } }

// WithConfig sets any key of a client's or session's configuration, or any parameter or option of a call, by its name in the native library
// (docs/configuration.md lists them).
func WithConfig(key string, value any) Option { return setting(key, value) }

// WithAPIKey sets a client's API key: a string or a Secret. Default of a client without any credential: ANTHROPIC_API_KEY, then
// ANTHROPIC_AUTH_TOKEN, then ANTHROPIC_ENVIRONMENT_KEY.
func WithAPIKey[T ~string](key T) Option { return setting("api_key", key) }

// WithAuthToken sets a client's bearer token, in place of an API key: a string or a Secret.
func WithAuthToken[T ~string](token T) Option { return setting("auth_token", token) }

// WithEnvironmentKey sets a client's key of a self-hosted environment: a string or a Secret. A client may have an API key as well; each
// operation then uses the one it needs.
func WithEnvironmentKey[T ~string](key T) Option { return setting("environment_key", key) }

// WithBaseURL sets a client's base URL of the API. Default: ANTHROPIC_BASE_URL, then https://api.anthropic.com.
func WithBaseURL(url string) Option { return setting("base_url", url) }

// WithTimeout limits a whole call, or each of a client's, retries included: 1 ms to 24 days, in whole milliseconds, rounded up. Default: 10
// minutes. A context's deadline applies as well.
func WithTimeout(timeout time.Duration) Option { return setting("timeout_ms", milliseconds(timeout)) }

// WithAttemptTimeout limits one attempt of a call, or of each of a client's, so that a connection that has died unnoticed costs an attempt
// and not the call: 1 ms to 24 days. Default: 60 seconds; for a poll 10 seconds more than its BlockMs.
func WithAttemptTimeout(timeout time.Duration) Option {
	return setting("attempt_timeout_ms", milliseconds(timeout))
}

// WithConnectTimeout limits one attempt of a client to connect, over all addresses of the host: 1 ms to 24 days. Default: 5 seconds.
func WithConnectTimeout(timeout time.Duration) Option {
	return setting("connect_timeout_ms", milliseconds(timeout))
}

func milliseconds(d time.Duration) int64 { return roundUp(d, time.Millisecond) }

func roundUp(d, unit time.Duration) int64 { return int64(math.Ceil(float64(d) / float64(unit))) }

// WithMaxRetries sets how many times a call, or each of a client's, is retried after 408, 409, 429, 5xx and connection failures: 0 to 100.
// Default: 2.
func WithMaxRetries(retries int) Option { return setting("max_retries", retries) }

// WithDefaultHeaders sets headers for every call of a client. In Client.With a nil value removes a header.
func WithDefaultHeaders(headers map[string]any) Option { return setting("default_headers", headers) }

// WithBetas sets beta versions for a call or a client, in addition to the one that is always sent.
func WithBetas(betas ...string) Option { return setting("betas", betas) }

// WithWorkspaceID sets the workspace of a call or a client.
func WithWorkspaceID(id string) Option { return setting("workspace_id", id) }

// WithAnthropicVersion sets a client's version of the API. Default: 2026-10-21.
func WithAnthropicVersion(version string) Option { return setting("anthropic_version", version) }

// WithAuthHeader sets the header that carries a client's API key: "authorization", which is the default, or "x-api-key", the older form.
func WithAuthHeader(header string) Option { return setting("auth_header", header) }

// WithCAFile sets a PEM file of root certificates that a client trusts in addition to those of WithRoots.
func WithCAFile(path string) Option { return setting("ca_file", path) }

// WithRoots sets which root certificates a client trusts: "bundled", which is the default, "system", or "only_ca_file".
func WithRoots(roots string) Option { return setting("roots", roots) }

// WithClientCertificate sets the PEM files of a client's certificate, with its chain, and of its private key. They may be one file.
func WithClientCertificate(certFile, keyFile string) Option {
	return func(s *settings) {
		setting("client_cert_file", certFile)(s)
		setting("client_key_file", keyFile)(s)
	}
}

// WithProxy sets the URL of a client's proxy (http, https, socks4, socks4a, socks5, socks5h); "" for none. Default: HTTPS_PROXY, HTTP_PROXY,
// ALL_PROXY and NO_PROXY.
func WithProxy(url string) Option { return setting("proxy", url) }

// WithMaxResponseBytes sets the largest response body that a client accepts. Default: 64 MiB.
func WithMaxResponseBytes(bytes int64) Option { return setting("max_response_bytes", bytes) }

// WithHTTP2 sets whether a client uses HTTP/2: "auto", which is the default, "never" or "always".
func WithHTTP2(use string) Option { return setting("http2", use) }

// WithAllowInsecureHTTP allows a client plain http:// to hosts other than this machine.
func WithAllowInsecureHTTP(allow bool) Option { return setting("allow_insecure_http", allow) }

// WithExtraHeaders sets headers for a call. A nil value omits a default header.
func WithExtraHeaders(headers map[string]any) Option { return setting("extra_headers", headers) }

// WithExtraQuery adds query parameters to a call: strings, numbers, booleans, slices of them.
func WithExtraQuery(query map[string]any) Option { return setting("extra_query", query) }

// WithExtraBody adds members to a call's body, for fields that this package does not know.
func WithExtraBody(body map[string]any) Option { return setting("extra_body", body) }

// WithQuery sets the query of Client.Request.
func WithQuery(query map[string]any) Option { return setting("query", query) }

// WithBody sets the body of Client.Request: anything that encodes to JSON.
func WithBody(body any) Option { return setting("body", body) }

// WithIdleTimeout limits how long the server of a stream may be silent, its pings count: 1 ms to 24 days. Default: 10 minutes. WithTimeout
// limits how long a stream takes to open.
func WithIdleTimeout(timeout time.Duration) Option {
	return setting("idle_timeout_ms", milliseconds(timeout))
}

// WithMaxEventBytes sets the largest event that a stream accepts. Default: 16 MiB.
func WithMaxEventBytes(bytes int64) Option { return setting("max_event_bytes", bytes) }

// WithMaxBytes sets the largest file that a download accepts. Default: the client's WithMaxResponseBytes.
func WithMaxBytes(bytes int64) Option { return setting("max_bytes", bytes) }

// WithResponse fills in a description of the HTTP response to a call, whether the call succeeds or fails. List fills it in for each page, a
// stream when it is open; a download does not take it. A call whose context is done leaves it as it was.
func WithResponse(response *Response) Option {
	return func(s *settings) {
		s.response = response
		s.addJSON("with_response", []byte("true"))
	}
}
