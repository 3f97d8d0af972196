/* Stands in for the library, passes calls on to it, and counts what a program gets from it and gives back.
 * ANTENV_COUNTED_LIBRARY: the library. ANTENV_COUNTED_REPORT: the file that gets a line when the program ends. Linux only. */
#include <antenv.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;
static const void *live[256]; /* strings and handles that were not given back yet */
static int returned, freed, unknown;

static void *library(void) {
    static void *opened;
    const char *path = getenv("ANTENV_COUNTED_LIBRARY");
    if (!opened && path) opened = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!opened) {
        fputs("ANTENV_COUNTED_LIBRARY must be the path of the library\n", stderr);
        exit(1);
    }
    return opened;
}

static void count(int *counter, const void *from, const void *to) {
    size_t at = 0, size = sizeof live / sizeof *live;
    pthread_mutex_lock(&counting);
    (*counter)++;
    while (at < size && live[at] != from) at++;
    if (at < size) live[at] = to;
    else unknown++; /* freed twice, or not from the library; or the table is too small */
    pthread_mutex_unlock(&counting);
}

static void got(const void *thing) {
    if (thing) count(&returned, NULL, thing);
}

static void gave_back(const void *thing) {
    if (thing) count(&freed, thing, NULL);
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("ANTENV_COUNTED_REPORT");
    FILE *file = path && returned ? fopen(path, "a") : NULL;
    if (!file) return;
    fprintf(file, "returned %d, freed %d, unknown %d\n", returned, freed, unknown);
    fclose(file);
}

/* Declares `real`, the library's own function. What dlsym gives is a pointer to data, which C wants copied, not cast. */
#define REAL(function)                                \
    __typeof__(&function) real;                       \
    void *symbol_ = dlsym(library(), #function);      \
    memcpy(&real, &symbol_, sizeof real)

const char *antenv_status_name(int32_t status) {
    REAL(antenv_status_name);
    return real(status);
}

antenv_status antenv_client_new(const char *config, antenv_client **out, char **error) {
    REAL(antenv_client_new);
    antenv_status status = real(config, out, error);
    got(*out);
    got(*error);
    return status;
}

antenv_status antenv_call(antenv_client *client, const char *operation, const char *params, char **out) {
    REAL(antenv_call);
    antenv_status status = real(client, operation, params, out);
    got(*out);
    return status;
}

antenv_status antenv_pager_new(
    antenv_client *client, const char *operation, const char *params, antenv_pager **out, char **error) {
    REAL(antenv_pager_new);
    antenv_status status = real(client, operation, params, out, error);
    got(*out);
    got(*error);
    return status;
}

antenv_status antenv_pager_next(antenv_pager *pager, char **out) {
    REAL(antenv_pager_next);
    antenv_status status = real(pager, out);
    got(*out);
    return status;
}

antenv_status antenv_json_get(const char *json, const char *pointer, char **out) {
    REAL(antenv_json_get);
    antenv_status status = real(json, pointer, out);
    got(*out);
    return status;
}

void antenv_string_free(char *text) {
    REAL(antenv_string_free);
    gave_back(text);
    real(text);
}

antenv_status antenv_pager_free(antenv_pager *pager) {
    REAL(antenv_pager_free);
    gave_back(pager);
    return real(pager);
}

antenv_status antenv_client_free(antenv_client *client) {
    REAL(antenv_client_free);
    gave_back(client);
    return real(client);
}

antenv_status antenv_queue_new(antenv_queue **out, char **error) {
    REAL(antenv_queue_new);
    antenv_status status = real(out, error);
    got(*out);
    got(*error);
    return status;
}

int antenv_queue_fd(antenv_queue *queue) {
    REAL(antenv_queue_fd);
    return real(queue);
}

antenv_status antenv_submit(
    antenv_client *client, antenv_queue *queue, const char *operation, const char *params, uint64_t tag, antenv_ticket **out,
    char **error) {
    REAL(antenv_submit);
    antenv_status status = real(client, queue, operation, params, tag, out, error);
    if (out) got(*out);
    got(*error);
    return status;
}

antenv_status antenv_queue_next(antenv_queue *queue, int64_t timeout_ms, antenv_completion *out) {
    REAL(antenv_queue_next);
    antenv_status status = real(queue, timeout_ms, out);
    got(out->json);
    return status;
}

antenv_status antenv_queue_free(antenv_queue *queue) {
    REAL(antenv_queue_free);
    gave_back(queue);
    return real(queue);
}
