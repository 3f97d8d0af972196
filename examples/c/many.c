/* Ten thousand polls for work in flight at once, from one thread, in an event loop that has other things to do as well.
 *
 *     many [CALLS]
 *
 * antenv_submit returns at once; the results are collected from a queue later. The queue has a file descriptor that is readable while
 * a result waits in it, so it fits any event loop. Here that is epoll, and a timer stands for everything else.
 *
 * Reads ANTHROPIC_API_KEY and ANTHROPIC_BASE_URL, and ANTHROPIC_ENVIRONMENT_KEY unless the server issues one itself, as the emulator
 * does. Leaves nothing behind. For Linux: elsewhere, poll or kqueue take the place of epoll and its timer. */
#define _POSIX_C_SOURCE 200809L
#include "readable.h"
#include <antenv.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    DEFAULT_CALLS = 10000,
    MAX_CALLS = 1000000,
    BATCH = 256,            /* how many completions are taken at a time */
    OTHER_DESCRIPTORS = 64, /* what is open besides the connections of the calls, generously estimated */
};

/* What has come so far. */
struct tally {
    size_t calls;  /* how many were submitted, their tags counting from 0 */
    size_t came;   /* how many completions came */
    size_t failed; /* how many of those were no success */
    size_t astray; /* how many had a tag that was never given, or had come before */
    bool *seen;    /* by tag */
    long threads;  /* the most that this process was seen to have */
    double begun;
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* A number that the system keeps about this process, such as "VmHWM:", the most memory it has had so far, in KB. */
static long about_process(const char *name) {
    char line[256];
    long number = 0;
    FILE *file = fopen("/proc/self/status", "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, name, strlen(name)) == 0) number = strtol(line + strlen(name), NULL, 10);
    }
    fclose(file);
    return number;
}

/* How many of `wanted` calls can be in flight: over HTTP/1.1 each has a connection of its own, and so a file descriptor. A
 * process often gets no more than 1024 of those unless it asks: select() cannot watch any past that. Nothing here uses it. */
static size_t max_in_flight(size_t wanted) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
    rlim_t needed = (rlim_t)wanted + OTHER_DESCRIPTORS;
    if (limit.rlim_cur < needed) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit); /* in case that failed */
    }
    if (limit.rlim_cur >= needed) return wanted;
    size_t most = limit.rlim_cur > OTHER_DESCRIPTORS ? (size_t)limit.rlim_cur - OTHER_DESCRIPTORS : 1;
    printf("no more than %llu descriptors allowed (ulimit -Hn), so %zu in place of %zu calls\n",
           (unsigned long long)limit.rlim_cur, most, wanted);
    return most;
}

/* Begins all the calls, each tagged with its number. Nothing here waits. */
static bool submit_all(antenv_client *worker, antenv_queue *queue, const char *environment, size_t calls) {
    char params[256], *error;
    /* The call's own deadline is far behind the 999 ms that the server waits: ten thousand connections have to be made first. */
    snprintf(params, sizeof params, "{\"environment_id\":\"%s\",\"block_ms\":999,\"timeout_ms\":60000}", environment);
    for (size_t tag = 0; tag < calls; tag++) {
        antenv_status status = antenv_submit(worker, queue, "work.poll", params, tag, NULL, &error);
        if (!succeeded("submitting a call", status, error)) return false;
    }
    return true;
}

/* How many calls the library has in flight. */
static long in_flight(antenv_client *client) {
    char *json, *value = NULL;
    if (antenv_client_stats(client, &json) == ANTENV_OK) value = value_at(json, "/calls/in_flight");
    long count = value ? strtol(value, NULL, 10) : -1;
    antenv_string_free(value);
    antenv_string_free(json);
    return count;
}

/* Counts a completion and frees its JSON. */
static void take(struct tally *tally, antenv_completion *done) {
    tally->came++;
    if (done->tag >= tally->calls || tally->seen[done->tag]) {
        fprintf(stderr, "a completion with the unexpected tag %" PRIu64 "\n", done->tag);
        tally->astray++;
    } else {
        tally->seen[done->tag] = true;
    }
    /* A success is an item of work here, or JSON `null`: there is none. Failures tend to be alike: the first says enough. */
    if (done->status != ANTENV_OK && tally->failed++ == 0) fprintf(stderr, "a call failed: %s\n", done->json);
    antenv_string_free(done->json);
}

/* Takes what waits in the queue, one batch of it. If there is more, the descriptor stays readable and the loop comes back here,
 * but it looks after the others first. */
static bool take_batch(antenv_queue *queue, struct tally *tally) {
    antenv_completion batch[BATCH];
    size_t count;
    antenv_status status = antenv_queue_next_many(queue, 0, batch, BATCH, &count);
    for (size_t i = 0; i < count; i++) take(tally, &batch[i]);
    /* That time ran out means that nothing was there: another thread was quicker, if there are several. */
    return status == ANTENV_TIMEOUT || succeeded("collecting", status, NULL);
}

