/* What the C tests share: a check that says where it failed. */
#ifndef CHECK_H
#define CHECK_H

#include <antenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);   \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

/* Checks that a call gave this status, and in its JSON this text (NULL: no JSON). Frees the JSON. */
#define EXPECT(call, wanted, text)                                                                                           \
    do {                                                                                                                     \
        antenv_status got_ = (call);                                                                                         \
        const char *text_ = (text);                                                                                          \
        if (got_ != (wanted) || (text_ ? !json || !strstr(json, text_) : json != NULL)) {                                    \
            fprintf(stderr, "%s:%d: %s\n  gave %s: %s\n", __FILE__, __LINE__, #call, antenv_status_name(got_), json ? json : "NULL"); \
            exit(1);                                                                                                         \
        }                                                                                                                    \
        antenv_string_free(json);                                                                                            \
        json = NULL;                                                                                                         \
    } while (0)

/* A client for the server at that URL. */
static inline antenv_client *connect_to(const char *url, const char *more) {
    char config[512];
    char *json = NULL;
    antenv_client *client = NULL;
    snprintf(config, sizeof config, "{\"api_key\":\"test-key\",\"base_url\":\"%s\"%s}", url, more);
    EXPECT(antenv_client_new(config, &client, &json), ANTENV_OK, NULL);
    CHECK(client != NULL);
    return client;
}

/* What follows is for programs that define _GNU_SOURCE: it takes more than C itself. */
#ifdef _GNU_SOURCE
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* How long to wait for what must come, in milliseconds: only a failing test waits that long. */
enum { WAIT_MS = 120000 };

/* Waits until a condition holds. */
#define UNTIL(condition)                                                              \
    do {                                                                              \
        double until_ = now_ms() + WAIT_MS;                                             \
        while (!(condition)) {                                                        \
            if (now_ms() > until_) {                                                  \
                fprintf(stderr, "%s:%d: never came: %s\n", __FILE__, __LINE__, #condition); \
                exit(1);                                                              \
            }                                                                         \
            usleep(1000);                                                             \
        }                                                                             \
    } while (0)

static inline double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static inline int is_readable(int fd) {
    struct pollfd watched = {.fd = fd, .events = POLLIN};
    CHECK(poll(&watched, 1, 0) >= 0);
    return watched.revents == POLLIN;
}

/* Whether a thread of this process sleeps in poll(), where antenv_queue_next waits. */
static inline int sleeps_in_poll(long thread) {
    char path[64], line[256] = "";
    snprintf(path, sizeof path, "/proc/self/task/%ld/syscall", thread);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    int is_read = fgets(line, sizeof line, file) != NULL;
    fclose(file);
    long number = is_read && line[0] >= '0' && line[0] <= '9' ? atol(line) : -1;
#ifdef __aarch64__
    if (number == 271) return 1; /* QEMU's own call, on x86-64 */
#endif
#ifdef SYS_poll
    if (number == SYS_poll) return 1;
#endif
    return number == SYS_ppoll;
}

static inline antenv_queue *new_queue(void) {
    char *json = NULL;
    antenv_queue *queue = NULL;
    EXPECT(antenv_queue_new(&queue, &json), ANTENV_OK, NULL);
    CHECK(queue != NULL);
    return queue;
}

/* Tells the emulator what to do with the next requests: a JSON array of faults. */
static inline void set_faults(antenv_client *client, const char *faults) {
    char params[1024];
    char *json = NULL;
    snprintf(params, sizeof params, "{\"body\":%s}", faults);
    EXPECT(antenv_request(client, "POST", "/_emulator/faults", params, &json), ANTENV_OK, "");
}

/* A number in what a control endpoint of the emulator, or the client's statistics (path NULL), say under that name. */
static inline long counted(antenv_client *client, const char *path, const char *name) {
    char *json = NULL, quoted[64];
    antenv_status status = path ? antenv_request(client, "GET", path, NULL, &json) : antenv_client_stats(client, &json);
    CHECK(status == ANTENV_OK);
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    const char *found = strstr(json, quoted);
    long number = found ? atol(found + strlen(quoted)) : 0;
    antenv_string_free(json);
    return number;
}
#endif

#endif
