/*
 * Sessions served to their end, and what gets in the way. argv: the URL of an emulator, what to try ("serving", "misuse",
 * "ending", "refused", "forking"), an environment, its key.
 *
 * The tools: "echo" and "bash" return their input, "fail" fails, "silent" returns nothing, "slow" goes on until its call is void,
 * and a call of "leave" is let go.
 */
#define _GNU_SOURCE
#include "worker.h"

static const char *const CONFIG =
    "{\"tools\":[\"echo\",\"bash\",\"fail\",\"silent\",\"slow\",\"leave\"],\"max_idle_ms\":400}";

static antenv_session *new_session(antenv_lease *lease, const char *config) {
    antenv_session *session = NULL;
    EXPECT(antenv_session_new(lease, config, &session, &json), ANTENV_OK, NULL);
    CHECK(session != NULL);
    return session;
}


static int is_named(const char *event, const char *name) {
    char *found;
    CHECK(antenv_json_get(event, "/name", &found) == ANTENV_OK);
    int is = strcmp(found, name) == 0;
    antenv_string_free(found);
    return is;
}

/* Replies to a call with what its tool returns; the reply may be void. */
static void serve_call(antenv_tool_call *call, const char *event) {
    char result[1024], *input, *mine = NULL;
    antenv_status status;
    if (is_named(event, "leave")) {
        CHECK(antenv_tool_call_free(call) == ANTENV_OK);
        return;
    }
    if (is_named(event, "slow")) {
        CHECK(antenv_tool_call_wait(call, WAIT_MS, &mine) == ANTENV_OK && strstr(mine, "\"reason\":\"") != NULL);
        antenv_string_free(mine);
        CHECK(antenv_tool_call_reply(call, "{}", &mine) == ANTENV_CANCELLED && strstr(mine, "nothing was posted") != NULL);
        antenv_string_free(mine);
        return;
    }
    CHECK(antenv_json_get(event, "/input", &input) == ANTENV_OK);
    if (is_named(event, "fail")) snprintf(result, sizeof result, "{\"content\":\"it failed\",\"is_error\":true}");
    else if (is_named(event, "silent")) snprintf(result, sizeof result, "{}");
    else snprintf(result, sizeof result, "{\"content\":[{\"echo\":%s}]}", input);
    antenv_string_free(input);
    status = antenv_tool_call_reply(call, result, &mine);
    if (status != ANTENV_OK && status != ANTENV_CANCELLED && status != ANTENV_BAD_REQUEST) {
        fprintf(stderr, "replying: %s: %s\n", antenv_status_name(status), mine);
        exit(1);
    }
    antenv_string_free(mine);
}

/* Serves a session to its end, and prints why it is over. */
static void serve_session(antenv_lease *lease) {
    antenv_session *session = new_session(lease, CONFIG);
    antenv_tool_call *call;
    antenv_status status;
    char *event;
    while ((status = antenv_session_next(session, WAIT_MS, &call, &event)) == ANTENV_OK) {
        serve_call(call, event);
        antenv_string_free(event);
    }
    printf("%s %s\n", antenv_status_name(status), event ? event : "NULL");
    antenv_string_free(event);
    CHECK(antenv_session_free(session) == ANTENV_OK);
}

/* Serves the items of the queue, one after the other. */
static void serving(void) {
    antenv_worker *worker = new_worker(",\"drain\":true");
    antenv_lease *lease;
    antenv_status status;
    while ((status = antenv_worker_next(worker, WAIT_MS, &lease, &json)) == ANTENV_OK) {
        antenv_string_free(json);
        serve_session(lease);
        CHECK(antenv_lease_finish(lease, NULL, &json) == ANTENV_OK);
        antenv_string_free(json);
    }
    CHECK(status == ANTENV_DONE);
    free_worker(worker);
}

