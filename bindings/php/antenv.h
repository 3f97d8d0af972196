#define FFI_SCOPE "antenv"
#define FFI_LIB "libantenv.so.0"
typedef int32_t antenv_status;
enum antenv_status {
    ANTENV_OK = 0,
    ANTENV_INVALID_ARGUMENT = 1,
    ANTENV_INVALID_HANDLE = 2,
    ANTENV_CONFIG = 3,
    ANTENV_CONNECTION = 4,
    ANTENV_TIMEOUT = 5,
    ANTENV_CANCELLED = 6,
    ANTENV_RESPONSE = 7,
    ANTENV_DONE = 8,
    ANTENV_CLOSED = 9,
    ANTENV_LEASE_LOST = 10,
    ANTENV_INTERNAL = 11,
    ANTENV_INTERRUPTED = 12,
    ANTENV_BAD_REQUEST = 100,
    ANTENV_AUTHENTICATION = 101,
    ANTENV_PAYMENT_REQUIRED = 102,
    ANTENV_PERMISSION_DENIED = 103,
    ANTENV_NOT_FOUND = 104,
    ANTENV_REQUEST_TIMEOUT = 105,
    ANTENV_CONFLICT = 106,
    ANTENV_PRECONDITION_FAILED = 107,
    ANTENV_CONTENT_TOO_LARGE = 108,
    ANTENV_UNPROCESSABLE = 109,
    ANTENV_RATE_LIMITED = 110,
    ANTENV_SERVER_ERROR = 111,
    ANTENV_OVERLOADED = 112,
    ANTENV_HTTP_STATUS = 113
};
typedef struct antenv_client antenv_client;
typedef struct antenv_lease antenv_lease;
typedef struct antenv_pager antenv_pager;
typedef struct antenv_queue antenv_queue;
typedef struct antenv_session antenv_session;
typedef struct antenv_stream antenv_stream;
typedef struct antenv_ticket antenv_ticket;
typedef struct antenv_tool_call antenv_tool_call;
typedef struct antenv_worker antenv_worker;
typedef struct {
    uint64_t tag;
    antenv_status status;
    char *json;
} antenv_completion;
const char *antenv_version(void);
uint32_t antenv_abi_version(void);
const char *antenv_status_name(int32_t status);
void antenv_string_free(char *text);
antenv_status antenv_json_get(const char *json, const char *pointer, char **out);
antenv_status antenv_client_new(const char *config_json, antenv_client **out, char **out_error);
antenv_status antenv_client_derive(antenv_client *client, const char *config_json, antenv_client **out, char **out_error);
antenv_status antenv_client_free(antenv_client *client);
antenv_status antenv_client_stats(antenv_client *client, char **out_json);
antenv_status antenv_environments_create(antenv_client *client, const char *params_json, char **out_json);
antenv_status antenv_environments_list(antenv_client *client, const char *params_json, char **out_json);
antenv_status antenv_environments_retrieve(antenv_client *client,
                                           const char *environment_id,
                                           const char *params_json,
                                           char **out_json);
antenv_status antenv_environments_update(antenv_client *client,
                                         const char *environment_id,
                                         const char *params_json,
                                         char **out_json);
antenv_status antenv_environments_delete(antenv_client *client,
                                         const char *environment_id,
                                         const char *params_json,
                                         char **out_json);
antenv_status antenv_environments_archive(antenv_client *client,
                                          const char *environment_id,
                                          const char *params_json,
                                          char **out_json);
antenv_status antenv_work_list(antenv_client *client, const char *environment_id, const char *params_json, char **out_json);
antenv_status antenv_work_poll(antenv_client *client, const char *environment_id, const char *params_json, char **out_json);
antenv_status antenv_work_stats(antenv_client *client, const char *environment_id, const char *params_json, char **out_json);
antenv_status antenv_work_retrieve(antenv_client *client,
                                   const char *environment_id,
                                   const char *work_id,
                                   const char *params_json,
                                   char **out_json);
antenv_status antenv_work_update(antenv_client *client,
                                 const char *environment_id,
                                 const char *work_id,
                                 const char *params_json,
                                 char **out_json);
antenv_status antenv_work_ack(antenv_client *client,
                              const char *environment_id,
                              const char *work_id,
                              const char *params_json,
                              char **out_json);
antenv_status antenv_work_heartbeat(antenv_client *client,
                                    const char *environment_id,
                                    const char *work_id,
                                    const char *params_json,
                                    char **out_json);
antenv_status antenv_work_stop(antenv_client *client,
                               const char *environment_id,
                               const char *work_id,
                               const char *params_json,
                               char **out_json);
antenv_status antenv_call(antenv_client *client, const char *operation, const char *params_json, char **out_json);
antenv_status antenv_request(antenv_client *client,
                             const char *method,
                             const char *path,
                             const char *params_json,
                             char **out_json);
antenv_status antenv_pager_new(antenv_client *client,
                               const char *operation,
                               const char *params_json,
                               antenv_pager **out,
                               char **out_error);
