/*
 * Stands before the C library in a program that loads it with LD_PRELOAD, and takes its orders from the folder that ANTENV_TEST_RESOLVER
 * names (tests/support/resolver.py writes there):
 *     names       a line a name: NAME DELAY_MS ADDRESS...    DELAY_MS -1: the look-up hangs; no address: it fails for now
 *     no-threads  while this file exists no thread can be made, as with a full pids cgroup
 *     lookups     every look-up adds its name here
 *     options     every socket option that is set adds its LEVEL NAME VALUE here
 * What is not listed is resolved as usual.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void path_of(char *out, size_t size, const char *file) {
    const char *folder = getenv("ANTENV_TEST_RESOLVER");
    snprintf(out, size, "%s/%s", folder ? folder : "/nonexistent", file);
}

/* Adds a line to a file; short lines are added whole, whoever else adds some. */
static void note(const char *file, const char *line) {
    char path[512];
    path_of(path, sizeof path, file);
    int saved = errno, fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) {
        ssize_t written = write(fd, line, strlen(line));
        (void)written;
        close(fd);
    }
    errno = saved;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    char path[512];
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    path_of(path, sizeof path, "no-threads");
    return access(path, F_OK) == 0 ? EAGAIN : real(thread, attributes, start, argument);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    static int (*real)(int, int, int, const void *, socklen_t);
    char line[64];
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "setsockopt");
    if (length == sizeof(int)) {
        snprintf(line, sizeof line, "%d %d %d\n", level, name, *(const int *)value);
        note("options", line);
    }
    return real(fd, level, name, value, length);
}

typedef int lookup_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **result) {
    static lookup_fn *real;
    char path[512], line[512];
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (!name) return real(name, service, hints, result);
    snprintf(line, sizeof line, "%s\n", name);
    note("lookups", line);
    path_of(path, sizeof path, "names");
    FILE *names = fopen(path, "re");
    int is_listed = 0;
    while (names && !is_listed && fgets(line, sizeof line, names)) {
        line[strcspn(line, "\n")] = '\0';
        is_listed = strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ' ';
    }
    if (names) fclose(names);
    if (!is_listed) return real(name, service, hints, result);

    char *rest = line;
    strsep(&rest, " ");
    long delay_ms = strtol(strsep(&rest, " "), NULL, 10);
    while (delay_ms < 0) sleep(1000);
    struct timespec delay = {delay_ms / 1000, delay_ms % 1000 * 1000000};
    nanosleep(&delay, NULL);
    struct addrinfo **end = result;
    *result = NULL;
    for (char *address; (address = strsep(&rest, " "));) {
        int failed = real(address, service, hints, end);
        if (failed) return failed;
        while (*end) end = &(*end)->ai_next;
    }
    return *result ? 0 : EAI_AGAIN;
}
