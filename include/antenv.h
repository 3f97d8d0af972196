/*
 * antenv: the Environments API for C and C++.
 *
 * Create, list, update, archive and delete environments, and serve the work queue of a self-hosted one. Link with -lantenv.
 *
 *     antenv_client *client;
 *     char *json;
 *     if (antenv_client_new(NULL, &client, &json) != ANTENV_OK) { puts(json); antenv_string_free(json); return 1; }
 *     antenv_status status = antenv_environments_create(client, "{\"name\":\"tests\"}", &json);
 *     puts(json);                                        (the environment, or what went wrong)
 *     antenv_string_free(json);
 *     antenv_client_free(client);
 *
 * Conventions, the same for every function
 *
 * Status.    A function that can fail returns antenv_status: ANTENV_OK is 0. There is no hidden "last error".
 * Results.   Where there is `char **out_json`, it receives the result on ANTENV_OK and the error object otherwise: one
 *            antenv_string_free on both paths. Where a function yields a handle, `char **out_error` (or NULL, if it is not wanted)
 *            receives the error object. Every out-parameter is set to NULL or 0 first. NULL for an out-parameter that is needed
 *            gives ANTENV_INVALID_ARGUMENT, and nothing is sent.
 * Strings    in are NUL-terminated UTF-8 and only borrowed for the call. Results are the server's bytes, untouched.
 * Handles    are numbers in the shape of pointers; the library never dereferences one. A handle that is NULL, freed, of another type
 *            or garbage gives ANTENV_INVALID_HANDLE; freeing twice is harmless, also while other threads use the handle.
 * Threads.   Every function may be called from any thread at any time, but not from a signal handler. The library calls nothing back.
 *            It has one thread of its own, made by the first client, with all signals blocked (and up to four for a while that
 *            resolve host names). A process may fork at any moment: the child can use what it inherits.
 * Errors.    The error object: {"status":"not_found", "code":104, "message":"...", "http_status":404, "type":"not_found_error",
 *            "error_code":null, "details":null, "request_id":"req_...", "attempts":1, "parameter":null, "body":...}. `type`,
 *            `error_code` and `details` come from the API's error body, `body` is that body whole, `parameter` names an argument
 *            that the library refused, `attempts` counts the requests made. No secret is ever in it.
 * Options of a call, which every `params_json` takes beside its parameters:
 *            timeout_ms     bounds the whole call, retries and waits included: 1 to 2147483647
 *            max_retries    0 to 100: how often 408, 409, 429, 5xx and connection failures are tried again
 *            extra_headers  object of headers; `null` leaves a default one out
 *            extra_query    object of query parameters: strings, numbers, booleans, arrays of them
 *            extra_body     object merged into the body
 *            with_response  true: the result is {"data":..., "http_status":200, "request_id":"...", "headers":{...}, "attempts":1}
 *            betas          array of beta versions, beside the one that is always sent
 *            workspace_id   workspace to act in
 *            A member that is not known is refused (a misspelt name must not be silently ignored); what is inside `config`,
 *            `metadata` and `extra_body` is passed on as it is.
 * "Any of a call" in the comments below: ANTENV_INVALID_ARGUMENT, ANTENV_INVALID_HANDLE, ANTENV_CONNECTION, ANTENV_TIMEOUT,
 *            ANTENV_RESPONSE, ANTENV_INTERNAL, and ANTENV_BAD_REQUEST and above, which are the server's answer.
 *
 * Generated from src/ffi; do not edit.
 */

#ifndef ANTENV_H
#define ANTENV_H

#include <stddef.h>
#include <stdint.h>

/**
 * What a function returns: `ANTENV_OK`, or why it failed.
 *
 * 1 to 99 come from the library, 100 and above from the server's answer. New numbers may be added in later versions (treat an
 * unknown one as a failure); none is ever given another meaning.
 */
enum antenv_status
#if defined(__cplusplus) && __cplusplus >= 201103L || defined(__STDC_VERSION__) && __STDC_VERSION__ >= 202311L
  : int32_t
#endif
 {
    /**
     * It worked.
     */
    ANTENV_OK = 0,
    /**
     * An argument is not acceptable; the error's `parameter` names it. Nothing was sent.
     */
    ANTENV_INVALID_ARGUMENT = 1,
    /**
     * A handle is NULL, freed, of another type, or never was one. Nothing was sent.
     */
    ANTENV_INVALID_HANDLE = 2,
    /**
     * The configuration is not acceptable, or no credential was found; the error's `parameter` names the key.
     */
    ANTENV_CONFIG = 3,
    /**
     * The server could not be reached, or the connection broke before the answer was complete.
     */
    ANTENV_CONNECTION = 4,
    /**
     * The call's `timeout_ms` ran out (for functions that wait: nothing happened in time).
     */
    ANTENV_TIMEOUT = 5,
    /**
     * The call was cancelled.
     */
    ANTENV_CANCELLED = 6,
    /**
     * The server reported success, but its answer is not valid JSON, was cut short, is empty, or is larger than `max_response_bytes`.
     */
    ANTENV_RESPONSE = 7,
    /**
     * There is nothing more: the pager has handed out its last item, the worker was stopped, or the queue is drained.
     */
    ANTENV_DONE = 8,
    /**
     * What the function works on was closed meanwhile, or belongs to the parent of this forked process.
     */
    ANTENV_CLOSED = 9,
    /**
     * The lease on a work item was lost before it was finished: somebody else may hold the item now. Nothing was sent.
     */
    ANTENV_LEASE_LOST = 10,
    /**
     * A fault in the library itself. Please report it.
     */
    ANTENV_INTERNAL = 11,
    /**
     * A signal handler ran in the thread that waited. Nothing is lost: call again to go on waiting.
     */
    ANTENV_INTERRUPTED = 12,
    /**
     * HTTP 400: the API refused the request.
     */
    ANTENV_BAD_REQUEST = 100,
    /**
     * HTTP 401: the credential is missing, wrong or expired.
     */
    ANTENV_AUTHENTICATION = 101,
    /**
     * HTTP 402: there is a problem with billing.
     */
    ANTENV_PAYMENT_REQUIRED = 102,
    /**
     * HTTP 403: the credential may not do this.
     */
    ANTENV_PERMISSION_DENIED = 103,
    /**
     * HTTP 404: no such object.
     */
    ANTENV_NOT_FOUND = 104,
    /**
     * HTTP 408: the server gave up waiting for the request.
     */
    ANTENV_REQUEST_TIMEOUT = 105,
    /**
     * HTTP 409: the object's present state does not allow it.
     */
    ANTENV_CONFLICT = 106,
    /**
     * HTTP 412: a condition does not hold, such as `expected_last_heartbeat`.
     */
    ANTENV_PRECONDITION_FAILED = 107,
    /**
     * HTTP 413: the request is too large.
     */
    ANTENV_CONTENT_TOO_LARGE = 108,
    /**
     * HTTP 422: the request is well formed but makes no sense.
     */
    ANTENV_UNPROCESSABLE = 109,
    /**
     * HTTP 429: too many requests.
     */
    ANTENV_RATE_LIMITED = 110,
    /**
     * HTTP 500 to 599 but 529: the server failed.
     */
    ANTENV_SERVER_ERROR = 111,
    /**
     * HTTP 529: the API is overloaded.
     */
    ANTENV_OVERLOADED = 112,
    /**
     * Any other HTTP status that is not a success; `http_status` tells which.
     */
    ANTENV_HTTP_STATUS = 113
};
#ifndef __cplusplus
#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 202311L
typedef enum antenv_status antenv_status;
#else
typedef int32_t antenv_status;
#endif
#endif

