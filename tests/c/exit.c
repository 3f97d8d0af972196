/* Leaves the process while calls are under way. argv[1]: the URL of a server that answers slowly, argv[2]: how to leave. */
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static antenv_client *client;
static atomic_int calling;

static void *call(void *unused) {
    char *json = NULL;
    (void)unused;
    atomic_fetch_add(&calling, 1);
    antenv_environments_retrieve(client, "env_1", NULL, &json);
    antenv_string_free(json);
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t thread;
    CHECK(argc == 3);
    client = connect_to(argv[1], "");
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&thread, NULL, call, NULL) == 0);
        CHECK(pthread_detach(thread) == 0);
    }
    while (atomic_load(&calling) < 4) sched_yield();
    /* The test has the server hold requests, and checks that some have arrived before it lets this go on. */
    if (getchar() == EOF) return 2;
    if (strcmp(argv[2], "free") == 0) antenv_client_free(client);
    if (strcmp(argv[2], "_exit") == 0) _exit(0);
    return 0;
}
