// Serves a work queue, four items at a time, until Ctrl-C or SIGTERM. Then it claims no more, and finishes what it has begun.
//
// Reads ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and, if it is set, ANTHROPIC_BASE_URL.
#include <antenv.hpp>
#include <atomic>
#include <csignal>
#include <iostream>
#include <thread>
#include <unistd.h>

// The work for an item. It gives up when the lease is no longer held: another worker may have the item then.
static void serve(const antenv::lease &lease) {
    for (int step = 0; step < 3; step++) {
        if (std::optional<std::string> state = lease.wait(std::chrono::milliseconds(100))) { // stands for a part of the work
            std::cerr << "given up: " + *state + "\n";
            return;
        }
    }
    std::cout << "served: " + lease.item() + "\n" << std::flush;
}

int main() try {
    sigset_t ends; // one thread waits for these signals: no other is interrupted
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, nullptr);

    const char *key = std::getenv("ANTHROPIC_ENVIRONMENT_KEY");
    antenv::client client(R"({"environment_key":")" + std::string(key ? key : "") + "\"}");
    antenv::worker worker = client.worker(R"({"concurrency":4})");
    std::atomic<int> failed = 0;
    std::vector<std::thread> threads;
    for (int number = 0; number < 4; number++) {
        threads.emplace_back([&] {
            try {
                for (antenv::lease &lease : worker) serve(lease); // the loop stops its item
            } catch (const antenv::error &error) {
                if (failed++ == 0) std::cerr << std::string(error.what()) + "\n";
                kill(getpid(), SIGTERM); // the other threads must end, too
            }
        });
    }
    int number;
    sigwait(&ends, &number);
    worker.stop();
    for (std::thread &thread : threads) thread.join();
    std::cout << "stats: " << worker.stats() << "\n";
    return failed ? 1 : 0;
} catch (const antenv::error &error) {
    std::cerr << error.what() << "\n";
    return 1;
}
