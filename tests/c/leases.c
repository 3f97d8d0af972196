/* Holds many leases at once, in one thread, and prints what that costs.
 *
 * leases URL ENVIRONMENT KEY MANY BEATS: claims MANY items, waits until each lease had BEATS heartbeats on average, and writes one
 * line: bytes of memory a lease, threads, and the worker's counts. */
#define _GNU_SOURCE
#include "check.h"
#include <dirent.h>

static long memory(void) {
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL);
    CHECK(fscanf(file, "%ld %ld", &pages, &resident) == 2);
    fclose(file);
    return resident * sysconf(_SC_PAGESIZE);
}

static int threads(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/task");
    CHECK(folder != NULL);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

/* How many heartbeats the worker has sent. */
static long sent(antenv_worker *worker) {
    char *stats, *count;
    CHECK(antenv_worker_stats(worker, &stats) == ANTENV_OK);
    CHECK(antenv_json_get(stats, "/heartbeat_late_us/count", &count) == ANTENV_OK);
    long number = strtol(count, NULL, 10);
    antenv_string_free(count);
    antenv_string_free(stats);
    return number;
}

int main(int argc, char **argv) {
    CHECK(argc == 6);
    long many = atol(argv[4]), beats = atol(argv[5]);
    char config[512];
    antenv_client *client;
    antenv_queue *queue;
    antenv_worker *worker;
    snprintf(config, sizeof config, "{\"base_url\":\"%s\",\"environment_key\":\"%s\"}", argv[1], argv[3]);
    CHECK(antenv_client_new(config, &client, NULL) == ANTENV_OK);
    CHECK(antenv_queue_new(&queue, NULL) == ANTENV_OK);
    snprintf(config, sizeof config, "{\"environment_id\":\"%s\",\"concurrency\":%ld}", argv[2], many);
    CHECK(antenv_worker_new(client, config, &worker, NULL) == ANTENV_OK);
    antenv_lease **leases = calloc((size_t)many, sizeof *leases);
    CHECK(leases != NULL);
    long before = memory();
    CHECK(antenv_worker_attach(worker, queue, 1) == ANTENV_OK);
    for (long held = 0; held < many;) {
        antenv_completion done;
        antenv_status status = antenv_queue_next(queue, 60000, &done);
        if (status == ANTENV_INTERRUPTED) continue;
        CHECK(status == ANTENV_OK && done.status == ANTENV_OK);
        antenv_string_free(done.json);
        char *item;
        CHECK(antenv_worker_next(worker, 0, &leases[held], &item) == ANTENV_OK);
        antenv_string_free(item);
        held++;
    }
    while (sent(worker) < many * beats) usleep(50000);
    char *stats;
    CHECK(antenv_worker_stats(worker, &stats) == ANTENV_OK);
    printf("%ld %d %s\n", (memory() - before) / many, threads(), stats);
    antenv_string_free(stats);
    for (long held = 0; held < many; held++) CHECK(antenv_lease_abandon(leases[held]) == ANTENV_OK);
    free(leases);
    antenv_worker_free(worker);
    antenv_queue_free(queue);
    antenv_client_free(client);
    return 0;
}
