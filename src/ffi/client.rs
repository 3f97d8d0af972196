//! Clients.

use super::boundary;
use super::handle::Table;
use crate::client::Client;
use crate::error::Status;
use std::ffi::c_char;

/// A client: credentials, defaults, and a pool of connections. Create one per credential and keep it; threads may share it.
pub struct antenv_client {
    _opaque: (),
}

/// The live clients.
pub static CLIENTS: Table<Client> = Table::new(1, "client");

/// ---- Client ----------------------------------------------------------------------------------------------------------------
/// ----
/// Creates a client. Nothing is sent yet.
///
/// @param config_json NULL (everything comes from environment variables) or a JSON object. Every key is optional, `null` means
///   absent, and an unknown key is an error:
///
///   api_key              API key. Without any credential here: ANTHROPIC_API_KEY, then ANTHROPIC_AUTH_TOKEN, then
///                        ANTHROPIC_ENVIRONMENT_KEY.
///   auth_token           Bearer token, instead of an API key.
///   environment_key      Key of a self-hosted environment. Alongside an API key: each operation gets the one it needs.
///   base_url             Default: ANTHROPIC_BASE_URL, then https://api.anthropic.com. A path prefix is kept.
///   timeout_ms           Bounds a whole call, retries included: 1 to 2147483647. Default: 600000.
///   attempt_timeout_ms   Bounds one attempt: 1 to 2147483647. Default: 60000; for a poll 10000 more than its block_ms.
///   connect_timeout_ms   Bounds one attempt to connect, over all addresses of the host: 1 to 2147483647. Default: 5000.
///   max_retries          0 to 100. Default: 2.
///   default_headers      Object of headers for every call. They override those of ANTHROPIC_CUSTOM_HEADERS (lines of "Name:
///                        value").
///   betas                Array of beta versions for every call, besides the one that is always sent.
///   workspace_id         Workspace to act in.
///   anthropic_version    Default: "2026-10-21".
///   auth_header          How an API key is sent: "authorization" (bearer; the default) or "x-api-key" (the older form).
///   ca_file              PEM file of roots to trust besides those that `roots` names.
///   roots                "bundled" (default): built-in roots, SSL_CERT_FILE and SSL_CERT_DIR. "system": the system's.
///                        "only_ca_file".
///   client_cert_file     PEM file of the certificate that the client presents, with its chain.
///   client_key_file      PEM file of its private key. Default: the key is in `client_cert_file`.
///   proxy                URL of a proxy (http, https, socks4, socks4a, socks5, socks5h); "" for none. Default: HTTPS_PROXY,
///                        HTTP_PROXY, ALL_PROXY and NO_PROXY.
///   max_response_bytes   Size limit of a response. Default: 67108864 (64 MiB).
///   http2                "auto" (default), "never" or "always".
///   allow_insecure_http  true: plain http:// to other hosts than this one is allowed, too. Default: false.
///
/// @param out Receives the client; free it with antenv_client_free.
/// @param out_error Receives the error object.
///
/// Errors: ANTENV_CONFIG (a key, a value, or no credential; `parameter` names it), ANTENV_INVALID_ARGUMENT, ANTENV_INTERNAL. Reads
/// the files that the configuration and the environment variables name, and does not block otherwise. Environment variables are
/// read by this function and by antenv_worker_new only.
///
/// ```c
///     antenv_client *client; char *error;
///     if (antenv_client_new("{\"timeout_ms\":30000}", &client, &error)) { puts(error); antenv_string_free(error); }
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_client_new(
    config_json: *const c_char,
    out: *mut *mut antenv_client,
    out_error: *mut *mut c_char,
) -> Status {
    boundary::return_handle(out, out_error, || CLIENTS.insert(Client::new(boundary::optional_text("config_json", config_json)?)?))
}

/// Creates a client that shares another client's connections, with another credential or other defaults.
///
/// @param client The client to start from. Either may be freed first.
/// @param config_json The keys to change: api_key, auth_token, environment_key, timeout_ms, attempt_timeout_ms, max_retries,
///   default_headers (added to the other client's; `null` removes one), betas, workspace_id, anthropic_version, auth_header,
///   max_response_bytes. A credential here replaces all of the other client's. Environment variables are not read. Keys that shape
///   connections (base_url, connect_timeout_ms, ca_file, proxy, http2, allow_insecure_http and the like) are rejected. NULL: a
///   plain copy.
/// @param out Receives the client; free it with antenv_client_free.
/// @param out_error Receives the error object.
///
/// Errors: ANTENV_CONFIG, ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT. Does not block.
///
/// ```c
///     antenv_client_derive(client, "{\"environment_key\":\"sk-ant-oat01-...\"}", &worker, &error);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_client_derive(
    client: *mut antenv_client,
    config_json: *const c_char,
    out: *mut *mut antenv_client,
    out_error: *mut *mut c_char,
) -> Status {
    boundary::return_handle(out, out_error, || {
        CLIENTS.insert(CLIENTS.get(client)?.derive(boundary::optional_text("config_json", config_json)?)?)
    })
}

/// Frees a client. Calls that other threads are making through it run to their end, and pagers made from it stay usable.
///
/// @param client The client; freeing it twice, or NULL, is harmless.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_client_free(client: *mut antenv_client) -> Status {
    boundary::return_status(|| CLIENTS.remove(client).map(drop))
}

/// Returns what a client, and the clients that share its connections, did so far in this process.
///
/// @param client The client.
/// @param out_json Receives the counts:
///
///   calls               {"started", "succeeded", "failed", "in_flight"}
///   attempts            requests made, retries included
///   retries             by reason: "connect", "unanswered", "cut_short", "timeout", "not_processed", "request_timeout",
///                       "conflict", "rate_limited", "overloaded", "server_error", "asked"
///   failures            failed calls by the name of their status
///   connections_opened  attempts to connect
///   bytes               {"sent", "received"}: bodies, without headers and encryption
///   latency_us          by operation ("request" for other endpoints): {"count", "sum", "max", "buckets":[[below, count]]} in
///                       microseconds, retries included, without cancelled calls
///
/// Members that would be 0 are left out of `retries`, `failures` and `buckets`. Bucket bounds are the same everywhere: histograms
/// of several clients or processes are merged by adding the counts.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_client_stats(client: *mut antenv_client, out_json: *mut *mut c_char) -> Status {
    boundary::return_json(out_json, || Ok(CLIENTS.get(client)?.stats()))
}
