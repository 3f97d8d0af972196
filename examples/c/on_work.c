/* Runs a command for every item of an environment's work queue.
 *
 *     on_work [-c|--concurrency N] [-g|--grace SECONDS] [-m|--metrics ADDRESS] [-o|--handoff] COMMAND [ARGUMENT]...
 *
 * The command finds the item's JSON on its standard input, and in its environment ANTHROPIC_WORK_ID, ANTHROPIC_ENVIRONMENT_ID,
 * ANTHROPIC_SESSION_ID, ANTHROPIC_ENVIRONMENT_KEY and, if the item has one, ANTHROPIC_WORK_SECRET. It runs in a process group of
 * its own. When it has ended, its item is stopped, whatever its exit status, which is only logged; what is left of its process
 * group is killed.
 *
 * With --handoff the command keeps the lease itself: it adopts the item, as antenv_lease_adopt and an official handle_item do with
 * these variables, sends the heartbeats, and stops the item. It has to begin within a minute. This program only claims items, and
 * when a command has ended without a heartbeat, gives its item back to the queue.
 *
 * A command that cannot be found at the start is wrong usage. While the system has no room for another process, starting it is
 * tried again every second. If it cannot be started for another reason, the item is left to the work queue, and this program
 * claims no more, waits for its other commands and exits with 1.
 *
 * When a lease is lost or an item is to be stopped, the command gets SIGTERM, and SIGKILL when SECONDS (30; up to 86400, such as
 * 0.5 or 30s) have passed. On SIGTERM or SIGINT this program claims no more and waits for the commands; those that still run after
 * SECONDS get SIGTERM, and SIGKILL after as long again. (A second SIGTERM or SIGINT ends the first of these waits.) It exits with 0
 * when all is in order, with 1 when it had to give up, such as for a key that is rejected, and with 2 on wrong usage.
 *
 * ADDRESS, such as :9464 or 127.0.0.1:9464, is where /metrics is served for Prometheus. As a container's first process, this
 * program also reaps orphans.
 *
 * Reads ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and ANTHROPIC_BASE_URL. One thread and poll() do it all: any event loop
 * could. ../deploy has what it takes to run this as a service. */
#define _XOPEN_SOURCE 700
#include <antenv.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* An item that is being served. */
struct job {
    struct job *next;
    uint64_t number; /* counts from 1 */
    char *id;
    antenv_lease *lease;
    pid_t pid;       /* of the command; 0: it is not begun, or has ended and the item is being stopped */
    double start_at; /* when starting it is tried again; 0: it was begun */
    double kill_at;  /* when its time to end is over; 0: it need not end */
    char *json;     /* what it is to read, */
    size_t written; /* how much of it has been written, */
    int input;      /* and to where; -1: all is written */
};

/* What completions are about: the worker, a job's lease, or the stopping of its item. */
enum { WORKER_TAG = 0 };

static uint64_t lease_tag(const struct job *job) {
    return job->number * 2;
}

static uint64_t finish_tag(const struct job *job) {
    return job->number * 2 + 1;
}

static antenv_worker *worker;
static antenv_queue *queue;
static char **command;
static long concurrency = 1;
static double grace_seconds = 30;
static bool hands_off; /* commands keep the leases of their items */
static struct job *jobs;
static uint64_t jobs_so_far;
static bool is_over;     /* no more items will come */
static bool has_failed;  /* this program had to give up */
static bool is_stopping; /* the worker was stopped */
static int signals[2];   /* the pipe from the signal handler to the loop */

/* ---- Small things ---- */

static void say(const struct job *job, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "on_work: %s%s", job && job->id ? job->id : "", job ? ": " : "");
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

static void *allocate(size_t size) {
    void *memory = calloc(1, size);
    if (!memory) abort();
    return memory;
}

/* Returns seconds of a monotonic clock. */
static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static bool make_pipe(int ends[2]) {
    if (pipe(ends) != 0) return false;
    for (int i = 0; i < 2; i++) fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    return true;
}