/* Has the agent of the lease's session do these steps from now on. */
static void script(antenv_lease *lease, const char *steps) {
    char *id, *session, params[512];
    CHECK(antenv_lease_state(lease, &json) == ANTENV_OK && antenv_json_get(json, "/work_id", &id) == ANTENV_OK);
    antenv_string_free(json);
    CHECK(antenv_work_retrieve(owner, environment, id, NULL, &json) == ANTENV_OK);
    CHECK(antenv_json_get(json, "/data/id", &session) == ANTENV_OK);
    antenv_string_free(json);
    json = NULL;
    snprintf(params, sizeof params, "{\"body\":{\"session_id\":\"%s\",\"steps\":[%s]}}", session, steps);
    EXPECT(antenv_request(owner, "POST", "/_emulator/scripts", params, &json), ANTENV_OK, "");
    antenv_string_free(id);
    antenv_string_free(session);
}

static const char *const ONE_CALL = "{\"custom_tool\":\"echo\",\"input\":{}},{\"wait\":\"results\"}";

static antenv_tool_call *take_call(antenv_session *session) {
    antenv_tool_call *call = NULL;
    EXPECT(antenv_session_next(session, WAIT_MS, &call, &json), ANTENV_OK, "\"name\":\"echo\"");
    CHECK(call != NULL);
    return call;
}

static void misuse(void) {
    antenv_worker *worker = new_worker("");
    char id[ID];
    enqueue(id);
    antenv_lease *lease = take(worker, id);
    antenv_session *none = (antenv_session *)lease;
    antenv_tool_call *no_call = (antenv_tool_call *)lease;
    antenv_queue *queue = new_queue();
    int local = 0;

    struct {
        const char *config, *expected;
    } configs[] = {
        {NULL, "`tools` is missing"},
        {"{\"tools\":[\"echo\"],\"toolset\":true}", "`workdir` is missing"},
        {"{\"tools\":[\"echo\"],\"max_idle\":1}", "\"parameter\":\"max_idle\""},
        {"[]", "\"parameter\":\"config_json\""},
    };
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        EXPECT(antenv_session_new(lease, configs[i].config, &none, &json), ANTENV_CONFIG, configs[i].expected);
        CHECK(none == NULL);
    }
    EXPECT(antenv_session_new(lease, CONFIG, NULL, &json), ANTENV_INVALID_ARGUMENT, "`out` is NULL");
    EXPECT(antenv_session_new((antenv_lease *)worker, CONFIG, &none, &json), ANTENV_INVALID_HANDLE, "lease");

    script(lease, ONE_CALL);
    antenv_session *session = new_session(lease, CONFIG);
    EXPECT(antenv_session_next(session, -2, &no_call, &json), ANTENV_INVALID_ARGUMENT, "timeout_ms");
    EXPECT(antenv_session_next(session, -1, NULL, &json), ANTENV_INVALID_ARGUMENT, "out_call");
    CHECK(antenv_session_next(session, -1, &no_call, NULL) == ANTENV_INVALID_ARGUMENT && no_call == NULL);
    antenv_tool_call *call = take_call(session);
    EXPECT(antenv_session_next(session, 0, &no_call, &json), ANTENV_TIMEOUT, NULL);
    EXPECT(antenv_tool_call_wait(call, 0, &json), ANTENV_TIMEOUT, "\"timeout\"");
    EXPECT(antenv_session_stats(session, &json), ANTENV_OK, "\"open_calls\":1");
    EXPECT(antenv_tool_call_reply(call, NULL, &json), ANTENV_INVALID_ARGUMENT, "`result_json` is NULL");
    EXPECT(antenv_tool_call_reply(call, "{\"text\":\"a\"}", &json), ANTENV_INVALID_ARGUMENT, "\"parameter\":\"text\"");
    EXPECT(antenv_tool_call_submit_reply(call, "{}", NULL, 1, &json), ANTENV_INVALID_HANDLE, "queue");
    CHECK(antenv_tool_call_attach(call, NULL, 1) == ANTENV_INVALID_HANDLE);
    CHECK(antenv_tool_call_attach(call, queue, 6) == ANTENV_OK);
    EXPECT(antenv_tool_call_submit_reply(call, "{}", queue, 7, &json), ANTENV_OK, NULL);
    antenv_completion done = next_completion(queue);
    CHECK(done.tag == 6 && done.status == ANTENV_DONE);
    antenv_string_free(done.json);
    done = next_completion(queue);
    CHECK(done.tag == 7 && done.status == ANTENV_OK && strcmp(done.json, "{\"posted\":true}") == 0);
    antenv_string_free(done.json);
    CHECK(antenv_session_next(session, WAIT_MS, &no_call, &json) == ANTENV_DONE && strcmp(json, "{\"reason\":\"idle\"}") == 0);
    antenv_string_free(json);
    json = NULL;
    EXPECT(antenv_session_next(session, 0, &no_call, &json), ANTENV_DONE, "idle");
    CHECK(antenv_session_attach(session, queue, 8) == ANTENV_OK);
    done = next_completion(queue);
    CHECK(done.tag == 8 && done.status == ANTENV_DONE);
    antenv_string_free(done.json);
    CHECK(antenv_session_free(session) == ANTENV_OK);

    void *wrong[] = {NULL, session, call, lease, worker, &local, (void *)~(uintptr_t)0, (void *)(uintptr_t)1};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        EXPECT(antenv_session_next(wrong[i], -1, &no_call, &json), ANTENV_INVALID_HANDLE, "\"parameter\":\"session\"");
        CHECK(antenv_session_attach(wrong[i], queue, 1) == ANTENV_INVALID_HANDLE);
        EXPECT(antenv_session_stats(wrong[i], &json), ANTENV_INVALID_HANDLE, "session");
        CHECK(antenv_session_free(wrong[i]) == ANTENV_INVALID_HANDLE);
        EXPECT(antenv_tool_call_reply(wrong[i], "{}", &json), ANTENV_INVALID_HANDLE, "\"parameter\":\"call\"");
        EXPECT(antenv_tool_call_wait(wrong[i], -1, &json), ANTENV_INVALID_HANDLE, "call");
        CHECK(antenv_tool_call_attach(wrong[i], queue, 1) == ANTENV_INVALID_HANDLE);
        CHECK(antenv_tool_call_free(wrong[i]) == ANTENV_INVALID_HANDLE);
    }
    finish(lease, id);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
    free_worker(worker);
}

