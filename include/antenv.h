/*
 * antenv: the Environments API for C and C++.
 *
 * Creates, lists, updates, archives and deletes environments, serves the work queue of a self-hosted one, and the calls of
 * the tools of its sessions. Link with -lantenv.
 *
 *     antenv_client *client;
 *     char *json;
 *     if (antenv_client_new(NULL, &client, &json) != ANTENV_OK) { puts(json); antenv_string_free(json); return 1; }
 *     antenv_status status = antenv_environments_create(client, "{\"name\":\"tests\"}", &json);
 *     puts(json);                                        (the environment, or the error object)
 *     antenv_string_free(json);
 *     antenv_client_free(client);
 *
 * What holds for every function
 *
 * Status     A function that can fail returns antenv_status: ANTENV_OK is 0. There is no hidden "last error".
 * Strings    in are NUL-terminated UTF-8, and only borrowed for the call. Results are the server's bytes, verbatim. Free every
 *            string that the library returns with antenv_string_free, once.
 * Handles    are numbers in the shape of pointers; the library never dereferences one. A handle that is NULL, already freed, of
 *            a different type or garbage gives ANTENV_INVALID_HANDLE. Freeing twice is harmless, also while other threads use it.
 *            In a 32-bit process 2,048 of a type may be alive at a time; one more is refused with ANTENV_INTERNAL.
 * Threads    Every function may be called from any thread at any time, but not from a signal handler. The library never calls
 *            back. It has one thread of its own, created by the first client, with all signals blocked; besides, one for each
 *            host name while that is being resolved, and one that writes files while there are downloads. A process may fork at
 *            any moment: the child can use what it inherits, except workers, leases, sessions and streams.
 * Blocking   "Blocks" means: until the call is done, for at most its `timeout_ms`, retries and waits included.
 *
 * Parameters with the same meaning everywhere
 *
 * out_json   receives the result on ANTENV_OK, and otherwise the error object: one antenv_string_free for both. It must not be
 *            NULL (ANTENV_INVALID_ARGUMENT; nothing is sent).
 * out        receives a handle, or NULL on failure. It must not be NULL.
 * out_error  receives the error object on failure, otherwise NULL. It may be NULL. Every out-parameter is set to NULL or 0 first.
 * timeout_ms of a function that waits: milliseconds; 0 does not wait, -1 waits forever, other negative numbers are invalid.
 * tag        any number. It comes back with the completion.
 * params_json is NULL (no parameters) or a JSON object. An unknown member is an error (a misspelt name must not be ignored), but
 *            what is inside `config`, `metadata` and `extra_body` is sent verbatim. `null` is sent as `null` in a body, and left
 *            out elsewhere. Besides the parameters of its operation it takes the options of a call:
 *
 *            timeout_ms          bounds the whole call, retries and waits included: 1 to 2147483647
 *            attempt_timeout_ms  bounds one attempt: 1 to 2147483647
 *            max_retries         0 to 100: how often 408, 409, 429, 5xx and connection failures are retried
 *            extra_headers       object of headers; `null` leaves a default one out
 *            extra_query         object of query parameters: strings, numbers, booleans, or arrays of them
 *            extra_body          object merged into the body
 *            with_response       true: the result is
 *                                {"data":..., "http_status":200, "request_id":"...", "headers":{...}, "attempts":1}
 *            betas               array of beta versions, besides the one that is always sent
 *            workspace_id        workspace to act in
 *
 * The error object
 *
 *     {"status":"not_found", "code":104, "message":"...", "http_status":404, "type":"not_found_error",
 *      "error_code":"environment_not_found", "details":{...}, "request_id":"req_...", "attempts":1, "parameter":null,
 *      "body":{...}, "operation":"environments.retrieve", "headers":{...}, "retry_after_ms":null}
 *
 * `type`, `error_code` and `details` come from the API's error body. `body` is that body: JSON, or a string if it was not JSON.
 * `parameter` names an argument that the library rejected. `attempts` counts the requests made. `headers` has the headers of the
 * response (lower-case names), and `retry_after_ms` the wait that the server asked for. Every member is always there, with `null`
 * for what is not known ({} for `headers`). No secret is in it.
 *
 * "The common call errors" in the comments below: ANTENV_INVALID_ARGUMENT, ANTENV_INVALID_HANDLE, ANTENV_CONNECTION,
 * ANTENV_TIMEOUT, ANTENV_RESPONSE, ANTENV_INTERNAL, and ANTENV_BAD_REQUEST and above, which are the server's response.
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
 * 1 to 99 come from the library, 100 and above from the server's response. New numbers may be added in later versions (treat an
 * unknown one as a failure); none ever changes its meaning.
 */
enum antenv_status
#if defined(__cplusplus) && __cplusplus >= 201103L || defined(__STDC_VERSION__) && __STDC_VERSION__ >= 202311L
  : int32_t
