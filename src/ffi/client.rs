//! Clients.

use super::boundary;
use super::handle::Table;
use crate::client::Client;
use crate::error::Status;
use std::ffi::c_char;

/// A client: credentials, defaults, and a pool of connections. Make one per credential and keep it; every thread may use it at once.
pub struct antenv_client {
    _opaque: (),
}

/// The live clients.
pub static CLIENTS: Table<Client> = Table::new(1, "client");

/// ---- Client --------------------------------------------------------------------------------------------------------------
///
/// Makes a client. Nothing is sent yet.
///
/// `config_json`: NULL (everything from the environment) or a JSON object; every key is optional, and `null` means absent:
///
/// | key                | meaning, and what holds without it                                                              |
/// |--------------------|-------------------------------------------------------------------------------------------------|
/// | api_key            | API key; without any credential here: ANTHROPIC_API_KEY, then ANTHROPIC_AUTH_TOKEN, then ANTHROPIC_ENVIRONMENT_KEY |
/// | auth_token         | bearer token in place of an API key                                                              |
/// | environment_key    | key of a self-hosted environment; with an API key beside it, each operation gets the one it needs |
/// | base_url           | ANTHROPIC_BASE_URL, then https://api.anthropic.com; a path prefix is kept                        |
/// | timeout_ms         | bounds a whole call, retries included: 1 to 2147483647, 600000                                   |
/// | attempt_timeout_ms | bounds one attempt of a call: 1 to 2147483647, 60000; for a poll it comes on top of its block_ms, 10000 |
/// | connect_timeout_ms | bounds one attempt to connect, over all addresses of the host: 1 to 2147483647, 5000             |
/// | max_retries        | 0 to 100, 2                                                                                      |
/// | default_headers    | object of headers for every call; ANTHROPIC_CUSTOM_HEADERS ("Name: value" lines) lies under it   |
/// | betas              | array of beta versions for every call, beside the one that is always sent                        |
/// | workspace_id       | workspace to act in                                                                              |
/// | anthropic_version  | "2026-10-21"                                                                                     |
/// | auth_header        | how an API key travels: "authorization" (bearer), or "x-api-key", the older form                 |
/// | ca_file            | PEM file of roots to trust besides those that `roots` names                                     |
/// | roots              | "bundled": those in the library, SSL_CERT_FILE and SSL_CERT_DIR; "system": those of the system; "only_ca_file" |
/// | client_cert_file   | PEM file of the certificate that the client shows, with its chain                               |
/// | client_key_file    | PEM file of its private key; without it the key is in `client_cert_file`, too                   |
/// | proxy              | URL of a proxy (http, https, socks4, socks4a, socks5, socks5h), "" for none; without it HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY |
/// | max_response_bytes | the largest answer that is taken: 67108864 (64 MiB)                                              |
/// | http2              | "auto", "never" or "always"                                                                      |
/// | allow_insecure_http| true: plain http:// also to other hosts than this one; false                                     |
///
/// `out`: receives the client; free it with antenv_client_free. NULL on failure.
///
/// `out_error`: receives the error object on failure, to be freed with antenv_string_free; NULL when it is not wanted.
///
/// Errors: ANTENV_CONFIG (a key, a value, no credential; `parameter` names it), ANTENV_INVALID_ARGUMENT, ANTENV_INTERNAL.
/// Reads the files that the configuration and the environment name; does not block otherwise. The environment is read here alone.
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

/// Makes a client that shares another's connections, with another credential or other defaults.
///
/// `client`: the client to start from; either may be freed first.
///
/// `config_json`: the keys to change: api_key, auth_token, environment_key, timeout_ms, max_retries, default_headers (laid over the
/// others; `null` removes one), betas, workspace_id, anthropic_version, auth_header, max_response_bytes. Any credential given
/// replaces all of the other client's. The environment is not looked at. The keys that shape connections (base_url,
/// connect_timeout_ms, ca_file, proxy, http2, allow_insecure_http) are refused. NULL: a plain copy.
///
/// `out`, `out_error`: as for antenv_client_new.
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

/// Frees a client. Calls that other threads are making through it go on to their end; pagers made from it go on too.
///
/// `client`: the client. Freeing one twice, or NULL, is harmless.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_client_free(client: *mut antenv_client) -> Status {
    boundary::return_status(|| CLIENTS.remove(client).map(drop))
}

/// What a client, and those that share its connections, did so far in this process.
///
/// `client`: the client.
///
/// `out_json`: receives the counts, to be freed with antenv_string_free:
///
/// | member             | holds                                                                                            |
/// |--------------------|--------------------------------------------------------------------------------------------------|
/// | calls              | {"started", "succeeded", "failed", "in_flight"}                                                   |
/// | attempts           | requests made, retries included                                                                  |
/// | retries            | by reason: "connect", "unanswered", "cut_short", "timeout", "not_processed", "request_timeout", "conflict", "rate_limited", "overloaded", "server_error", "asked" |
/// | failures           | failed calls by the name of their status                                                         |
/// | connections_opened | attempts to connect                                                                              |
/// | bytes              | {"sent", "received"}: bodies, without headers and encryption                                     |
/// | latency_us         | by operation ("request" for other endpoints): {"count", "sum", "max", "buckets":[[below, count]]} in microseconds, retries included; without calls that were cancelled |
///
/// Members that would be 0 are left out of `retries`, `failures` and `buckets`. Bucket bounds are the same everywhere: histograms of
/// several clients or processes are merged by adding the counts up.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_client_stats(client: *mut antenv_client, out_json: *mut *mut c_char) -> Status {
    boundary::return_json(out_json, || Ok(CLIENTS.get(client)?.stats()))
}
