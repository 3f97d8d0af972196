/*
 * Submitted downloads while cancellations, forks and shutdowns get in the way. argv[1]: the URL of a server whose skills are
 * "three" (three pieces, then the end), "held" (one piece, then nothing) and "flood" (pieces without an end); argv[2]: an empty
 * folder; argv[3]: "forks", to fork as well.
 */
#define _GNU_SOURCE
#include "process.h"
#include <sys/stat.h>

enum { MANY = 40, ROUNDS = 30 };

static antenv_client *client;
static antenv_queue *queue;
static const char *folder;
static char *json;

static const char *in_folder(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static antenv_ticket *submit(const char *skill, const char *name, uint64_t tag) {
    char params[128];
    antenv_ticket *ticket = NULL;
    snprintf(params, sizeof params, "{\"skill_id\":\"%s\",\"version\":\"1\",\"max_bytes\":1000000000000}", skill);
    EXPECT(antenv_download_submit(client, queue, "skills.versions.download", params, in_folder(name), tag, &ticket, &json), ANTENV_OK, NULL);
    CHECK(ticket != NULL);
    return ticket;
}

/* Takes the next completion, with its JSON in `json`. */
static antenv_completion collect(void) {
    antenv_completion done;
    CHECK(antenv_queue_next(queue, WAIT_MS, &done) == ANTENV_OK);
    json = done.json;
    return done;
}

/* Returns for how many temporary files in the folder the server has sent something. */
static int begun(void) {
    DIR *opened = opendir(folder);
    int files = 0;
    CHECK(opened != NULL);
    for (struct dirent *entry; (entry = readdir(opened)) != NULL;) {
        struct stat about;
        if (strncmp(entry->d_name, ".antenv-", 8) == 0 && stat(in_folder(entry->d_name), &about) == 0) files += about.st_size > 0;
    }
    closedir(opened);
    return files;
}

static void misuse(void) {
    const char *params = "{\"skill_id\":\"three\",\"version\":\"1\"}", *name = "skills.versions.download";
    antenv_ticket *ticket;
    antenv_completion done;
    EXPECT(antenv_download_submit(NULL, queue, name, params, in_folder("f"), 1, &ticket, &json), ANTENV_INVALID_HANDLE, "client");
    CHECK(ticket == NULL);
    EXPECT(antenv_download_submit(client, NULL, name, params, in_folder("f"), 1, &ticket, &json), ANTENV_INVALID_HANDLE, "queue");
    EXPECT(antenv_download_submit(client, queue, NULL, params, in_folder("f"), 1, &ticket, &json), ANTENV_INVALID_ARGUMENT, "`operation` is NULL");
    EXPECT(antenv_download_submit(client, queue, "sessions.retrieve", params, in_folder("f"), 1, &ticket, &json), ANTENV_INVALID_ARGUMENT, "antenv_call");
    EXPECT(antenv_download_submit(client, queue, name, "[]", in_folder("f"), 1, &ticket, &json), ANTENV_INVALID_ARGUMENT, "params_json");
    EXPECT(antenv_download_submit(client, queue, name, "{\"with_response\":true}", in_folder("f"), 1, &ticket, &json), ANTENV_INVALID_ARGUMENT, "skill_id");
    EXPECT(antenv_download_submit(client, queue, name, params, NULL, 1, &ticket, &json), ANTENV_INVALID_ARGUMENT, "`path` is NULL");
    const char *paths[] = {"/nonexistent/x", "/", "", "..", folder, "\xff"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        EXPECT(antenv_download_submit(client, queue, name, params, paths[i], 1, &ticket, &json), ANTENV_INVALID_ARGUMENT, "\"parameter\":\"path\"");
        CHECK(antenv_download_submit(client, queue, name, params, paths[i], 1, NULL, NULL) == ANTENV_INVALID_ARGUMENT);
        CHECK(ticket == NULL && entries(folder) == 0);
    }
    antenv_queue *freed = new_queue();
    CHECK(antenv_queue_free(freed) == ANTENV_OK);
    EXPECT(antenv_download_submit(client, freed, name, params, in_folder("f"), 1, &ticket, &json), ANTENV_INVALID_HANDLE, "queue");
    CHECK(antenv_queue_next(queue, 0, &done) == ANTENV_TIMEOUT && entries(folder) == 0);
}

static void a_whole_file_is_in_its_place_when_the_completion_arrives(void) {
    antenv_ticket_free(submit("three", "file", 7));
    antenv_completion done = collect();
    CHECK(done.tag == 7);
    EXPECT(done.status, ANTENV_OK, "\"bytes\":");
    CHECK(entries(folder) == 1 && unlink(in_folder("file")) == 0);
}

static void a_cancelled_download_leaves_nothing(void) {
    const char *skills[] = {"held", "flood"};
    for (int round = 0; round < 2; round++) {
        antenv_ticket *ticket = submit(skills[round], "file", 1);
        UNTIL(begun() > 0);
        CHECK(antenv_ticket_cancel(ticket) == ANTENV_OK && antenv_ticket_cancel(ticket) == ANTENV_OK);
        antenv_completion done = collect();
        CHECK(entries(folder) == 0);
        EXPECT(done.status, ANTENV_CANCELLED, "cancelled");
        CHECK(antenv_ticket_free(ticket) == ANTENV_OK);
    }
    for (int round = 0; round < ROUNDS; round++) {
        antenv_ticket *ticket = submit("three", "file", 1);
        if (round % 2) usleep(200 * (unsigned)round);
        CHECK(antenv_ticket_cancel(ticket) == ANTENV_OK && antenv_ticket_free(ticket) == ANTENV_OK);
        antenv_completion done = collect();
        CHECK(done.status == ANTENV_OK || done.status == ANTENV_CANCELLED);
        CHECK(entries(folder) == (done.status == ANTENV_OK) && (done.status == ANTENV_CANCELLED || unlink(in_folder("file")) == 0));
        antenv_string_free(json);
    }
    json = NULL;
}

static void many_downloads_share_a_thread(void) {
    antenv_ticket *tickets[MANY];
    char name[32];
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "file %d", i);
        tickets[i] = submit(i % 4 ? "held" : "three", name, (uint64_t)i);
    }
    for (int left = MANY / 4; left > 0; left--) {
        antenv_completion done = collect();
        CHECK(done.tag % 4 == 0);
        EXPECT(done.status, ANTENV_OK, "\"bytes\":");
        snprintf(name, sizeof name, "file %d", (int)done.tag);
        CHECK(unlink(in_folder(name)) == 0);
    }
    CHECK(named_threads("antenv-files\n") == 1 && named_threads("antenv\n") == 1);
    for (int i = 0; i < MANY; i++) CHECK(antenv_ticket_cancel(tickets[i]) == ANTENV_OK && antenv_ticket_free(tickets[i]) == ANTENV_OK);
    for (int left = MANY - MANY / 4; left > 0; left--) EXPECT(collect().status, ANTENV_CANCELLED, "cancelled");
    CHECK(entries(folder) == 0);
    UNTIL(named_threads("antenv-files\n") == 0);
}

