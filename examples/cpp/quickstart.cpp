// Makes an environment, lists all there are, and looks for one that is not there.
// Reads ANTHROPIC_API_KEY and, if it is set, ANTHROPIC_BASE_URL.
#include <antenv.hpp>
#include <iostream>

int main() try {
    antenv::client client;

    std::string made = client.environments().create(R"({"name":"quick start","config":{"type":"self_hosted"}})");
    std::cout << "created: " << made << "\n";

    for (const std::string &environment : client.pager("environments.list")) {
        std::cout << "listed: " << environment << "\n";
    }

    try {
        client.environments().retrieve("env_missing");
    } catch (const antenv::error &error) {
        std::cout << error.what() << "\n"; // environments.retrieve: 404 not_found: There is no environment ...
    }
} catch (const antenv::error &error) {
    std::cerr << error.what() << "\n";
    return 1;
}
