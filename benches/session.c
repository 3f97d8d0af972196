/* Serves sessions whose agents call the tool "noop", which returns at once: one session after the other in this thread ("next"), or all
 * at once from this thread, through a completion queue ("queue"). Runs until it is killed.
 *
 * session next|queue URL SESSIONS */
#include <antenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLAIMED = 0, REPLIED = 1, FIRST_SESSION = 2 }; /* tags */

static const char *const tools = "{\"tools\":[\"noop\"]}", *const result = "{\"content\":\"done\"}";

/* Ends the program if a call failed; `error` is where it left its error object, if it has one. */
static void must(antenv_status status, char *const *error) {
    if (status == ANTENV_OK) return;
    fprintf(stderr, "%s\n", error && *error ? *error : antenv_status_name(status));
    exit(1);
}

/* Takes a call that is ready. */
static antenv_status next(antenv_session *session, int64_t timeout_ms, antenv_tool_call **call) {
    char *event;
    antenv_status status = antenv_session_next(session, timeout_ms, call, &event);
    antenv_string_free(event);
    return status;
}

static antenv_lease *claim(antenv_worker *worker, int64_t timeout_ms) {
    antenv_lease *lease;
    char *item;
    must(antenv_worker_next(worker, timeout_ms, &lease, &item), &item);
    antenv_string_free(item);
    return lease;
}

static void serve_one(antenv_worker *worker) {
    antenv_session *session;
    antenv_tool_call *call;
    char *reply;
    must(antenv_session_new(claim(worker, -1), tools, &session, &reply), &reply);
    while (next(session, -1, &call) == ANTENV_OK) {
        must(antenv_tool_call_reply(call, result, &reply), &reply);
        antenv_string_free(reply);
    }
}

/* Serves all sessions; the tag of one is its place in the table. */
static void serve_all(antenv_worker *worker, size_t count) {
    antenv_session **sessions = calloc(count, sizeof *sessions);
    antenv_queue *queue;
    antenv_tool_call *call;
    antenv_completion done[64];
    size_t begun = 0, arrived;
    char *error;
    if (!sessions) must(ANTENV_INTERNAL, NULL);
    must(antenv_queue_new(&queue, &error), &error);
    must(antenv_worker_attach(worker, queue, CLAIMED), NULL);
    while (antenv_queue_next_many(queue, -1, done, 64, &arrived) == ANTENV_OK) {
        for (size_t i = 0; i < arrived; i++) {
            if (done[i].tag == CLAIMED) {
                must(antenv_session_new(claim(worker, 0), tools, &sessions[begun], &error), &error);
                must(antenv_session_attach(sessions[begun], queue, FIRST_SESSION + begun), NULL);
                begun++;
            } else if (done[i].tag == REPLIED) {
                must(done[i].status, &done[i].json);
            } else if (next(sessions[done[i].tag - FIRST_SESSION], 0, &call) == ANTENV_OK) {
                must(antenv_tool_call_submit_reply(call, result, queue, REPLIED, &error), &error);
            }
            antenv_string_free(done[i].json);
        }
    }
}

int main(int argc, char **argv) {
    antenv_client *client;
    antenv_worker *worker;
    char config[512], *error;
    if (argc != 4) return 2;
    snprintf(config, sizeof config, "{\"base_url\":\"%s\",\"environment_key\":\"a-key\"}", argv[2]);
    must(antenv_client_new(config, &client, &error), &error);
    snprintf(config, sizeof config, "{\"environment_id\":\"env_bench\",\"concurrency\":%s}", argv[3]);
    must(antenv_worker_new(client, config, &worker, &error), &error);
    if (!strcmp(argv[1], "next")) serve_one(worker);
    else serve_all(worker, (size_t)atol(argv[3]));
    return 0;
}