/* Keeps a descriptor from commands, and from blocking. */
static void prepare(int descriptor) {
    fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    fcntl(descriptor, F_SETFL, O_NONBLOCK);
}

/* The item's value at a pointer, to be freed with antenv_string_free. NULL: it has none, or one that C's strings cannot hold. */
static char *value_at(const struct job *job, const char *pointer) {
    char *value;
    if (antenv_json_get(job->json, pointer, &value) == ANTENV_OK && strcmp(value, "null") != 0) return value;
    antenv_string_free(value);
    return NULL;
}

/* ---- Jobs ---- */

/* NAME=VALUE for the item's value at a pointer, to be freed; NULL without a value. */
static char *variable(const struct job *job, const char *name, const char *pointer) {
    char *value = value_at(job, pointer);
    if (!value) return NULL;
    size_t size = strlen(name) + strlen(value) + 2;
    char *both = allocate(size);
    snprintf(both, size, "%s=%s", name, value);
    antenv_string_free(value);
    return both;
}

/* Starts the command with its input and its environment. Returns 0, or why it could not be started. */
static int start_command(struct job *job) {
    static const char *const names[] = {
        "ANTHROPIC_WORK_ID",     "ANTHROPIC_ENVIRONMENT_ID",      "ANTHROPIC_SESSION_ID",
        "ANTHROPIC_WORK_SECRET", "ANTHROPIC_WORK_LAST_HEARTBEAT",
    };
    /* There is no last heartbeat: one that this program has inherited is of another item. */
    static const char *const pointers[] = {"/id", "/environment_id", "/data/id", "/secret", "/last_heartbeat"};
    enum { OWN = sizeof names / sizeof names[0] };
    char *own[OWN];
    size_t count = 0, kept = 0;
    int ends[2];
    if (!make_pipe(ends)) return errno;

    while (environ[count]) count++;
    char **variables = allocate((count + OWN + 1) * sizeof *variables);
    for (size_t i = 0; i < count; i++) {
        bool is_own = false;
        for (int name = 0; name < OWN; name++) {
            size_t length = strlen(names[name]);
            is_own = is_own || (strncmp(environ[i], names[name], length) == 0 && environ[i][length] == '=');
        }
        if (!is_own) variables[kept++] = environ[i];
    }
    for (int name = 0; name < OWN; name++) {
        own[name] = variable(job, names[name], pointers[name]);
        if (own[name]) variables[kept++] = own[name];
    }

    /* Not fork() and setenv(): in the child of a process with threads that would not be safe. */
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, standard;
    sigemptyset(&none);
    sigemptyset(&standard);
    sigaddset(&standard, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &standard);
    int problem = posix_spawnp(&job->pid, command[0], &actions, &attributes, command, variables);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);

    close(ends[0]);
    if (problem) {
        close(ends[1]);
        job->pid = 0;
    } else {
        job->input = ends[1];
        fcntl(job->input, F_SETFL, O_NONBLOCK);
    }
    for (int name = 0; name < OWN; name++) free(own[name]);
    free(variables);
    return problem;
}

static void close_input(struct job *job) {
    if (job->input >= 0) close(job->input);
    job->input = -1;
}

/* Writes what the command accepts. It need not read it. */
static void feed(struct job *job) {
    size_t left = strlen(job->json + job->written);
    ssize_t count = left ? write(job->input, job->json + job->written, left) : 0;
    if (count > 0) job->written += (size_t)count;
    if (count == (ssize_t)left || (count < 0 && errno != EAGAIN && errno != EINTR)) close_input(job);
}

/* Takes a job off the list and frees it. */
static void drop(struct job *job) {
    struct job **at = &jobs;
    while (*at && *at != job) at = &(*at)->next;
    if (*at) *at = job->next;
    close_input(job);
    antenv_string_free(job->json);
    antenv_string_free(job->id);
    free(job);
}

