/* GETs the same environment over and over and reports what that took: through antenv, or with -DUSE_CURL through libcurl's easy
 * interface. Both send the same headers, keep one connection per thread alive and take the whole body.
 *
 *     get URL ENVIRONMENT_ID THREADS SECONDS
 *
 * Prints one line of JSON. */
#define _GNU_SOURCE
#ifdef USE_CURL
#include <curl/curl.h>
#else
#include <antenv.h>
#endif
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_THREADS = 256, WARM_UP = 200, LONGEST = 100000 };

struct worker {
    pthread_t thread;
    unsigned count[LONGEST]; /* how many calls took that many microseconds */
};

static const char *base_url, *environment;
static struct worker workers[MOST_THREADS];
static pthread_barrier_t ready;
static atomic_int stop;

static void fail(const char *what) {
    fprintf(stderr, "get: %s\n", what);
    exit(1);
}

static double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

#ifdef USE_CURL

struct body {
    char *text;
    size_t length, capacity;
};

static size_t take(char *data, size_t size, size_t count, void *to) {
    struct body *body = to;
    if (body->length + size * count + 1 > body->capacity) {
        body->capacity = 2 * (body->length + size * count + 1);
        body->text = realloc(body->text, body->capacity);
        if (!body->text) fail("out of memory");
    }
    memcpy(body->text + body->length, data, size * count);
    body->length += size * count;
    body->text[body->length] = '\0';
    return size * count;
}

static void set_up(void) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void *connect_thread(void) {
    char url[1024];
    struct curl_slist *list = NULL;
    CURL *easy = curl_easy_init();
    snprintf(url, sizeof url, "%s/v1/environments/%s", base_url, environment);
    list = curl_slist_append(list, "accept: application/json");
    list = curl_slist_append(list, "authorization: Bearer an-api-key");
    list = curl_slist_append(list, "anthropic-version: 2026-10-21");
    list = curl_slist_append(list, "anthropic-beta: managed-agents-2026-04-01");
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "antenv/0.1.0");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    return easy;
}

static void get(void *easy) {
    struct body body = {0};
    long status = 0;
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &body);
    if (curl_easy_perform(easy) != CURLE_OK) fail("curl failed");
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200 || !body.text || body.text[0] != '{') fail("no environment");
    free(body.text);
}

#else

static antenv_client *client;

static void set_up(void) {
    char config[1024], *error;
    snprintf(config, sizeof config, "{\"api_key\":\"an-api-key\",\"base_url\":\"%s\"}", base_url);
    if (antenv_client_new(config, &client, &error) != ANTENV_OK) fail(error);
}

static void *connect_thread(void) {
    return NULL; /* all threads share the client */
}

static void get(void *unused) {
    char *json;
    (void)unused;
    if (antenv_environments_retrieve(client, environment, NULL, &json) != ANTENV_OK || json[0] != '{') fail(json ? json : "no result");
    antenv_string_free(json);
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
        double took = now(CLOCK_MONOTONIC) - begun;
        worker->count[took < LONGEST - 1 ? (size_t)took : LONGEST - 1]++;
    }
    return NULL;
}

/* The most memory the process has had, in KB. Not getrusage: its figure starts with that of the program before the exec. */
static long peak_memory(void) {
    char line[256];
    long kilobytes = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) sscanf(line, "VmHWM: %ld", &kilobytes);
    if (status) fclose(status);
    return kilobytes;
}

int main(int argc, char **argv) {
    if (argc != 5) fail("usage: get URL ENVIRONMENT_ID THREADS SECONDS");
    base_url = argv[1];
    environment = argv[2];
    int threads = atoi(argv[3]);
    double seconds = atof(argv[4]);
    if (threads < 1 || threads > MOST_THREADS) fail("THREADS is out of range");
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

    unsigned long total = 0, seen = 0;
    int p50 = -1, p99 = -1;
    for (int i = 0; i < threads; i++) {
        for (int took = 0; took < LONGEST; took++) total += workers[i].count[took];
    }
    for (int took = 0; took < LONGEST && p99 < 0; took++) {
        for (int i = 0; i < threads; i++) seen += workers[i].count[took];
        if (p50 < 0 && seen * 2 >= total) p50 = took;
        if (seen * 100 >= total * 99) p99 = took;
    }
    if (total == 0) fail("no calls");
    printf("{\"rps\":%.0f,\"cpu_us\":%.2f,\"p50_us\":%d,\"p99_us\":%d,\"rss_kb\":%ld}\n", (double)total / wall * 1e6, cpu / (double)total, p50, p99,
           peak_memory());
    return 0;
}
