// Streams and downloads, with exceptions and without: streaming URL FOLDER. The server's sessions are "three" (three events, then
// the end), "held" (one event, then nothing), "flood" (events without an end) and "cut" (one event, then a broken connection).
#include "check.hpp"
#include <antenv.hpp>
#include <atomic>
#include <csignal>
#include <fstream>
#include <pthread.h>
#include <thread>

using std::chrono::milliseconds;
namespace nothrow = antenv::nothrow;
using event_stream = nothrow::stream;

static_assert(!std::is_copy_constructible_v<event_stream> && !std::is_copy_assignable_v<event_stream>);
static_assert(std::is_nothrow_move_constructible_v<event_stream> && std::is_nothrow_move_assignable_v<event_stream>);
static_assert(std::is_nothrow_destructible_v<event_stream>);
static_assert(noexcept(std::declval<event_stream>().next()) && noexcept(++std::declval<event_stream::iterator &>()));
static_assert(noexcept(std::declval<event_stream>().attach(std::declval<nothrow::queue>(), 1)) && noexcept(std::declval<event_stream>().close()));
static_assert(noexcept(std::declval<nothrow::client>().stream("")) && noexcept(std::declval<nothrow::client>().download("", "", "")));
static_assert(noexcept(std::declval<nothrow::client>().sessions().events().stream("")));
#if __cplusplus >= 202002L
static_assert(std::input_iterator<event_stream::iterator>);
#endif

static const char *const OPEN = "sessions.events.stream", *const DOWNLOAD = "skills.versions.download";

static event_stream opened(const nothrow::client &client, const char *session, const char *params = nullptr) {
    antenv::result<event_stream> open = client.sessions().events().stream(session, params);
    CHECK(open);
    return *std::move(open);
}

static bool is_message(const std::string &event) {
    return *nothrow::json_get(event, "/type") == "agent.message";
}

static void events(const nothrow::client &client) {
    event_stream three = opened(client, "three");
    int many = 0;
    for (const antenv::result<std::string> &event : three) many += event && is_message(*event);
    CHECK(many == 3);
    for (int again = 0; again < 2; again++) {
        antenv::result<antenv::received> end = three.next();
        CHECK(end && !*end && end->status == ANTENV_DONE && end->event.empty());
    }

    event_stream held = opened(client, "held");
    antenv::result<antenv::received> first = held.next();
    CHECK(first && *first && is_message(first->event));
    CHECK(held.next(milliseconds(0))->status == ANTENV_TIMEOUT && held.next(milliseconds(1))->status == ANTENV_TIMEOUT);
    event_stream moved = std::move(held);
    CHECK(held.next().error().status() == ANTENV_INVALID_HANDLE && moved.next(milliseconds(0))->status == ANTENV_TIMEOUT);
    held = std::move(moved);
    CHECK(held.handle() && !moved.handle() && moved.close() == ANTENV_INVALID_HANDLE);

    event_stream silent = opened(client, "held", R"({"idle_timeout_ms":50})");
    CHECK(*silent.next());
    antenv::result<antenv::received> end = silent.next();
    CHECK(!end && end.error().status() == ANTENV_TIMEOUT && end.error().parameter() == "idle_timeout_ms");

    many = 0;
    for (const antenv::result<std::string> &event : opened(client, "flood")) {
        if (event && ++many == 1000) break;
    }
    CHECK(many == 1000);

    many = 0;
    for (const antenv::result<std::string> &event : opened(client, "cut")) {
        if (event) many++;
        else CHECK(many == 1 && event.error().status() == ANTENV_CONNECTION && many++);
    }
    CHECK(many == 2);
}

static void rejected(const nothrow::client &client) {
    CHECK(client.stream("sessions.retrieve").error().parameter() == "operation");
    CHECK(client.stream(OPEN, std::string(1, '\0')).error().parameter() == "params_json");
    CHECK(client.stream(OPEN, R"({"session_id":"three","idle_timeout_ms":0})").error().parameter() == "idle_timeout_ms");
    CHECK(client.sessions().events().stream(std::string(1, '\0')).error().parameter() == "session_id");
    CHECK(client.call(OPEN, R"({"session_id":"three"})").error().parameter() == "operation");
}

// A thread that waits is woken by a close from another one.
static void closed(const nothrow::client &client) {
    event_stream held = opened(client, "held");
    std::atomic<bool> waits = false;
    std::thread waiter([&] {
        CHECK(*held.next());
        waits = true;
        antenv_status status = held.next().error().status();
        CHECK(status == ANTENV_CLOSED || status == ANTENV_INVALID_HANDLE);
    });
    while (!waits) std::this_thread::yield();
    CHECK(held.close() == ANTENV_OK && held.close() == ANTENV_INVALID_HANDLE);
    waiter.join();
    CHECK(held.next().error().status() == ANTENV_INVALID_HANDLE);
}

// A signal handler ends a range-for, and the next one goes on.
static void interrupted(const nothrow::client &client) {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    CHECK(sigaction(SIGUSR1, &action, nullptr) == 0);
    event_stream held = opened(client, "held");
    std::atomic<bool> is_done = false;
    std::thread waiter([&] {
        int many = 0;
        for (int round = 0; round < 2; round++) {
            bool is_interrupted = false;
            for (const antenv::result<std::string> &event : held) {
                if (event) many++;
                else is_interrupted = event.error().status() == ANTENV_INTERRUPTED;
            }
            CHECK(is_interrupted);
        }
        CHECK(many <= 1 && held.next(milliseconds(0)));
        is_done = true;
    });
    while (!is_done) {
        pthread_kill(waiter.native_handle(), SIGUSR1);
        std::this_thread::sleep_for(milliseconds(1));
    }
    waiter.join();
}