/* Gives up: this program claims no more, waits for the commands that run, and exits with 1. */
static void give_up(const char *why, const char *error) {
    say(NULL, "%s: %s", why, error);
    has_failed = is_stopping = true;
    antenv_worker_stop(worker);
}

/* Leaves an item without a command to the queue, which hands it out again. */
static void leave(struct job *job) {
    antenv_lease_abandon(job->lease);
    drop(job);
}

/* Starts a job's command, later if there is no room for it now; not if this program is to end. */
static void start(struct job *job) {
    int problem = has_failed ? ECANCELED : start_command(job);
    bool is_passing = problem == EAGAIN || problem == ENOMEM || problem == EMFILE || problem == ENFILE;
    if (is_passing && is_stopping) {
        say(job, "is not begun any more: %s", strerror(problem));
        leave(job);
    } else if (is_passing) {
        say(job, "not begun yet: %s", strerror(problem));
        job->start_at = now() + 1;
    } else if (problem) {
        if (!has_failed) give_up(command[0], strerror(problem));
        leave(job);
    } else {
        job->start_at = 0;
        say(job, "begun");
        feed(job);
    }
}

static void begin(antenv_lease *lease, char *json) {
    struct job *job = allocate(sizeof *job);
    *job = (struct job){.next = jobs, .number = ++jobs_so_far, .lease = lease, .json = json, .input = -1};
    jobs = job;
    job->id = value_at(job, "/id");
    if (!hands_off) antenv_lease_attach(lease, queue, lease_tag(job));
    start(job);
}

/* Asks a command to end. */
static void request_end(struct job *job, const char *why) {
    if (job->start_at > 0) {
        say(job, "is not begun any more: %s", why);
        leave(job);
        return;
    }
    if (job->pid == 0 || job->kill_at > 0) return;
    say(job, "is asked to end: %s", why);
    kill(-job->pid, SIGTERM);
    job->kill_at = now() + grace_seconds;
}

/* Stops the item of a command that has ended. */
static void finish(struct job *job, int status) {
    char *error;
    job->pid = 0;
    close_input(job);
    if (WIFEXITED(status)) say(job, "exited with %d", WEXITSTATUS(status));
    else say(job, "ended by signal %d", WTERMSIG(status));
    if (hands_off) { /* it has stopped the item, or its lease runs out; an item without one is given back */
        leave(job);
        return;
    }
    if (antenv_lease_submit_finish(job->lease, NULL, queue, finish_tag(job), &error) != ANTENV_OK) {
        say(job, "could not be stopped: %s", error);
        antenv_string_free(error);
        leave(job);
    }
}

/* Reaps every process that has ended: commands, and orphans if this program is the one that they are left to. */
static void reap(void) {
    for (;;) {
        siginfo_t ended = {0};
        int status = 0;
        if (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == 0) return;
        struct job *job = jobs;
        while (job && job->pid != ended.si_pid) job = job->next;
        if (job) kill(-job->pid, SIGKILL); /* what is left of it; the group is its own for as long as it has not been waited for */
        while (waitpid(ended.si_pid, &status, 0) < 0 && errno == EINTR) {}
        if (job) finish(job, status);
    }
}

/* ---- Metrics ---- */

/* A connection that asks for metrics. */
struct visitor {
    int socket; /* -1: there is none */
    char request[4096], *reply;
    size_t length, written; /* of the request that has come, of the reply that has gone */
};

enum { VISITORS = 8 }; /* When one more comes, the oldest has to go. */
static struct visitor visitors[VISITORS];
static size_t visitors_so_far;
static int listener = -1;
static double listen_at; /* when connections are taken again, after a failure */