/**
 * A client: credentials, defaults, and a pool of connections. Make one per credential and keep it; every thread may use it at once.
 */
typedef struct antenv_client antenv_client;

/**
 * A lease on a work item that a worker claimed.
 */
typedef struct antenv_lease antenv_lease;

/**
 * A pager: the items of a list, one at a time, over all its pages.
 */
typedef struct antenv_pager antenv_pager;

/**
 * A completion queue: calls are submitted to it without waiting, and their outcomes collected from it.
 */
typedef struct antenv_queue antenv_queue;

/**
 * A call that was submitted, for cancelling it.
 */
typedef struct antenv_ticket antenv_ticket;

/**
 * A worker: claims items from the work queue of a self-hosted environment, and keeps their leases.
 */
typedef struct antenv_worker antenv_worker;

/**
 * The outcome of a call that was submitted.
 */
typedef struct {
    /**
     * The tag given with the call.
     */
    uint64_t tag;
    /**
     * ANTENV_OK, or why the call failed.
     */
    antenv_status status;
    /**
     * The result on ANTENV_OK, else the error object; free it with antenv_string_free.
     */
    char *json;
} antenv_completion;

#ifdef __cplusplus
extern "C" {
#endif

/**
 * ---- Version and status -------------------------------------------------------------------------------------------------
 *
 * The library's version, such as "0.1.0".
 *
 * Returns a static string: do not free it. Does not block.
 */
const char *antenv_version(void);

/**
 * The version of the binary interface: 1. It is raised only when a program that was built against an earlier header must be
 * rebuilt; new functions do not raise it. A program that loads the library at run time compares it with the one it was made for.
 */
uint32_t antenv_abi_version(void);

/**
 * The name of a status, such as "not_found" for ANTENV_NOT_FOUND: the same text as `status` in the error object.
 *
 * `status`: any number; one that this version does not know gives "unknown".
 *
 * Returns a static string: do not free it. Does not block.
 */
const char *antenv_status_name(int32_t status);

/**
 * ---- Strings -------------------------------------------------------------------------------------------------------------
 *
 * Frees a string that this library handed out (`out_json`, `out_error`).
 *
 * `text`: the string; NULL is fine. Free each string once, with this function and no other.
 *
 * Does not block. Any thread may free it.
 */
void antenv_string_free(char *text);

/**
 * Reads one value out of a JSON text, such as a result or an error object: for programs without a JSON library.
 *
 * `json`: the text.
 *
 * `pointer`: which value, as a JSON pointer (RFC 6901): "/data/0/id" is the member `id` of the first element of the member `data`, ""
 * the whole text. In a name `~` is written `~0`, and `/` is written `~1`. Of members with the same name the last counts.
 *
 * `out`: receives the value, or the error object; free it with antenv_string_free. A string comes as its text, without quotes and
 * escapes; anything else as the JSON that it is (`null` comes as "null").
 *
 * Returns ANTENV_OK; ANTENV_DONE, and NULL in `out`, when there is no value at that place; ANTENV_INVALID_ARGUMENT when the text is
 * not valid JSON, the pointer not a pointer, or the string one that C cannot hold (with U+0000 or half of a surrogate pair). Does
 * not block. It reads the whole text each time.
 *
 * char *id;
 * if (antenv_json_get(json, "/id", &id) == ANTENV_OK) puts(id);
 * antenv_string_free(id);
 */
antenv_status antenv_json_get(const char *json,
                              const char *pointer,
                              char **out);

/**
 * ---- Client --------------------------------------------------------------------------------------------------------------
 *
 * Makes a client. Nothing is sent yet.
 *
 * `config_json`: NULL (everything from the environment) or a JSON object; every key is optional, and `null` means absent:
 *
 * | key                | meaning, and what holds without it                                                              |
 * |--------------------|-------------------------------------------------------------------------------------------------|
 * | api_key            | API key; without any credential here: ANTHROPIC_API_KEY, then ANTHROPIC_AUTH_TOKEN, then ANTHROPIC_ENVIRONMENT_KEY |
 * | auth_token         | bearer token in place of an API key                                                              |
 * | environment_key    | key of a self-hosted environment; with an API key beside it, each operation gets the one it needs |
 * | base_url           | ANTHROPIC_BASE_URL, then https://api.anthropic.com; a path prefix is kept                        |
 * | timeout_ms         | bounds a whole call, retries included: 1 to 2147483647, 600000                                   |
 * | attempt_timeout_ms | bounds one attempt of a call: 1 to 2147483647, 60000; for a poll it comes on top of its block_ms, 10000 |
 * | connect_timeout_ms | bounds one attempt to connect, over all addresses of the host: 1 to 2147483647, 5000             |
 * | max_retries        | 0 to 100, 2                                                                                      |
 * | default_headers    | object of headers for every call; ANTHROPIC_CUSTOM_HEADERS ("Name: value" lines) lies under it   |
 * | betas              | array of beta versions for every call, beside the one that is always sent                        |
 * | workspace_id       | workspace to act in                                                                              |
 * | anthropic_version  | "2026-10-21"                                                                                     |
 * | auth_header        | how an API key travels: "authorization" (bearer), or "x-api-key", the older form                 |
 * | ca_file            | PEM file of roots to trust besides those that `roots` names                                     |
 * | roots              | "bundled": those in the library, SSL_CERT_FILE and SSL_CERT_DIR; "system": those of the system; "only_ca_file" |
 * | client_cert_file   | PEM file of the certificate that the client shows, with its chain                               |
 * | client_key_file    | PEM file of its private key; without it the key is in `client_cert_file`, too                   |
 * | proxy              | URL of a proxy (http, https, socks4, socks4a, socks5, socks5h), "" for none; without it HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY |
 * | max_response_bytes | the largest answer that is taken: 67108864 (64 MiB)                                              |
 * | http2              | "auto", "never" or "always"                                                                      |
 * | allow_insecure_http| true: plain http:// also to other hosts than this one; false                                     |
 *
 * `out`: receives the client; free it with antenv_client_free. NULL on failure.
 *
 * `out_error`: receives the error object on failure, to be freed with antenv_string_free; NULL when it is not wanted.
 *
 * Errors: ANTENV_CONFIG (a key, a value, no credential; `parameter` names it), ANTENV_INVALID_ARGUMENT, ANTENV_INTERNAL.
 * Reads the files that the configuration and the environment name; does not block otherwise. The environment is read here alone.
 *
 *     antenv_client *client; char *error;
 *     if (antenv_client_new("{\"timeout_ms\":30000}", &client, &error)) { puts(error); antenv_string_free(error); }
 */
antenv_status antenv_client_new(const char *config_json,
                                antenv_client **out,
                                char **out_error);

/**
 * Makes a client that shares another's connections, with another credential or other defaults.
 *
 * `client`: the client to start from; either may be freed first.
 *
 * `config_json`: the keys to change: api_key, auth_token, environment_key, timeout_ms, max_retries, default_headers (laid over the
 * others; `null` removes one), betas, workspace_id, anthropic_version, auth_header, max_response_bytes. Any credential given
 * replaces all of the other client's. The environment is not looked at. The keys that shape connections (base_url,
 * connect_timeout_ms, ca_file, proxy, http2, allow_insecure_http) are refused. NULL: a plain copy.
 *
 * `out`, `out_error`: as for antenv_client_new.
 *
 * Errors: ANTENV_CONFIG, ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT. Does not block.
 *
 *     antenv_client_derive(client, "{\"environment_key\":\"sk-ant-oat01-...\"}", &worker, &error);
 */
antenv_status antenv_client_derive(antenv_client *client,
                                   const char *config_json,
                                   antenv_client **out,
                                   char **out_error);

/**
 * Frees a client. Calls that other threads are making through it go on to their end; pagers made from it go on too.
 *
 * `client`: the client. Freeing one twice, or NULL, is harmless.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block.
 */
antenv_status antenv_client_free(antenv_client *client);

/**
 * What a client, and those that share its connections, did so far in this process.
 *
 * `client`: the client.
 *
 * `out_json`: receives the counts, to be freed with antenv_string_free:
 *
 * | member             | holds                                                                                            |
 * |--------------------|--------------------------------------------------------------------------------------------------|
 * | calls              | {"started", "succeeded", "failed", "in_flight"}                                                   |
 * | attempts           | requests made, retries included                                                                  |
 * | retries            | by reason: "connect", "unanswered", "cut_short", "timeout", "not_processed", "request_timeout", "conflict", "rate_limited", "overloaded", "server_error", "asked" |
 * | failures           | failed calls by the name of their status                                                         |
 * | connections_opened | attempts to connect                                                                              |
 * | bytes              | {"sent", "received"}: bodies, without headers and encryption                                     |
 * | latency_us         | by operation ("request" for other endpoints): {"count", "sum", "max", "buckets":[[below, count]]} in microseconds, retries included; without calls that were cancelled |
 *
 * Members that would be 0 are left out of `retries`, `failures` and `buckets`. Bucket bounds are the same everywhere: histograms of
 * several clients or processes are merged by adding the counts up.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT. Does not block.
 */
antenv_status antenv_client_stats(antenv_client *client,
                                  char **out_json);

/**
 * ---- Environments ---------------------------------------------------------------------------------------------------------
 *
 * Creates an environment (POST /v1/environments, Create Environment).
 *
 * `client`: the client.
 *
 * `params_json`: an object with
 *
 * | parameter   | type   |                                                                                                          |
 * |-------------|--------|----------------------------------------------------------------------------------------------------------|
 * | name        | string | required; human-readable                                                                                 |
 * | config      | object | {"type":"cloud", "networking":{...}, "packages":{...}} or {"type":"self_hosted"}; sent on as it is       |
 * | description | string |                                                                                                          |
 * | metadata    | object | string keys and string values                                                                            |
 * | scope       | string | "organization" (all accounts see it) or "account"                                                        |
 *
 * and the options of a call. `null` is sent as `null`, but for `name`.
 *
 * `out_json`: the environment: {"id":"env_...", "type":"environment", "name", "description", "config", "metadata", "scope",
 * "created_at", "updated_at", "archived_at"}, times in RFC 3339; or the error object. Free it with antenv_string_free.
 *
 * Errors: any of a call; ANTENV_PERMISSION_DENIED where creating is switched off. Blocks until the call is done, `timeout_ms` at
 * most.
 *
 *     antenv_environments_create(client, "{\"name\":\"tests\",\"config\":{\"type\":\"self_hosted\"}}", &json);
 */
antenv_status antenv_environments_create(antenv_client *client,
                                         const char *params_json,
                                         char **out_json);

/**
 * Lists environments, one page (GET /v1/environments, List Environments). For all of them, one by one, use a pager.
 *
 * `client`: the client.
 *
 * `params_json`: NULL or an object with `include_archived` (boolean), `limit` (whole number, the most items in a page), `page`
 * (string, the `next_page` of the page before), and the options of a call.
 *
 * `out_json`: {"data":[environments], "next_page": string or null}; or the error object. Free it with antenv_string_free.
 *
 * Errors: any of a call. Blocks until the call is done, `timeout_ms` at most.
 *
 *     antenv_environments_list(client, "{\"limit\":20}", &json);
 */
antenv_status antenv_environments_list(antenv_client *client, const char *params_json, char **out_json);

/**
 * Retrieves an environment (GET /v1/environments/{environment_id}, Get Environment).
 *
 * `client`: the client.
 *
 * `environment_id`: the environment's identifier, "env_...".
 *
 * `params_json`: NULL or an object with the options of a call.
 *
 * `out_json`: the environment; or the error object. Free it with antenv_string_free.
 *
 * Errors: any of a call; ANTENV_NOT_FOUND. Blocks until the call is done, `timeout_ms` at most.
 *
 *     antenv_environments_retrieve(client, "env_...", NULL, &json);
 */
antenv_status antenv_environments_retrieve(antenv_client *client,
                                           const char *environment_id,
                                           const char *params_json,
                                           char **out_json);

/**
 * Updates an environment (POST /v1/environments/{environment_id}, Update Environment). What is absent stays as it is.
 *
 * `client`: the client.
 *
 * `environment_id`: the environment's identifier, "env_...".
 *
 * `params_json`: an object with any of `config` (object; its absent fields stay too), `description` (string; `null` clears it),
 * `metadata` (object, merged into what is there: `null` or "" deletes a key), `name` (string), `scope` (string), and the options
 * of a call. NULL changes nothing.
 *
 * `out_json`: the environment as it is now; or the error object. Free it with antenv_string_free.
 *
 * Errors: any of a call; ANTENV_NOT_FOUND; ANTENV_BAD_REQUEST with error_code "environment_archived" or
 * "invalid_config_type_change". Blocks until the call is done, `timeout_ms` at most.
 *
 *     antenv_environments_update(client, "env_...", "{\"metadata\":{\"team\":\"blue\",\"old\":null}}", &json);
 */
antenv_status antenv_environments_update(antenv_client *client,
                                         const char *environment_id,
                                         const char *params_json,
                                         char **out_json);

/**
 * Deletes an environment (DELETE /v1/environments/{environment_id}, Delete Environment).
 *
 * `client`: the client.
 *
 * `environment_id`: the environment's identifier, "env_...".
 *
 * `params_json`: NULL or an object with the options of a call.
 *
 * `out_json`: {"id":"env_...", "type":"environment_deleted"}; or the error object. Free it with antenv_string_free.
 *
 * Errors: any of a call; ANTENV_NOT_FOUND, also when a retry finds that the attempt before it had deleted it. Blocks until the
 * call is done, `timeout_ms` at most.
 */
antenv_status antenv_environments_delete(antenv_client *client,
                                         const char *environment_id,
                                         const char *params_json,
                                         char **out_json);

/**
 * Archives an environment (POST /v1/environments/{environment_id}/archive, Archive Environment). It takes no new sessions then.
 *
 * `client`: the client.
 *
 * `environment_id`: the environment's identifier, "env_...".
 *
 * `params_json`: NULL or an object with the options of a call.
 *
 * `out_json`: the environment, `archived_at` set; or the error object. Free it with antenv_string_free.
 *
 * Errors: any of a call; ANTENV_NOT_FOUND. Blocks until the call is done, `timeout_ms` at most.
 */
antenv_status antenv_environments_archive(antenv_client *client,
                                          const char *environment_id,
                                          const char *params_json,
                                          char **out_json);

/**
 * ---- Work: the queue of a self-hosted environment --------------------------------------------------------------------------
 *
 * An item is queued, claimed by a poll, acknowledged (state starting), kept by heartbeats (active), and stopped. The API takes an
 * environment key for list, poll, ack and heartbeat, an API key for retrieve and update, either for stats and stop: a client that
 * has both sends the right one.
 *
 * Lists work items, one page (GET /v1/environments/{environment_id}/work, List Work Items). For all of them use a pager.
 *
 * `client`: the client.
 *
 * `environment_id`: the environment's identifier, "env_...".
 *
 * `params_json`: NULL or an object with `limit` (whole number, the most items in a page), `page` (string, the `next_page` of the
 * page before), and the options of a call.
 *
 * `out_json`: {"data":[work items], "next_page": string or null}; or the error object. Free it with antenv_string_free. A work
 * item: {"id":"work_...", "type":"work", "environment_id", "data":{"type":"session", "id"},
 * "state":"queued"|"starting"|"active"|"stopping"|"stopped", "metadata", "created_at", "acknowledged_at", "started_at",
 * "latest_heartbeat_at", "stop_requested_at", "stopped_at"}, times in RFC 3339 or null.
 *
 * Errors: any of a call; ANTENV_NOT_FOUND. Blocks until the call is done, `timeout_ms` at most.
 */
antenv_status antenv_work_list(antenv_client *client, const char *environment_id, const char *params_json, char **out_json);

/**
 * Polls for work (GET /v1/environments/{environment_id}/work/poll, Poll for Work). The item is claimed: acknowledge it soon, or
 * the queue gives it to another poller.
 *
 * `client`: the client.
 *
 * `environment_id`: the environment's identifier, "env_...".
 *
 * `params_json`: NULL or an object with
 *
 * | parameter             | type         |                                                                                       |
 * |-----------------------|--------------|---------------------------------------------------------------------------------------|
 * | block_ms              | whole number | 1 to 999: milliseconds to wait for work; absent: do not wait                          |
 * | reclaim_older_than_ms | whole number | reclaim items unacknowledged for longer than this many milliseconds; absent: 5000     |
 * | anthropic_worker_id   | string       | who polls, one name per process, for the queue's statistics                           |
 *
 * and the options of a call.
 *
 * `out_json`: the work item, with its `secret`; JSON `null` when there is none; or the error object. Free it with
 * antenv_string_free.
 *
 * Errors: any of a call; ANTENV_NOT_FOUND. Blocks until the call is done, `timeout_ms` at most.
 *
 *     antenv_work_poll(client, "env_...", "{\"block_ms\":999,\"anthropic_worker_id\":\"host-1\"}", &json);
 */
antenv_status antenv_work_poll(antenv_client *client,
                               const char *environment_id,
                               const char *params_json,
                               char **out_json);

/**
 * Tells how the queue stands (GET /v1/environments/{environment_id}/work/stats, Get Queue Statistics).
 *
 * `client`: the client.
 *
 * `environment_id`: the environment's identifier, "env_...".
 *
 * `params_json`: NULL or an object with the options of a call.
 *
 * `out_json`: {"type":"work_queue_stats", "depth": items waiting, "pending": items polled but not acknowledged,
 * "oldest_queued_at": time or null, "workers_polling": workers that polled in the last 30 seconds, or null}; or the error object.
 * Free it with antenv_string_free.
 *
 * Errors: any of a call; ANTENV_NOT_FOUND. Blocks until the call is done, `timeout_ms` at most.
 */
antenv_status antenv_work_stats(antenv_client *client, const char *environment_id, const char *params_json, char **out_json);

/**
 * Retrieves a work item (GET /v1/environments/{environment_id}/work/{work_id}, Get Work Item).
 *
 * `client`: the client.
 *
 * `environment_id`, `work_id`: the identifiers of the environment, "env_...", and of the item, "work_...".
 *
 * `params_json`: NULL or an object with the options of a call.
 *
 * `out_json`: the work item; or the error object. Free it with antenv_string_free.
 *
 * Errors: any of a call; ANTENV_NOT_FOUND. Blocks until the call is done, `timeout_ms` at most.
 */
antenv_status antenv_work_retrieve(antenv_client *client,
                                   const char *environment_id,
                                   const char *work_id,
                                   const char *params_json,
                                   char **out_json);

/**
 * Updates a work item's metadata (POST /v1/environments/{environment_id}/work/{work_id}, Update Work Item).
 *
 * `client`: the client.
 *
 * `environment_id`, `work_id`: the identifiers of the environment, "env_...", and of the item, "work_...".
 *
 * `params_json`: an object with `metadata` (object, required; merged into what is there, `null` deletes a key), and the options of
 * a call.
 *
 * `out_json`: the work item; or the error object. Free it with antenv_string_free.
 *
 * Errors: any of a call; ANTENV_NOT_FOUND; ANTENV_BAD_REQUEST with error_code "invalid_metadata". Blocks until the call is done,
 * `timeout_ms` at most.
 */
antenv_status antenv_work_update(antenv_client *client,
                                 const char *environment_id,
                                 const char *work_id,
                                 const char *params_json,
                                 char **out_json);

/**
 * Acknowledges a work item that was polled (POST /v1/environments/{environment_id}/work/{work_id}/ack, Acknowledge Work): it
 * leaves the queue and is starting. Follow with a heartbeat at once.
 *
 * `client`: the client.
 *
 * `environment_id`, `work_id`: the identifiers of the environment, "env_...", and of the item, "work_...".
 *
 * `params_json`: NULL or an object with the options of a call.
 *
 * `out_json`: the work item; or the error object. Free it with antenv_string_free.
 *
 * Errors: any of a call; ANTENV_NOT_FOUND; ANTENV_CONFLICT when it is past that. Blocks until the call is done, `timeout_ms` at
 * most.
 */
antenv_status antenv_work_ack(antenv_client *client,
                              const char *environment_id,
                              const char *work_id,
                              const char *params_json,
                              char **out_json);

/**
 * Records a heartbeat, which keeps the lease on a work item (POST /v1/environments/{environment_id}/work/{work_id}/heartbeat,
 * Record Heartbeat).
 *
 * `client`: the client.
 *
 * `environment_id`, `work_id`: the identifiers of the environment, "env_...", and of the item, "work_...".
 *
 * `params_json`: NULL or an object with `desired_ttl_seconds` (whole number, seconds that the lease is to last),
 * `expected_last_heartbeat` (string: "NO_HEARTBEAT" for the first, then the `last_heartbeat` of the reply before, to the letter),
 * and the options of a call.
 *
 * `out_json`: {"type":"work_heartbeat", "last_heartbeat": time, "lease_extended": boolean, "state": the item's, "ttl_seconds":
 * whole number}; or the error object. Free it with antenv_string_free.
 *
 * Errors: any of a call; ANTENV_NOT_FOUND; ANTENV_PRECONDITION_FAILED when the last heartbeat is another: `details.current_state`
 * tells, and unless that was this caller's own lost reply, the item is somebody else's now. Blocks until the call is done,
 * `timeout_ms` at most.
 *
 *     antenv_work_heartbeat(client, "env_...", "work_...", "{\"expected_last_heartbeat\":\"NO_HEARTBEAT\"}", &json);
 */
antenv_status antenv_work_heartbeat(antenv_client *client,
                                    const char *environment_id,
                                    const char *work_id,
                                    const char *params_json,
                                    char **out_json);

/**
 * Stops a work item (POST /v1/environments/{environment_id}/work/{work_id}/stop, Stop Work).
 *
 * `client`: the client.
 *
 * `environment_id`, `work_id`: the identifiers of the environment, "env_...", and of the item, "work_...".
 *
 * `params_json`: NULL or an object with `force` (boolean; true: at once, otherwise its worker is asked to stop by the next
 * heartbeat's reply), and the options of a call.
 *
 * `out_json`: the work item; JSON `null` when the server sends none; or the error object. Free it with antenv_string_free.
 *
 * Errors: any of a call; ANTENV_NOT_FOUND; ANTENV_CONFLICT when it has stopped already. Blocks until the call is done,
 * `timeout_ms` at most.
 *
 *     antenv_work_stop(client, "env_...", "work_...", "{\"force\":true}", &json);
 */
antenv_status antenv_work_stop(antenv_client *client,
                               const char *environment_id,
                               const char *work_id,
                               const char *params_json,
                               char **out_json);

/**
 * ---- Any operation, any endpoint ------------------------------------------------------------------------------------------
 *
 * Calls any operation by its name.
 *
 * `operation`: "environments.create", ".list", ".retrieve", ".update", ".delete", ".archive", or "work.list", ".poll", ".stats",
 * ".retrieve", ".update", ".ack", ".heartbeat", ".stop".
 *
 * `params_json`: every parameter of that operation, `environment_id` and `work_id` too; otherwise as for the function of that name.
 *
 * `out_json`: the result or the error object; free it with antenv_string_free.
 *
 * Errors: those of the operation; an unknown name gives ANTENV_INVALID_ARGUMENT and a message that lists the known ones. Blocks
 * until the call is done, `timeout_ms` at most.
 *
 *     antenv_call(client, "work.stats", "{\"environment_id\":\"env_...\"}", &json);
 */
antenv_status antenv_call(antenv_client *client,
                          const char *operation,
                          const char *params_json,
                          char **out_json);

/**
 * Makes a request to any other endpoint of the API, with this client's credential, headers, retries and timeouts.
 *
 * `method`: GET, POST, PUT, PATCH or DELETE.
 *
 * `path`: begins with `/`, such as "/v1/sessions"; percent-encoded where needed, without query.
 *
 * `params_json`: NULL or {"query":{...}, "body":any JSON, "headers":{...}}, beside betas, workspace_id and the options of a call.
 *
 * `out_json`: the result (`null` when the server sends none) or the error object; free it with antenv_string_free.
 *
 * Errors: as for any call. Blocks until the call is done, `timeout_ms` at most.
 *
 *     antenv_request(client, "POST", "/v1/sessions", "{\"body\":{\"environment_id\":\"env_...\"}}", &json);
 */
antenv_status antenv_request(antenv_client *client,
                             const char *method,
                             const char *path,
                             const char *params_json,
                             char **out_json);

/**
 * ---- Pages ----------------------------------------------------------------------------------------------------------------
 *
 * Makes a pager over a list operation. Nothing is sent yet.
 *
 * `client`: the client; it may be freed before the pager.
 *
 * `operation`: "environments.list" or "work.list".
 *
 * `params_json`: the operation's parameters, `environment_id` too, and the options of a call, which hold for each page; `limit` is
 * the size of a page, `page` where to begin. NULL: none.
 *
 * `out`: receives the pager; free it with antenv_pager_free. NULL on failure.
 *
 * `out_error`: receives the error object on failure, to be freed with antenv_string_free; NULL when it is not wanted.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT. Does not block.
 *
 *     antenv_pager_new(client, "environments.list", "{\"limit\":100}", &pager, &error);
 *     while (antenv_pager_next(pager, &json) == ANTENV_OK) { puts(json); antenv_string_free(json); }
 */
antenv_status antenv_pager_new(antenv_client *client,
                               const char *operation,
                               const char *params_json,
                               antenv_pager **out,
                               char **out_error);

/**
 * The next item. While a page's items are handed out, the next page is already on its way.
 *
 * `pager`: the pager. Threads may share it: each item goes to one of them.
 *
 * `out_json`: the item as the server sent it, or the error object; free it with antenv_string_free. NULL at the end.
 *
 * Returns ANTENV_OK, ANTENV_DONE after the last item, or an error. After an error, another call asks for the same page again:
 * no item is skipped or repeated. Blocks while a page is on its way, `timeout_ms` at most.
 */
antenv_status antenv_pager_next(antenv_pager *pager, char **out_json);

/**
 * Frees a pager. A page on its way is dropped.
 *
 * `pager`: the pager. Freeing one twice, or NULL, is harmless.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block.
 */
antenv_status antenv_pager_free(antenv_pager *pager);

/**
 * ---- Many calls from one thread -------------------------------------------------------------------------------------------
 *
 * Makes a completion queue. Any number of calls may be in flight through it; they take no threads.
 *
 * `out`: receives the queue; free it with antenv_queue_free. NULL on failure.
 *
 * `out_error`: receives the error object on failure, to be freed with antenv_string_free; NULL when it is not wanted.
 *
 * Errors: ANTENV_INVALID_ARGUMENT, ANTENV_INTERNAL (no file descriptor left). Does not block.
 *
 *     antenv_submit(client, queue, "environments.list", NULL, 42, NULL, &error);
 *     while (antenv_queue_next(queue, -1, &done) == ANTENV_INTERRUPTED) {}
 *     printf("%llu: %s\n", (unsigned long long)done.tag, done.json);
 *     antenv_string_free(done.json);
 */
antenv_status antenv_queue_new(antenv_queue **out, char **out_error);

/**
 * The file descriptor to watch with poll, epoll, kqueue, asyncio or libuv: readable exactly while a completion waits in the queue.
 * Do not read, write or close it: antenv_queue_next does what is needed, and it closes with the queue.
 *
 * `queue`: the queue.
 *
 * Returns the descriptor, or -1 when the handle is not valid (and on systems without such descriptors). In a forked child the queue
 * has another one: ask again. Does not block.
 */
int antenv_queue_fd(antenv_queue *queue);

/**
 * Begins a call of any operation, without waiting for it: exactly one completion with `tag` will come to the queue.
 *
 * `client`: the client; it may be freed while the call is in flight.
 *
 * `queue`: where the completion goes.
 *
 * `operation`, `params_json`: as for antenv_call. They are checked here: what is not acceptable is refused, nothing is sent and no
 * completion comes.
 *
 * `tag`: any number; it comes back with the completion.
 *
 * `out_ticket`: receives a ticket for cancelling the call, to be freed with antenv_ticket_free; NULL when none is wanted.
 *
 * `out_error`: receives the error object on failure, to be freed with antenv_string_free; NULL when it is not wanted.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED (the queue was freed, or the library is being shut down),
 * ANTENV_INTERNAL. Does not block. Each call in flight over HTTP/1.1 has a connection of its own, which takes a file descriptor.
 *
 *     antenv_submit(client, queue, "work.poll", "{\"environment_id\":\"env_...\",\"block_ms\":999}", 7, &ticket, &error);
 */
antenv_status antenv_submit(antenv_client *client,
                            antenv_queue *queue,
                            const char *operation,
                            const char *params_json,
                            uint64_t tag,
                            antenv_ticket **out_ticket,
                            char **out_error);

/**
 * Begins a request to any other endpoint, without waiting for it: exactly one completion with `tag` will come to the queue.
 *
 * `method`, `path`, `params_json`: as for antenv_request.
 *
 * The others, errors and blocking: as for antenv_submit.
 */
antenv_status antenv_submit_request(antenv_client *client,
                                    antenv_queue *queue,
                                    const char *method,
                                    const char *path,
                                    const char *params_json,
                                    uint64_t tag,
                                    antenv_ticket **out_ticket,
                                    char **out_error);

/**
 * Takes the next completion, waiting for one if there is none.
 *
 * `queue`: the queue. Threads may share it: each completion goes to one of them.
 *
 * `timeout_ms`: how long to wait: 0 not at all, -1 for ever.
 *
 * `out`: receives the completion; free its `json` with antenv_string_free. All zero when there is none.
 *
 * Returns ANTENV_OK when there is one, whatever its own status; ANTENV_TIMEOUT; ANTENV_INTERRUPTED when a signal handler ran in this
 * thread (call again to go on waiting); ANTENV_CLOSED when the queue was freed meanwhile; ANTENV_INVALID_HANDLE;
 * ANTENV_INVALID_ARGUMENT. Blocks, `timeout_ms` at most.
 */
antenv_status antenv_queue_next(antenv_queue *queue,
                                int64_t timeout_ms,
                                antenv_completion *out);

/**
 * Takes as many completions as there are, up to `capacity`, waiting until there is at least one.
 *
 * `out`: an array of `capacity` completions, 1 or more. The first is cleared at once, the others only written when filled.
 *
 * `count`: receives how many were filled in: 0 unless ANTENV_OK is returned.
 *
 * The others, what is returned, and blocking: as for antenv_queue_next.
 */
antenv_status antenv_queue_next_many(antenv_queue *queue,
                                     int64_t timeout_ms,
                                     antenv_completion *out,
                                     size_t capacity,
                                     size_t *count);

/**
 * Frees a queue: cancels what is in flight through it, drops the completions that wait, and wakes those who wait for one with
 * ANTENV_CLOSED.
 *
 * `queue`: the queue. Freeing one twice, or NULL, is harmless.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block.
 */
antenv_status antenv_queue_free(antenv_queue *queue);

/**
 * Cancels a call: its request is dropped, and its completion comes at once with ANTENV_CANCELLED; or with the result, if that had
 * arrived already. Cancelling twice, or when the call has ended, changes nothing.
 *
 * `ticket`: the ticket.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block. Any thread may cancel, also before the call was begun in earnest.
 */
antenv_status antenv_ticket_cancel(antenv_ticket *ticket);

/**
 * Frees a ticket. The call goes on, and its completion comes.
 *
 * `ticket`: the ticket. Freeing one twice, or NULL, is harmless.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block.
 */
antenv_status antenv_ticket_free(antenv_ticket *ticket);

/**
 * ---- Worker: claim work -----------------------------------------------------------------------------------------------------
 *
 * A worker polls the queue, acknowledges an item, keeps its lease by heartbeats while the host serves it, and stops it when the
 * host is done. All of that happens on the library's own thread, whatever the host's threads do. No more is claimed than the host
 * asks for, and than `concurrency` allows. docs/worker.md tells what happens when something fails.
 *
 * Makes a worker. It claims nothing before antenv_worker_next or antenv_worker_attach is called.
 *
 * `client`: where its connections and defaults come from; it may be freed before the worker. Its credential is not used, unless it
 * is an environment key.
 *
 * `config_json`: NULL or a JSON object; every key but the first two is optional, and `null` means absent. Environment variables are
 * read here and at no other time:
 *
 * | key                   | meaning, and what holds without it                                                               |
 * |-----------------------|--------------------------------------------------------------------------------------------------|
 * | environment_id        | the environment, "env_..."; the environment variable ANTHROPIC_ENVIRONMENT_ID                     |
 * | environment_key       | its key; the client's environment key, then ANTHROPIC_ENVIRONMENT_KEY                             |
 * | worker_id             | who polls, one name per worker, for the queue's statistics; the host's name and twelve hex digits |
 * | concurrency           | how many items are held at once: 1 to 100000, 1                                                  |
 * | block_ms              | how long a poll waits at the server: 0 (not at all) to 999, 999; with `drain` 0                   |
 * | reclaim_older_than_ms | polls also take items unacknowledged for longer than this: 0 to 86400000; the server's: 5000      |
 * | drain                 | true: end when the queue is empty; false                                                         |
 * | desired_ttl_seconds   | how long a heartbeat is to extend a lease: 1 to 86400; as the server likes                        |
 * | idle_after_ms         | after how long without an item the worker pauses between polls: 0 to 86400000, 60000              |
 * | idle_min_ms           | those pauses at least: 0 to 86400000, 1000                                                       |
 * | idle_max_ms           | and at most: 0 to 86400000, 3000                                                                 |
 * | grace_ms              | how long items go on when the worker was stopped: 0 to 86400000, 30000                            |
 * | rescue_after_ms       | items that were acknowledged by somebody and had no heartbeat for this long are put back into the queue, now and then: 0 (never) to 86400000, 60000 |
 *
 * `out`: receives the worker; free it with antenv_worker_free. NULL on failure.
 *
 * `out_error`: receives the error object on failure, to be freed with antenv_string_free; NULL when it is not wanted.
 *
 * Errors: ANTENV_CONFIG (`parameter` names the key), ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED (the library is
 * being shut down), ANTENV_INTERNAL. Does not block.
 *
 *     antenv_worker_new(client, "{\"environment_id\":\"env_...\",\"concurrency\":4}", &worker, &error);
 *     while (antenv_worker_next(worker, -1, &lease, &item) == ANTENV_OK) serve(lease, item);
 */
antenv_status antenv_worker_new(antenv_client *client,
                                const char *config_json,
                                antenv_worker **out,
                                char **out_error);

/**
 * Waits for the next item. It is acknowledged, and its heartbeat is running.
 *
 * `worker`: the worker. Any number of threads may wait at once; each item goes to one.
 *
 * `timeout_ms`: how long to wait: 0 does not wait, -1 waits for ever. A thread that waits (or that asked without waiting in the last
 * second) is what has the worker claim an item.
 *
 * `out_lease`: receives the lease; end it with antenv_lease_finish or antenv_lease_abandon, which free it. NULL unless ANTENV_OK.
 *
 * `out_json`: receives the work item as the server sent it, its `secret` too, or the error object; free it with antenv_string_free.
 * NULL on ANTENV_TIMEOUT, ANTENV_INTERRUPTED and ANTENV_DONE.
 *
 * Returns ANTENV_OK; ANTENV_TIMEOUT when none came in time; ANTENV_INTERRUPTED when a signal handler ran in this thread (call again
 * to go on waiting); ANTENV_DONE when there is nothing more to come, because the worker was stopped or the queue is drained; or the
 * error for which the worker gave up (a poll that was refused permanently: ANTENV_AUTHENTICATION, ANTENV_PERMISSION_DENIED,
 * ANTENV_NOT_FOUND, ...; or the third item in a row whose acknowledgement or first heartbeat was refused so; with `parameter`, if that
 * was for what the key says), from then on for every call. ANTENV_CLOSED in a forked child: the worker is its parent's.
 * ANTENV_INVALID_HANDLE; ANTENV_INVALID_ARGUMENT. Blocks, `timeout_ms` at most.
 */
antenv_status antenv_worker_next(antenv_worker *worker,
                                 int64_t timeout_ms,
                                 antenv_lease **out_lease,
                                 char **out_json);

/**
 * Has items told through a queue, so that an event loop needs no thread: each item that is ready makes one completion with `tag`,
 * and antenv_worker_next with a timeout of 0 then takes it. From now on as many items are claimed as `concurrency` allows.
 *
 * `worker`: the worker. `queue`: where the completions go; another one takes its place when this is called again. With NULL, and when
 * the queue is freed, the worker claims again what antenv_worker_next asks for.
 *
 * `tag`: any number; it comes back with each completion. With ANTENV_OK `json` is {"work_id":"work_..."}. A last completion tells
 * that there is nothing more to come: with ANTENV_DONE, or with the error for which the worker gave up.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED (the queue was freed, or the worker is the parent's). Does not block.
 */
antenv_status antenv_worker_attach(antenv_worker *worker,
                                   antenv_queue *queue,
                                   uint64_t tag);

/**
 * Stops a worker: it claims no more. What was claimed is still handed out by antenv_worker_next, and then ANTENV_DONE. Leases go on
 * until they are finished; when `grace_ms` is over, those who still hold one are told ("stop_requested", reason "shutdown"), and its
 * item is stopped. An item that nobody came for goes back to the queue when its lease runs out. ANTENV_DONE comes `grace_ms` and five
 * seconds later in any case, whatever does not answer.
 *
 * `worker`: the worker. Stopping twice changes nothing.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED in a forked child. Does not block.
 */
antenv_status antenv_worker_stop(antenv_worker *worker);

/**
 * What a worker did so far.
 *
 * `worker`: the worker.
 *
 * `out_json`: receives the counts, or the error object; free it with antenv_string_free:
 *
 * | member                    | holds                                                                                     |
 * |---------------------------|-------------------------------------------------------------------------------------------|
 * | environment_id, worker_id | as configured                                                                             |
 * | state                     | "running", "stopping", "stopped", "drained", "failed"                                      |
 * | concurrency, leases_held  | how many items it may hold, and does                                                      |
 * | claimed                   | items that were acknowledged and had a good heartbeat                                     |
 * | finished                  | items that it stopped                                                                     |
 * | lost                      | leases lost                                                                               |
 * | stop_requested            | leases whose item was to be stopped before its holder was done                             |
 * | abandoned, undelivered    | leases given up; those among them that nobody came for                                    |
 * | health_checks             | items without a session, which the worker acknowledges and stops itself                   |
 * | rescued                   | items that another worker had acknowledged and left, put back into the queue               |
 * | refused                   | items left to the queue, because their acknowledgement or first heartbeat was refused permanently |
 * | gateway                   | requests that something on the way to the API refused with a page of its own, and that are made again |
 * | faults                    | faults in the library that were caught; please report them                                |
 * | failures                  | requests that failed, by step ("poll", "ack", "heartbeat", "stop", "rescue") and name of the status |
 * | claim_us                  | histogram: from the poll's answer to the first good heartbeat                              |
 * | heartbeat_us              | histogram: how long heartbeats took                                                       |
 * | heartbeat_late_us         | histogram: how late heartbeats were sent                                                  |
 *
 * Histograms are as in antenv_client_stats.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED in a forked child. Does not block.
 */
antenv_status antenv_worker_stats(antenv_worker *worker,
                                  char **out_json);

/**
 * The same counts as text for Prometheus: antenv_worker_leases_held, antenv_worker_claimed_total and so on, times as histograms in
 * seconds.
 *
 * `worker`: the worker.
 *
 * `out_text`: receives the text (on failure the error object), to be freed with antenv_string_free.
 *
 * Errors and blocking: as for antenv_worker_stats.
 */
antenv_status antenv_worker_metrics(antenv_worker *worker,
                                    char **out_text);

/**
 * Frees a worker, and stops it as antenv_worker_stop does. Leases that were handed out go on until they are finished or `grace_ms` is
 * over; items that were not go back to the queue when their leases run out.
 *
 * `worker`: the worker. Freeing one twice, or NULL, is harmless.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block. A thread that waits in antenv_worker_next gets ANTENV_DONE, at once.
 */
antenv_status antenv_worker_free(antenv_worker *worker);

/**
 * ---- Lease: hold an item ---------------------------------------------------------------------------------------------------
 *
 * How it stands with a lease.
 *
 * `lease`: the lease.
 *
 * `out_json`: receives the state, or the error object; free it with antenv_string_free:
 *
 * {"state":"held"|"stop_requested"|"lost", "reason", "work_id", "ttl_seconds", "last_heartbeat": as the server wrote it, "beats":
 * how many heartbeats were good}
 *
 * `reason` is null while the lease is held. "stop_requested": "asked" (the item is stopping or stopped at the server),
 * "not_extended", "rejected" (a heartbeat was refused permanently), "shutdown" (the worker's grace period is over): end the work and
 * finish, while the lease lasts: it is not extended any more, and becomes "lost" when it may have run out. "lost": "taken" (somebody
 * else has it), "expired" (no heartbeat was good for as long as the lease lasts), "shutdown" (the library was shut down): stop
 * working at once, another worker may be at it; finishing sends nothing.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED in a forked child. Does not block.
 */
antenv_status antenv_lease_state(antenv_lease *lease,
                                 char **out_json);

/**
 * Waits until a lease is no longer simply held: it is lost, its item is to be stopped, or it was ended by another thread.
 *
 * `lease`: the lease.
 *
 * `timeout_ms`: how long to wait: 0 does not wait, -1 waits for ever.
 *
 * `out_json`: receives the state as antenv_lease_state has it, or the error object; free it with antenv_string_free.
 *
 * Returns ANTENV_OK; ANTENV_DONE when it ended because it was finished or abandoned by another thread; ANTENV_TIMEOUT while it is still
 * held; ANTENV_INVALID_HANDLE; ANTENV_INVALID_ARGUMENT; ANTENV_CLOSED in a forked child. Blocks, `timeout_ms` at most. An event loop attaches the lease to a queue instead.
 */
antenv_status antenv_lease_wait(antenv_lease *lease,
                                int64_t timeout_ms,
                                char **out_json);

/**
 * Waits until a lease is lost, or was ended by another thread. Other than antenv_lease_wait, which returns at once from when the item
 * is to be stopped, it waits for the end of the time that is left for that.
 *
 * `lease`, `timeout_ms`, `out_json`, errors and blocking: as for antenv_lease_wait.
 *
 *     antenv_lease_wait(lease, -1, &json);
 *     begin_to_wind_down();
 *     if (antenv_lease_wait_lost(lease, 0, &json) == ANTENV_OK) leave_it_to_others();
 */
antenv_status antenv_lease_wait_lost(antenv_lease *lease,
                                     int64_t timeout_ms,
                                     char **out_json);

/**
 * Has a completion tell that a lease is no longer simply held. Exactly one comes to the queue, at once if it is so already.
 * antenv_lease_attach_lost tells of the end of a lease whose item is to be stopped.
 *
 * `lease`: the lease. `queue`: where the completion goes.
 *
 * `tag`: any number; it comes back with the completion: with ANTENV_OK and the state as antenv_lease_state has it, or with
 * ANTENV_DONE when the lease ended because it was finished or abandoned.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED. Does not block.
 */
antenv_status antenv_lease_attach(antenv_lease *lease, antenv_queue *queue, uint64_t tag);

/**
 * Has a completion tell that a lease is lost, or was ended. Exactly one comes to the queue, at once if it is so already. With a tag of
 * its own it goes beside antenv_lease_attach: one tells when to begin winding down, the other when to leave it.
 *
 * `lease`, `queue`, `tag`, errors and blocking: as for antenv_lease_attach. The completion is "lost" with ANTENV_OK, or ANTENV_DONE.
 */
antenv_status antenv_lease_attach_lost(antenv_lease *lease,
                                       antenv_queue *queue,
                                       uint64_t tag);

/**
 * Makes a client with the item's own token (or, if its secret holds none, with the environment's key), on the worker's connections:
 * for the calls that serving the item takes.
 *
 * `lease`: the lease.
 *
 * `out`: receives the client; free it with antenv_client_free. It may outlive the lease. NULL on failure.
 *
 * `out_error`: receives the error object on failure, to be freed with antenv_string_free; NULL when it is not wanted.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED in a forked child. Does not block.
 */
antenv_status antenv_lease_client(antenv_lease *lease,
                                  antenv_client **out,
                                  char **out_error);

/**
 * Ends a lease: stops the item (POST /v1/environments/{environment_id}/work/{work_id}/stop, Stop Work), keeping the lease until that
 * is done, and frees the handle. When the lease is lost, nothing is sent.
 *
 * `lease`: the lease. It is freed, unless ANTENV_INVALID_ARGUMENT or ANTENV_INVALID_HANDLE is returned (or, in a forked child,
 * ANTENV_CLOSED).
 *
 * `params_json`: NULL or an object with `force` (boolean; without it true: the item is stopped at once), `timeout_ms` (how long that
 * is tried, 60000) and the other options of a call. Failures that may pass are tried again.
 *
 * `out_json`: the work item, or JSON `null` when the server sends none or the item had stopped already; or the error object. Free it
 * with antenv_string_free.
 *
 * Errors: ANTENV_LEASE_LOST; any of a call, when the item could not be stopped (its lease then runs out, and the queue hands it out
 * again); ANTENV_CANCELLED when the library was shut down meanwhile. Blocks, `timeout_ms` at most.
 */
antenv_status antenv_lease_finish(antenv_lease *lease,
                                  const char *params_json,
                                  char **out_json);

/**
 * Ends a lease as antenv_lease_finish does, without waiting: a completion with `tag` tells what came of it.
 *
 * `lease`: the lease. It is freed when ANTENV_OK is returned.
 *
 * `params_json`: as for antenv_lease_finish.
 *
 * `queue`, `tag`: where the completion goes, and what comes back with it; its status and `json` are what antenv_lease_finish returns.
 *
 * `out_error`: receives the error object on failure, to be freed with antenv_string_free; NULL when it is not wanted.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED. Does not block.
 */
antenv_status antenv_lease_submit_finish(antenv_lease *lease,
                                         const char *params_json,
                                         antenv_queue *queue,
                                         uint64_t tag,
                                         char **out_error);

/**
 * Ends a lease without stopping the item, and frees the handle: the heartbeats end, the lease runs out, and the queue hands the item
 * out again.
 *
 * `lease`: the lease. Abandoning one twice, or NULL, is harmless.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block.
 */
antenv_status antenv_lease_abandon(antenv_lease *lease);

/**
 * ---- Log ------------------------------------------------------------------------------------------------------------------
 *
 * Sends the library's log records to a queue, where they arrive as completions with status ANTENV_OK and a JSON object each:
 * {"time":"2026-11-23T10:20:30.123456Z", "level":"info", "target":"antenv::client", "message":"retrying", "fields":{...}}.
 * No record ever holds a secret.
 *
 * `queue`: the queue; one of its own is best. It holds 1024 records at most: when it is read too slowly the oldest are lost, and a
 * record with the target "antenv::log" and the field `lost` tells how many. Subscribing again replaces the filter and the tag.
 *
 * `filter`: `off`, `error`, `warn`, `info`, `debug` or `trace`; or such a level for a part of the library, as in
 * "antenv::client=debug"; or several of these with commas between, of which the most specific decides. "off" ends the
 * subscription, and so does freeing the queue.
 *
 * `tag`: comes with each record, to tell it from completions of calls.
 *
 * `out_error`: receives the error object on failure, to be freed with antenv_string_free; NULL when it is not wanted.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT (the filter), ANTENV_CLOSED. Does not block.
 *
 * | level | target            | message, and fields                                                                          |
 * |-------|-------------------|----------------------------------------------------------------------------------------------|
 * | error | antenv::runtime   | "a fault in the library ended a call" (please report it)                                     |
 * | error, warn | antenv::worker | "a poll failed", "a request failed", "an item could not be stopped": step, work_id, status, why        |
 * | warn  | antenv::worker    | "a lease is lost": work_id, reason; "nobody came for an item", "an item that its worker had left", "the machine slept", "an item's secret holds no token" |
 * | info  | antenv::worker    | "claimed an item", "an item is to be stopped", "an item is somebody else's": work_id; "claims no more": why |
 * | debug | antenv::worker    | "let go of an item": work_id, how                                                            |
 * | info  | antenv::client    | "retrying": operation, attempt, reason, http_status, why, wait_ms                            |
 * | debug | antenv::client    | "call done": operation, status, attempts, elapsed_ms                                         |
 * | debug | antenv::runtime   | "started", "ended" (the library's thread)                                                    |
 * | trace | antenv::client    | "a kept connection was closed": operation                                                    |
 * | trace | antenv::transport | "connecting": host                                                                           |
 *
 *     antenv_log_subscribe(log_queue, "info", 0, NULL);
 */
antenv_status antenv_log_subscribe(antenv_queue *queue,
                                   const char *filter,
                                   uint64_t tag,
                                   char **out_error);

/**
 * ---- The process ----------------------------------------------------------------------------------------------------------
 *
 * Shuts the library's machinery down: refuses new calls, waits for those in flight, cancels what is left when the time is up
 * (those calls end with ANTENV_CANCELLED), closes all connections and ends the library's thread. Nothing has to call this: leaving
 * the process is fine at any time. It is for hosts that must not leave a thread or a socket behind, such as before `exec`, before
 * measuring leaks, or when a plugin is unloaded.
 *
 * `timeout_ms`: how long to wait for calls in flight: 0 cancels them at once, -1 waits for as long as they take.
 *
 * Returns ANTENV_OK; ANTENV_TIMEOUT when calls had to be cancelled (the library is shut down nevertheless);
 * ANTENV_INVALID_ARGUMENT. Blocks, for little longer than `timeout_ms`. While it does, new calls end with ANTENV_CLOSED; a second
 * thread that shuts down too waits as well, and the shorter time counts. Shutting down again does nothing.
 *
 * Handles stay what they are: a later call starts afresh, and completions that wait in queues can still be collected.
 */
antenv_status antenv_shutdown(int64_t timeout_ms);

#ifdef __cplusplus
}
#endif

#endif  /* ANTENV_H */