antenv_status antenv_pager_next(antenv_pager *pager, char **out_json);
antenv_status antenv_pager_free(antenv_pager *pager);
antenv_status antenv_queue_new(antenv_queue **out, char **out_error);
int antenv_queue_fd(antenv_queue *queue);
antenv_status antenv_submit(antenv_client *client,
                            antenv_queue *queue,
                            const char *operation,
                            const char *params_json,
                            uint64_t tag,
                            antenv_ticket **out_ticket,
                            char **out_error);
antenv_status antenv_submit_request(antenv_client *client,
                                    antenv_queue *queue,
                                    const char *method,
                                    const char *path,
                                    const char *params_json,
                                    uint64_t tag,
                                    antenv_ticket **out_ticket,
                                    char **out_error);
antenv_status antenv_queue_next(antenv_queue *queue, int64_t timeout_ms, antenv_completion *out);
antenv_status antenv_queue_next_many(antenv_queue *queue,
                                     int64_t timeout_ms,
                                     antenv_completion *out,
                                     size_t capacity,
                                     size_t *count);
antenv_status antenv_queue_free(antenv_queue *queue);
antenv_status antenv_ticket_cancel(antenv_ticket *ticket);
antenv_status antenv_ticket_free(antenv_ticket *ticket);
antenv_status antenv_stream_open(antenv_client *client,
                                 const char *operation,
                                 const char *params_json,
                                 antenv_stream **out,
                                 char **out_error);
antenv_status antenv_stream_submit(antenv_client *client,
                                   antenv_queue *queue,
                                   const char *operation,
                                   const char *params_json,
                                   uint64_t tag,
                                   antenv_stream **out,
                                   char **out_error);
antenv_status antenv_stream_next(antenv_stream *stream, int64_t timeout_ms, char **out_json);
antenv_status antenv_stream_attach(antenv_stream *stream, antenv_queue *queue, uint64_t tag);
antenv_status antenv_stream_free(antenv_stream *stream);
antenv_status antenv_download(antenv_client *client,
                              const char *operation,
                              const char *params_json,
                              const char *path,
                              char **out_json);
antenv_status antenv_download_submit(antenv_client *client,
                                     antenv_queue *queue,
                                     const char *operation,
                                     const char *params_json,
                                     const char *path,
                                     uint64_t tag,
                                     antenv_ticket **out_ticket,
                                     char **out_error);
antenv_status antenv_worker_new(antenv_client *client, const char *config_json, antenv_worker **out, char **out_error);
antenv_status antenv_worker_next(antenv_worker *worker, int64_t timeout_ms, antenv_lease **out_lease, char **out_json);
antenv_status antenv_worker_attach(antenv_worker *worker, antenv_queue *queue, uint64_t tag);
antenv_status antenv_worker_stop(antenv_worker *worker);
antenv_status antenv_worker_stats(antenv_worker *worker, char **out_json);
antenv_status antenv_worker_metrics(antenv_worker *worker, char **out_text);
antenv_status antenv_worker_free(antenv_worker *worker);
antenv_status antenv_lease_state(antenv_lease *lease, char **out_json);
antenv_status antenv_lease_wait(antenv_lease *lease, int64_t timeout_ms, char **out_json);
antenv_status antenv_lease_wait_lost(antenv_lease *lease, int64_t timeout_ms, char **out_json);
antenv_status antenv_lease_attach(antenv_lease *lease, antenv_queue *queue, uint64_t tag);
antenv_status antenv_lease_attach_lost(antenv_lease *lease, antenv_queue *queue, uint64_t tag);
antenv_status antenv_lease_client(antenv_lease *lease, antenv_client **out, char **out_error);
antenv_status antenv_lease_finish(antenv_lease *lease, const char *params_json, char **out_json);
antenv_status antenv_lease_submit_finish(antenv_lease *lease,
                                         const char *params_json,
                                         antenv_queue *queue,
                                         uint64_t tag,
                                         char **out_error);
antenv_status antenv_lease_release(antenv_lease *lease, char **out_json);
antenv_status antenv_lease_adopt(antenv_client *client, const char *config_json, antenv_lease **out_lease, char **out_json);
antenv_status antenv_lease_abandon(antenv_lease *lease);
antenv_status antenv_session_new(antenv_lease *lease, const char *config_json, antenv_session **out, char **out_error);
antenv_status antenv_session_next(antenv_session *session, int64_t timeout_ms, antenv_tool_call **out_call, char **out_json);
antenv_status antenv_session_attach(antenv_session *session, antenv_queue *queue, uint64_t tag);
antenv_status antenv_session_stats(antenv_session *session, char **out_json);
antenv_status antenv_session_free(antenv_session *session);
antenv_status antenv_tool_call_reply(antenv_tool_call *call, const char *result_json, char **out_json);
antenv_status antenv_tool_call_submit_reply(antenv_tool_call *call,
                                            const char *result_json,
                                            antenv_queue *queue,
                                            uint64_t tag,
                                            char **out_error);
antenv_status antenv_tool_call_wait(antenv_tool_call *call, int64_t timeout_ms, char **out_json);
antenv_status antenv_tool_call_attach(antenv_tool_call *call, antenv_queue *queue, uint64_t tag);
antenv_status antenv_tool_call_free(antenv_tool_call *call);
antenv_status antenv_log_subscribe(antenv_queue *queue, const char *filter, uint64_t tag, char **out_error);
antenv_status antenv_shutdown(int64_t timeout_ms);