static void freeing_the_queue_cancels(void) {
    antenv_ticket *ticket = submit("held", "file", 1);
    antenv_ticket_free(submit("flood", "flood", 2));
    UNTIL(begun() > 0);
    CHECK(antenv_queue_free(queue) == ANTENV_OK);
    UNTIL(entries(folder) == 0);
    CHECK(antenv_ticket_cancel(ticket) == ANTENV_OK && antenv_ticket_free(ticket) == ANTENV_OK);
    queue = new_queue();
}

static void *download_held(void *path) {
    char *mine = NULL;
    antenv_status status = antenv_download(client, "skills.versions.download", "{\"skill_id\":\"held\",\"version\":\"1\"}", path, &mine);
    antenv_string_free(mine);
    return (void *)(intptr_t)status;
}

static void a_shutdown_ends_downloads(void) {
    pthread_t thread;
    char path[512];
    void *status;
    antenv_ticket_free(submit("held", "file", 1));
    snprintf(path, sizeof path, "%s", in_folder("waiting"));
    CHECK(pthread_create(&thread, NULL, download_held, path) == 0);
    UNTIL(begun() == 2); /* a file that is empty may be there before its download is submitted */
    CHECK(antenv_shutdown(0) == ANTENV_TIMEOUT);
    CHECK(pthread_join(thread, &status) == 0 && (intptr_t)status == ANTENV_CANCELLED);
    EXPECT(collect().status, ANTENV_CANCELLED, "shut down");
    UNTIL(entries(folder) == 0);
    a_whole_file_is_in_its_place_when_the_completion_arrives();
}

static void a_fork_leaves_the_download_to_the_parent(void) {
    antenv_ticket *ticket = submit("flood", "file", 1);
    UNTIL(begun() > 0);
    pid_t child = forked();
    if (child == 0) {
        antenv_completion done;
        CHECK(antenv_ticket_cancel(ticket) == ANTENV_OK && antenv_ticket_free(ticket) == ANTENV_OK);
        CHECK(antenv_queue_next(queue, 0, &done) == ANTENV_TIMEOUT);
        antenv_ticket_free(submit("three", "own", 5));
        EXPECT(collect().status, ANTENV_OK, "\"bytes\":");
        CHECK(unlink(in_folder("own")) == 0 && entries(folder) == 1);
        CHECK(antenv_queue_free(queue) == ANTENV_OK && antenv_client_free(client) == ANTENV_OK);
        CHECK(entries(folder) == 1);
        _exit(0);
    }
    ends_well(child);
    CHECK(entries(folder) == 1 && antenv_ticket_cancel(ticket) == ANTENV_OK && antenv_ticket_free(ticket) == ANTENV_OK);
    EXPECT(collect().status, ANTENV_CANCELLED, "cancelled");
    CHECK(entries(folder) == 0);
}

int main(int argc, char **argv) {
    CHECK(argc >= 3);
    title = "download";
    folder = argv[2];
    bound();
    client = connect_to(argv[1], "");
    queue = new_queue();
    misuse();
    a_whole_file_is_in_its_place_when_the_completion_arrives();
    a_cancelled_download_leaves_nothing();
    many_downloads_share_a_thread();
    freeing_the_queue_cancels();
    a_shutdown_ends_downloads();
    if (argc > 3) a_fork_leaves_the_download_to_the_parent();
    CHECK(antenv_queue_free(queue) == ANTENV_OK && antenv_client_free(client) == ANTENV_OK && antenv_shutdown(-1) == ANTENV_OK);
    puts("download: as it should be");
    return 0;
}
