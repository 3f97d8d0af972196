// Serving work, through the classes that throw: serving URL
#include "check.hpp"
#include <antenv.hpp>
#include <csignal>
#include <pthread.h>
#include <set>
#include <thread>

using std::chrono::milliseconds;
using std::chrono::seconds;

static_assert(!std::is_copy_constructible_v<antenv::worker> && std::is_nothrow_move_constructible_v<antenv::worker>);
static_assert(!std::is_copy_constructible_v<antenv::lease> && std::is_nothrow_move_assignable_v<antenv::lease>);
#if __cplusplus >= 202002L
static_assert(std::input_iterator<antenv::worker::iterator> && std::input_iterator<antenv::nothrow::worker::iterator>);
#endif

// Only a failing test waits for that long.
static constexpr seconds timeout(60);

template <class Function> static antenv::error thrown(const Function &function) {
    try {
        function();
    } catch (const antenv::error &error) {
        return error;
    }
    std::fputs("nothing was thrown\n", stderr);
    std::exit(1);
}

static std::string member(const std::string &json, const char *name) {
    return antenv::json_get(json, std::string("/") + name).value_or("");
}

// An environment, and what happens to it behind the workers' backs.
struct server {
    explicit server(const char *url) : owner(std::string(R"({"api_key":"k","base_url":")") + url + "\"}") {
        environment = member(owner.environments().create(R"({"name":"hosts","config":{"type":"self_hosted"}})"), "id");
        key = member(control("environment_keys", "{}"), "environment_key");
    }
    std::string control(const std::string &path, std::string body) const {
        if (body.front() == '{') body.insert(1, "\"environment_id\":\"" + environment + (body == "{}" ? "\"" : "\","));
        return owner.request("POST", "/_emulator/" + path, "{\"body\":" + body + "}");
    }
    std::string enqueue() const { return member(control("work", "{}"), "id"); }
    std::string state_of(const std::string &id) const {
        return member(owner.environments().work().retrieve(environment, id), "state");
    }
    antenv::worker worker(const std::string &more = "") const {
        return owner.worker("{\"environment_id\":\"" + environment + "\",\"environment_key\":\"" + key + "\"" + more + "}");
    }
    antenv::client owner;
    std::string environment, key;
};

static antenv::lease taken(const antenv::worker &worker) {
    antenv::claimed next = worker.next(timeout);
    CHECK(next.status == ANTENV_OK && next.lease);
    return *std::move(next.lease);
}

static void items_are_served_in_a_loop_and_each_is_stopped(const server &server) {
    std::set<std::string> wanted, served;
    for (int number = 0; number < 4; number++) wanted.insert(server.enqueue());
    antenv::worker worker = server.worker();
    std::vector<std::thread> threads;
    for (antenv::lease &lease : worker) {
        std::string id = member(lease.item(), "id");
        CHECK(served.insert(id).second && server.state_of(id) == "active" && member(lease.item(), "secret") != "");
        if (served.size() == 1) CHECK(member(lease.finish(), "state") == "stopped");
        if (served.size() == 2) threads.emplace_back([lease = std::move(lease)] { CHECK(member(lease.state(), "state") == "held"); });
        if (served.size() == 4) worker.stop(); // the loop comes to its end
    }
    for (std::thread &thread : threads) thread.join();
    CHECK(served == wanted);
    for (const std::string &id : wanted) CHECK(server.state_of(id) == "stopped");
    CHECK(worker.next().status == ANTENV_DONE && !worker.next(seconds(0)).lease);
    CHECK(worker.stats().find("\"finished\":4") != std::string::npos);
    CHECK(worker.metrics().find("antenv_worker_claimed_total") != std::string::npos);
    for (antenv::lease &lease : worker) CHECK(lease.item() == "there is none");
}

static void however_a_lease_is_left_its_item_is_stopped(const server &server) {
    antenv::worker worker = server.worker();
    std::string broken_out_of = server.enqueue();
    for (antenv::lease &lease : worker) {
        CHECK(member(lease.item(), "id") == broken_out_of);
        break;
    }
    CHECK(server.state_of(broken_out_of) == "stopped");
    std::string thrown_out_of = server.enqueue();
    try {
        for (antenv::lease &lease : worker) throw lease.item();
    } catch (const std::string &item) {
        CHECK(member(item, "id") == thrown_out_of && server.state_of(thrown_out_of) == "stopped");
    }
    std::string assigned_over = server.enqueue();
    antenv::lease lease = taken(worker);
    lease = antenv::lease(nullptr);
    CHECK(server.state_of(assigned_over) == "stopped" && lease.item().empty());
    CHECK(thrown([&] { lease.finish(); }).status() == ANTENV_INVALID_HANDLE && lease.abandon() == ANTENV_INVALID_HANDLE);
    std::string abandoned = server.enqueue();
    taken(worker).abandon();
    CHECK(server.state_of(abandoned) == "active"); // its lease has to run out first
    std::string outlived = server.enqueue();
    lease = taken(worker);
    { antenv::worker gone(std::move(worker)); }
    CHECK(thrown([&] { worker.next(seconds(0)); }).status() == ANTENV_INVALID_HANDLE);
    CHECK(member(lease.state(), "state") == "held" && member(lease.finish(), "id") == outlived);
    CHECK(thrown([&] { lease.finish(); }).status() == ANTENV_INVALID_HANDLE);
}

