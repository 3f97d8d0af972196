/* Many calls in flight from one thread, in an event loop: prints how many items wait in the work queues of environments.
 *
 *     many ENVIRONMENT_ID...
 *
 * Reads ANTHROPIC_API_KEY and, if it is set, ANTHROPIC_BASE_URL. */
#include "readable.h"
#include <errno.h>
#include <poll.h>

enum { AT_ONCE = 100 };

/* Begins the call about an environment, tagged with its place in `ids`. Returns at once. */
static bool begin(antenv_client *client, antenv_queue *queue, char **ids, uint64_t place) {
    char params[256], *error;
    snprintf(params, sizeof params, "{\"environment_id\":\"%s\"}", ids[place]);
    antenv_status status = antenv_submit(client, queue, "work.stats", params, place, NULL, &error);
    return succeeded(ids[place], status, error);
}

/* Prints the result of a call, and frees it. Returns whether the call succeeded. */
static bool show(char **ids, antenv_completion *done) {
    if (!succeeded(ids[done->tag], done->status, done->json)) return false;
    char *depth = value_at(done->json, "/depth");
    printf("%s %s\n", ids[done->tag], depth ? depth : "?");
    antenv_string_free(depth);
    antenv_string_free(done->json);
    return true;
}

/* Runs the loop until each environment has been asked about. Returns how many calls failed. */
static int run(antenv_client *client, antenv_queue *queue, char **ids, uint64_t count) {
    antenv_completion done[AT_ONCE];
    uint64_t begun = 0, in_flight = 0;
    int failures = 0;
    while (begun < count || in_flight > 0) {
        for (; begun < count && in_flight < AT_ONCE; begun++) {
            if (begin(client, queue, ids, begun)) in_flight++;
            else failures++; /* a call that was refused has no completion */
        }
        if (in_flight == 0) break;
        struct pollfd watched[] = {{antenv_queue_fd(queue), POLLIN, 0}}; /* and the loop's other descriptors */
        if (poll(watched, 1, -1) < 0 && errno != EINTR) return perror("poll"), failures + 1;
        if (!watched[0].revents) continue;
        size_t came;
        antenv_status status = antenv_queue_next_many(queue, 0, done, AT_ONCE, &came);
        if (!succeeded("collecting", status, NULL)) return failures + 1;
        for (size_t i = 0; i < came; i++) failures += !show(ids, &done[i]);
        in_flight -= came;
    }
    return failures;
}

int main(int argc, char **argv) {
    antenv_client *client;
    antenv_queue *queue;
    char *error;
    antenv_status status = antenv_client_new(NULL, &client, &error);
    if (!succeeded("creating a client", status, error)) return 1;
    status = antenv_queue_new(&queue, &error);
    if (!succeeded("creating a queue", status, error)) return 1;
    int failures = run(client, queue, argv + 1, (uint64_t)(argc - 1));
    antenv_queue_free(queue); /* cancels what is in flight, if the loop ended early */
    antenv_client_free(client);
    return failures ? 1 : 0;
}
