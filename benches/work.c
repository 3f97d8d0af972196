/* A worker whose items take no time, from C: writes a line for each, its identifier and when it was handed out (CLOCK_MONOTONIC, in
 * nanoseconds). Ends when its input does.
 *
 * work URL ENVIRONMENT KEY CONCURRENCY IDLE_AFTER_MS */
#define _POSIX_C_SOURCE 200809L
#include <antenv.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Ends the program if a call failed; `error` is where it left its error object, if it has one. */
static void must(antenv_status status, char *const *error) {
    if (status == ANTENV_OK) return;
    fprintf(stderr, "%s\n", error && *error ? *error : antenv_status_name(status));
    exit(1);
}

static void begin(antenv_worker *worker, antenv_queue *queue) {
    antenv_lease *lease;
    char *item, *error;
    struct timespec now;
    if (antenv_worker_next(worker, 0, &lease, &item) != ANTENV_OK) {
        antenv_string_free(item);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    const char *id = strstr(item, "\"work_") + 1;
    printf("%.*s %lld\n", (int)strcspn(id, "\""), id, (long long)now.tv_sec * 1000000000 + now.tv_nsec);
    antenv_string_free(item);
    must(antenv_lease_submit_finish(lease, NULL, queue, 2, &error), &error);
}

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    antenv_client *client;
    antenv_queue *queue;
    antenv_worker *worker;
    antenv_completion done[64];
    size_t count;
    char config[512], *error;
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(config, sizeof config, "{\"base_url\":\"%s\",\"environment_key\":\"%s\"}", argv[1], argv[3]);
    must(antenv_client_new(config, &client, &error), &error);
    must(antenv_queue_new(&queue, &error), &error);
    snprintf(config, sizeof config, "{\"environment_id\":\"%s\",\"concurrency\":%s,\"idle_after_ms\":%s}", argv[2], argv[4], argv[5]);
    must(antenv_worker_new(client, config, &worker, &error), &error);
    must(antenv_worker_attach(worker, queue, 1), NULL);
    for (;;) {
        struct pollfd watched[] = {{0, POLLIN, 0}, {antenv_queue_fd(queue), POLLIN, 0}};
        poll(watched, 2, -1);
        if (watched[0].revents) return 0;
        if (antenv_queue_next_many(queue, 0, done, 64, &count) != ANTENV_OK) continue;
        for (size_t i = 0; i < count; i++) {
            if (done[i].tag == 1) begin(worker, queue);
            antenv_string_free(done[i].json);
        }
    }
}
