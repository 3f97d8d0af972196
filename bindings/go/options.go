package antenv

import (
	"math"
	"time"
)

// Option sets something for a client or for one call. The library says so when one does not belong where it is given, or when its value
// is not acceptable.
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

// goNames are the options that the library's messages know by another name and unit.
var goNames = map[string]string{
	"timeout_ms":         "WithTimeout",
	"attempt_timeout_ms": "WithAttemptTimeout",
	"connect_timeout_ms": "WithConnectTimeout",
}

func setting(key string, value any) Option { return func(s *settings) { s.add(key, value) } }

// WithConfig sets any key of a client's configuration, or any parameter or option of a call, by its name in the native library.
func WithConfig(key string, value any) Option { return setting(key, value) }

// WithAPIKey sets a client's API key. Without any credential, ANTHROPIC_API_KEY, then ANTHROPIC_AUTH_TOKEN, then
// ANTHROPIC_ENVIRONMENT_KEY is used.
func WithAPIKey[T ~string](key T) Option { return setting("api_key", key) }

// WithAuthToken sets a client's bearer token, in place of an API key.
func WithAuthToken[T ~string](token T) Option { return setting("auth_token", token) }

// WithEnvironmentKey sets a client's key of a self-hosted environment. With an API key beside it, each operation gets the one it needs.
func WithEnvironmentKey[T ~string](key T) Option { return setting("environment_key", key) }

// WithBaseURL sets where the API is. Without it: ANTHROPIC_BASE_URL, then https://api.anthropic.com.
func WithBaseURL(url string) Option { return setting("base_url", url) }

// WithTimeout bounds a whole call, or each of a client's, retries included: 1 ms to 24 days, in whole milliseconds, rounded up. The
// library's own bound is 10 minutes. A context's deadline holds beside it.
func WithTimeout(timeout time.Duration) Option { return setting("timeout_ms", milliseconds(timeout)) }

// WithAttemptTimeout bounds one attempt of a call, or of each of a client's, so that a connection that has silently died costs an attempt,
// not the call. Without it: 60 seconds, and for a poll 10 seconds on top of its BlockMs.
func WithAttemptTimeout(timeout time.Duration) Option {
	return setting("attempt_timeout_ms", milliseconds(timeout))
}

// WithConnectTimeout bounds one attempt of a client to connect, over all addresses of the host. Without it: 5 seconds.
func WithConnectTimeout(timeout time.Duration) Option {
	return setting("connect_timeout_ms", milliseconds(timeout))
}

func milliseconds(d time.Duration) int64 { return roundUp(d, time.Millisecond) }

func roundUp(d, unit time.Duration) int64 { return int64(math.Ceil(float64(d) / float64(unit))) }

// WithMaxRetries sets how often 408, 409, 429, 5xx and connection failures are tried again, by a call or a client: 0 to 100. Without
// it: 2.
func WithMaxRetries(retries int) Option { return setting("max_retries", retries) }

// WithDefaultHeaders sets headers for every call of a client. In Client.With a nil removes one.
func WithDefaultHeaders(headers map[string]any) Option { return setting("default_headers", headers) }

// WithBetas sets beta versions for a call or a client, beside the one that is always sent.
func WithBetas(betas ...string) Option { return setting("betas", betas) }

// WithWorkspaceID sets the workspace that a call or a client acts in.
func WithWorkspaceID(id string) Option { return setting("workspace_id", id) }

// WithAnthropicVersion sets a client's version of the API. Without it: 2026-10-21.
func WithAnthropicVersion(version string) Option { return setting("anthropic_version", version) }

// WithAuthHeader sets how a client's API key travels: "authorization", or "x-api-key", the older form.
func WithAuthHeader(header string) Option { return setting("auth_header", header) }

// WithCAFile sets a PEM file of roots that a client trusts besides those that WithRoots names.
func WithCAFile(path string) Option { return setting("ca_file", path) }

// WithRoots sets which roots a client trusts: "bundled" (without it), "system", or "only_ca_file".
func WithRoots(roots string) Option { return setting("roots", roots) }

// WithClientCertificate sets the PEM files of the certificate that a client shows, with its chain, and of its private key. They may be
// one file.
func WithClientCertificate(certFile, keyFile string) Option {
	return func(s *settings) {
		setting("client_cert_file", certFile)(s)
		setting("client_key_file", keyFile)(s)
	}
}

// WithProxy sets a client's proxy (http, https, socks4, socks4a, socks5, socks5h); "" for none. Without it: HTTPS_PROXY, HTTP_PROXY,
// ALL_PROXY and NO_PROXY.
func WithProxy(url string) Option { return setting("proxy", url) }

// WithMaxResponseBytes sets the largest answer that a client takes. Without it: 64 MiB.
func WithMaxResponseBytes(bytes int64) Option { return setting("max_response_bytes", bytes) }

// WithHTTP2 sets whether a client uses HTTP/2: "auto", "never" or "always".
func WithHTTP2(use string) Option { return setting("http2", use) }

// WithAllowInsecureHTTP lets a client use plain http:// also to other hosts than this one.
func WithAllowInsecureHTTP(allow bool) Option { return setting("allow_insecure_http", allow) }

// WithExtraHeaders sets headers for a call; nil leaves a default one out.
func WithExtraHeaders(headers map[string]any) Option { return setting("extra_headers", headers) }

// WithExtraQuery sets more query parameters for a call: strings, numbers, booleans, slices of them.
func WithExtraQuery(query map[string]any) Option { return setting("extra_query", query) }

// WithExtraBody sets more members of a call's body, for fields that this package does not know.
func WithExtraBody(body map[string]any) Option { return setting("extra_body", body) }

// WithQuery sets the query of Client.Request.
func WithQuery(query map[string]any) Option { return setting("query", query) }

// WithBody sets the body of Client.Request: anything that JSON can say.
func WithBody(body any) Option { return setting("body", body) }

// WithResponse fills in a description of the HTTP response to a call, whether the call succeeds or fails. List fills it in for each page. A
// call whose context is done leaves it as it was.
func WithResponse(response *Response) Option {
	return func(s *settings) {
		s.response = response
		s.addJSON("with_response", []byte("true"))
	}
}
