/* Reads a session's events, first many as fast as they come, then some that come one by one, and reports what that took.
 *
 *     stream next|queue URL EVENTS PACED_EVENTS
 *
 * "next" takes each event by antenv_stream_next, "queue" from a completion queue. Prints one line of JSON. */
#define _GNU_SOURCE
#include <antenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 256, WARM_UP = 100 };

static const char ID[] = "{\"id\":\"";
static antenv_client *client;
static antenv_queue *queue; /* NULL: events are taken one by one */

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static double seconds(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Takes an event: checks it and frees it. `late` receives how many nanoseconds ago it was sent, unless it is NULL. */
static void take(char *json, unsigned long long *late) {
    struct timespec time;
    if (strncmp(json, ID, sizeof ID - 1) != 0) fail(json);
    if (late) {
        clock_gettime(CLOCK_REALTIME, &time);
        *late = (unsigned long long)time.tv_sec * 1000000000 + (unsigned long long)time.tv_nsec;
        *late -= strtoull(json + sizeof ID - 1, NULL, 10);
    }
    antenv_string_free(json);
}

/* Reads all `count` events of a session; `late` has that many entries, or is NULL. */
static void read_events(const char *kind, size_t count, unsigned long long *late) {
    char params[64], *json;
    antenv_stream *stream;
    antenv_status status;
    size_t seen = 0;
    snprintf(params, sizeof params, "{\"session_id\":\"%s-%zu\"}", kind, count);
    if (antenv_stream_open(client, "sessions.events.stream", params, &stream, &json) != ANTENV_OK) fail(json);
    if (queue && antenv_stream_attach(stream, queue, 0) != ANTENV_OK) fail("cannot attach the stream");
    do {
        antenv_completion many[BATCH];
        size_t taken = 1;
        if (!queue) {
            many[0].status = antenv_stream_next(stream, -1, &many[0].json);
        } else if (antenv_queue_next_many(queue, -1, many, BATCH, &taken) != ANTENV_OK) {
            fail("the queue gave nothing");
        }
        for (size_t i = 0; i < taken; i++) {
            status = many[i].status;
            if (status == ANTENV_OK) {
                if (seen == count) fail("too many events");
                take(many[i].json, late ? &late[seen] : NULL);
                seen++;
            } else if (status != ANTENV_DONE) {
                fail(many[i].json);
            } else {
                antenv_string_free(many[i].json);
            }
        }
    } while (status == ANTENV_OK);
    if (seen != count) fail("too few events");
    antenv_stream_free(stream);
}

static int compare(const void *a, const void *b) {
    unsigned long long one = *(const unsigned long long *)a, other = *(const unsigned long long *)b;
    return (one > other) - (one < other);
}

int main(int argc, char **argv) {
    char config[1024], *error;
    if (argc != 5) fail("usage: stream next|queue URL EVENTS PACED_EVENTS");
    size_t count = (size_t)atol(argv[3]), paced = (size_t)atol(argv[4]);
    unsigned long long *late = calloc(paced + 1, sizeof *late);
    snprintf(config, sizeof config, "{\"api_key\":\"an-api-key\",\"base_url\":\"%s\"}", argv[2]);
    if (antenv_client_new(config, &client, &error) != ANTENV_OK) fail(error);
    if (strcmp(argv[1], "queue") == 0 && antenv_queue_new(&queue, &error) != ANTENV_OK) fail(error);
    read_events("flood", WARM_UP, NULL);
    double start = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    read_events("flood", count, NULL);
    double wall = seconds(CLOCK_MONOTONIC) - start;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    read_events("paced", paced, late);
    qsort(late, paced, sizeof *late, compare);
    printf("{\"events_s\":%.0f,\"cpu_event_us\":%.3f,", (double)count / wall, cpu / (double)count * 1e6);
    printf("\"late_p50_us\":%.1f,\"late_p99_us\":%.1f}\n", (double)late[paced / 2] / 1e3, (double)late[paced * 99 / 100] / 1e3);
    return 0;
}
