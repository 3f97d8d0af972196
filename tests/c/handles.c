/*
 * As many clients as a process may have at a time, on a system whose pointers have 32 bits; on any other, more than that.
 */
#include "check.h"

enum { MOST = 2048 };

int main(void) {
    static antenv_client *clients[MOST + 1];
    char *json = NULL;
    int rounds = sizeof(void *) == 4 ? 2 : 1; /* what was freed may be used again */
    for (int round = 0; round < rounds; round++) {
        for (int number = 0; number < MOST; number++)
            clients[number] = connect_to("http://127.0.0.1:1", "");
        if (sizeof(void *) == 4)
            EXPECT(antenv_client_new("{\"api_key\":\"k\"}", &clients[MOST], &json), ANTENV_INTERNAL, "2048 handles of a client are alive");
        else
            clients[MOST] = connect_to("http://127.0.0.1:1", "");
        for (int number = 0; number <= MOST; number++)
            CHECK(antenv_client_free(clients[number]) == (clients[number] ? ANTENV_OK : ANTENV_INVALID_HANDLE));
    }
    puts("handles: as it should be");
    return 0;
}
