// Sends a message to a session, and prints the session's events until the agent's turn ends: stream SESSION_ID
//
// The stream is opened first: it has only what happens after that. Reads ANTHROPIC_API_KEY and, if it is set, ANTHROPIC_BASE_URL.
#include <antenv.hpp>
#include <iostream>

// Returns whether an event ends the turn: the session is over, or idle and not because it waits for the results of tools.
static bool ends_turn(const std::string &event) {
    std::optional<std::string> type = antenv::json_get(event, "/type");
    if (type == "session.status_terminated") return true;
    return type == "session.status_idle" && antenv::json_get(event, "/stop_reason/type") != "requires_action";
}

int main(int argc, char **argv) try {
    if (argc != 2) {
        std::cerr << "usage: stream SESSION_ID\n";
        return 2;
    }
    antenv::client client;
    antenv::stream stream = client.sessions().events().stream(argv[1]);
    client.sessions().events().send(argv[1],
        R"({"events":[{"type":"user.message","content":[{"type":"text","text":"What can you do?"}]}]})");

    for (const std::string &event : stream) {
        std::cout << event << "\n";
        if (ends_turn(event)) return 0;
    }
    std::cerr << "the server has ended the stream\n";
    return 1;
} catch (const antenv::error &error) {
    std::cerr << error.what() << "\n";
    return 1;
}