/* A thread that waits for a session's next call, or for a call to become void. */
struct waiting {
    pthread_t thread;
    antenv_session *session;
    antenv_tool_call *call;
    atomic_long tid;
    antenv_status status;
};

static void *wait_for_either(void *argument) {
    struct waiting *waiting = argument;
    antenv_tool_call *call;
    char *mine = NULL;
    waiting->tid = syscall(SYS_gettid);
    waiting->status = waiting->call ? antenv_tool_call_wait(waiting->call, -1, &mine)
                                    : antenv_session_next(waiting->session, -1, &call, &mine);
    antenv_string_free(mine);
    return NULL;
}

static void begin_to_wait(struct waiting *waiting) {
    CHECK(pthread_create(&waiting->thread, NULL, wait_for_either, waiting) == 0);
    UNTIL(waiting->tid && sleeps_in_poll(waiting->tid));
}

static void returns(struct waiting *waiting, antenv_status status) {
    CHECK(pthread_join(waiting->thread, NULL) == 0);
    CHECK(waiting->status == status);
}

static void ending(void) {
    antenv_worker *worker = new_worker(",\"concurrency\":2,\"grace_ms\":0");
    char id[ID];

    /* Freed while threads wait. */
    enqueue(id);
    antenv_lease *lease = take(worker, id);
    script(lease, ONE_CALL);
    antenv_session *session = new_session(lease, CONFIG);
    antenv_tool_call *call = take_call(session);
    struct waiting for_call = {.session = session}, for_void = {.call = call};
    begin_to_wait(&for_call);
    begin_to_wait(&for_void);
    CHECK(antenv_session_free(session) == ANTENV_OK);
    returns(&for_call, ANTENV_CLOSED);
    returns(&for_void, ANTENV_OK);
    EXPECT(antenv_tool_call_reply(call, "{}", &json), ANTENV_CANCELLED, "session_ended");

    /* Served by another session of the same lease; the call is handed out again, since it has no result. */
    session = new_session(lease, CONFIG);
    call = take_call(session);
    struct waiting for_reply = {.call = call};
    begin_to_wait(&for_reply);
    EXPECT(antenv_tool_call_reply(call, "{\"content\":\"done\"}", &json), ANTENV_OK, "{\"posted\":true}");
    returns(&for_reply, ANTENV_DONE);
    CHECK(antenv_session_free(session) == ANTENV_OK);
    finish(lease, id);

    /* Its lease is finished under it. */
    enqueue(id);
    lease = take(worker, id);
    session = new_session(lease, CONFIG);
    struct waiting for_end = {.session = session};
    begin_to_wait(&for_end);
    finish(lease, id);
    returns(&for_end, ANTENV_DONE);
    EXPECT(antenv_session_next(session, -1, &call, &json), ANTENV_DONE, "lease_ended");
    CHECK(antenv_session_free(session) == ANTENV_OK);

    /* The library is shut down; events come through a queue, and a call is left over. */
    antenv_queue *queue = new_queue();
    enqueue(id);
    lease = take(worker, id);
    script(lease, ONE_CALL);
    session = new_session(lease, CONFIG);
    CHECK(antenv_session_attach(session, queue, 5) == ANTENV_OK);
    antenv_completion done = next_completion(queue);
    CHECK(done.tag == 5 && done.status == ANTENV_OK && strstr(done.json, "\"name\":\"echo\"") != NULL);
    antenv_string_free(done.json);
    EXPECT(antenv_session_next(session, 0, &call, &json), ANTENV_OK, "echo");
    CHECK(antenv_worker_stop(worker) == ANTENV_OK);
    CHECK(antenv_shutdown(-1) == ANTENV_OK);
    done = next_completion(queue);
    CHECK(done.tag == 5 && (done.status == ANTENV_CANCELLED || done.status == ANTENV_DONE));
    antenv_string_free(done.json);
    EXPECT(antenv_tool_call_reply(call, "{}", &json), ANTENV_CANCELLED, "session_ended");
    CHECK(antenv_session_free(session) == ANTENV_OK);
    CHECK(antenv_lease_abandon(lease) == ANTENV_OK);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
    free_worker(worker);
}

