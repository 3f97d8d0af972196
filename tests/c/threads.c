/* Frees clients and pagers while eight threads are calling through them. argv[1]: the server's URL, argv[2]: rounds. */
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 8 };

static antenv_client *client;
static antenv_pager *pager;
static atomic_int calls;

static void *call_until_freed(void *unused) {
    (void)unused;
    for (;;) {
        char *json = NULL;
        antenv_status status = antenv_environments_list(client, "{\"limit\":1}", &json);
        CHECK(status == ANTENV_OK || status == ANTENV_INVALID_HANDLE);
        CHECK(json != NULL);
        antenv_string_free(json);
        atomic_fetch_add(&calls, 1);
        if (status == ANTENV_INVALID_HANDLE) break;
    }
    for (;;) {
        char *json = NULL;
        antenv_status status = antenv_pager_next(pager, &json);
        CHECK(status == ANTENV_OK || status == ANTENV_DONE || status == ANTENV_INVALID_HANDLE);
        antenv_string_free(json);
        if (status != ANTENV_OK) return NULL;
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    for (int round = 0; round < atoi(argv[2]); round++) {
        pthread_t threads[THREADS];
        char *json = NULL;
        client = connect_to(argv[1], "");
        EXPECT(antenv_pager_new(client, "environments.list", "{\"limit\":1}", &pager, &json), ANTENV_OK, NULL);
        atomic_store(&calls, 0);
        for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, call_until_freed, NULL) == 0);
        while (atomic_load(&calls) < 2 * THREADS) sched_yield();
        CHECK(antenv_client_free(client) == ANTENV_OK);
        if (round % 2) CHECK(antenv_pager_free(pager) == ANTENV_OK);
        for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(antenv_pager_free(pager) == (round % 2 ? ANTENV_INVALID_HANDLE : ANTENV_OK));
    }
    puts("threads: as it should be");
    return 0;
}