static void nothing_is_handed_out_before_its_time(const server &server) {
    antenv::worker worker = server.worker();
    CHECK(worker.next(seconds(0)).status == ANTENV_TIMEOUT && worker.next(milliseconds(20)).status == ANTENV_TIMEOUT);
    std::string id = server.enqueue();
    antenv::lease lease = taken(worker);
    CHECK(!lease.wait(seconds(0)) && !lease.wait(milliseconds(20)));
    CHECK(thrown([&] { lease.wait(milliseconds(-7)); }).parameter() == "timeout_ms");
    CHECK(thrown([&] { worker.next(milliseconds(-7)); }).parameter() == "timeout_ms");
    CHECK(thrown([&] { lease.finish(R"({"forced":true})"); }).parameter() == "forced");
    CHECK(thrown([&] { lease.finish(std::string("{}\0", 3)); }).parameter() == "params_json");
    CHECK(thrown([&] { server.owner.worker(std::string("{}\0", 3)); }).parameter() == "config_json");
    CHECK(thrown([&] { server.worker(R"(,"concurrency":0)"); }).parameter() == "concurrency");
    antenv::client own = lease.client(); // with the token of the item, which reads the item's session and no other
    CHECK(thrown([&] { own.environments().list(); }).status() == ANTENV_PERMISSION_DENIED);
    std::thread other([&] {
        try {
            lease.wait(timeout);
            CHECK(false);
        } catch (const antenv::error &error) { // the second: it was finished before the wait began
            CHECK(error.status() == ANTENV_DONE || error.status() == ANTENV_INVALID_HANDLE);
        }
    });
    CHECK(member(lease.finish(R"({"force":false})"), "state") == "stopping");
    other.join();
    CHECK(server.state_of(id) == "stopping");
}

// Sends a signal to this thread until the wait has ended: one that arrives before the wait does not end it.
template <class Function> static void interrupted(const Function &wait) {
    std::signal(SIGUSR1, [](int) {});
    std::thread other([waiting = pthread_self()] {
        std::this_thread::sleep_for(milliseconds(100));
        pthread_kill(waiting, SIGUSR1);
    });
    wait();
    other.join();
}

static void a_signal_ends_the_wait_and_nothing_is_lost(const server &server) {
    antenv::worker worker = server.worker();
    interrupted([&] { CHECK(worker.next(timeout).status == ANTENV_INTERRUPTED); });
    interrupted([&] {
        antenv::error error = thrown([&] {
            for (antenv::lease &lease : worker) CHECK(lease.item() == "there is none");
        });
        CHECK(error.status() == ANTENV_INTERRUPTED && error.message() == "interrupted");
    });
    std::string id = server.enqueue();
    for (antenv::lease &lease : worker) {
        CHECK(member(lease.item(), "id") == id);
        break;
    }
}

static void a_lost_lease_is_reported_and_stops_nothing(const server &server) {
    antenv::worker worker = server.worker(R"(,"desired_ttl_seconds":2)");
    antenv::queue queue;
    server.enqueue();
    antenv::lease lease = taken(worker);
    lease.attach(queue, 7);
    server.control("clock", R"({"advance_ms":3000})");
    antenv::worker others = server.worker();
    antenv::lease taken_over = taken(others);
    CHECK(member(taken_over.item(), "id") == member(lease.item(), "id"));
    std::optional<std::string> state = lease.wait(timeout);
    CHECK(state && member(*state, "state") == "lost" && member(*state, "reason") == "taken");
    std::optional<antenv::completion> reported = queue.next(timeout);
    CHECK(reported && reported->tag == 7 && member(*reported->result, "state") == "lost" && !queue.next(seconds(0)));
    CHECK(thrown([&] { lease.finish(); }).status() == ANTENV_LEASE_LOST);
    CHECK(member(taken_over.state(), "state") == "held");
}

