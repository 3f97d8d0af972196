// Creates an environment, lists all, and asks for one that does not exist.
// Reads ANTHROPIC_API_KEY and, if it is set, ANTHROPIC_BASE_URL.
#include <antenv.hpp>
#include <iostream>

int main() try {
    antenv::client client;

    std::string created = client.environments().create(R"({"name":"quick start","config":{"type":"self_hosted"}})");
    std::cout << "created: " << created << "\n";

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