/* What the server refuses, and leases that end while a call runs. */
static void refused(void) {
    antenv_worker *worker = new_worker(",\"desired_ttl_seconds\":8");
    antenv_tool_call *call, *none;
    char id[ID];
    struct {
        const char *faults, *expected;
        antenv_status status;
    } ends[] = {
        {"[{\"operation\":\"sessions.events.stream\",\"status\":403}]", "\"http_status\":403", ANTENV_PERMISSION_DENIED},
        {"[{\"operation\":\"sessions.events.list\",\"status\":401}]", "\"http_status\":401", ANTENV_AUTHENTICATION},
        {"[{\"operation\":\"sessions.events.stream\",\"status\":404}]", "{\"reason\":\"not_found\"}", ANTENV_DONE},
        {"[{\"operation\":\"sessions.retrieve\",\"status\":404}]", "{\"reason\":\"not_found\"}", ANTENV_DONE},
    };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        enqueue(id);
        antenv_lease *lease = take(worker, id);
        set_faults(owner, ends[i].faults);
        antenv_session *session = new_session(lease, CONFIG);
        EXPECT(antenv_session_next(session, WAIT_MS, &call, &json), ends[i].status, ends[i].expected);
        EXPECT(antenv_session_next(session, 0, &call, &json), ends[i].status, ends[i].expected);
        CHECK(antenv_session_free(session) == ANTENV_OK);
        finish(lease, id);
    }

    /* A result that is refused is kept, and posted when the history shows that the session still waits for it. */
    enqueue(id);
    antenv_lease *lease = take(worker, id);
    script(lease, ONE_CALL);
    antenv_session *session = new_session(lease, CONFIG);
    call = take_call(session);
    set_faults(owner, "[{\"operation\":\"sessions.events.send\",\"status\":400}]");
    EXPECT(antenv_tool_call_reply(call, "{\"content\":\"kept\"}", &json), ANTENV_BAD_REQUEST, "\"http_status\":400");
    EXPECT(antenv_session_next(session, WAIT_MS, &call, &json), ANTENV_DONE, "idle");
    EXPECT(antenv_session_stats(session, &json), ANTENV_OK, "\"posted\":1");
    CHECK(antenv_session_free(session) == ANTENV_OK);
    finish(lease, id);

    /* The item is stopped by its owner. */
    enqueue(id);
    lease = take(worker, id);
    script(lease, ONE_CALL);
    session = new_session(lease, CONFIG);
    call = take_call(session);
    antenv_queue *queue = new_queue();
    CHECK(antenv_tool_call_attach(call, queue, 1) == ANTENV_OK && antenv_tool_call_attach(call, queue, 1) == ANTENV_OK);
    CHECK(antenv_work_stop(owner, environment, id, NULL, &json) == ANTENV_OK);
    antenv_string_free(json);
    json = NULL;
    EXPECT(antenv_tool_call_wait(call, WAIT_MS, &json), ANTENV_OK, "{\"reason\":\"session_ended\"}");
    CHECK(antenv_tool_call_attach(call, queue, 1) == ANTENV_OK); /* reports at once */
    for (int i = 0; i < 3; i++) {
        antenv_completion done = next_completion(queue);
        CHECK(done.tag == 1 && done.status == ANTENV_OK && strcmp(done.json, "{\"reason\":\"session_ended\"}") == 0);
        antenv_string_free(done.json);
    }
    CHECK(antenv_tool_call_free(call) == ANTENV_OK && antenv_queue_free(queue) == ANTENV_OK);
    EXPECT(antenv_session_next(session, WAIT_MS, &call, &json), ANTENV_DONE, "{\"reason\":\"stop_requested\"}");
    CHECK(antenv_session_free(session) == ANTENV_OK);
    finish(lease, id);

    /* The lease runs out at the server while a call runs. */
    enqueue(id);
    lease = take(worker, id);
    script(lease, ONE_CALL);
    session = new_session(lease, CONFIG);
    call = take_call(session);
    EXPECT(antenv_request(owner, "POST", "/_emulator/clock", "{\"body\":{\"advance_ms\":60000}}", &json), ANTENV_OK, "");
    EXPECT(antenv_session_next(session, WAIT_MS, &none, &json), ANTENV_DONE, "{\"reason\":\"lease_lost\"}");
    EXPECT(antenv_tool_call_reply(call, "{}", &json), ANTENV_CANCELLED, "session_ended");
    CHECK(antenv_session_free(session) == ANTENV_OK);
    EXPECT(antenv_lease_finish(lease, NULL, &json), ANTENV_LEASE_LOST, "nothing was sent");
    CHECK(!is_item(id, "stopped"));
    free_worker(worker);
}

