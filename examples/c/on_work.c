/* Runs a command for every item of an environment's work queue.
 *
 *     on_work [-c CONCURRENCY] [-g GRACE_SECONDS] COMMAND [ARGUMENT]...
 *
 * The command finds the item's JSON on its standard input, and in its environment ANTHROPIC_WORK_ID, ANTHROPIC_ENVIRONMENT_ID,
 * ANTHROPIC_SESSION_ID, ANTHROPIC_ENVIRONMENT_KEY and, if the item has one, ANTHROPIC_WORK_SECRET. It runs in a process group of
 * its own. When it has ended, its item is stopped, whatever its exit status, which is only logged; processes that it has left are killed.
 *
 * While the system cannot start another process, it is tried again every second.
 *
 * When its lease is lost or the item is to be stopped, the command gets SIGTERM, and SIGKILL when GRACE_SECONDS (30) have passed.
 * When this program gets SIGTERM or SIGINT it claims no more, and waits for the commands; those that still run after GRACE_SECONDS
 * get SIGTERM, and SIGKILL after as long again. (A second SIGTERM or SIGINT ends the first of these waits.) It exits with 0 when all
 * is in order, with 1 when it had to give up, such as for a key that is rejected, and with 2 on wrong usage.
 *
 * Reads ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and ANTHROPIC_BASE_URL. One thread and poll() do it all: any event loop
 * could. ../deploy has what it takes to run this as a service. */
#define _XOPEN_SOURCE 700
#include <antenv.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
static long concurrency = 1, grace_seconds = 30;
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
        "ANTHROPIC_WORK_ID", "ANTHROPIC_ENVIRONMENT_ID", "ANTHROPIC_SESSION_ID", "ANTHROPIC_WORK_SECRET",
    };
    static const char *const pointers[] = {"/id", "/environment_id", "/data/id", "/secret"};
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

/* This program gives up: it claims no more, waits for the commands that run, and exits with 1. */
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
    antenv_lease_attach(lease, queue, lease_tag(job));
    start(job);
}

/* Asks a command to end. */
static void tell(struct job *job, const char *why) {
    if (job->start_at > 0) {
        say(job, "is not begun any more: %s", why);
        leave(job);
        return;
    }
    if (job->pid == 0 || job->kill_at > 0) return;
    say(job, "is told to end: %s", why);
    kill(-job->pid, SIGTERM);
    job->kill_at = now() + (double)grace_seconds;
}

/* If the command has ended, has its item stopped. */
static void reap(struct job *job) {
    siginfo_t ended = {0};
    char *error;
    int status;
    if (job->pid == 0 || waitid(P_PID, (id_t)job->pid, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == 0) return;
    kill(-job->pid, SIGKILL); /* what it has left running; the group is its own for as long as it has not been waited for */
    while (waitpid(job->pid, &status, 0) < 0 && errno == EINTR) {}
    job->pid = 0;
    close_input(job);
    if (WIFEXITED(status)) say(job, "exited with %d", WEXITSTATUS(status));
    else say(job, "ended by signal %d", WTERMSIG(status));
    if (antenv_lease_submit_finish(job->lease, NULL, queue, finish_tag(job), &error) != ANTENV_OK) {
        say(job, "could not be stopped: %s", error);
        antenv_string_free(error);
        leave(job);
    }
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
        if (byte == SIGCHLD) continue; /* every job is checked below */
        if (is_stopping) {
            for (struct job *job = jobs, *next; job; job = next) {
                next = job->next;
                tell(job, "a second signal");
            }
        } else {
            say(NULL, "claims no more: signal %d", byte);
            is_stopping = true;
            antenv_worker_stop(worker);
        }
    }
    for (struct job *job = jobs, *next; job; job = next) {
        next = job->next;
        reap(job);
    }
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
            tell(job, done.json); /* the lease's state: it is lost, or the item is to be stopped */
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
    struct pollfd *watched = allocate(((size_t)concurrency + 2) * sizeof *watched);
    while (!is_over || jobs) {
        nfds_t count = 2;
        watched[0] = (struct pollfd){.fd = antenv_queue_fd(queue), .events = POLLIN};
        watched[1] = (struct pollfd){.fd = signals[0], .events = POLLIN};
        for (struct job *job = jobs; job; job = job->next) {
            if (job->input < 0 || count == (nfds_t)concurrency + 2) continue;
            watched[count++] = (struct pollfd){.fd = job->input, .events = POLLOUT};
        }
        poll(watched, count, do_what_is_due());
        for (struct job *job = jobs; job; job = job->next) {
            if (job->input >= 0) feed(job);
        }
        take_signals();
        take_completions();
    }
    free(watched);
}

static bool number_option(const char *text, long least, long most, long *number) {
    char *end;
    *number = strtol(text, &end, 10);
    return end != text && *end == '\0' && *number >= least && *number <= most;
}

static bool set_up(antenv_client **client) {
    char config[512], *error = NULL;
    const char *key = getenv("ANTHROPIC_ENVIRONMENT_KEY");
    snprintf(config, sizeof config, "{\"environment_key\":\"%s\"}", key ? key : "");
    if (antenv_client_new(config, client, &error) == ANTENV_OK) {
        snprintf(config, sizeof config, "{\"concurrency\":%ld,\"grace_ms\":%ld}", concurrency, grace_seconds * 1000);
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
    antenv_client *client = NULL;
    bool is_well = true;
    /* Not past the command: what follows it is the command's own, though some getopt() would look there. */
    for (int option; optind < argc && *argv[optind] == '-' && (option = getopt(argc, argv, "c:g:")) != -1;) {
        if (option == 'c') is_well = is_well && number_option(optarg, 1, 10000, &concurrency);
        else if (option == 'g') is_well = is_well && number_option(optarg, 0, 86400, &grace_seconds);
        else is_well = false;
    }
    command = argv + optind;
    if (!is_well || !*command) {
        fprintf(stderr, "usage: on_work [-c CONCURRENCY] [-g GRACE_SECONDS] COMMAND [ARGUMENT]...\n");
        return 2;
    }
    if (!make_pipe(signals)) {
        perror("on_work");
        return 1;
    }
    for (int i = 0; i < 2; i++) fcntl(signals[i], F_SETFL, O_NONBLOCK);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, ignored = {.sa_handler = SIG_IGN};
    sigemptyset(&action.sa_mask);
    sigaction(SIGCHLD, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGPIPE, &ignored, NULL); /* a command that does not read its input */

    if (set_up(&client)) {
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
