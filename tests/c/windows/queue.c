/*
 * Waits for completions as an event loop on Windows does: for the queue's socket, by WSAPoll and by an event of the system.
 * argv[1]: the server's URL.
 */
#include <winsock2.h>

#include "../check.h"

enum { CALLS = 50 };

static int collect(antenv_queue *queue) {
    antenv_completion done[8];
    size_t count = 0;
    antenv_status status = antenv_queue_next_many(queue, 0, done, 8, &count);
    CHECK(status == ANTENV_OK || (status == ANTENV_TIMEOUT && count == 0));
    for (size_t number = 0; number < count; number++) {
        CHECK(done[number].status == ANTENV_OK && strstr(done[number].json, "\"data\""));
        antenv_string_free(done[number].json);
    }
    return (int)count;
}

int main(int argc, char **argv) {
    WSADATA started;
    char *json = NULL;
    CHECK(argc == 2 && WSAStartup(MAKEWORD(2, 2), &started) == 0);
    antenv_client *client = connect_to(argv[1], "");
    antenv_queue *queue = NULL;
    EXPECT(antenv_queue_new(&queue, &json), ANTENV_OK, NULL);
    SOCKET ready = (SOCKET)antenv_queue_fd(queue);
    CHECK(antenv_queue_fd(queue) >= 0 && ready == (SOCKET)antenv_queue_fd(queue));
    WSAPOLLFD watched = {.fd = ready, .events = POLLRDNORM};
    CHECK(WSAPoll(&watched, 1, 0) == 0); /* nothing waits */

    for (int number = 0; number < CALLS; number++)
        EXPECT(antenv_submit(client, queue, "environments.list", NULL, 1, NULL, &json), ANTENV_OK, NULL);
    for (int left = CALLS; left > 0; left -= collect(queue))
        CHECK(WSAPoll(&watched, 1, 120000) == 1);
    CHECK(WSAPoll(&watched, 1, 0) == 0);

    WSAEVENT event = WSACreateEvent();
    CHECK(WSAEventSelect(ready, event, FD_READ) == 0);
    EXPECT(antenv_submit(client, queue, "environments.list", NULL, 2, NULL, &json), ANTENV_OK, NULL);
    CHECK(WSAWaitForMultipleEvents(1, &event, FALSE, 120000, FALSE) == WSA_WAIT_EVENT_0);
    CHECK(collect(queue) == 1);

    WSACloseEvent(event);
    CHECK(antenv_queue_free(queue) == ANTENV_OK && antenv_client_free(client) == ANTENV_OK);
    puts("queue on Windows: as it should be");
    return 0;
}