/* The other job of the loop: once a second, it prints its progress. */
static void tick(int timer, struct tally *tally) {
    uint64_t ticks;
    long threads = about_process("Threads:");
    if (read(timer, &ticks, sizeof ticks) != sizeof ticks) return;
    if (threads > tally->threads) tally->threads = threads;
    printf("  after %.1f s: %zu of %zu\n", now() - tally->begun, tally->came, tally->calls);
    fflush(stdout);
}

static bool watch(int loop, int descriptor) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    return epoll_ctl(loop, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

/* The event loop. Runs until everything has come; false: it could not. Completions that came before it began are not missed: the
 * descriptor is readable for as long as they wait. */
static bool run_loop(int loop, int timer, antenv_queue *queue, struct tally *tally) {
    struct itimerspec second = {.it_interval = {.tv_sec = 1}, .it_value = {.tv_sec = 1}};
    struct epoll_event ready[2];
    if (!watch(loop, antenv_queue_fd(queue)) || !watch(loop, timer) || timerfd_settime(timer, 0, &second, NULL) != 0) {
        perror("the event loop");
        return false;
    }
    while (tally->came < tally->calls) {
        int count = epoll_wait(loop, ready, 2, -1);
        if (count < 0 && errno != EINTR) {
            perror("epoll_wait");
            return false;
        }
        for (int i = 0; i < count; i++) {
            if (ready[i].data.fd == timer) tick(timer, tally);
            else if (!take_batch(queue, tally)) return false;
        }
    }
    return true;
}

/* Prints the results. */
static bool report(const struct tally *tally, long memory_before) {
    bool once = tally->came == tally->calls && tally->astray == 0;
    double memory = (double)(about_process("VmHWM:") - memory_before);
    printf("came: %zu of %zu in %.3f s, %s\n", tally->came, tally->calls, now() - tally->begun,
           once ? "each tag exactly once" : "and NOT each tag exactly once");
    printf("threads: %ld (two are this one and the library's; what is more resolved the host's name)\n", tally->threads);
    printf("memory: %.1f KB a call, at the peak\n", memory / (double)tally->calls);
    if (tally->failed) {
        printf("failed: %zu (the server too needs a descriptor for each: what is `ulimit -n` there?)\n", tally->failed);
    }
    return once && tally->failed == 0;
}

/* Submits the calls and collects them. */
static bool run(antenv_client *worker, antenv_queue *queue, const char *environment, size_t calls) {
    struct tally tally = {.calls = calls, .seen = calloc(calls, sizeof *tally.seen), .begun = now()};
    int loop = epoll_create1(EPOLL_CLOEXEC);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    long memory_before = about_process("VmRSS:");
    bool well = tally.seen && loop >= 0 && timer >= 0;
    if (!well) perror("setting up");

    well = well && submit_all(worker, queue, environment, calls);
    if (well) {
        printf("submitted in %.3f s; in flight now: %ld\n", now() - tally.begun, in_flight(worker));
        fflush(stdout);
        tally.threads = about_process("Threads:");
        well = run_loop(loop, timer, queue, &tally);
        well = report(&tally, memory_before) && well;
    }
    if (timer >= 0) close(timer);
    if (loop >= 0) close(loop); /* before the queue is freed, which closes the descriptor that is watched */
    free(tally.seen);
    return well;
}

int main(int argc, char **argv) {
    long calls = argc > 1 ? strtol(argv[1], NULL, 10) : DEFAULT_CALLS;
    antenv_client *client, *worker = NULL;
    antenv_queue *queue = NULL;
    antenv_status status;
    char *environment, *json;
    bool well = false;

    if (argc > 2 || calls < 1 || calls > MAX_CALLS) {
        fprintf(stderr, "usage: many [CALLS]\n1 to %d calls, by default %d\n", MAX_CALLS, DEFAULT_CALLS);
        return 2;
    }
    status = antenv_client_new(NULL, &client, &json);
    if (!succeeded("creating a client", status, json)) return 1;
    environment = create_environment(client, "many");
    if (environment) worker = create_worker(client, environment);
    if (worker) {
        status = antenv_queue_new(&queue, &json);
        if (succeeded("creating a queue", status, json)) well = run(worker, queue, environment, max_in_flight((size_t)calls));
    }

    /* Freeing NULL is harmless. Freeing the queue cancels what is still in flight after a failure. */
    antenv_queue_free(queue);
    antenv_client_free(worker);
    if (environment) well = delete_environment(client, environment) && well;
    antenv_client_free(client);
    return well ? 0 : 1;
}
