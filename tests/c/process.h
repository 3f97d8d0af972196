/* What the tests of processes share: a bound on time, children, and the server's side of things. Linux only: it looks into /proc. */
#ifndef PROCESS_H
#define PROCESS_H

#ifndef _GNU_SOURCE
#error "define _GNU_SOURCE first"
#endif
#include "check.h"
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

/* How long a process may take, in seconds: only one that hangs takes that long. */
enum { MAX_SECONDS = 280 };

/* What is being tested. */
static const char *title = "";

static inline void hang(int number) {
    (void)number;
    if (write(2, title, strlen(title)) > 0 && write(2, ": hangs\n", 8) > 0) _exit(97);
    _exit(98);
}

/* Ends this process, and says so, should it hang. A child inherits no alarm: it has to ask for this itself. */
static inline void bound(void) {
    struct sigaction action = {.sa_handler = hang};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    alarm(MAX_SECONDS);
}

static inline pid_t forked(void) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) bound();
    return child;
}

/* Waits for a child, which must have found everything as it should be. */
static inline void ends_well(pid_t child) {
    int how = -1;
    while (waitpid(child, &how, 0) != child) CHECK(errno == EINTR);
    if (how != 0) fprintf(stderr, "%s: a child ended with %#x\n", title, (unsigned)how);
    CHECK(how == 0);
}

/* How many entries a folder has, the two that every folder has not among them. */
static inline int entries(const char *path) {
    DIR *folder = opendir(path);
    int count = -2;
    CHECK(folder != NULL);
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

/* How many files are open. */
static inline int files(void) {
    return entries("/proc/self/fd") - 1; /* the folder itself */
}

static inline int threads(void) {
    return entries("/proc/self/task");
}

/* How many threads have this name, which a newline ends. A sanitizer may have threads of its own. */
static inline int named_threads(const char *wanted) {
    int count = 0;
    DIR *folder = opendir("/proc/self/task");
    CHECK(folder != NULL);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        if (fgets(name, sizeof name, file)) count += strcmp(name, wanted) == 0;
        fclose(file);
    }
    closedir(folder);
    return count;
}

/* Has the server answer the next requests of an operation late. */
static inline void delay(antenv_client *client, const char *operation, int requests, int milliseconds) {
    char params[256], *json = NULL;
    snprintf(params, sizeof params, "{\"body\":{\"operation\":\"%s\",\"count\":%d,\"latency_ms\":%d}}", operation, requests,
             milliseconds);
    EXPECT(antenv_request(client, "POST", "/_emulator/faults", params, &json), ANTENV_OK, operation);
}

/* Has the server hold the next requests of an operation until they are released. */
static inline void hold(antenv_client *client, const char *operation, int requests) {
    char params[256], *json = NULL;
    snprintf(params, sizeof params, "{\"body\":{\"operation\":\"%s\",\"count\":%d,\"hold\":true}}", operation, requests);
    EXPECT(antenv_request(client, "POST", "/_emulator/faults", params, &json), ANTENV_OK, operation);
}

/* Releases all held requests, which must be as many. */
static inline void release(antenv_client *client, int requests) {
    char released[32], *json = NULL;
    snprintf(released, sizeof released, "{\"released\":%d}", requests);
    EXPECT(antenv_request(client, "DELETE", "/_emulator/holds", NULL, &json), ANTENV_OK, released);
}

/* How many requests of an operation the server's log has with this text. */
static inline int logged(antenv_client *client, const char *operation, const char *text) {
    char params[128], *json = NULL;
    int count = 0;
    snprintf(params, sizeof params, "{\"query\":{\"operation\":\"%s\"}}", operation);
    CHECK(antenv_request(client, "GET", "/_emulator/requests", params, &json) == ANTENV_OK);
    for (const char *rest = json; (rest = strstr(rest, text)) != NULL; rest++) count++;
    antenv_string_free(json);
    return count;
}

/* How many requests of an operation the server holds. */
static inline int held(antenv_client *client, const char *operation) {
    return logged(client, operation, "\"done\":false");
}

#endif
