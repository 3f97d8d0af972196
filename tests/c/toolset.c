/*
 * Sessions whose toolset the library serves. argv: the URL of an emulator, what to try ("serving", "ignoring", "reaping", "freed",
 * "killed", "rejected"), an environment, its key. SESSION_CONFIG is the configuration of each session; the program's own tool is "echo".
 */
#define _GNU_SOURCE
#include "worker.h"
#include <ctype.h>

static const char *config;

static antenv_session *new_session(antenv_lease *lease) {
    antenv_session *session = NULL;
    EXPECT(antenv_session_new(lease, config, &session, &json), ANTENV_OK, NULL);
    CHECK(session != NULL);
    return session;
}

/* Serves a session to its end, and prints why it is over, and its metrics. */
static void serve_session(antenv_session *session) {
    antenv_tool_call *call;
    antenv_status status;
    char *event;
    while ((status = antenv_session_next(session, WAIT_MS, &call, &event)) == ANTENV_OK) {
        CHECK(strstr(event, "\"name\":\"echo\"") || strstr(event, "\"name\": \"echo\""));
        antenv_string_free(event);
        EXPECT(antenv_tool_call_reply(call, "{\"content\":\"the host's\"}", &json), ANTENV_OK, "posted");
    }
    printf("%s %s\n", antenv_status_name(status), event ? event : "NULL");
    antenv_string_free(event);
    CHECK(antenv_session_stats(session, &json) == ANTENV_OK);
    printf("%s\n", json);
    antenv_string_free(json);
    json = NULL;
}

/* No child of this process is left, not even one that nobody has waited for. */
static void nothing_runs(void) {
    int how;
    CHECK(waitpid(-1, &how, WNOHANG) == -1 && errno == ECHILD);
}

static void finish_lease(antenv_lease *lease) {
    CHECK(antenv_lease_finish(lease, NULL, &json) == ANTENV_OK);
    antenv_string_free(json);
    json = NULL;
    nothing_runs();
}

/* Serves the items of the queue, one after the other. */
static void serving(void) {
    antenv_worker *worker = new_worker(",\"drain\":true");
    antenv_lease *lease;
    antenv_status status;
    while ((status = antenv_worker_next(worker, WAIT_MS, &lease, &json)) == ANTENV_OK) {
        antenv_string_free(json);
        antenv_session *session = new_session(lease);
        serve_session(session);
        nothing_runs();
        CHECK(antenv_session_free(session) == ANTENV_OK);
        finish_lease(lease);
    }
    CHECK(status == ANTENV_DONE);
    free_worker(worker);
}

static void *reap(void *ends) {
    while (!*(atomic_int *)ends)
        if (waitpid(-1, NULL, WNOHANG) <= 0) usleep(100);
    return NULL;
}

/* A program that waits for all its children, whoever has started them. */
static void reaping(void) {
    pthread_t thread;
    atomic_int ends = 0;
    CHECK(pthread_create(&thread, NULL, reap, &ends) == 0);
    serving();
    ends = 1;
    CHECK(pthread_join(thread, NULL) == 0);
}

static antenv_lease *take_any(antenv_worker *worker) {
    antenv_lease *lease = NULL;
    CHECK(antenv_worker_next(worker, WAIT_MS, &lease, &json) == ANTENV_OK && lease != NULL);
    antenv_string_free(json);
    json = NULL;
    return lease;
}

static int is_calling(antenv_session *session) {
    CHECK(antenv_session_stats(session, &json) == ANTENV_OK);
    int is = strstr(json, "\"toolset_calls\":1") != NULL;
    antenv_string_free(json);
    json = NULL;
    return is;
}

/* The session is freed, or its lease finished, while a command runs. */
static void freed(void) {
    antenv_worker *worker = new_worker("");
    antenv_lease *lease = take_any(worker);
    antenv_session *session = new_session(lease);
    UNTIL(is_calling(session));
    CHECK(antenv_session_free(session) == ANTENV_OK);
    finish_lease(lease);

    antenv_tool_call *call;
    lease = take_any(worker);
    session = new_session(lease);
    UNTIL(is_calling(session));
    finish_lease(lease);
    EXPECT(antenv_session_next(session, WAIT_MS, &call, &json), ANTENV_DONE, "lease_ended");
    CHECK(antenv_session_free(session) == ANTENV_OK);

    lease = take_any(worker);
    session = new_session(lease);
    UNTIL(is_calling(session));
    CHECK(antenv_worker_stop(worker) == ANTENV_OK);
    antenv_status status = antenv_shutdown(0);
    CHECK(status == ANTENV_OK || status == ANTENV_TIMEOUT);
    UNTIL(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    CHECK(antenv_session_free(session) == ANTENV_OK && antenv_lease_abandon(lease) == ANTENV_OK);
    free_worker(worker);
}

/* The child of this process, of which there is one. */
static pid_t only_child(void) {
    pid_t found = 0;
    DIR *folder = opendir("/proc");
    CHECK(folder != NULL);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[300], line[512];
        int parent = 0;
        if (!isdigit((unsigned char)entry->d_name[0])) continue;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        char *end = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
        fclose(file);
        if (end && sscanf(end, ") %*c %d", &parent) == 1 && parent == getpid()) {
            CHECK(found == 0);
            found = atoi(entry->d_name);
        }
    }
    closedir(folder);
    CHECK(found != 0);
    return found;
}

/* The helper is killed while a command runs. The session goes on with another one. */
static void killed(void) {
    antenv_worker *worker = new_worker("");
    antenv_lease *lease = take_any(worker);
    antenv_session *session = new_session(lease);
    UNTIL(is_calling(session));
    CHECK(kill(only_child(), SIGKILL) == 0);
    serve_session(session);
    CHECK(antenv_session_free(session) == ANTENV_OK);
    finish_lease(lease);
    free_worker(worker);
}

/* The configuration is rejected. */
static void rejected(void) {
    antenv_worker *worker = new_worker("");
    char id[ID];
    enqueue(id);
    antenv_lease *lease = take(worker, id);
    antenv_session *session = NULL;
    CHECK(antenv_session_new(lease, config, &session, &json) == ANTENV_CONFIG && session == NULL);
    printf("%s\n", json);
    antenv_string_free(json);
    json = NULL;
    finish(lease, id);
    free_worker(worker);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    config = getenv("SESSION_CONFIG");
    CHECK(config != NULL);
    if (strcmp(title, "serving") == 0) serving();
    if (strcmp(title, "reaping") == 0) reaping();
    if (strcmp(title, "freed") == 0) freed();
    if (strcmp(title, "killed") == 0) killed();
    if (strcmp(title, "rejected") == 0) rejected();
    if (strcmp(title, "ignoring") == 0) {
        CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
        serving();
    }
    return end();
}