static void an_event_loop_needs_no_thread(const server &server) {
    antenv::worker worker = server.worker(R"(,"concurrency":3)");
    antenv::queue queue;
    worker.attach(queue, 1);
    std::set<std::string> wanted;
    for (int number = 0; number < 9; number++) wanted.insert(server.enqueue());
    std::vector<antenv::lease> held;
    std::size_t finished = 0, ended = 0;
    bool is_done = false;
    while (!is_done || finished < 9 || ended < 9) {
        std::optional<antenv::completion> done = queue.next(timeout);
        CHECK(done);
        if (done->tag == 1 && !done->result) {
            CHECK(done->result.error().status() == ANTENV_DONE);
            is_done = true;
        } else if (done->tag == 1) {
            held.push_back(*std::move(worker.next(seconds(0)).lease));
            CHECK(member(held.back().item(), "id") == member(*done->result, "work_id"));
            held.back().attach(queue, 2);
            held.back().submit_finish(queue, 3);
        } else if (done->tag == 2) {
            CHECK(done->result.error().status() == ANTENV_DONE);
            ended++;
        } else {
            CHECK(wanted.erase(member(*done->result, "id")) == 1);
            if (++finished == 9) worker.stop();
        }
    }
    CHECK(wanted.empty());
    CHECK(thrown([&] { held[0].submit_finish(queue, 3); }).status() == ANTENV_INVALID_HANDLE);
    CHECK(thrown([&] { held[0].attach(queue, 3); }).status() == ANTENV_INVALID_HANDLE);
    server.enqueue();
    antenv::worker other = server.worker();
    antenv::lease lease = taken(other);
    CHECK(thrown([&] { lease.submit_finish(queue, 3, "[]"); }).parameter() == "params_json");
    CHECK(thrown([&] { lease.submit_finish(queue, 3, std::string_view("{}\0", 3)); }).parameter() == "params_json");
}

static void a_key_that_is_refused_ends_the_worker(const server &server) {
    antenv::worker worker =
        server.owner.worker("{\"environment_id\":\"" + server.environment + "\",\"environment_key\":\"sk-ant-oat01-wrong\"}");
    CHECK(thrown([&] { worker.next(timeout); }).status() == ANTENV_AUTHENTICATION);
    antenv::error error = thrown([&] {
        for (antenv::lease &lease : worker) CHECK(lease.item() == "there is none");
    });
    CHECK(error.status() == ANTENV_AUTHENTICATION && error.http_status() == 401);
    antenv::queue queue;
    worker.attach(queue, 5);
    CHECK(queue.next(timeout)->result.error().status() == ANTENV_AUTHENTICATION);
}

static void leases_are_lost_when_the_library_shuts_down(const server &server) {
    antenv::worker worker = server.worker();
    server.enqueue();
    antenv::lease lease = taken(worker);
    CHECK(!antenv::shutdown(seconds(0))); // it does not wait for leases
    CHECK(member(*lease.wait(timeout), "reason") == "shutdown");
    CHECK(thrown([&] { lease.finish(); }).status() == ANTENV_LEASE_LOST);
    CHECK(worker.next(timeout).status == ANTENV_DONE);
    antenv::worker another = server.worker();
    std::string id = server.enqueue();
    CHECK(member(taken(another).item(), "id") == id);
    CHECK(server.state_of(id) == "stopped");
}

static void a_lease_goes_from_holder_to_holder(const server &server) {
    for (const char *more : {"", R"(,"heartbeat":false)"}) {
        antenv::worker worker = server.worker(more);
        std::string id = server.enqueue();
        antenv::lease lease = taken(worker);
        CHECK(member(lease.state(), "state") == (*more ? "claimed" : "held"));
        std::string handover = lease.release();
        CHECK(thrown([&] { lease.release(); }).status() == ANTENV_INVALID_HANDLE);
        for (int hop = 0; hop < 3; hop++) {
            std::string last = member(handover, "last_heartbeat"), config = "{";
            for (const char *name : {"work_id", "environment_id", "session_id", "work_secret"}) {
                config += '"' + std::string(name) + "\":\"" + member(handover, name) + "\",";
            }
            config += "\"expected_last_heartbeat\":" + (last == "null" ? last : '"' + last + '"') + "}";
            antenv::lease adopted = server.owner.adopt(config);
            CHECK(member(adopted.item(), "id") == id && member(adopted.item(), "data/id") == member(handover, "session_id"));
            CHECK(thrown([&] { server.owner.adopt(config); }).status() == ANTENV_LEASE_LOST);
            CHECK(server.state_of(id) == "active");
            if (hop < 2) handover = adopted.release();
        }
        CHECK(server.state_of(id) == "stopped"); // the last one was destroyed
    }
    CHECK(thrown([&] { server.owner.adopt(R"({"work_id":"w","environment_id":"e"})"); }).parameter() == "session_id");
}

int main(int, char **argv) {
    server server(argv[1]);
    items_are_served_in_a_loop_and_each_is_stopped(server);
    however_a_lease_is_left_its_item_is_stopped(server);
    nothing_is_handed_out_before_its_time(server);
    a_signal_ends_the_wait_and_nothing_is_lost(server);
    a_lost_lease_is_reported_and_stops_nothing(server);
    an_event_loop_needs_no_thread(server);
    a_key_that_is_refused_ends_the_worker(server);
    a_lease_goes_from_holder_to_holder(server);
    leases_are_lost_when_the_library_shuts_down(server);
    std::puts("serving: as it should be");
}
