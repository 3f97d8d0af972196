/* What get.c and flight.c share: the request, how its answer is taken, and the figures. With -DUSE_CURL the request is libcurl's,
 * else antenv's; both send the same headers and end up with the whole body in memory of its own, NUL-terminated. The server's CA is in
 * the file that SSL_CERT_FILE names; antenv looks there by itself. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifdef USE_CURL
#include <curl/curl.h>
#else
#include <antenv.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LONGEST = 100000 };

static const char *base_url, *environment;

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

/* In microseconds. */
static double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

/* Counts a call; `count` has one entry per microsecond. */
static void count_call(unsigned *count, double took) {
    count[took < LONGEST - 1 ? (size_t)took : LONGEST - 1]++;
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

static void report(const unsigned *count, double wall, double cpu) {
    unsigned long total = 0, seen = 0;
    int p50 = -1, p99 = -1;
    for (int took = 0; took < LONGEST; took++) total += count[took];
    if (total == 0) fail("no calls");
    for (int took = 0; took < LONGEST && p99 < 0; took++) {
        seen += count[took];
        if (p50 < 0 && seen * 2 >= total) p50 = took;
        if (seen * 100 >= total * 99) p99 = took;
    }
    printf("{\"rps\":%.0f,\"cpu_us\":%.2f,", (double)total / wall * 1e6, cpu / (double)total);
    printf("\"p50_us\":%d,\"p99_us\":%d,\"rss_kb\":%ld}\n", p50, p99, peak_memory());
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

static CURL *new_easy(void) {
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
    curl_easy_setopt(easy, CURLOPT_CAINFO, getenv("SSL_CERT_FILE"));
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L); /* HTTP/2: one connection for many, from the first on */
    return easy;
}

/* Checks that the exchange brought an environment, and frees it. */
static void check(CURL *easy, CURLcode code, struct body *body) {
    long status = 0;
    if (code != CURLE_OK) fail(curl_easy_strerror(code));
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200 || !body->text || body->text[0] != '{') fail("no environment");
    free(body->text);
    *body = (struct body){0};
}

#else

static antenv_client *client;

static void set_up(void) {
    char config[1024], *error;
    snprintf(config, sizeof config, "{\"api_key\":\"an-api-key\",\"base_url\":\"%s\"}", base_url);
    if (antenv_client_new(config, &client, &error) != ANTENV_OK) fail(error);
}

#ifndef __cplusplus
/* Checks that the call brought an environment, and frees it. */
static void check(antenv_status status, char *json) {
    if (status != ANTENV_OK || json[0] != '{') fail(json ? json : "no result");
    antenv_string_free(json);
}
#endif

#endif
