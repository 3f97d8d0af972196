/* GETs the same environment over and over and reports what that took: through antenv, or with -DUSE_CURL through libcurl's easy
 * interface. Both keep one connection per thread alive.
 *
 *     get URL ENVIRONMENT_ID THREADS SECONDS
 *
 * Prints one line of JSON. */
#include "measure.h"
#include <pthread.h>
#include <stdatomic.h>

enum { MAX_THREADS = 256, WARM_UP = 200 };

struct worker {
    pthread_t thread;
    unsigned count[LONGEST]; /* how many calls took that many microseconds */
};

static struct worker workers[MAX_THREADS];
static pthread_barrier_t ready;
static atomic_int stop;

#ifdef USE_CURL

static void *connect_thread(void) {
    return new_easy();
}

static void get(void *easy) {
    struct body body = {0};
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &body);
    CURLcode code = curl_easy_perform(easy);
    check(easy, code, &body);
}

#else

static void *connect_thread(void) {
    return NULL; /* all threads share the client */
}

static void get(void *unused) {
    char *json;
    (void)unused;
    antenv_status status = antenv_environments_retrieve(client, environment, NULL, &json);
    check(status, json);
}

#endif

static void *work(void *of) {
    struct worker *worker = of;
    void *connection = connect_thread();
    for (int i = 0; i < WARM_UP; i++) get(connection);
    pthread_barrier_wait(&ready); /* warm */
    pthread_barrier_wait(&ready); /* go */
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        double begun = now(CLOCK_MONOTONIC);
        get(connection);
        count_call(worker->count, now(CLOCK_MONOTONIC) - begun);
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 5) fail("usage: get URL ENVIRONMENT_ID THREADS SECONDS");
    base_url = argv[1];
    environment = argv[2];
    int threads = atoi(argv[3]);
    double seconds = atof(argv[4]);
    if (threads < 1 || threads > MAX_THREADS) fail("THREADS is out of range");
    set_up();
    pthread_barrier_init(&ready, NULL, (unsigned)threads + 1);
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) fail("no thread");
    }
    pthread_barrier_wait(&ready);
    double cpu = now(CLOCK_PROCESS_CPUTIME_ID), wall = now(CLOCK_MONOTONIC);
    pthread_barrier_wait(&ready);
    struct timespec pause = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&pause, NULL);
    atomic_store(&stop, 1);
    for (int i = 0; i < threads; i++) pthread_join(workers[i].thread, NULL);
    wall = now(CLOCK_MONOTONIC) - wall;
    cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;

    unsigned *count = workers[0].count;
    for (int i = 1; i < threads; i++) {
        for (int took = 0; took < LONGEST; took++) {
            if (workers[i].count[took]) count[took] += workers[i].count[took]; /* writing zeros would take memory */
        }
    }
    report(count, wall, cpu);
    return 0;
}