static void queues(const nothrow::client &client) {
    antenv::result<nothrow::queue> queue = nothrow::queue::make();
    event_stream three = opened(client, "three");
    CHECK(*three.next() && three.attach(*queue, 7));
    for (int left = 2; left >= 0; left--) {
        antenv::completion done = **queue->next();
        CHECK(done.tag == 7 && (left ? is_message(*done.result) : done.result.error().status() == ANTENV_DONE));
    }
    event_stream held = opened(client, "held");
    CHECK(held.attach(*queue, 8) && (*queue->next())->tag == 8);
    CHECK(held.next().error().status() == ANTENV_INVALID_ARGUMENT);
    CHECK(held.attach(*queue, 8).error().status() == ANTENV_INVALID_ARGUMENT);
    antenv::result<event_stream> submitted = queue->submit_stream(client, OPEN, R"({"session_id":"three"})", 9);
    CHECK(submitted);
    for (int at = 0; at < 5; at++) {
        antenv::completion done = **queue->next();
        CHECK(done.tag == 9);
        if (at == 0) CHECK(*nothrow::json_get(*done.result, "/http_status") == "200");
        else CHECK(at < 4 ? is_message(*done.result) : done.result.error().status() == ANTENV_DONE);
    }
    CHECK(queue->submit_stream(client, "nonsense", {}, 1).error().parameter() == "operation");
    CHECK(queue->submit_stream(client, OPEN, std::string(1, '\0'), 1).error().parameter() == "params_json");
}

static void downloads(const nothrow::client &client, const std::string &folder) {
    std::string path = folder + "/skill.zip";
    antenv::result<std::string> about = client.skills().versions().download("archive", "1", path);
    CHECK(about && *nothrow::json_get(*about, "/bytes") == "7");
    std::string content;
    CHECK(std::getline(std::ifstream(path), content) && content == "archive");
    CHECK(client.download(DOWNLOAD, R"({"skill_id":"archive","version":"1"})", path));
    CHECK(client.skills().versions().download("archive", "1", folder + "/none/x").error().parameter() == "path");
    CHECK(client.skills().versions().download("archive", "1", std::string_view("a\0b", 3)).error().parameter() == "path");
    CHECK(client.skills().versions().download("archive", std::string(1, '\0'), path).error().parameter() == "version");
    const char *params = R"({"skill_id":"archive","version":"1"})", *unending = R"({"skill_id":"held","version":"1"})";
    antenv::result<nothrow::queue> queue = nothrow::queue::make();
    CHECK(queue->submit_download(client, DOWNLOAD, params, path, 5));
    antenv::completion done = **queue->next();
    CHECK(done.tag == 5 && *nothrow::json_get(*done.result, "/bytes") == "7");
    antenv::ticket ticket;
    CHECK(queue->submit_download(client, DOWNLOAD, unending, folder + "/unending", 6, &ticket) && !ticket.cancel());
    done = **queue->next();
    CHECK(done.tag == 6 && done.result.error().status() == ANTENV_CANCELLED);
    CHECK(queue->submit_download(client, DOWNLOAD, params, folder, 7).error().parameter() == "path");
    CHECK(queue->submit_download(client, DOWNLOAD, params, std::string(1, '\0'), 7).error().parameter() == "path");
}

#ifdef ANTENV_EXCEPTIONS
template <class Function> static antenv_status thrown(const Function &function) {
    try {
        function();
    } catch (const antenv::error &error) {
        return error.status();
    }
    return ANTENV_OK;
}

static void throwing(const antenv::client &client, const std::string &folder) {
    int many = 0;
    for (const std::string &event : client.sessions().events().stream("three")) many += is_message(event);
    CHECK(many == 3);
    antenv_status status = thrown([&] {
        for (const std::string &event : client.stream(OPEN, R"({"session_id":"cut"})")) many += is_message(event);
    });
    CHECK(many == 4 && status == ANTENV_CONNECTION);
    antenv::stream held = client.sessions().events().stream("held");
    CHECK(held.next() && held.next(milliseconds(0)).status == ANTENV_TIMEOUT);
    antenv::stream moved = std::move(held);
    CHECK(thrown([&] { held.next(); }) == ANTENV_INVALID_HANDLE);
    CHECK(thrown([&] { client.stream("sessions.retrieve"); }) == ANTENV_INVALID_ARGUMENT);
    CHECK(thrown([&] { client.download(DOWNLOAD, "{}", folder + "/x"); }) == ANTENV_INVALID_ARGUMENT);
    antenv::queue queue;
    antenv::stream submitted = queue.submit_stream(client, OPEN, R"({"session_id":"held"})", 3);
    CHECK(queue.next()->tag == 3 && is_message(*queue.next()->result));
}
#endif

int main(int, char **argv) {
    std::string config = std::string(R"({"api_key":"k","base_url":")") + argv[1] + "\"}";
    nothrow::client client = *nothrow::client::make(config);
    events(client);
    rejected(client);
    closed(client);
    interrupted(client);
    queues(client);
    downloads(client, argv[2]);
#ifdef ANTENV_EXCEPTIONS
    throwing(antenv::client(config), argv[2]);
#endif
    event_stream last = opened(client, "held");
    CHECK(*last.next());
    antenv::shutdown(milliseconds(0)); // whether calls had ended in time does not matter here
    CHECK(last.next().error().status() == ANTENV_CANCELLED);
    std::puts("streaming: as it should be");
}
