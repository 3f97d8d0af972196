// Serves the sessions of an environment's work queue, one after the other: its agents may call the tools "time" and "add" of this program.
//
//     session [WORKER] [SESSION]     their configuration, such as session '{"drain":true}', which ends when the queue is empty
//
// Reads ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and ANTHROPIC_BASE_URL.
#include <antenv.hpp>
#include <ctime>
#include <iostream>
#include <stdexcept>

// Returns a member of a call's input. An exception is what the agent reads.
static double number(const antenv::tool_call &call, const char *name) {
    std::optional<std::string> value = antenv::json_get(call.input(), std::string("/") + name);
    if (!value) throw std::invalid_argument(std::string(name) + " is missing");
    return std::stod(*value);
}

static std::string now(const antenv::tool_call &) {
    char text[64];
    std::time_t time = std::time(nullptr);
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&time));
    return text;
}

static std::string add(const antenv::tool_call &call) {
    char text[64];
    std::snprintf(text, sizeof text, "%g", number(call, "a") + number(call, "b"));
    return text;
}

int main(int argc, char **argv) try {
    const char *key = std::getenv("ANTHROPIC_ENVIRONMENT_KEY");
    antenv::client client(R"({"environment_key":")" + std::string(key ? key : "") + "\"}");
    antenv::tools tools{{"time", now}, {"add", add}};
    for (antenv::lease &lease : client.worker(argc > 1 ? argv[1] : nullptr)) { // the loop stops each item
        std::cout << "session: " << lease.run(tools, argc > 2 ? argv[2] : nullptr) << "\n";
    }
} catch (const antenv::error &error) {
    std::cerr << error.what() << "\n";
    return 1;
}