#endif
 {
    /**
     * Success.
     */
    ANTENV_OK = 0,
    /**
     * An argument is invalid; the error's `parameter` names it. Nothing was sent.
     */
    ANTENV_INVALID_ARGUMENT = 1,
    /**
     * A handle is NULL, already freed, of a different type, or not a handle. Nothing was sent.
     */
    ANTENV_INVALID_HANDLE = 2,
    /**
     * The configuration is invalid, or no credential was found; the error's `parameter` names the key.
     */
    ANTENV_CONFIG = 3,
    /**
     * The server could not be reached, or the connection broke before the response was complete.
     */
    ANTENV_CONNECTION = 4,
    /**
     * The call's `timeout_ms` is over (for functions that wait: nothing happened in time).
     */
    ANTENV_TIMEOUT = 5,
    /**
     * The call was cancelled.
     */
    ANTENV_CANCELLED = 6,
    /**
     * A success whose body is not valid JSON, was cut short, is empty, or is larger than `max_response_bytes` (an event: than
     * `max_event_bytes`, a download: than `max_bytes`).
     */
    ANTENV_RESPONSE = 7,
    /**
     * There is nothing more: the pager is at its end, the server has ended the stream, the worker was stopped, or the work queue
     * is drained.
     */
    ANTENV_DONE = 8,
    /**
     * The object was closed meanwhile, or was created before fork() and cannot be used in the child.
     */
    ANTENV_CLOSED = 9,
    /**
     * The lease on a work item was lost before it was finished: another worker may hold the item. Nothing was sent.
     */
    ANTENV_LEASE_LOST = 10,
    /**
     * A fault in the library itself. Please report it.
     */
    ANTENV_INTERNAL = 11,
    /**
     * A signal handler ran in the waiting thread. Nothing is lost: call again to go on waiting.
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
     * HTTP 404: there is no such object.
     */
    ANTENV_NOT_FOUND = 104,
    /**
     * HTTP 408: the server gave up waiting for the request.
     */
    ANTENV_REQUEST_TIMEOUT = 105,
    /**
     * HTTP 409: the object's current state does not allow it.
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
     * HTTP 422: the request is well-formed, but cannot be processed.
     */
    ANTENV_UNPROCESSABLE = 109,
    /**
     * HTTP 429: too many requests.
     */
    ANTENV_RATE_LIMITED = 110,
    /**
     * HTTP 500 to 599 except 529: the server failed.
     */
    ANTENV_SERVER_ERROR = 111,
    /**
     * HTTP 529: the API is overloaded.
     */
    ANTENV_OVERLOADED = 112,
    /**
     * Any other HTTP status that is not a success: see `http_status`.
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
 * A client: credentials, defaults, and a pool of connections. Create one per credential and keep it; threads may share it.
 */
typedef struct antenv_client antenv_client;

/**
 * A lease on a work item that a worker claimed, or that another process handed over.
 */
typedef struct antenv_lease antenv_lease;

/**
 * A pager: returns the items of a list, one at a time, over all its pages.
 */
typedef struct antenv_pager antenv_pager;

/**
 * A completion queue: calls are submitted to it without waiting, and their results collected from it.
 */
typedef struct antenv_queue antenv_queue;

/**
 * A session that is being served.
 */
typedef struct antenv_session antenv_session;

/**
 * A stream: the events of a session, as they happen.
 */
typedef struct antenv_stream antenv_stream;

/**
 * A ticket for a submitted call, which can cancel it.
 */
typedef struct antenv_ticket antenv_ticket;

/**
 * A call of one of the program's tools.
 */
typedef struct antenv_tool_call antenv_tool_call;

/**
 * A worker: claims items from the work queue of a self-hosted environment, and keeps their leases.
 */
typedef struct antenv_worker antenv_worker;

/**
 * The result of a submitted call.
 */
typedef struct {
    /**
     * The tag that was given with the call.
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

/* ---- Version and status ---------------------------------------------------------------------------------------------------- */

/**
 * Returns the library's version, such as "0.1.0": a static string, which is not freed. Does not block.
 */
const char *antenv_version(void);

/**
 * Returns the version of the binary interface: 1. It is raised only when a program that was built against an earlier header must
 * be rebuilt; new functions do not raise it. A program that loads the library at run time compares it with the version it was
 * built for. Does not block.
 */
uint32_t antenv_abi_version(void);

/**
 * Returns the name of a status, such as "not_found" for ANTENV_NOT_FOUND: the same text as `status` in the error object. It is a
 * static string, which is not freed. Does not block.
 *
 * @param status Any number; one that this version does not know gives "unknown".
 */
const char *antenv_status_name(int32_t status);

/* ---- Strings and values ---------------------------------------------------------------------------------------------------- */

/**
 * Frees a string that the library returned (`out_json`, `out_error`, the `json` of a completion). Does not block.
 *
 * @param text The string; NULL is fine. Free each string once, with this function and no other.
 */
void antenv_string_free(char *text);

/**
 * Reads one value out of a JSON text, such as a result or an error object, for programs without a JSON library.
 *
 * @param json The text.
 * @param pointer Which value, as a JSON pointer (RFC 6901): "/data/0/id" is the member `id` of the first element of the member
 *   `data`, "" the whole text. In a name, `~` is written `~0` and `/` is written `~1`. Of members with the same name the last one
 *   counts.
 * @param out Receives the value, or the error object. A string comes as its text, without quotes and escapes; any other value as
 *   JSON (`null` as "null").
 *
 * Returns ANTENV_OK; ANTENV_DONE, and NULL in `out`, when there is no value at that place; ANTENV_INVALID_ARGUMENT when the text
 * is not valid JSON, the pointer is not a pointer, or the string cannot be a C string (it has U+0000 or half of a surrogate
 * pair). Does not block. Every call reads the whole text.
 *
 *     char *id;
 *     if (antenv_json_get(json, "/id", &id) == ANTENV_OK) puts(id);
 *     antenv_string_free(id);
 */
antenv_status antenv_json_get(const char *json, const char *pointer, char **out);

/* ---- Client ---------------------------------------------------------------------------------------------------------------- */

/**
 * Creates a client. Nothing is sent yet.
 *
 * @param config_json NULL (everything comes from environment variables) or a JSON object. Every key is optional, `null` means
 *   absent, and an unknown key is an error:
 *
 *   api_key              API key. Without any credential here: ANTHROPIC_API_KEY, then ANTHROPIC_AUTH_TOKEN, then
 *                        ANTHROPIC_ENVIRONMENT_KEY.
 *   auth_token           Bearer token, instead of an API key.
 *   environment_key      Key of a self-hosted environment. Alongside an API key: each operation gets the one it needs.
 *   base_url             Default: ANTHROPIC_BASE_URL, then https://api.anthropic.com. A path prefix is kept.
 *   timeout_ms           Bounds a whole call, retries included: 1 to 2147483647. Default: 600000.
 *   attempt_timeout_ms   Bounds one attempt: 1 to 2147483647. Default: 60000; for a poll 10000 more than its block_ms.
 *   connect_timeout_ms   Bounds one attempt to connect, over all addresses of the host: 1 to 2147483647. Default: 5000.
 *   max_retries          0 to 100. Default: 2.
 *   default_headers      Object of headers for every call. They override those of ANTHROPIC_CUSTOM_HEADERS (lines of "Name:
 *                        value").
 *   betas                Array of beta versions for every call, besides the one that is always sent.
 *   workspace_id         Workspace to act in.
 *   anthropic_version    Default: "2026-10-21".
 *   auth_header          How an API key is sent: "authorization" (bearer; the default) or "x-api-key" (the older form).
 *   ca_file              PEM file of roots to trust besides those that `roots` names.
 *   roots                "bundled" (default): built-in roots, SSL_CERT_FILE and SSL_CERT_DIR. "system": the system's.
 *                        "only_ca_file".
 *   client_cert_file     PEM file of the certificate that the client presents, with its chain.
 *   client_key_file      PEM file of its private key. Default: the key is in `client_cert_file`.
 *   proxy                URL of a proxy (http, https, socks4, socks4a, socks5, socks5h); "" for none. Default: HTTPS_PROXY,
 *                        HTTP_PROXY, ALL_PROXY and NO_PROXY.
 *   max_response_bytes   Size limit of a response. Default: 67108864 (64 MiB).
 *   http2                "auto" (default), "never" or "always".
 *   allow_insecure_http  true: plain http:// to other hosts than this one is allowed, too. Default: false.
 *
 * @param out Receives the client; free it with antenv_client_free.
 * @param out_error Receives the error object.
 *
 * Errors: ANTENV_CONFIG (a key, a value, or no credential; `parameter` names it), ANTENV_INVALID_ARGUMENT, ANTENV_INTERNAL. Reads
 * the files that the configuration and the environment variables name, and does not block otherwise. Environment variables are
 * read by this function and by antenv_worker_new only.
 *
 *     antenv_client *client; char *error;
 *     if (antenv_client_new("{\"timeout_ms\":30000}", &client, &error)) { puts(error); antenv_string_free(error); }
 */
antenv_status antenv_client_new(const char *config_json, antenv_client **out, char **out_error);

/**
 * Creates a client that shares another client's connections, with another credential or other defaults.
 *
 * @param client The client to start from. Either may be freed first.
 * @param config_json The keys to change: api_key, auth_token, environment_key, timeout_ms, attempt_timeout_ms, max_retries,
 *   default_headers (added to the other client's; `null` removes one), betas, workspace_id, anthropic_version, auth_header,
 *   max_response_bytes. A credential here replaces all of the other client's. Environment variables are not read. Keys that shape
 *   connections (base_url, connect_timeout_ms, ca_file, proxy, http2, allow_insecure_http and the like) are rejected. NULL: a
 *   plain copy.
 * @param out Receives the client; free it with antenv_client_free.
 * @param out_error Receives the error object.
 *
 * Errors: ANTENV_CONFIG, ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT. Does not block.
 *
 *     antenv_client_derive(client, "{\"environment_key\":\"sk-ant-oat01-...\"}", &worker, &error);
 */
antenv_status antenv_client_derive(antenv_client *client, const char *config_json, antenv_client **out, char **out_error);

/**
 * Frees a client. Calls that other threads are making through it run to their end, and pagers made from it stay usable.
 *
 * @param client The client; freeing it twice, or NULL, is harmless.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block.
 */
antenv_status antenv_client_free(antenv_client *client);

/**
 * Returns what a client, and the clients that share its connections, did so far in this process.
 *
 * @param client The client.
 * @param out_json Receives the counts:
 *
 *   calls               {"started", "succeeded", "failed", "in_flight"}
 *   attempts            requests made, retries included
 *   retries             by reason: "connect", "unanswered", "cut_short", "timeout", "not_processed", "request_timeout",
 *                       "conflict", "rate_limited", "overloaded", "server_error", "asked"
 *   failures            failed calls by the name of their status
 *   connections_opened  attempts to connect
 *   bytes               {"sent", "received"}: bodies, without headers and encryption
 *   latency_us          by operation ("request" for other endpoints): {"count", "sum", "max", "buckets":[[below, count]]} in
 *                       microseconds, retries included, without cancelled calls
 *
 * Members that would be 0 are left out of `retries`, `failures` and `buckets`. Bucket bounds are the same everywhere: histograms
 * of several clients or processes are merged by adding the counts.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT. Does not block.
 */
antenv_status antenv_client_stats(antenv_client *client, char **out_json);

/* ---- Environments ---------------------------------------------------------------------------------------------------------- */

/**
 * Creates an environment (POST /v1/environments, Create Environment).
 *
 * @param client The client.
 * @param params_json An object with these parameters, of which only `name` cannot be `null`:
 *
 *   name         string, required: human-readable
 *   config       object: {"type":"cloud", "networking":{...}, "packages":{...}} or {"type":"self_hosted"}; sent verbatim
 *   description  string
 *   metadata     object with string values
 *   scope        string: "organization" (visible to all accounts) or "account"
 *
 * @param out_json Receives the environment: {"id":"env_...", "type":"environment", "name", "description", "config", "metadata",
 *   "scope", "created_at", "updated_at", "archived_at"}, times in RFC 3339.
 *
 * Errors: the common call errors; ANTENV_PERMISSION_DENIED where creating is switched off. Blocks.
 *
 *     antenv_environments_create(client, "{\"name\":\"tests\",\"config\":{\"type\":\"self_hosted\"}}", &json);
 */
antenv_status antenv_environments_create(antenv_client *client, const char *params_json, char **out_json);

/**
 * Lists environments, one page (GET /v1/environments, List Environments). A pager returns all of them, one by one.
 *
 * @param client The client.
 * @param params_json NULL or an object with `include_archived` (boolean), `limit` (integer: page size) and `page` (string: the
 *   `next_page` of the page before).
 * @param out_json Receives {"data":[environments], "next_page": string or null}.
 *
 * Errors: the common call errors. Blocks.
 *
 *     antenv_environments_list(client, "{\"limit\":20}", &json);
 */
antenv_status antenv_environments_list(antenv_client *client, const char *params_json, char **out_json);

/**
 * Retrieves an environment (GET /v1/environments/{environment_id}, Get Environment).
 *
 * @param client The client.
 * @param environment_id Identifier of the environment, "env_...".
 * @param params_json NULL or an object with options of a call.
 * @param out_json Receives the environment.
 *
 * Errors: the common call errors; ANTENV_NOT_FOUND. Blocks.
 *
 *     antenv_environments_retrieve(client, "env_...", NULL, &json);
 */
antenv_status antenv_environments_retrieve(antenv_client *client,
                                           const char *environment_id,
                                           const char *params_json,
                                           char **out_json);

/**
 * Updates an environment (POST /v1/environments/{environment_id}, Update Environment). Absent parameters stay as they are.
 *
 * @param client The client.
 * @param environment_id Identifier of the environment, "env_...".
 * @param params_json An object with any of `config` (object; its absent fields stay, too), `description` (string; `null` clears
 *   it), `metadata` (object, merged with the present one: `null` or "" deletes a key), `name` (string) and `scope` (string). NULL
 *   changes nothing.
 * @param out_json Receives the environment as it is now.
 *
 * Errors: the common call errors; ANTENV_NOT_FOUND; ANTENV_BAD_REQUEST with error_code "environment_archived" or
 * "invalid_config_type_change". Blocks.
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
 * @param client The client.
 * @param environment_id Identifier of the environment, "env_...".
 * @param params_json NULL or an object with options of a call.
 * @param out_json Receives {"id":"env_...", "type":"environment_deleted"}.
 *
 * Errors: the common call errors; ANTENV_NOT_FOUND, also when a retry finds that the attempt before it deleted the environment.
 * Blocks.
 */
antenv_status antenv_environments_delete(antenv_client *client,
                                         const char *environment_id,
                                         const char *params_json,
                                         char **out_json);

/**
 * Archives an environment (POST /v1/environments/{environment_id}/archive, Archive Environment). It then takes no new sessions.
 *
 * @param client The client.
 * @param environment_id Identifier of the environment, "env_...".
 * @param params_json NULL or an object with options of a call.
 * @param out_json Receives the environment, with `archived_at` set.
 *
 * Errors: the common call errors; ANTENV_NOT_FOUND. Blocks.
 */
antenv_status antenv_environments_archive(antenv_client *client,
                                          const char *environment_id,
                                          const char *params_json,
                                          char **out_json);

/* ---- Work: the queue of a self-hosted environment --------------------------------------------------------------------------
 *
 * An item is queued, claimed by a poll, acknowledged (state starting), kept by heartbeats (active), and stopped. The API takes an
 * environment key for list, poll, ack and heartbeat, an API key for retrieve and update, and either for stats and stop: a client
 * that has both sends the right one. antenv_worker does all of this by itself.
 */

/**
 * Lists work items, one page (GET /v1/environments/{environment_id}/work, List Work Items). A pager returns all of them.
 *
 * @param client The client.
 * @param environment_id Identifier of the environment, "env_...".
 * @param params_json NULL or an object with `limit` (integer: page size) and `page` (string: the `next_page` of the page before).
 * @param out_json Receives {"data":[work items], "next_page": string or null}. A work item: {"id":"work_...", "type":"work",
 *   "environment_id", "data":{"type":"session", "id"}, "state":"queued"|"starting"|"active"|"stopping"|"stopped", "metadata",
 *   "created_at", "acknowledged_at", "started_at", "latest_heartbeat_at", "stop_requested_at", "stopped_at"}, times in RFC 3339
 *   or null.
 *
 * Errors: the common call errors; ANTENV_NOT_FOUND. Blocks.
 */
antenv_status antenv_work_list(antenv_client *client, const char *environment_id, const char *params_json, char **out_json);

/**
 * Polls for work (GET /v1/environments/{environment_id}/work/poll, Poll for Work). This claims the item: acknowledge it soon, or
 * the queue gives it to another poller.
 *
 * @param client The client.
 * @param environment_id Identifier of the environment, "env_...".
 * @param params_json NULL or an object with
 *
 *   block_ms               integer, 1 to 999: milliseconds to wait for work. Absent: no wait.
 *   reclaim_older_than_ms  integer: also claim items left unacknowledged for this many milliseconds. Absent: 5000.
 *   anthropic_worker_id    string: the poller's name, one per process, for the queue's statistics
 *
 * @param out_json Receives the work item, with its `secret`; JSON `null` when there is none.
 *
 * Errors: the common call errors; ANTENV_NOT_FOUND. Blocks.
 *
 *     antenv_work_poll(client, "env_...", "{\"block_ms\":999,\"anthropic_worker_id\":\"host-1\"}", &json);
 */
antenv_status antenv_work_poll(antenv_client *client, const char *environment_id, const char *params_json, char **out_json);

/**
 * Returns work queue statistics (GET /v1/environments/{environment_id}/work/stats, Get Queue Statistics).
 *
 * @param client The client.
 * @param environment_id Identifier of the environment, "env_...".
 * @param params_json NULL or an object with options of a call.
 * @param out_json Receives {"type":"work_queue_stats", "depth": items waiting, "pending": items polled but not acknowledged,
 *   "oldest_queued_at": time or null, "workers_polling": workers that polled in the last 30 seconds, or null}.
 *
 * Errors: the common call errors; ANTENV_NOT_FOUND. Blocks.
 */
antenv_status antenv_work_stats(antenv_client *client, const char *environment_id, const char *params_json, char **out_json);

/**
 * Retrieves a work item (GET /v1/environments/{environment_id}/work/{work_id}, Get Work Item).
 *
 * @param client The client.
 * @param environment_id Identifier of the environment, "env_...".
 * @param work_id Identifier of the item, "work_...".
 * @param params_json NULL or an object with options of a call.
 * @param out_json Receives the work item.
 *
 * Errors: the common call errors; ANTENV_NOT_FOUND. Blocks.
 */
antenv_status antenv_work_retrieve(antenv_client *client,
                                   const char *environment_id,
                                   const char *work_id,
                                   const char *params_json,
                                   char **out_json);

/**
 * Updates a work item's metadata (POST /v1/environments/{environment_id}/work/{work_id}, Update Work Item).
 *
 * @param client The client.
 * @param environment_id Identifier of the environment, "env_...".
 * @param work_id Identifier of the item, "work_...".
 * @param params_json An object with `metadata` (object, required; merged with the present one, `null` deletes a key).
 * @param out_json Receives the work item.
 *
 * Errors: the common call errors; ANTENV_NOT_FOUND; ANTENV_BAD_REQUEST with error_code "invalid_metadata". Blocks.
 */
antenv_status antenv_work_update(antenv_client *client,
                                 const char *environment_id,
                                 const char *work_id,
                                 const char *params_json,
                                 char **out_json);

/**
 * Acknowledges a work item that was polled (POST /v1/environments/{environment_id}/work/{work_id}/ack, Acknowledge Work): it
 * leaves the queue and is starting. Send a heartbeat right after it.
 *
 * @param client The client.
 * @param environment_id Identifier of the environment, "env_...".
 * @param work_id Identifier of the item, "work_...".
 * @param params_json NULL or an object with options of a call.
 * @param out_json Receives the work item.
 *
 * Errors: the common call errors; ANTENV_NOT_FOUND; ANTENV_CONFLICT when the item is in a later state. Blocks.
 */
antenv_status antenv_work_ack(antenv_client *client,
                              const char *environment_id,
                              const char *work_id,
                              const char *params_json,
                              char **out_json);

/**
 * Records a heartbeat, which extends the lease on a work item (POST /v1/environments/{environment_id}/work/{work_id}/heartbeat,
 * Record Heartbeat).
 *
 * @param client The client.
 * @param environment_id Identifier of the environment, "env_...".
 * @param work_id Identifier of the item, "work_...".
 * @param params_json NULL or an object with `desired_ttl_seconds` (integer: how many seconds the lease is to last) and
 *   `expected_last_heartbeat` (string: "NO_HEARTBEAT" for the first, then the `last_heartbeat` of the reply before, verbatim).
 * @param out_json Receives {"type":"work_heartbeat", "last_heartbeat": time, "lease_extended": boolean, "state": the item's,
 *   "ttl_seconds": integer}.
 *
 * Errors: the common call errors; ANTENV_NOT_FOUND; ANTENV_PRECONDITION_FAILED when the last heartbeat is a different one:
 * `details.current_state` has it, and unless it was this caller's own and its reply was lost, another worker holds the item.
 * Blocks.
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
 * @param client The client.
 * @param environment_id Identifier of the environment, "env_...".
 * @param work_id Identifier of the item, "work_...".
 * @param params_json NULL or an object with `force` (boolean; true: at once, otherwise the next heartbeat's reply asks its worker
 *   to stop).
 * @param out_json Receives the work item; JSON `null` when the server sends none.
 *
 * Errors: the common call errors; ANTENV_NOT_FOUND; ANTENV_CONFLICT when it has stopped already. Blocks.
 *
 *     antenv_work_stop(client, "env_...", "work_...", "{\"force\":true}", &json);
 */
antenv_status antenv_work_stop(antenv_client *client,
                               const char *environment_id,
                               const char *work_id,
                               const char *params_json,
                               char **out_json);

/* ---- Any operation, any endpoint ------------------------------------------------------------------------------------------- */

/**
 * Calls any operation by its name.
 *
 * @param client The client.
 * @param operation "environments.create", ".list", ".retrieve", ".update", ".delete", ".archive"; "work.list", ".poll",
 *   ".stats", ".retrieve", ".update", ".ack", ".heartbeat", ".stop"; "sessions.create", ".retrieve"; "sessions.events.list",
 *   ".send"; "skills.versions.retrieve"; "memory_stores.memories.create", ".retrieve", ".update", ".list", ".delete".
 * @param params_json Every parameter of that operation, identifiers such as `environment_id` too; otherwise as for the function
 *   of that name, if there is one. A filter by time has its name on the wire, such as `created_at[gt]`; an array of strings in
 *   the query is an array: `"types":["user.message"]`.
 * @param out_json Receives the result.
 *
 * Errors: those of the operation; an unknown name gives ANTENV_INVALID_ARGUMENT and a message that lists the known ones; so does
 * the name of a stream or download, and the message says which function calls it. Blocks.
 *
 *     antenv_call(client, "sessions.retrieve", "{\"session_id\":\"sesn_...\"}", &json);
 */
antenv_status antenv_call(antenv_client *client, const char *operation, const char *params_json, char **out_json);

/**
 * Makes a request to any other endpoint of the API, with the client's credential, headers, retries and timeouts.
 *
 * @param client The client.
 * @param method GET, POST, PUT, PATCH or DELETE.
 * @param path Begins with `/`, such as "/v1/agents"; percent-encoded where needed, without a query.
 * @param params_json NULL or {"query":{...}, "body": any JSON, "headers":{...}}.
 * @param out_json Receives the result; `null` when the server sends none.
 *
 * Errors: the common call errors. Blocks.
 *
 *     antenv_request(client, "POST", "/v1/agents", "{\"body\":{\"name\":\"helper\"}}", &json);
 */
antenv_status antenv_request(antenv_client *client,
                             const char *method,
                             const char *path,
                             const char *params_json,
                             char **out_json);

/* ---- Pages ----------------------------------------------------------------------------------------------------------------- */

/**
 * Creates a pager over a list operation. Nothing is sent yet.
 *
 * @param client The client; it may be freed before the pager.
 * @param operation "environments.list", "work.list", "sessions.events.list" or "memory_stores.memories.list".
 * @param params_json NULL or the operation's parameters, identifiers too. Options of a call apply to each page; `limit` is
 *   the size of a page, `page` where to begin.
 * @param out Receives the pager; free it with antenv_pager_free.
 * @param out_error Receives the error object.
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
 * Returns the next item. While the items of a page are returned, the next page is being fetched.
 *
 * @param pager The pager. Threads may share it: each item goes to one of them.
 * @param out_json Receives the item, verbatim; NULL at the end.
 *
 * Returns ANTENV_OK; ANTENV_DONE after the last item; or an error: the common call errors. After an error, the next call requests
 * the same page again: no item is skipped or repeated. Blocks while a page is being fetched.
 */
antenv_status antenv_pager_next(antenv_pager *pager, char **out_json);

/**
 * Frees a pager, and drops a page that is being fetched.
 *
 * @param pager The pager; freeing it twice, or NULL, is harmless.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block.
 */
antenv_status antenv_pager_free(antenv_pager *pager);

/* ---- Completion queues: many calls from one thread ------------------------------------------------------------------------- */

/**
 * Creates a completion queue. Any number of calls may be in flight through it; they take no threads.
 *
 * @param out Receives the queue; free it with antenv_queue_free.
 * @param out_error Receives the error object.
 *
 * Errors: ANTENV_INVALID_ARGUMENT, ANTENV_INTERNAL (no file descriptor is left). Does not block.
 *
 *     antenv_submit(client, queue, "environments.list", NULL, 42, NULL, &error);
 *     while (antenv_queue_next(queue, -1, &done) == ANTENV_INTERRUPTED) {}
 *     printf("%llu: %s\n", (unsigned long long)done.tag, done.json);
 *     antenv_string_free(done.json);
 */
antenv_status antenv_queue_new(antenv_queue **out, char **out_error);

/**
 * Returns the file descriptor to watch with poll, epoll, kqueue, asyncio or libuv: it is readable exactly while a completion
 * waits in the queue. Do not read, write or close it: antenv_queue_next does what is needed, and antenv_queue_free closes it.
 * On Windows it is a socket, for WSAPoll, select, WSAEventSelect or libuv's uv_poll_init_socket, opened by the first call.
 * Returns -1 when the handle is not valid, and on Windows when no socket can be had. In a forked child the queue has another
 * descriptor: ask again. Does not block.
 *
 * @param queue The queue.
 */
int antenv_queue_fd(antenv_queue *queue);

/**
 * Begins a call of any operation without waiting for it: exactly one completion with `tag` will arrive in the queue.
 *
 * @param client The client; it may be freed while the call is in flight.
 * @param queue The queue that receives the completion.
 * @param operation The operation's name, as for antenv_call.
 * @param params_json Its parameters, as for antenv_call. Invalid ones are rejected right here: nothing is sent and no completion
 *   arrives.
 * @param tag Comes back with the completion.
 * @param out_ticket Receives a ticket that can cancel the call, to be freed with antenv_ticket_free; may be NULL.
 * @param out_error Receives the error object.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED (the queue was freed, or the library is being shut down),
 * ANTENV_INTERNAL. Does not block. Over HTTP/1.1 each call in flight has a connection of its own, which takes a file descriptor.
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
 * Begins a request to any other endpoint without waiting for it: exactly one completion with `tag` will arrive in the queue.
 *
 * @param client The client; it may be freed while the request is in flight.
 * @param queue The queue that receives the completion.
 * @param method The method, as for antenv_request.
 * @param path The path, as for antenv_request.
 * @param params_json The parameters, as for antenv_request.
 * @param tag Comes back with the completion.
 * @param out_ticket Receives a ticket that can cancel the request, to be freed with antenv_ticket_free; may be NULL.
 * @param out_error Receives the error object.
 *
 * Errors: as for antenv_submit. Does not block.
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
 * @param queue The queue. Threads may share it: each completion goes to one of them.
 * @param timeout_ms How long to wait.
 * @param out Receives the completion; free its `json` with antenv_string_free. All zero when there is none.
 *
 * Returns ANTENV_OK when there is one, whatever its own status; ANTENV_TIMEOUT; ANTENV_INTERRUPTED when a signal handler ran in
 * this thread (call again to go on waiting); ANTENV_CLOSED when the queue was freed meanwhile; ANTENV_INVALID_HANDLE;
 * ANTENV_INVALID_ARGUMENT. Blocks for at most `timeout_ms`.
 */
antenv_status antenv_queue_next(antenv_queue *queue, int64_t timeout_ms, antenv_completion *out);

/**
 * Takes all completions that are there, up to `capacity`, waiting until there is at least one.
 *
 * @param queue The queue. Threads may share it: each completion goes to one of them.
 * @param timeout_ms How long to wait for the first.
 * @param out An array of `capacity` completions. The first is cleared on entry, the others are written only when filled.
 * @param capacity The size of the array: 1 or more.
 * @param count Receives how many were filled: 0 unless ANTENV_OK is returned.
 *
 * Returns what antenv_queue_next returns. Blocks for at most `timeout_ms`.
 */
antenv_status antenv_queue_next_many(antenv_queue *queue,
                                     int64_t timeout_ms,
                                     antenv_completion *out,
                                     size_t capacity,
                                     size_t *count);

/**
 * Frees a queue: cancels what is in flight through it, drops the completions that wait in it, and wakes threads that wait for one
 * with ANTENV_CLOSED.
 *
 * @param queue The queue; freeing it twice, or NULL, is harmless.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block.
 */
antenv_status antenv_queue_free(antenv_queue *queue);

/**
 * Cancels a call. Its completion arrives at once with ANTENV_CANCELLED; or with the result, if that had arrived already. A
 * cancellation is sticky: cancelling twice, or after the call has ended, changes nothing.
 *
 * @param ticket The ticket.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block.
 */
antenv_status antenv_ticket_cancel(antenv_ticket *ticket);

/**
 * Frees a ticket. The call goes on, and its completion arrives.
 *
 * @param ticket The ticket; freeing it twice, or NULL, is harmless.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block.
 */
antenv_status antenv_ticket_free(antenv_ticket *ticket);

/* ---- Streams and downloads ------------------------------------------------------------------------------------------------- */

/**
 * Opens a stream of events. It is read only as fast as its events are taken; beyond that the server has to wait.
 *
 * @param client The client; it may be freed before the stream.
 * @param operation "sessions.events.stream".
 * @param params_json The operation's parameters. The options of a call apply to the opening, which is retried like a call:
 *   `timeout_ms` bounds it, not the stream's life. Besides:
 *
 *   idle_timeout_ms  How long the server may be silent, its pings count: 1 to 2147483647. Default: 600000.
 *   max_event_bytes  Size limit of one event: 1 or more. Default: 16777216 (16 MiB).
 *
 * @param out Receives the stream; free it with antenv_stream_free.
 * @param out_error Receives the error object.
 *
 * Errors: the common call errors; ANTENV_RESPONSE when the response is no stream, such as the page of a gateway. Blocks until the
 * server has responded, for at most `timeout_ms`. Over HTTP/1.1 each open stream
 * has a connection of its own, which takes a file descriptor. A stream that has ended is not opened again.
 *
 *     antenv_stream_open(client, "sessions.events.stream", "{\"session_id\":\"sesn_...\"}", &stream, &error);
 *     while (antenv_stream_next(stream, -1, &json) == ANTENV_OK) { puts(json); antenv_string_free(json); }
 */
antenv_status antenv_stream_open(antenv_client *client,
                                 const char *operation,
                                 const char *params_json,
                                 antenv_stream **out,
                                 char **out_error);

/**
 * Opens a stream without waiting for it, attached to a queue. Its first completion reports that it is open: `{"http_status",
 * "request_id","headers","attempts"}`; or the error, and then it is the last. The others are those of antenv_stream_attach.
 *
 * @param client The client; it may be freed before the stream.
 * @param queue The queue that receives the completions.
 * @param operation The operation, as for antenv_stream_open.
 * @param params_json Its parameters, as for antenv_stream_open. Invalid ones are rejected right here: nothing is sent and no
 *   completion arrives.
 * @param tag Comes back with each completion.
 * @param out Receives the stream; freeing it with antenv_stream_free also cancels the opening.
 * @param out_error Receives the error object.
 *
 * Errors: as for antenv_submit. Does not block.
 */
antenv_status antenv_stream_submit(antenv_client *client,
                                   antenv_queue *queue,
                                   const char *operation,
                                   const char *params_json,
                                   uint64_t tag,
                                   antenv_stream **out,
                                   char **out_error);

/**
 * Returns the next event of a stream.
 *
 * @param stream The stream. Threads may share it: each event goes to one of them.
 * @param timeout_ms How long to wait: -1 forever, 0 not at all.
 * @param out_json Receives the event's data, verbatim: one JSON object with a `type`. NULL at the end; else the error object.
 *
 * Returns ANTENV_OK; ANTENV_DONE when the server has ended the stream; ANTENV_TIMEOUT with `parameter` "timeout_ms" when no event
 * came in time: the stream is still open; ANTENV_INTERRUPTED when a signal handler ran in this thread (call again to go on
 * waiting); ANTENV_CLOSED when the stream was freed meanwhile, or created before fork(); ANTENV_INVALID_ARGUMENT when a queue is
 * attached; or the error that ended the stream: ANTENV_CONNECTION (it was cut off; a part of an event is never returned),
 * ANTENV_TIMEOUT with `parameter` "idle_timeout_ms" (the server was silent), ANTENV_RESPONSE (an event is larger than
 * `max_event_bytes`), ANTENV_CANCELLED (the library was shut down), ANTENV_HTTP_STATUS (the API reported an error within the
 * stream: `type` and `message` are its, `http_status` is that of the stream). Every further call returns the same end. Blocks
 * for at most `timeout_ms`.
 */
antenv_status antenv_stream_next(antenv_stream *stream, int64_t timeout_ms, char **out_json);

/**
 * Attaches a stream to a queue: each event, from those that wait already, becomes a completion with ANTENV_OK and the event's
 * data. The last completion reports the end: ANTENV_DONE, or the error that antenv_stream_next would return. Only a bounded
 * number of completions wait at a time; the server has to wait while they are not collected. Meanwhile antenv_stream_next
 * fails with ANTENV_INVALID_ARGUMENT. Freeing the queue detaches it, and drops the completions that wait in it. A stream that
 * has ended may be attached, too: a completion reports its end again.
 *
 * @param stream The stream.
 * @param queue The queue that receives the completions.
 * @param tag Comes back with each completion.
 *
 * Returns ANTENV_OK; ANTENV_INVALID_ARGUMENT when a queue is attached already; ANTENV_CLOSED when the stream or the queue was
 * freed meanwhile, or the stream was created before fork(); ANTENV_INVALID_HANDLE. Does not block.
 */
antenv_status antenv_stream_attach(antenv_stream *stream, antenv_queue *queue, uint64_t tag);

/**
 * Frees a stream: ends its request, and wakes threads that wait for an event with ANTENV_CLOSED. Completions that wait in a queue
 * stay; no more arrive, not one for the end either.
 *
 * @param stream The stream; freeing it twice, or NULL, is harmless.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block.
 */
antenv_status antenv_stream_free(antenv_stream *stream);

/**
 * Downloads the response of an operation to a file. It is written to a temporary file beside `path`, which is removed on failure;
 * a file at `path` is replaced only by a whole one. Nothing is kept in memory.
 *
 * @param client The client.
 * @param operation "skills.versions.download".
 * @param params_json The operation's parameters and the options of a call. A download that fails is retried from its beginning.
 *   `timeout_ms` bounds the whole, `attempt_timeout_ms` how long the server may be silent. Besides:
 *
 *   max_bytes  Size limit: 1 or more. Default: the client's `max_response_bytes`.
 *
 * @param path Where to put the file, in UTF-8. Its folder must exist.
 * @param out_json Receives `{"path","bytes","content_type"}`, with null for a content type that the server did not send; else the
 *   error object.
 *
 * Errors: the common call errors; ANTENV_RESPONSE also when the response is larger than `max_bytes` or was cut short;
 * ANTENV_INVALID_ARGUMENT about `path` when the file cannot be written. Blocks until the file is in its place.
 *
 *     const char *params = "{\"skill_id\":\"skill_...\",\"version\":\"...\"}";
 *     antenv_download(client, "skills.versions.download", params, "skill.zip", &json);
 */
antenv_status antenv_download(antenv_client *client,
                              const char *operation,
                              const char *params_json,
                              const char *path,
                              char **out_json);

/**
 * Begins a download as antenv_download does, without waiting for it: exactly one completion with `tag` will arrive in the queue.
 * Any number of downloads may be in flight; one thread of the library writes all their files.
 *
 * @param client The client; it may be freed while the download is in flight.
 * @param queue The queue that receives the completion. Its status and `json` are what antenv_download returns.
 * @param operation The operation, as for antenv_download.
 * @param params_json Its parameters, as for antenv_download. Invalid ones are rejected right here: nothing is sent and no
 *   completion arrives.
 * @param path Where to put the file, as for antenv_download. A path where no file can be created is rejected right here, too.
 * @param tag Comes back with the completion.
 * @param out_ticket Receives a ticket that can cancel the download, to be freed with antenv_ticket_free; may be NULL.
 * @param out_error Receives the error object.
 *
 * Errors: as for antenv_submit; ANTENV_INVALID_ARGUMENT about `path`. Does not block; it creates the temporary file. When a
 * download that was cancelled has its completion, the temporary file is gone and `path` is as it was, unless the status is
 * ANTENV_OK. Freeing the queue cancels the download, too; its temporary file is removed a moment later.
 *
 *     antenv_download_submit(client, queue, "skills.versions.download", params, "skill.zip", 7, &ticket, &error);
 */
antenv_status antenv_download_submit(antenv_client *client,
                                     antenv_queue *queue,
                                     const char *operation,
                                     const char *params_json,
                                     const char *path,
                                     uint64_t tag,
                                     antenv_ticket **out_ticket,
                                     char **out_error);

/* ---- Worker: claim work ----------------------------------------------------------------------------------------------------
 *
 * A worker polls the queue, acknowledges an item, keeps its lease by heartbeats while the program serves it, and stops the item
 * when the program is done. All of that happens on the library's own thread, whatever the program's threads do. A worker claims
 * no more items than the program asks for, and than `concurrency` allows. docs/worker.md says what happens when something fails.
 */

/**
 * Creates a worker. It claims nothing before antenv_worker_next or antenv_worker_attach is called.
 *
 * @param client The client whose connections and defaults it uses; it may be freed before the worker. Its credential is used only
 *   if it is an environment key.
 * @param config_json NULL or a JSON object. Every key but the first two is optional, `null` means absent, and an unknown key is
 *   an error. Environment variables are read here and at no other time:
 *
 *   environment_id         The environment, "env_...". Default: the environment variable ANTHROPIC_ENVIRONMENT_ID.
 *   environment_key        Its key. Default: the client's environment key, then ANTHROPIC_ENVIRONMENT_KEY.
 *   worker_id              The poller's name, one per worker, for the queue's statistics. Default: the host's name and twelve hex
 *                          digits.
 *   concurrency            How many items it holds at once: 1 to 100000. Default: 1. To serve that many at a time, let that many
 *                          threads call antenv_worker_next, or use an event loop.
 *   block_ms               How long a poll waits at the server: 0 (no wait) to 999. Default: 999; with `drain` 0.
 *   reclaim_older_than_ms  Polls also claim items left unacknowledged for this long: 0 to 86400000. Default: the server's, 5000.
 *   drain                  true: end when the queue is empty. Default: false.
 *   heartbeat              false: claim only. Items are acknowledged and handed out without a heartbeat, for another process to
 *                          serve: see antenv_lease_release. Default: true.
 *   desired_ttl_seconds    How long a heartbeat is to extend a lease: 1 to 86400. Default: the server decides.
 *   idle_after_ms          After how long without an item it pauses between polls: 0 to 86400000. Default: 60000.
 *   idle_min_ms            The shortest such pause: 0 to 86400000. Default: 1000.
 *   idle_max_ms            The longest such pause: 0 to 86400000. Default: 3000.
 *   grace_ms               How long items go on after the worker was stopped: 0 to 86400000. Default: 30000.
 *   rescue_after_ms        Items that another worker acknowledged and then left without a heartbeat for this long are returned to
 *                          the queue from time to time: 0 (never) to 86400000. Default: 60000.
 *
 * @param out Receives the worker; free it with antenv_worker_free.
 * @param out_error Receives the error object.
 *
 * Errors: ANTENV_CONFIG (`parameter` names the key), ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED (the library
 * is being shut down), ANTENV_INTERNAL. Does not block.
 *
 *     antenv_worker_new(client, "{\"environment_id\":\"env_...\"}", &worker, &error);
 *     while (antenv_worker_next(worker, -1, &lease, &item) == ANTENV_OK) serve(lease, item);
 */
antenv_status antenv_worker_new(antenv_client *client, const char *config_json, antenv_worker **out, char **out_error);

/**
 * Waits for the next item. It is acknowledged, and its heartbeats are running (unless the worker only claims).
 *
 * @param worker The worker. Any number of threads may wait at once; each item goes to one.
 * @param timeout_ms How long to wait. The worker claims items for threads that wait, and for those that asked without waiting
 *   within the last second.
 * @param out_lease Receives the lease; end it with antenv_lease_finish, antenv_lease_release or antenv_lease_abandon, which free
 *   it. NULL unless ANTENV_OK is returned.
 * @param out_json Receives the work item, verbatim, its `secret` too, or the error object. NULL on ANTENV_TIMEOUT,
 *   ANTENV_INTERRUPTED and ANTENV_DONE.
 *
 * Returns ANTENV_OK; ANTENV_TIMEOUT when none came in time; ANTENV_INTERRUPTED when a signal handler ran in this thread (call
 * again to go on waiting); ANTENV_DONE when nothing more will come, because the worker was stopped or the queue is drained;
 * ANTENV_CLOSED in a forked child, where a parent's worker cannot be used; ANTENV_INVALID_HANDLE; ANTENV_INVALID_ARGUMENT. When
 * the worker has failed, this and every later call returns why: a poll that was refused permanently (ANTENV_AUTHENTICATION,
 * ANTENV_PERMISSION_DENIED, ANTENV_NOT_FOUND, ...), or the third item in a row whose acknowledgement or first heartbeat was
 * refused permanently (`parameter` names the key at fault, if there is one). Blocks for at most `timeout_ms`.
 */
antenv_status antenv_worker_next(antenv_worker *worker, int64_t timeout_ms, antenv_lease **out_lease, char **out_json);

/**
 * Delivers items through a completion queue, so an event loop needs no extra thread: each item that is ready makes one completion
 * with `tag`, and antenv_worker_next with a timeout of 0 then takes it. From now on the worker claims as many items as
 * `concurrency` allows.
 *
 * @param worker The worker.
 * @param queue The queue that receives the completions, in place of an earlier one. With NULL, and when the queue is freed, the
 *   worker again claims only what antenv_worker_next asks for.
 * @param tag Comes back with each completion. With ANTENV_OK, `json` is {"work_id":"work_..."}. The last completion has
 *   ANTENV_DONE, or the error for which the worker failed: nothing more will come.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED (the queue was freed, or the worker was created before fork()). Does not block.
 */
antenv_status antenv_worker_attach(antenv_worker *worker, antenv_queue *queue, uint64_t tag);

/**
 * Stops a worker: it claims no more. antenv_worker_next still returns what was claimed, and then ANTENV_DONE. Leases go on until
 * they are finished. When `grace_ms` is over, leases that are still held become "stop_requested" (reason "shutdown"), and their
 * items are stopped; an item that was not picked up returns to the queue when its lease runs out. ANTENV_DONE comes at most five
 * seconds after `grace_ms`, even if the server does not respond.
 *
 * @param worker The worker. Stopping it twice changes nothing.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED in a forked child. Does not block.
 */
antenv_status antenv_worker_stop(antenv_worker *worker);

/**
 * Returns what a worker did so far.
 *
 * @param worker The worker.
 * @param out_json Receives the counts:
 *
 *   environment_id, worker_id  as configured
 *   state                      "running", "stopping", "stopped", "drained", "failed"
 *   concurrency, leases_held   how many items it may hold, and does hold
 *   claimed                    items that were acknowledged and, unless the worker only claims, had a successful heartbeat
 *   finished                   items that it stopped
 *   lost                       leases lost
 *   stop_requested             leases whose item was to be stopped before the program had finished it
 *   released                   leases handed over to another process
 *   abandoned, undelivered     leases given up; those among them that were not picked up
 *   health_checks              items without a session, which the worker acknowledges and stops itself
 *   rescued                    items that were acknowledged and left without a heartbeat, returned to the queue
 *   refused                    items left to the queue, because their acknowledgement or first heartbeat was refused permanently
 *   gateway                    requests that a gateway on the way to the API refused, and that are made again
 *   faults                     faults in the library that were caught; please report them
 *   failures                   failed requests by kind ("poll", "ack", "heartbeat", "stop", "rescue") and name of the status
 *   last_poll_failure          why the last poll failed; null after one that succeeded
 *   claim_us                   histogram: from the poll's response to the first successful heartbeat
 *   heartbeat_us               histogram: how long heartbeats took
 *   heartbeat_late_us          histogram: how late heartbeats were sent
 *
 * Histograms are as in antenv_client_stats.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED in a forked child. Does not block.
 */
antenv_status antenv_worker_stats(antenv_worker *worker, char **out_json);

/**
 * Returns the counts of antenv_worker_stats as text for Prometheus: antenv_worker_leases_held, antenv_worker_claimed_total and so
 * on, times as histograms in seconds.
 *
 * @param worker The worker.
 * @param out_text Receives the text, or the error object; free it with antenv_string_free.
 *
 * Errors: as for antenv_worker_stats. Does not block.
 */
antenv_status antenv_worker_metrics(antenv_worker *worker, char **out_text);

/**
 * Frees a worker, and stops it as antenv_worker_stop does. Leases that were handed out go on until they are finished or
 * `grace_ms` is over; items that were not picked up return to the queue when their leases run out. A thread that waits in
 * antenv_worker_next gets ANTENV_DONE at once.
 *
 * @param worker The worker; freeing it twice, or NULL, is harmless.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block.
 */
antenv_status antenv_worker_free(antenv_worker *worker);

/* ---- Lease: hold an item --------------------------------------------------------------------------------------------------- */

/**
 * Returns the lease's state.
 *
 * @param lease The lease.
 * @param out_json Receives the state: {"state":"held"|"claimed"|"stop_requested"|"lost", "reason", "work_id", "ttl_seconds",
 *   "last_heartbeat": verbatim, "beats": number of successful heartbeats}. `reason` is null while the lease is held or claimed.
 *
 *   claimed         The worker only claims (`heartbeat` is false): the item is acknowledged and has no heartbeat, so
 *                   `ttl_seconds` and `last_heartbeat` are null. Hand it over within half of the worker's `rescue_after_ms`;
 *                   then the lease becomes "lost" (reason "expired"), because workers may return the item to the queue.
 *   stop_requested  The item is to be stopped: end the work and finish. The lease is no longer extended, and becomes "lost" when
 *                   it may have run out. `reason`: "asked" (the item is stopping or stopped at the server), "not_extended",
 *                   "rejected" (a heartbeat was refused permanently), "shutdown" (the worker's grace period is over).
 *   lost            Stop working at once: another worker may hold the item. Finishing sends nothing. `reason`: "taken" (another
 *                   worker has it), "expired" (no heartbeat succeeded for as long as the lease lasts), "shutdown" (the library
 *                   was shut down).
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED in a forked child. Does not block.
 */
antenv_status antenv_lease_state(antenv_lease *lease, char **out_json);

/**
 * Waits until a lease is no longer simply held: it is lost, its item is to be stopped, or another thread ended it. An event loop
 * calls antenv_lease_attach instead.
 *
 * @param lease The lease.
 * @param timeout_ms How long to wait.
 * @param out_json Receives the state, as from antenv_lease_state.
 *
 * Returns ANTENV_OK; ANTENV_DONE when another thread finished or abandoned the lease; ANTENV_TIMEOUT while it is still held;
 * ANTENV_INVALID_HANDLE; ANTENV_INVALID_ARGUMENT; ANTENV_CLOSED in a forked child. Blocks for at most `timeout_ms`.
 */
antenv_status antenv_lease_wait(antenv_lease *lease, int64_t timeout_ms, char **out_json);

/**
 * Waits until a lease is lost, or another thread ended it. Unlike antenv_lease_wait, it does not return when the item is to be
 * stopped, but goes on waiting for the lease to run out.
 *
 * @param lease The lease.
 * @param timeout_ms How long to wait.
 * @param out_json Receives the state, as from antenv_lease_state.
 *
 * Returns what antenv_lease_wait returns. Blocks for at most `timeout_ms`.
 *
 *     antenv_lease_wait(lease, -1, &json);
 *     begin_to_wind_down();
 *     if (antenv_lease_wait_lost(lease, 0, &json) == ANTENV_OK) leave_it_to_others();
 */
antenv_status antenv_lease_wait_lost(antenv_lease *lease, int64_t timeout_ms, char **out_json);

/**
 * Reports through a completion queue that a lease is no longer simply held. Exactly one completion arrives, at once if that is so
 * already. antenv_lease_attach_lost reports when a lease whose item is to be stopped runs out.
 *
 * @param lease The lease.
 * @param queue The queue that receives the completion.
 * @param tag Comes back with the completion: with ANTENV_OK and the state, as from antenv_lease_state, or with ANTENV_DONE when
 *   the lease was finished or abandoned.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED. Does not block.
 */
antenv_status antenv_lease_attach(antenv_lease *lease, antenv_queue *queue, uint64_t tag);

/**
 * Reports through a completion queue that a lease is lost, or was ended. Exactly one completion arrives, at once if that is so
 * already. With a tag of its own it complements antenv_lease_attach: one says when to begin winding down, the other when to leave
 * the item to others.
 *
 * @param lease The lease.
 * @param queue The queue that receives the completion.
 * @param tag Comes back with the completion: with ANTENV_OK and the state ("lost"), or with ANTENV_DONE when the lease was
 *   finished or abandoned.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED. Does not block.
 */
antenv_status antenv_lease_attach_lost(antenv_lease *lease, antenv_queue *queue, uint64_t tag);

/**
 * Creates a client with the item's own token (or with the environment's key, if the item's secret holds none) on the worker's
 * connections, for the calls that serving the item takes.
 *
 * @param lease The lease.
 * @param out Receives the client; free it with antenv_client_free. It may outlive the lease.
 * @param out_error Receives the error object.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED in a forked child. Does not block.
 */
antenv_status antenv_lease_client(antenv_lease *lease, antenv_client **out, char **out_error);

/**
 * Ends a lease: stops the item (POST /v1/environments/{environment_id}/work/{work_id}/stop, Stop Work), extending the lease until
 * that is done, and frees the handle. When the lease is lost, nothing is sent.
 *
 * @param lease The lease. It is freed, unless ANTENV_INVALID_ARGUMENT or ANTENV_INVALID_HANDLE (or ANTENV_CLOSED, in a forked
 *   child) is returned.
 * @param params_json NULL or an object with `force` (boolean, default true: the item is stopped at once), `timeout_ms` (how long
 *   to try, default 60000) and other options of a call. Transient failures are retried.
 * @param out_json Receives the work item; JSON `null` when the server sends none or the item had stopped already.
 *
 * Errors: ANTENV_LEASE_LOST; the common call errors when the item could not be stopped (its lease then runs out, and the queue
 * hands the item out again); ANTENV_CANCELLED when the library was shut down meanwhile. Blocks until the sessions that are
 * served under the lease have ended, with their toolsets, and then for at most `timeout_ms`.
 */
antenv_status antenv_lease_finish(antenv_lease *lease, const char *params_json, char **out_json);

/**
 * Ends a lease as antenv_lease_finish does, without waiting: a completion with `tag` reports the result.
 *
 * @param lease The lease. It is freed when ANTENV_OK is returned.
 * @param params_json As for antenv_lease_finish.
 * @param queue The queue that receives the completion. Its status and `json` are what antenv_lease_finish returns.
 * @param tag Comes back with the completion.
 * @param out_error Receives the error object.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED. Does not block.
 */
antenv_status antenv_lease_submit_finish(antenv_lease *lease,
                                         const char *params_json,
                                         antenv_queue *queue,
                                         uint64_t tag,
                                         char **out_error);

/**
 * Ends a lease so that another process can go on with it, and frees the handle. No heartbeat and no stop is sent after this
 * call; the next holder has as much of the lease's time as is left. Give what is returned to one process only: to an official
 * `handle_item`, or to antenv_lease_adopt. A lease that is released and not adopted runs out, and the queue hands the item out
 * again. An item that was only claimed has no lease to run out: workers rescue it when it has had no heartbeat for their
 * `rescue_after_ms`.
 *
 * @param lease The lease. It is freed, unless ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT (or ANTENV_CLOSED, in a forked
 *   child) is returned.
 * @param out_json Receives what the next holder must know: {"work_id", "environment_id", "session_id", "work_secret" (null if the
 *   item has none), "last_heartbeat" (null if there was none), "environment"}. `environment` holds the same as environment
 *   variables, those without a value left out: ANTHROPIC_WORK_ID, ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_SESSION_ID,
 *   ANTHROPIC_ENVIRONMENT_KEY, ANTHROPIC_WORK_SECRET, ANTHROPIC_WORK_LAST_HEARTBEAT. It holds secrets: do not log it.
 *
 * Errors: ANTENV_LEASE_LOST (do not hand the item over); ANTENV_CLOSED when the lease has ended, or is being ended by another
 * thread; ANTENV_CANCELLED when the library was shut down meanwhile; ANTENV_INVALID_HANDLE; ANTENV_INVALID_ARGUMENT. Blocks while
 * the result of a heartbeat is unknown: as a rule not at all, and at most until the lease is lost.
 */
antenv_status antenv_lease_release(antenv_lease *lease, char **out_json);

/**
 * Adopts the lease on an item that another process claimed, and keeps it by heartbeats. The first heartbeat states the last one
 * of the other process; without one it begins the lease (NO_HEARTBEAT). Only when it was accepted is the item this process's to
 * serve. No worker is needed. When the library is shut down, the lease goes on for 30 seconds, and then the item is stopped.
 *
 * @param client The client whose connections and defaults it uses; it may be freed before the lease. Its credential is used only
 *   if it is an environment key.
 * @param config_json NULL or a JSON object. `null` means absent, and an unknown key is an error. What is absent comes from the
 *   environment variable, as antenv_lease_release returns it:
 *
 *   work_id                  Required. ANTHROPIC_WORK_ID.
 *   environment_id           Required. ANTHROPIC_ENVIRONMENT_ID.
 *   session_id               Required. ANTHROPIC_SESSION_ID.
 *   work_secret              The item's secret. If it holds a token, that is what heartbeats and the stop are sent with.
 *                            ANTHROPIC_WORK_SECRET.
 *   environment_key          Used if there is no such token. Default: the client's environment key, then
 *                            ANTHROPIC_ENVIRONMENT_KEY.
 *   expected_last_heartbeat  The last heartbeat of the process that handed the lease over, verbatim.
 *                            ANTHROPIC_WORK_LAST_HEARTBEAT. Default: there was none.
 *   desired_ttl_seconds      How long a heartbeat is to extend the lease: 1 to 86400. Default: the server decides.
 *
 * @param out_lease Receives the lease, as from antenv_worker_next. NULL unless ANTENV_OK is returned.
 * @param out_json Receives what is known of the item, in the shape of a work item: `id`, `type`, `environment_id`, `data` (`type`
 *   and the session's `id`) and `secret`; or the error object.
 *
 * Errors: ANTENV_LEASE_LOST when the item is not this process's to serve: the server has another last heartbeat (nothing is
 * stopped), or the item is to be stopped (which is done, if no other process can have it); ANTENV_CONFIG (`parameter` names the
 * key); the common call errors of a heartbeat that was refused permanently, or of the last one when none was answered in time
 * (ANTENV_TIMEOUT, ANTENV_CONNECTION, ...): the lease then runs out, unless it is adopted again; ANTENV_CLOSED and
 * ANTENV_CANCELLED when the library is shut down; ANTENV_INVALID_HANDLE; ANTENV_INVALID_ARGUMENT. Blocks for at most 10
 * seconds, and while an item is being stopped for up to 60 more.
 *
 *     antenv_lease_release(lease, &handover);                        // in one process
 *     antenv_lease_adopt(client, NULL, &lease, &item);               // in another, with `environment` as its variables
 */
antenv_status antenv_lease_adopt(antenv_client *client, const char *config_json, antenv_lease **out_lease, char **out_json);

/**
 * Ends a lease without stopping the item, and frees the handle: the heartbeats end, the lease runs out, and the queue hands the
 * item out again. An item that was only claimed gets one heartbeat, which begins a lease for that.
 *
 * @param lease The lease; abandoning it twice, or NULL, is harmless.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block.
 */
antenv_status antenv_lease_abandon(antenv_lease *lease);

/* ---- Session: serve an agent's calls ---------------------------------------------------------------------------------------
 *
 * A session reads the events of a work item's session, hands the program the calls of its tools, and posts the results. It
 * reconnects when the stream breaks, and runs no call twice: a result is kept until the session has it. docs/sessions.md says
 * what happens when something fails.
 */

/**
 * Begins to serve the session of an item.
 *
 * @param lease The lease on the item. It stays the program's: when the session is over, end the session with antenv_session_free
 *   and the lease with antenv_lease_finish.
 * @param config_json A JSON object. `null` means absent, and an unknown key is an error:
 *
 *   tools            The names of the tools that the program serves. Calls of other tools are left to other clients. Required
 *                    without `toolset`.
 *   concurrency      How many calls run at once: 1 to 1000. Only calls of different threads of the session do. Default: 1.
 *   max_idle_ms      How long the session may be idle after the end of a turn before it is over: 0 (without limit) to 86400000.
 *                    Default: 60000.
 *   tool_timeout_ms  How long a call may take from antenv_session_next to its reply: 0 (without limit) to 86400000. Then it is
 *                    answered with an error. Default: 120000.
 *   toolset          true, or {"bash": default true, "network": default false, "env": [names of environment variables]}: the
 *                    library serves the agent's own tools (bash, read, write, edit, glob, grep) in a confined process, but for
 *                    those in `tools`. Their calls are not handed out. Default: false. Linux only.
 *   workdir          The directory that the toolset works in; it must exist. Required with `toolset`, `skills` and `memory`.
 *   sandbox          "auto" confines as far as the system can, "required" ends the session if it cannot, "off" confines only the
 *                    tools that use files. Default: "auto".
 *   toolset_path     The command `antenv`. Default: ANTENV_CLI, the one installed with the library, or the one on PATH.
 *
 *   skills           Whether the skills of the agent are unpacked to `skills/` in `workdir`, and removed at the end. One that
 *                    fails is logged and counted. Default: true with `toolset`. Linux only, like `memory`.
 *   memory           true keeps a directory for each memory store of the session in step with it: at the store's mount path,
 *                    else `memory/` in `workdir`. "read_only" writes nothing to stores. false passes them over. A store that
 *                    cannot be served ends the session with an error. Default: true with `toolset`.
 *
 * @param out Receives the session; free it with antenv_session_free.
 * @param out_error Receives the error object.
 *
 * Errors: ANTENV_CONFIG (`parameter` names the key); ANTENV_INVALID_ARGUMENT about `lease` when the worker only claims;
 * ANTENV_CLOSED in a forked child and while the library is being shut down; ANTENV_INVALID_HANDLE. Does not block: what the
 * server refuses, and a toolset that cannot start (ANTENV_CONFIG), is returned by antenv_session_next.
 *
 *     antenv_session_new(lease, "{\"tools\":[\"weather\"]}", &session, &error);
 *     while (antenv_session_next(session, -1, &call, &json) == ANTENV_OK) serve(call, json);
 */
antenv_status antenv_session_new(antenv_lease *lease, const char *config_json, antenv_session **out, char **out_error);

/**
 * Waits for the next call of one of the program's tools that may run.
 *
 * @param session The session. Threads may share it: each call goes to one of them. With `concurrency` 1 no other call comes
 *   before the last one was answered or let go.
 * @param timeout_ms How long to wait.
 * @param out_call Receives the call; answer it with antenv_tool_call_reply, or let it go with antenv_tool_call_free. NULL unless
 *   ANTENV_OK is returned.
 * @param out_json Receives the event of the call, verbatim: `id`, `name`, `input`, `type` ("agent.tool_use" or
 *   "agent.custom_tool_use"), ...; with ANTENV_DONE {"reason": why the session is over}; else the error object. NULL on
 *   ANTENV_TIMEOUT and ANTENV_INTERRUPTED. The reasons:
 *
 *   idle            The turn ended `max_idle_ms` ago. The next message makes another item.
 *   terminated      The session is terminated or archived.
 *   deleted         The session was deleted.
 *   not_found       There is no such session.
 *   stop_requested  The item is to be stopped.
 *   lease_lost      The lease is lost: another worker may have the item. antenv_lease_finish sends nothing.
 *   lease_ended     The lease was finished, abandoned or released meanwhile.
 *
 * Returns ANTENV_OK; ANTENV_DONE when the session is over; ANTENV_TIMEOUT when no call came in time; ANTENV_INTERRUPTED when a
 * signal handler ran in this thread (call again to go on waiting); ANTENV_CANCELLED when the library was shut down; ANTENV_CLOSED
 * when the session was freed meanwhile, or created before fork(); ANTENV_INVALID_HANDLE; ANTENV_INVALID_ARGUMENT; or what the
 * server refuses permanently (ANTENV_AUTHENTICATION, ANTENV_PERMISSION_DENIED, ...). Once the session is over, every further call
 * returns the same. Blocks for at most `timeout_ms`.
 */
antenv_status antenv_session_next(antenv_session *session, int64_t timeout_ms, antenv_tool_call **out_call, char **out_json);

/**
 * Delivers calls through a completion queue, so an event loop needs no extra thread: each call that is ready makes one completion
 * with `tag`, and antenv_session_next with a timeout of 0 then takes it. A call that became void meanwhile is not there any more:
 * ANTENV_TIMEOUT.
 *
 * @param session The session.
 * @param queue The queue that receives the completions, in place of an earlier one. NULL detaches it.
 * @param tag Comes back with each completion. With ANTENV_OK, `json` is {"id":"...","name":"..."}. The last completion has
 *   ANTENV_DONE, or the error for which the session ended; antenv_session_next then returns the reason.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED. Does not block.
 */
antenv_status antenv_session_attach(antenv_session *session, antenv_queue *queue, uint64_t tag);

/**
 * Returns what happened in a session so far.
 *
 * @param session The session.
 * @param out_json Receives the counts:
 *
 *   session_id                   of the item
 *   state                        "connecting", "live", "ended"
 *   end                          why it is over, as antenv_session_next returns it, "refused", "failed", "shutdown"; null before
 *   open_calls                   calls that the program has, or may take
 *   calls                        calls that were handed out
 *   posted                       results that the session has taken
 *   void                         calls that became void while the program had them
 *   timed_out, let_go            calls that took too long; calls that were let go
 *   denied                       calls that a user or the session's configuration has denied
 *   sends, send_failures         attempts to post results; those among them that failed
 *   streams                      streams that were opened
 *   histories, history_failures  readings of the history; those that failed
 *   toolset_calls                calls that the toolset was given
 *   toolset_starts               how often its process was started: more than once if it died
 *   confinement                  what confines it (docs/security.md); null before its start, and without a toolset
 *   skills_installed, skills_failed  skills of the agent that were unpacked; those that could not be
 *   memory                       an object: `syncs`, `failed_syncs`, and how many memories were `pulled`, `uploaded`, `deleted`,
 *                                `overwritten` (changes of files that the store's changes replaced), `rejected` by the server and
 *                                `refused` (their paths can be no files)
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED in a forked child. Does not block.
 */
antenv_status antenv_session_stats(antenv_session *session, char **out_json);

/**
 * Ends serving a session, and frees the handle: its calls become void, results that are not posted are dropped, and threads that
 * wait in antenv_session_next return ANTENV_CLOSED. The process of a toolset ends with all its children; antenv_lease_finish
 * waits for that. The item is neither stopped nor released: that is the lease's.
 *
 * @param session The session; freeing it twice, or NULL, is harmless.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block.
 */
antenv_status antenv_session_free(antenv_session *session);

/**
 * Posts the result of a call (POST /v1/sessions/{session_id}/events, Send Events), and frees the call. Failures that may pass are
 * retried for as long as the lease lasts.
 *
 * @param call The call. It is freed, unless ANTENV_INVALID_ARGUMENT or ANTENV_INVALID_HANDLE (or ANTENV_CLOSED, in a forked
 *   child) is returned.
 * @param result_json {"content": a text, or an array of blocks (`text`, `image`, `document`, `search_result`), "is_error":
 *   whether the tool failed (default false)}. What the API would refuse is made acceptable: an empty text becomes
 *   "(no output)", and any other block a text with its JSON.
 * @param out_json Receives {"posted":true}; else the error object.
 *
 * Errors: ANTENV_CANCELLED when the call needs no reply any more (nothing was posted; `message` says why); the common
 * call errors when the server refuses the result, or did not take it in time: then the result is kept, and posted later if the
 * session still waits for it; ANTENV_CLOSED when another thread replies. Blocks until the session has the result, for about as
 * long as the lease lasts.
 */
antenv_status antenv_tool_call_reply(antenv_tool_call *call, const char *result_json, char **out_json);

/**
 * Replies as antenv_tool_call_reply does, without waiting: a completion with `tag` reports the result.
 *
 * @param call The call. It is freed when ANTENV_OK is returned.
 * @param result_json As for antenv_tool_call_reply.
 * @param queue The queue that receives the completion. Its status and `json` are what antenv_tool_call_reply returns.
 * @param tag Comes back with the completion.
 * @param out_error Receives the error object.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED. Does not block.
 */
antenv_status antenv_tool_call_submit_reply(antenv_tool_call *call,
                                            const char *result_json,
                                            antenv_queue *queue,
                                            uint64_t tag,
                                            char **out_error);

/**
 * Waits until a call needs no reply any more, so that a tool that takes long can end early. An event loop calls
 * antenv_tool_call_attach instead.
 *
 * @param call The call.
 * @param timeout_ms How long to wait; 0 asks only.
 * @param out_json Receives {"reason":"interrupted"|"thread_terminated"|"answered"|"timed_out"|"session_ended"}; else the error
 *   object. "answered": by another client. "timed_out": `tool_timeout_ms` is over.
 *
 * Returns ANTENV_OK; ANTENV_TIMEOUT while the call needs a reply; ANTENV_DONE when another thread has replied or let it go;
 * ANTENV_INTERRUPTED when a signal handler ran in this thread; ANTENV_CLOSED in a forked child; ANTENV_INVALID_HANDLE;
 * ANTENV_INVALID_ARGUMENT. Blocks for at most `timeout_ms`.
 */
antenv_status antenv_tool_call_wait(antenv_tool_call *call, int64_t timeout_ms, char **out_json);

/**
 * Reports through a completion queue that a call needs no reply any more, so that an event loop needs no thread for each call.
 * Exactly one completion arrives, at once if that is so already.
 *
 * @param call The call.
 * @param queue The queue that receives the completion.
 * @param tag Comes back with the completion: with ANTENV_OK and {"reason":...}, as from antenv_tool_call_wait, or with
 *   ANTENV_DONE when the call was replied to or let go.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED. Does not block.
 */
antenv_status antenv_tool_call_attach(antenv_tool_call *call, antenv_queue *queue, uint64_t tag);

/**
 * Frees a call without a reply. One that still needs a reply is let go: it is left to other clients, and not handed out again.
 *
 * @param call The call; freeing it twice, or NULL, is harmless.
 *
 * Errors: ANTENV_INVALID_HANDLE. Does not block.
 */
antenv_status antenv_tool_call_free(antenv_tool_call *call);

/* ---- Log ------------------------------------------------------------------------------------------------------------------- */

/**
 * Delivers the library's log records to a queue, as completions with status ANTENV_OK and a JSON object each:
 * {"time":"2026-11-23T10:20:30.123456Z", "level":"info", "target":"antenv::client", "message":"retrying", "fields":{...}}. No
 * record ever holds a secret.
 *
 * @param queue The queue, preferably one for the log alone. It holds at most 1024 records: when it is read too slowly the oldest
 *   are lost, and a record with the target "antenv::log" has their number in the field `lost`. Subscribing again replaces filter
 *   and tag.
 * @param filter "off", "error", "warn", "info", "debug" or "trace"; or such a level for a part of the library, as in
 *   "antenv::client=debug"; or several of these, separated by commas, of which the most specific decides. "off" ends the
 *   subscription, and so does freeing the queue.
 * @param tag Comes with each record, to distinguish it from completions of calls.
 * @param out_error Receives the error object.
 *
 * Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT (the filter), ANTENV_CLOSED. Does not block.
 *
 * The records, by target and level, with their fields:
 *
 *   error  antenv::runtime    "a fault in the library ended a call" (please report it)
 *   error  antenv::worker     "a poll failed" (the worker ends): step, status, reason, why; "caught a panic in the library;
 *                             please report it": in
 *   error  antenv::session    "the connection to the session failed" (the session ends): session_id, status, why
 *   warn   antenv::runtime    "the clock that runs while the machine sleeps cannot be read": why
 *   warn   antenv::worker     "a poll failed", "a request failed": step, work_id, status, reason, why; "the response to a poll is
 *                             not an item": why; "a lease is lost": work_id, reason; "item was not picked up; releasing it",
 *                             "released an item that was left behind", "the item's secret holds no token; using the
 *                             environment key": work_id; "item was refused; leaving it to the work queue": work_id, status, why;
 *                             "the machine was suspended": for_ms
 *   warn   antenv::session    "the connection to the session failed", "the history could not be read", "a result was not posted":
 *                             session_id, status, why; "the toolset's process has died", "the toolset's process sent an invalid
 *                             answer": session_id; "the toolset's process reported": session_id, line; "a skill could not be
 *                             installed", "a skill could not be removed": session_id, skill, why
 *   warn   antenv::session    "a memory directory could not be synced", "a memory directory could not be removed", "a memory
 *                             directory is not synced", "a memory directory is written anew", "changes of memories may be
 *                             lost", "the last sync of the memory directories took too long", "the server rejected a memory",
 *                             "a memory cannot be a file": root, memory_store_id, path, why; "changes of memory files are
 *                             overwritten": root, memory_store_id, paths
 *   info   antenv::worker     "claimed an item", "adopted an item", "item was claimed by another worker": work_id; "item was not
 *                             adopted": why; "item has to be stopped": work_id, reason; "worker claims no more items": why, error
 *   info   antenv::session    "session is over": session_id, why; "the toolset's process is ready": session_id, confinement;
 *                             "memories whose files are missing are not deleted yet": root, count
 *   info   antenv::client     "retrying": operation, attempt, reason, http_status, why, wait_ms
 *   debug  antenv::client     "call done": operation, status, attempts, elapsed_ms
 *   debug  antenv::worker     "lease ended": work_id, how; "stopping an item without a session" (warn, if it is of an unknown
 *                             type): work_id, type
 *   debug  antenv::runtime    "started", "ended" (the library's thread)
 *   trace  antenv::transport  "connecting": host
 *
 *     antenv_log_subscribe(log_queue, "info", 0, NULL);
 */
antenv_status antenv_log_subscribe(antenv_queue *queue, const char *filter, uint64_t tag, char **out_error);

/* ---- The process ----------------------------------------------------------------------------------------------------------- */

/**
 * Shuts the library down: rejects new calls, waits for those in flight, cancels what is left when the time is up (those calls end
 * with ANTENV_CANCELLED), closes all connections and ends the library's thread. Nothing has to call this: a process may exit at
 * any time. It is for programs that must not leave a thread or a socket behind, such as before `exec`, before leaks are measured,
 * or when a plugin is unloaded.
 *
 * Handles stay valid: a later call starts the library again, and completions that wait in queues can still be collected.
 *
 * @param timeout_ms How long to wait for calls in flight: 0 cancels them at once, -1 waits for as long as they take.
 *
 * Returns ANTENV_OK; ANTENV_TIMEOUT when calls had to be cancelled (the library is shut down nevertheless);
 * ANTENV_INVALID_ARGUMENT. Blocks for little longer than `timeout_ms`. Meanwhile new calls end with ANTENV_CLOSED; when two
 * threads shut down, both wait, and the shorter time applies. Shutting down again does nothing.
 */
antenv_status antenv_shutdown(int64_t timeout_ms);

#ifdef __cplusplus
}
#endif

#endif  /* ANTENV_H */
