/*
 * Runs calls that a test describes on standard input, through the C ABI, and reports each on standard output.
 *
 * A line in: fields separated by tabs, the first says what to do; "\001" stands for NULL.
 *     client   CONFIG                                     makes a client; later lines use it
 *     derive   CONFIG                                     replaces it by one derived from it
 *     call     OPERATION PARAMS                           antenv_call
 *     named    OPERATION ENVIRONMENT_ID WORK_ID PARAMS    the operation's own function
 *     request  METHOD PATH PARAMS                         antenv_request
 *     pager    OPERATION PARAMS                           makes a pager
 *     next                                                takes its next item
 *     submit   OPERATION PARAMS                           antenv_submit, in place of the ticket there was
 *     cancel                                              cancels what was submitted last
 *     collect                                             waits for the next completion, and reports it
 *     stats                                               antenv_client_stats
 *     log      FILTER                                     antenv_log_subscribe
 *     record                                              takes the next log record, if there is one
 *     worker   CONFIG                                     antenv_worker_new
 *     take     TIMEOUT_MS                                 antenv_worker_next; its lease is kept in place of the one before
 *     lease                                               antenv_lease_state of the lease taken last
 *     finish                                              antenv_lease_finish of the lease taken last
 *     setenv   NAME VALUE                                 sets an environment variable
 *     shutdown TIMEOUT_MS                                 antenv_shutdown
 * A report: "STATUS LENGTH\n", LENGTH bytes of JSON (-1: NULL), "\n".
 */
#define _GNU_SOURCE
#include <antenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef antenv_status (*collection_fn)(antenv_client *, const char *, char **);
typedef antenv_status (*environment_fn)(antenv_client *, const char *, const char *, char **);
typedef antenv_status (*item_fn)(antenv_client *, const char *, const char *, const char *, char **);

static const struct {
    const char *name;
    collection_fn collection;
    environment_fn environment;
    item_fn item;
} operations[] = {
    {"environments.create", antenv_environments_create, NULL, NULL},
    {"environments.list", antenv_environments_list, NULL, NULL},
    {"environments.retrieve", NULL, antenv_environments_retrieve, NULL},
    {"environments.update", NULL, antenv_environments_update, NULL},
    {"environments.delete", NULL, antenv_environments_delete, NULL},
    {"environments.archive", NULL, antenv_environments_archive, NULL},
    {"work.list", NULL, antenv_work_list, NULL},
    {"work.poll", NULL, antenv_work_poll, NULL},
    {"work.stats", NULL, antenv_work_stats, NULL},
    {"work.retrieve", NULL, NULL, antenv_work_retrieve},
    {"work.update", NULL, NULL, antenv_work_update},
    {"work.ack", NULL, NULL, antenv_work_ack},
    {"work.heartbeat", NULL, NULL, antenv_work_heartbeat},
    {"work.stop", NULL, NULL, antenv_work_stop},
};

static antenv_status named(antenv_client *client, char *const *field, char **json) {
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        if (strcmp(operations[i].name, field[1]) != 0) continue;
        if (operations[i].collection) return operations[i].collection(client, field[4], json);
        if (operations[i].environment) return operations[i].environment(client, field[2], field[4], json);
        return operations[i].item(client, field[2], field[3], field[4], json);
    }
    fprintf(stderr, "driver: no function for %s\n", field[1]);
    exit(2);
}

/* Takes what comes next to a queue: its status, or that of the taking. */
static antenv_status take(antenv_queue *queue, int64_t timeout_ms, char **json) {
    antenv_completion done;
    antenv_status status = antenv_queue_next(queue, timeout_ms, &done);
    *json = done.json;
    return status == ANTENV_OK ? done.status : status;
}

int main(void) {
    antenv_client *client = NULL;
    antenv_pager *pager = NULL;
    antenv_queue *queue = NULL, *records = NULL;
    antenv_ticket *ticket = NULL;
    antenv_worker *worker = NULL;
    antenv_lease *lease = NULL;
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    while ((length = getline(&line, &capacity, stdin)) > 0) {
        char *field[8] = {NULL};
        char *rest = line, *json = NULL;
        antenv_status status;
        line[length - 1] = '\0';
        for (int i = 0; i < 8 && rest; i++) {
            field[i] = strsep(&rest, "\t");
            if (strcmp(field[i], "\001") == 0) field[i] = NULL;
        }
        if (strcmp(field[0], "client") == 0) {
            antenv_client_free(client);
            status = antenv_client_new(field[1], &client, &json);
        } else if (strcmp(field[0], "derive") == 0) {
            antenv_client *parent = client;
            status = antenv_client_derive(parent, field[1], &client, &json);
            antenv_client_free(parent);
        } else if (strcmp(field[0], "call") == 0) {
            status = antenv_call(client, field[1], field[2], &json);
        } else if (strcmp(field[0], "named") == 0) {
            status = named(client, field, &json);
        } else if (strcmp(field[0], "request") == 0) {
            status = antenv_request(client, field[1], field[2], field[3], &json);
        } else if (strcmp(field[0], "pager") == 0) {
            antenv_pager_free(pager);
            status = antenv_pager_new(client, field[1], field[2], &pager, &json);
        } else if (strcmp(field[0], "next") == 0) {
            status = antenv_pager_next(pager, &json);
        } else if (strcmp(field[0], "submit") == 0) {
            antenv_ticket_free(ticket);
            if (!queue && antenv_queue_new(&queue, NULL) != ANTENV_OK) return 2;
            status = antenv_submit(client, queue, field[1], field[2], 1, &ticket, &json);
        } else if (strcmp(field[0], "cancel") == 0) {
            status = antenv_ticket_cancel(ticket);
        } else if (strcmp(field[0], "collect") == 0) {
            status = take(queue, 60000, &json);
        } else if (strcmp(field[0], "stats") == 0) {
            status = antenv_client_stats(client, &json);
        } else if (strcmp(field[0], "log") == 0) {
            if (!records && antenv_queue_new(&records, NULL) != ANTENV_OK) return 2;
            status = antenv_log_subscribe(records, field[1], 2, &json);
        } else if (strcmp(field[0], "record") == 0) {
            status = take(records, 0, &json);
        } else if (strcmp(field[0], "worker") == 0) {
            antenv_worker_free(worker);
            status = antenv_worker_new(client, field[1], &worker, &json);
        } else if (strcmp(field[0], "take") == 0) {
            status = antenv_worker_next(worker, atol(field[1]), &lease, &json);
        } else if (strcmp(field[0], "lease") == 0) {
            status = antenv_lease_state(lease, &json);
        } else if (strcmp(field[0], "finish") == 0) {
            status = antenv_lease_finish(lease, NULL, &json);
        } else if (strcmp(field[0], "setenv") == 0) {
            status = setenv(field[1], field[2], 1) ? ANTENV_INTERNAL : ANTENV_OK;
        } else if (strcmp(field[0], "shutdown") == 0) {
            status = antenv_shutdown(atol(field[1]));
        } else {
            fprintf(stderr, "driver: what is %s?\n", field[0]);
            return 2;
        }
        printf("%d %ld\n%s\n", (int)status, json ? (long)strlen(json) : -1L, json ? json : "");
        fflush(stdout);
        antenv_string_free(json);
    }
    free(line);
    antenv_ticket_free(ticket);
    antenv_queue_free(queue);
    antenv_queue_free(records);
    antenv_pager_free(pager);
    antenv_worker_free(worker);
    antenv_client_free(client);
    return 0;
}