/* Listens at HOST:PORT, or at :PORT of every interface. */
static bool listen_on(const char *address) {
    char host[256] = "", port[32];
    const char *colon = strrchr(address, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    struct sockaddr_storage own;
    socklen_t size = sizeof own;
    bool is_bracketed = colon && *address == '[' && colon - address >= 2 && colon[-1] == ']';
    if (colon) snprintf(host, sizeof host, "%.*s", (int)(colon - address) - 2 * is_bracketed, address + is_bracketed);
    int problem = colon ? getaddrinfo(*host ? host : NULL, colon + 1, &hints, &found) : EAI_NONAME;
    if (problem) say(NULL, "%s: %s", address, gai_strerror(problem));
    if (problem) return false;
    listener = socket(found->ai_family, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    bool is_well = bind(listener, found->ai_addr, found->ai_addrlen) == 0 && listen(listener, 16) == 0 &&
                   getsockname(listener, (struct sockaddr *)&own, &size) == 0;
    if (!is_well) say(NULL, "%s: %s", address, strerror(errno));
    freeaddrinfo(found);
    if (!is_well) return false;
    prepare(listener);
    getnameinfo((struct sockaddr *)&own, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    say(NULL, strchr(host, ':') ? "metrics at http://[%s]:%s/metrics" : "metrics at http://%s:%s/metrics", host, port);
    return true;
}

static void dismiss(struct visitor *visitor) {
    if (visitor->socket >= 0) close(visitor->socket);
    free(visitor->reply);
    *visitor = (struct visitor){.socket = -1};
}

static void take_visitors(void) {
    int taken;
    while ((taken = accept(listener, NULL, NULL)) >= 0) {
        struct visitor *visitor = &visitors[visitors_so_far++ % VISITORS];
        dismiss(visitor);
        prepare(taken);
        visitor->socket = taken;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) listen_at = now() + 1;
}

static void reply_to(struct visitor *visitor) {
    char *text = NULL;
    const char *status = "404 Not Found";
    if (strncmp(visitor->request, "GET /metrics ", 13) == 0) {
        status = antenv_worker_metrics(worker, &text) == ANTENV_OK ? "200 OK" : "503 Service Unavailable";
    }
    size_t length = text ? strlen(text) : 0, size = length + 256;
    visitor->reply = allocate(size);
    snprintf(visitor->reply, size,
             "HTTP/1.1 %s\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: %zu\r\nconnection: close\r\n\r\n%s",
             status, length, text ? text : "");
    antenv_string_free(text);
}

/* Reads from a visitor, or writes to it, what is possible without waiting. */
static void attend(struct visitor *visitor) {
    ssize_t count;
    if (visitor->reply) {
        count = write(visitor->socket, visitor->reply + visitor->written, strlen(visitor->reply + visitor->written));
        if (count > 0) visitor->written += (size_t)count;
        if (!visitor->reply[visitor->written]) count = 0;
    } else {
        size_t room = sizeof visitor->request - 1 - visitor->length;
        count = read(visitor->socket, visitor->request + visitor->length, room);
        if (count > 0) visitor->length += (size_t)count;
        if (count > 0 && (strstr(visitor->request, "\r\n\r\n") || (size_t)count == room)) reply_to(visitor);
    }
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) dismiss(visitor);
}

/* ---- The loop ---- */

static void on_signal(int number) {
    int before = errno;
    unsigned char byte = (unsigned char)number;
    if (write(signals[1], &byte, 1) < 0) { /* the pipe is full: the loop has enough to read */
    }
    errno = before;
}

static void take_signals(void) {
    unsigned char byte;
    while (read(signals[0], &byte, 1) == 1) {
        if (byte == SIGCHLD) continue; /* see below */
        if (is_stopping) {
            for (struct job *job = jobs, *next; job; job = next) {
                next = job->next;
                request_end(job, "a second signal");
            }
        } else {
            say(NULL, "claims no more: signal %d", byte);
            is_stopping = true;
            antenv_worker_stop(worker);
        }
    }
    reap();
}

/* An item is ready, or there will be no more. */
static void on_news(const antenv_completion *done) {
    if (done->status == ANTENV_OK) {
        antenv_lease *lease;
        char *json;
        if (antenv_worker_next(worker, 0, &lease, &json) == ANTENV_OK) begin(lease, json); /* otherwise it is gone */
        else antenv_string_free(json);
        return;
    }
    is_over = true;
    if (done->status != ANTENV_DONE) give_up("there is no more work to be had", done->json);
}

/* Takes what has come to the queue, if anything has. */
static void take_completions(void) {
    antenv_completion done;
    while (antenv_queue_next(queue, 0, &done) == ANTENV_OK) {
        struct job *job = jobs;
        while (job && job->number != done.tag / 2) job = job->next;
        if (done.tag == WORKER_TAG) {
            on_news(&done);
        } else if (job && done.tag == finish_tag(job)) {
            if (done.status == ANTENV_OK) say(job, "done");
            else say(job, "not stopped: %s", done.json);
            drop(job);
        } else if (job && done.status == ANTENV_OK) {
            request_end(job, done.json); /* the lease's state: it is lost, or the item is to be stopped */
        }
        antenv_string_free(done.json);
    }
}

/* Starts what could not be started before, and kills what had its time to end. Returns how long poll() may wait for the next, in
 * milliseconds. */
static int do_what_is_due(void) {
    double earliest = 0, present = now();
    for (struct job *job = jobs, *next; job; job = next) {
        next = job->next;
        if (job->start_at > 0 && (is_stopping || present >= job->start_at)) {
            start(job); /* which may drop it; the next job is found in the next round */
            earliest = present;
            continue;
        }
        if (job->pid > 0 && job->kill_at > 0 && present >= job->kill_at) {
            say(job, "is killed");
            kill(-job->pid, SIGKILL);
            job->kill_at = present + 1; /* it ends any moment */
        }
        double due = job->start_at > 0 ? job->start_at : job->pid > 0 ? job->kill_at : 0;
        if (due > 0 && (earliest == 0 || due < earliest)) earliest = due;
    }
    if (earliest == 0) return -1;
    double wait = (earliest - present) * 1e3 + 1;
    return wait < 60000 ? (int)wait : 60000;
}

static void run(void) {
    struct pollfd *watched = allocate(((size_t)concurrency + VISITORS + 3) * sizeof *watched);
    while (!is_over || jobs) {
        nfds_t count = 2;
        int wait = do_what_is_due();
        watched[0] = (struct pollfd){.fd = antenv_queue_fd(queue), .events = POLLIN};
        watched[1] = (struct pollfd){.fd = signals[0], .events = POLLIN};
        if (now() >= listen_at) watched[count++] = (struct pollfd){.fd = listener, .events = POLLIN};
        else if (wait < 0 || wait > 1000) wait = 1000;
        for (struct visitor *visitor = visitors; visitor < visitors + VISITORS; visitor++) {
            watched[count++] = (struct pollfd){.fd = visitor->socket, .events = visitor->reply ? POLLOUT : POLLIN};
        }
        nfds_t most = count + (nfds_t)concurrency;
        for (struct job *job = jobs; job && count < most; job = job->next) {
            if (job->input >= 0) watched[count++] = (struct pollfd){.fd = job->input, .events = POLLOUT};
        }
        poll(watched, count, wait);
        for (struct job *job = jobs; job; job = job->next) {
            if (job->input >= 0) feed(job);
        }
        if (listener >= 0 && now() >= listen_at) take_visitors();
        for (struct visitor *visitor = visitors; visitor < visitors + VISITORS; visitor++) {
            if (visitor->socket >= 0) attend(visitor);
        }
        take_signals();
        take_completions();
    }
    free(watched);
    for (size_t i = 0; i < VISITORS; i++) dismiss(&visitors[i]);
}

/* ---- The start ---- */

static bool whole_option(const char *text, long least, long most, long *number) {
    char *end;
    *number = strtol(text, &end, 10);
    return end != text && *end == '\0' && *number >= least && *number <= most;
}

static bool seconds_option(const char *text, double *seconds) {
    char *end;
    *seconds = strtod(text, &end);
    return end != text && strcmp(end, *end == 's' ? "s" : "") == 0 && *seconds >= 0 && *seconds <= 86400;
}

static bool is_executable(const char *file) {
    struct stat about;
    return stat(file, &about) == 0 && S_ISREG(about.st_mode) && access(file, X_OK) == 0;
}

/* Reports whether a command can be found: the file that a path names, or one in PATH. */
static bool is_there(const char *name) {
    const char *path = getenv("PATH");
    if (strchr(name, '/')) return is_executable(name);
    for (path = path ? path : "/bin:/usr/bin";; path++) {
        char file[4096];
        size_t length = strcspn(path, ":");
        snprintf(file, sizeof file, "%.*s/%s", length ? (int)length : 1, length ? path : ".", name);
        if (is_executable(file)) return true;
        path += length;
        if (!*path) return false;
    }
}

static bool set_up(antenv_client **client) {
    char config[512], *error = NULL;
    const char *key = getenv("ANTHROPIC_ENVIRONMENT_KEY");
    snprintf(config, sizeof config, "{\"environment_key\":\"%s\"}", key ? key : "");
    if (antenv_client_new(config, client, &error) == ANTENV_OK) {
        snprintf(config, sizeof config, "{\"concurrency\":%ld,\"grace_ms\":%.0f,\"heartbeat\":%s}", concurrency,
                 grace_seconds * 1000, hands_off ? "false" : "true");
        if (antenv_worker_new(*client, config, &worker, &error) == ANTENV_OK &&
            antenv_queue_new(&queue, &error) == ANTENV_OK) {
            return true;
        }
    }
    say(NULL, "%s", error);
    antenv_string_free(error);
    return false;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"concurrency", 1, NULL, 'c'}, {"grace", 1, NULL, 'g'}, {"metrics", 1, NULL, 'm'},
        {"handoff", 0, NULL, 'o'},     {NULL, 0, NULL, 0},
    };
    antenv_client *client = NULL;
    const char *metrics = NULL;
    bool is_well = true;
    /* Not past the command: what follows it is the command's own, though some getopt() would look there. */
    for (int option; optind < argc && *argv[optind] == '-' && (option = getopt_long(argc, argv, "+c:g:m:o", options, NULL)) != -1;) {
        if (option == 'c') is_well = is_well && whole_option(optarg, 1, 10000, &concurrency);
        else if (option == 'g') is_well = is_well && seconds_option(optarg, &grace_seconds);
        else if (option == 'm') metrics = optarg;
        else if (option == 'o') hands_off = true;
        else is_well = false;
    }
    command = argv + optind;
    if (!is_well || !*command) {
        fprintf(stderr, "usage: on_work [--concurrency N] [--grace SECONDS] [--metrics ADDRESS] [--handoff] COMMAND [ARGUMENT]...\n");
        return 2;
    }
    if (!is_there(*command)) {
        say(NULL, "%s: no such command", *command);
        return 2;
    }
    if (!make_pipe(signals)) {
        perror("on_work");
        return 1;
    }
    for (int i = 0; i < 2; i++) prepare(signals[i]);
    for (int i = 0; i < VISITORS; i++) visitors[i].socket = -1;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, ignored = {.sa_handler = SIG_IGN};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < 3; i++) sigaction((const int[]){SIGCHLD, SIGTERM, SIGINT}[i], &action, NULL);
    sigaction(SIGPIPE, &ignored, NULL); /* a command that does not read its input */

    if ((!metrics || listen_on(metrics)) && set_up(&client)) {
        antenv_worker_attach(worker, queue, WORKER_TAG);
        run();
    } else {
        has_failed = true;
    }
    antenv_worker_free(worker);
    antenv_queue_free(queue);
    antenv_client_free(client);
    return has_failed ? 1 : 0;
}