static void forking(void) {
    antenv_worker *worker = new_worker("");
    char id[ID];
    enqueue(id);
    antenv_lease *lease = take(worker, id);
    script(lease, ONE_CALL);
    antenv_session *session = new_session(lease, CONFIG);
    antenv_tool_call *call = take_call(session), *none;
    pid_t child = forked();
    if (child == 0) {
        EXPECT(antenv_session_next(session, -1, &none, &json), ANTENV_CLOSED, "created before fork()");
        EXPECT(antenv_session_stats(session, &json), ANTENV_CLOSED, "created before fork()");
        EXPECT(antenv_tool_call_wait(call, -1, &json), ANTENV_CLOSED, "created before fork()");
        CHECK(antenv_tool_call_attach(call, new_queue(), 1) == ANTENV_CLOSED);
        EXPECT(antenv_tool_call_reply(call, "{}", &json), ANTENV_CLOSED, "created before fork()");
        CHECK(antenv_tool_call_free(call) == ANTENV_OK && antenv_session_free(session) == ANTENV_OK);
        _exit(0);
    }
    ends_well(child);
    EXPECT(antenv_tool_call_reply(call, "{}", &json), ANTENV_OK, "{\"posted\":true}");
    EXPECT(antenv_session_next(session, WAIT_MS, &none, &json), ANTENV_DONE, "idle");
    CHECK(antenv_session_free(session) == ANTENV_OK);
    finish(lease, id);
    free_worker(worker);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    if (strcmp(title, "serving") == 0) serving();
    if (strcmp(title, "misuse") == 0) misuse();
    if (strcmp(title, "ending") == 0) ending();
    if (strcmp(title, "refused") == 0) refused();
    if (strcmp(title, "forking") == 0) forking();
    return end();
}
