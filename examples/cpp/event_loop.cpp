// Many polls of a work queue in flight from one thread, in a loop over poll() that can wait for other things, too. Ctrl-C ends it.
//
//     event_loop 100
//
// Reads ANTHROPIC_API_KEY and, if it is set, ANTHROPIC_BASE_URL.
#include <antenv.hpp>
#include <csignal>
#include <iostream>
#include <poll.h>

static volatile std::sig_atomic_t stop = 0;

int main(int argc, char **argv) try {
    const std::uint64_t many = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100;
    std::signal(SIGINT, [](int) { stop = 1; });

    antenv::client client;
    std::string made = client.environments().create(R"({"name":"event loop","config":{"type":"self_hosted"}})");
    std::string id = antenv::json_get(made, "/id").value();
    std::string params = R"({"block_ms":999,"environment_id":")" + id + "\"}";

    antenv::queue queue;
    std::vector<antenv::ticket> tickets(many);
    for (std::uint64_t tag = 0; tag < many; tag++) queue.submit(client, "work.poll", params, tag, &tickets[tag]);

    std::uint64_t none = 0, cancelled = 0, failed = 0;
    pollfd watched[] = {{queue.fd(), POLLIN, 0}}; // and the loop's other descriptors
    for (std::uint64_t left = many; left > 0;) {
        if (stop || left == 1) { // cancels the last one, to show how
            for (const antenv::ticket &ticket : tickets) ticket.cancel();
        }
        if (poll(watched, 1, 100) <= 0) continue; // wakes up to check `stop`
        for (const antenv::completion &done : queue.next_many(std::chrono::seconds(0))) {
            left--;
            if (done.result) none += *done.result == "null";
            else if (done.result.error().status() == ANTENV_CANCELLED) cancelled++;
            else failed++;
        }
    }
    client.environments().remove(id);
    std::cout << "polls: " << many << ", of which failed: " << failed << "\n";
    return none + cancelled == many ? 0 : 1;
} catch (const antenv::error &error) {
    std::cerr << error.what() << "\n";
    return 1;
}
