/* Keeps many GETs of the same environment in flight from one thread and reports what that took: through antenv's completion
 * queue, compiled as C++ through the queue of antenv.hpp, or with -DUSE_CURL through libcurl's multi interface.
 *
 *     flight URL ENVIRONMENT_ID IN_FLIGHT SECONDS
 *
 * Prints one line of JSON. */
#include "measure.h"

enum { MOST = 1024, WARM_UP = 200000 /* microseconds */ };

static int in_flight, cold; /* how many slots have yet to see a call end: their connections may still be opening */
static double begun[MOST]; /* when the call of each slot was submitted */
static int is_warm[MOST];
static double start, stop = 1e300, span, start_cpu;
static unsigned count[LONGEST]; /* how many calls took that many microseconds */

/* Notes the end of a slot's call, which is the beginning of its next. When time is up: reports, and ends the program. */
static void finished(int slot) {
    double time = now(CLOCK_MONOTONIC);
    if (time >= stop) {
        report(count, time - start, now(CLOCK_PROCESS_CPUTIME_ID) - start_cpu);
        exit(0);
    }
    if (start_cpu > 0) {
        count_call(count, time - begun[slot]);
    } else {
        cold -= !is_warm[slot];
        is_warm[slot] = 1;
        if (cold == 0 && time >= start) {
            start = time;
            stop = start + span;
            start_cpu = now(CLOCK_PROCESS_CPUTIME_ID);
        }
    }
    begun[slot] = time;
}

#ifdef USE_CURL

static void run(void) {
    static struct body bodies[MOST];
    CURLM *multi = curl_multi_init();
    CURLMsg *message;
    int running, left;
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)in_flight);
    for (int slot = 0; slot < in_flight; slot++) {
        CURL *easy = new_easy();
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, &bodies[slot]);
        curl_easy_setopt(easy, CURLOPT_PRIVATE, &bodies[slot]);
        begun[slot] = now(CLOCK_MONOTONIC);
        curl_multi_add_handle(multi, easy);
    }
    /* Not curl_multi_socket_action over epoll: libcurl gives up and takes up the socket with each request, which takes longer
     * than this; or as long, if the program keeps such sockets in its epoll. */
    for (;;) {
        int over = 0;
        if (curl_multi_perform(multi, &running) != CURLM_OK) fail("curl_multi_perform failed");
        while ((message = curl_multi_info_read(multi, &left))) {
            CURL *easy = message->easy_handle;
            CURLcode code = message->data.result;
            struct body *body;
            curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&body);
            curl_multi_remove_handle(multi, easy);
            check(easy, code, body);
            finished((int)(body - bodies));
            curl_multi_add_handle(multi, easy);
            over++;
        }
        /* What was just added wants to be performed before there is anything to wait for. */
        if (over == 0 && curl_multi_poll(multi, NULL, 0, 60000, NULL) != CURLM_OK) fail("curl_multi_poll failed");
    }
}

#elif defined(__cplusplus)
#include <antenv.hpp>

static void run(void) {
    antenv::client through(client);
    antenv::queue queue;
    std::string params = std::string("{\"environment_id\":\"") + environment + "\"}";
    for (int slot = 0; slot < in_flight; slot++) {
        begun[slot] = now(CLOCK_MONOTONIC);
        queue.submit(through, "environments.retrieve", params, (uint64_t)slot);
    }
    for (;;) {
        for (const antenv::completion &done : queue.next_many(std::chrono::minutes(1))) {
            if (!done.result || done.result->front() != '{') fail("no environment");
            finished((int)done.tag);
            queue.submit(through, "environments.retrieve", params, done.tag);
        }
    }
}

#else

static void submit(antenv_queue *queue, const char *params, uint64_t slot) {
    char *error;
    if (antenv_submit(client, queue, "environments.retrieve", params, slot, NULL, &error) != ANTENV_OK) fail(error);
}

static void run(void) {
    antenv_queue *queue;
    antenv_completion done[MOST];
    char params[1024], *error;
    size_t arrived;
    snprintf(params, sizeof params, "{\"environment_id\":\"%s\"}", environment);
    if (antenv_queue_new(&queue, &error) != ANTENV_OK) fail(error);
    for (int slot = 0; slot < in_flight; slot++) {
        begun[slot] = now(CLOCK_MONOTONIC);
        submit(queue, params, (uint64_t)slot);
    }
    for (;;) {
        if (antenv_queue_next_many(queue, 60000, done, MOST, &arrived) != ANTENV_OK) fail("the queue gave nothing");
        for (size_t i = 0; i < arrived; i++) {
            check(done[i].status, done[i].json);
            finished((int)done[i].tag);
            submit(queue, params, done[i].tag);
        }
    }
}

#endif

int main(int argc, char **argv) {
    if (argc != 5) fail("usage: flight URL ENVIRONMENT_ID IN_FLIGHT SECONDS");
    base_url = argv[1];
    environment = argv[2];
    in_flight = atoi(argv[3]);
    if (in_flight < 1 || in_flight > MOST) fail("IN_FLIGHT is out of range");
    set_up();
    cold = in_flight;
    start = now(CLOCK_MONOTONIC) + WARM_UP;
    span = atof(argv[4]) * 1e6;
    run();
}
