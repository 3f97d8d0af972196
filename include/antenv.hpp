/*
 * antenv for C++17: RAII over antenv.h, header-only; include this one, antenv/ holds its parts. docs/cpp.md explains it; antenv.h
 * and docs/operations.md have each operation's parameters and results.
 *
 *     antenv::client client;                                     // credentials from environment variables
 *     std::string created = client.environments().create(R"({"name":"tests"})");
 *     for (const std::string &item : client.pager("environments.list")) std::puts(item.c_str());
 *     for (antenv::lease &lease : client.worker()) serve(lease.item());   // work; each item is stopped after it was served
 *     for (const std::string &event : client.sessions().events().stream(id)) std::puts(event.c_str());
 *
 * The same classes exist twice, from one template:
 *
 * antenv::client, pager, stream, queue, worker, lease, session   throw antenv::error; not available under -fno-exceptions
 * antenv::nothrow::client, pager and so on                       return antenv::result<...> and are noexcept
 *
 * JSON          goes in as text and comes out as std::string. Values with a `dump()`, such as nlohmann::json, are accepted as
 *               text, too; nlohmann::json::parse(client.environments().list()) is the way back; json_get reads single values.
 * Ownership     Objects own their handles: they can be moved, not copied, and free what they hold. A moved-from object holds
 *               nothing: using it gives ANTENV_INVALID_HANDLE. So does using environments() or work() after their client is gone.
 * Threads       Every const member function may be called from any thread, concurrently. Assigning to an object, moving from it
 *               and destroying it must not overlap with other uses, as always.
 * Blocking      "Blocks" means: until the call is done, for at most its `timeout_ms`, retries and waits included.
 * Out of memory Functions that are noexcept end the program, the others throw std::bad_alloc: nothing leaks, but the result is
 *               lost. (A work item returns to its queue.)
 *
 * Parameters with the same meaning everywhere
 *
 * config, params  a JSON object, as antenv.h describes it for the function of that name; nothing or nullptr: none
 * environment_id  identifier of an environment, "env_..."
 * work_id         identifier of a work item, "work_..."
 * timeout         how long to wait; zero does not wait, `forever` waits forever
 * queue, tag      the queue that receives the completion, and any number that comes back with it
 * operation       the name of an operation, such as "environments.list"
 * through         the client that makes the call
 */

#ifndef ANTENV_HPP
#define ANTENV_HPP

#include "antenv/operations.hpp"
#include "antenv/pager.hpp"
#include "antenv/result.hpp"
#include "antenv/session.hpp"
#include "antenv/stream.hpp"

namespace antenv {
inline namespace ANTENV_FLAVOUR {

/**
 * A ticket for a submitted call, which can cancel it. Destroying it does not cancel.
 */
class ticket {
public:
    /** Creates one without a call. */
    ticket() noexcept = default;
    /** Takes ownership of a ticket of the C interface. */
    explicit ticket(antenv_ticket *handle) noexcept : handle_(handle) {}
    /** Cancels the call, whose completion still arrives. Cancelling again changes nothing. Does not block. */
    antenv_status cancel() const noexcept { return antenv_ticket_cancel(handle_.get()); }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_ticket *handle() const noexcept { return handle_.get(); }

private:
    detail::owner<antenv_ticket, antenv_ticket_free> handle_;
};

/**
 * The result of a submitted call.
 */
struct completion {
    /** The tag that was given with the call. */
    std::uint64_t tag;
    /** The call's JSON, or its error. */
    antenv::result<std::string> result;
};

template <class Policy> class basic_client;
template <class Policy> class basic_worker;
template <class Policy> class basic_lease;

/**
 * A client: credentials, defaults, and a pool of connections. Create one per credential and keep it; threads may share it.
 */
template <class Policy> class basic_client {
public:
    template <class T> using of = typename Policy::template of<T>;

    /** Creates a client; what the configuration leaves out comes from environment variables. Throws antenv::error. */
    template <class F = Policy, class = std::enable_if_t<!F::is_noexcept>>
    explicit basic_client(const text &config = {}) : basic_client(make(config)) {}
    /** Takes ownership of a client of the C interface. */
    explicit basic_client(antenv_client *handle) noexcept : handle_(handle) {}
    /** Creates a client; what the configuration leaves out comes from environment variables. Reads files; does not block. */
    static of<basic_client> make(const text &config = {}) noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"config_json", &config}})) return Policy::template give<basic_client>(std::move(*cut));
        return Policy::give(detail::make_handle<basic_client, antenv_client>(
            [&](antenv_client **out, char **error) { return antenv_client_new(config.c_str(), out, error); }));
    }
    /** Creates a client on the same connections, with another credential or other defaults. Does not block. */
    of<basic_client> derive(const text &config = {}) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"config_json", &config}})) return Policy::template give<basic_client>(std::move(*cut));
        return Policy::give(detail::make_handle<basic_client, antenv_client>([&](antenv_client **out, char **error) {
            return antenv_client_derive(handle_.get(), config.c_str(), out, error);
        }));
    }
    /** Returns the operations on environments. */
    basic_environments<Policy> environments() const noexcept { return basic_environments<Policy>(handle_.get()); }
    /** Returns the operations on sessions and their events. */
    basic_sessions<Policy> sessions() const noexcept { return basic_sessions<Policy>(handle_.get()); }
    /** Returns the operations on the versions of skills. */
    basic_skills<Policy> skills() const noexcept { return basic_skills<Policy>(handle_.get()); }
    /** Returns the operations on the memories of memory stores. */
    basic_memory_stores<Policy> memory_stores() const noexcept { return basic_memory_stores<Policy>(handle_.get()); }
    /** Calls an operation by its name, such as "work.poll", with identifiers among the parameters. Blocks. */
    of<std::string> call(const text &operation, const text &params = {}) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"operation", &operation}, {"params_json", &params}})) {
            return Policy::template give<std::string>(std::move(*cut));
        }
        return Policy::give(detail::json(
            [&](char **out) { return antenv_call(handle_.get(), operation.c_str(), params.c_str(), out); }));
    }
    /** Makes a request to any other endpoint. Blocks. @param method Such as "POST". @param path Such as "/v1/sessions". */
    of<std::string> request(const text &method, const text &path, const text &params = {}) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"method", &method}, {"path", &path}, {"params_json", &params}})) {
            return Policy::template give<std::string>(std::move(*cut));
        }
        return Policy::give(detail::json(
            [&](char **out) { return antenv_request(handle_.get(), method.c_str(), path.c_str(), params.c_str(), out); }));
    }
    /** Creates a pager over a list, such as "environments.list". Nothing is sent yet; does not block. */
    of<basic_pager<Policy>> pager(const text &operation, const text &params = {}) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"operation", &operation}, {"params_json", &params}})) {
            return Policy::template give<basic_pager<Policy>>(std::move(*cut));
        }
        return Policy::give(detail::make_handle<basic_pager<Policy>, antenv_pager>([&](antenv_pager **out, char **error) {
            return antenv_pager_new(handle_.get(), operation.c_str(), params.c_str(), out, error);
        }));
    }
    /**
     * Adopts the lease on an item that another process claimed and released; what the configuration leaves out comes from
     * environment variables. antenv_lease_adopt documents the keys, the errors, and for how long it blocks.
     */
    of<basic_lease<Policy>> adopt(const text &config = {}) const noexcept(Policy::is_noexcept);
    /**
     * Opens a stream of events ("sessions.events.stream"), with identifiers among the parameters. antenv_stream_open documents
     * those, and the errors. Blocks until the server has responded.
     */
    of<basic_stream<Policy>> stream(const text &operation, const text &params = {}) const noexcept(Policy::is_noexcept) {
        return detail::open_stream<Policy>(handle_.get(), operation, params);
    }
    /**
     * Downloads to a file ("skills.versions.download"), with identifiers among the parameters; returns `{"path","bytes",
     * "content_type"}`. The file is whole or not there; antenv_download documents the rest. Blocks until it is in its place.
     *
     * @param path Where to put the file; its folder must exist.
     */
    of<std::string> download(const text &operation, const text &params, const text &path) const noexcept(Policy::is_noexcept) {
        return detail::download<Policy>(handle_.get(), operation, params, path);
    }
    /**
     * Creates a worker, which claims items of a work queue; what the configuration leaves out comes from this client and from
     * environment variables. It claims nothing before it is asked for an item. Does not block.
     */
    of<basic_worker<Policy>> worker(const text &config = {}) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"config_json", &config}})) {
            return Policy::template give<basic_worker<Policy>>(std::move(*cut));
        }
        return Policy::give(detail::make_handle<basic_worker<Policy>, antenv_worker>([&](antenv_worker **out, char **error) {
            return antenv_worker_new(handle_.get(), config.c_str(), out, error);
        }));
    }
    /** Returns what the client did so far, as JSON. Does not block. */
    of<std::string> stats() const noexcept(Policy::is_noexcept) {
        return Policy::give(detail::json([&](char **out) { return antenv_client_stats(handle_.get(), out); }));
    }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_client *handle() const noexcept { return handle_.get(); }

private:
    detail::owner<antenv_client, antenv_client_free> handle_;
};

/**
 * A completion queue: calls are submitted without waiting, and their results collected. Destroying it cancels what is in flight.
 */
template <class Policy> class basic_queue {
public:
    template <class T> using of = typename Policy::template of<T>;

    /** Creates a queue. Throws antenv::error. */
    template <class F = Policy, class = std::enable_if_t<!F::is_noexcept>> basic_queue() : basic_queue(make()) {}
    /** Takes ownership of a queue of the C interface. */
    explicit basic_queue(antenv_queue *handle) noexcept : handle_(handle) {}
    /** Creates a queue. Does not block. */
    static of<basic_queue> make() noexcept(Policy::is_noexcept) {
        return Policy::give(detail::make_handle<basic_queue, antenv_queue>(antenv_queue_new));
    }
    /** Begins a call of any operation; one completion will arrive. Does not block. @param cancel Receives a ticket. */
    template <class F>
    of<void> submit(const basic_client<F> &through, const text &operation, const text &params, std::uint64_t tag,
        ticket *cancel = nullptr) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"operation", &operation}, {"params_json", &params}})) {
            return Policy::template give<void>(std::move(*cut));
        }
        return begin(cancel, [&](antenv_ticket **out, char **error) {
            return antenv_submit(through.handle(), handle_.get(), operation.c_str(), params.c_str(), tag, out, error);
        });
    }
    /** Begins a request to any other endpoint; one completion will arrive. Does not block. @param cancel Receives a ticket. */
    template <class F>
    of<void> submit_request(const basic_client<F> &through, const text &method, const text &path, const text &params,
        std::uint64_t tag, ticket *cancel = nullptr) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"method", &method}, {"path", &path}, {"params_json", &params}})) {
            return Policy::template give<void>(std::move(*cut));
        }
        return begin(cancel, [&](antenv_ticket **out, char **error) {
            return antenv_submit_request(
                through.handle(), handle_.get(), method.c_str(), path.c_str(), params.c_str(), tag, out, error);
        });
    }
    /**
     * Opens a stream without waiting for it; this queue receives that it is open, or why not, then the events and the end
     * (antenv_stream_submit). Destroying the stream also cancels the opening. Does not block.
     */
    template <class F>
    of<basic_stream<Policy>> submit_stream(const basic_client<F> &through, const text &operation, const text &params,
        std::uint64_t tag) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"operation", &operation}, {"params_json", &params}})) {
            return Policy::template give<basic_stream<Policy>>(std::move(*cut));
        }
        return Policy::give(detail::make_handle<basic_stream<Policy>, antenv_stream>([&](antenv_stream **out, char **error) {
            return antenv_stream_submit(
                through.handle(), handle_.get(), operation.c_str(), params.c_str(), tag, out, error);
        }));
    }
    /**
     * Begins a download to a file; one completion will arrive, with what antenv_download returns. A download that was cancelled
     * leaves no file. Does not block (antenv_download_submit). @param cancel Receives a ticket.
     */
    template <class F>
    of<void> submit_download(const basic_client<F> &through, const text &operation, const text &params, const text &path,
        std::uint64_t tag, ticket *cancel = nullptr) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"operation", &operation}, {"params_json", &params}, {"path", &path}})) {
            return Policy::template give<void>(std::move(*cut));
        }
        return begin(cancel, [&](antenv_ticket **out, char **error) {
            return antenv_download_submit(through.handle(), handle_.get(), operation.c_str(), params.c_str(), path.c_str(), tag,
                out, error);
        });
    }
    /**
     * Takes the next completion; nothing when none arrived in time, or when a signal handler ran in this thread. Blocks for at
     * most `timeout`.
     */
    of<std::optional<completion>> next(std::chrono::milliseconds timeout = forever) const noexcept(Policy::is_noexcept) {
        antenv_completion done;
        antenv_status status = antenv_queue_next(handle_.get(), timeout.count(), &done);
        std::optional<completion> outcome;
        if (status == ANTENV_OK) outcome.emplace(taken(done));
        else if (!has_none(status)) return Policy::template give<std::optional<completion>>(error(status, {}));
        return Policy::template give<std::optional<completion>>(std::move(outcome));
    }
    /**
     * Takes all completions that are there, waiting for the first; none in the cases of next(). Blocks for at most `timeout`.
     *
     * @param most How many at most, up to 64.
     */
    of<std::vector<completion>> next_many(std::chrono::milliseconds timeout = forever, std::size_t most = 64) const
        noexcept(Policy::is_noexcept) {
        struct batch {
            antenv_completion done[64];
            std::size_t at = 0, count = 0;
            ~batch() {
                while (at < count) antenv_string_free(done[at++].json);
            }
        } batch;
        antenv_status status = antenv_queue_next_many(
            handle_.get(), timeout.count(), batch.done, most < 64 ? most : 64, &batch.count);
        if (status != ANTENV_OK && !has_none(status)) {
            return Policy::template give<std::vector<completion>>(error(status, {}));
        }
        std::vector<completion> outcomes;
        outcomes.reserve(batch.count);
        while (batch.at < batch.count) outcomes.push_back(taken(batch.done[batch.at++]));
        return Policy::template give<std::vector<completion>>(std::move(outcomes));
    }
    /** Returns the descriptor to watch: readable exactly while a completion waits. Do not read, write or close it. -1: none. */
    int fd() const noexcept { return antenv_queue_fd(handle_.get()); }
    /** Delivers the library's log records to this queue. Does not block. @param filter As for antenv_log_subscribe. */
    of<void> subscribe_log(const text &filter, std::uint64_t tag) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"filter", &filter}})) return Policy::template give<void>(std::move(*cut));
        char *text = nullptr;
        antenv_status status = antenv_log_subscribe(handle_.get(), filter.c_str(), tag, &text);
        if (status != ANTENV_OK) return Policy::template give<void>(error(status, detail::take(text)));
        return Policy::template give<void>({});
    }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_queue *handle() const noexcept { return handle_.get(); }

private:
    static bool has_none(antenv_status status) noexcept {
        return status == ANTENV_TIMEOUT || status == ANTENV_INTERRUPTED;
    }
    static completion taken(const antenv_completion &done) {
        std::string json = detail::take(done.json);
        if (done.status == ANTENV_OK) return {done.tag, std::move(json)};
        return {done.tag, error(done.status, std::move(json))};
    }
    template <class Function> of<void> begin(ticket *cancel, const Function &function) const {
        antenv_ticket *handle = nullptr;
        char *text = nullptr;
        antenv_status status = function(cancel ? &handle : nullptr, &text);
        if (status != ANTENV_OK) return Policy::template give<void>(error(status, detail::take(text)));
        if (cancel) *cancel = ticket(handle);
        return Policy::template give<void>({});
    }
    detail::owner<antenv_queue, antenv_queue_free> handle_;
};

namespace detail {

/** Finishes a lease, ignoring failures, and frees its handle in any case. */
inline antenv_status finish(antenv_lease *lease) noexcept {
    if (!lease) return ANTENV_INVALID_HANDLE;
    char *json = nullptr;
    antenv_status status = antenv_lease_finish(lease, nullptr, &json);
    antenv_string_free(json);
    antenv_lease_abandon(lease); // in a forked child, which cannot finish it, the handle is not freed yet
    return status;
}

} // namespace detail

/**
 * A lease on a work item: the library keeps it by heartbeats, whatever the program's threads do.
 *
 * Destroying a lease finishes it, if it was not ended before: the item is stopped, which blocks for at most a minute, and
 * failures are ignored. To have the item served again, call abandon().
 */
template <class Policy> class basic_lease {
public:
    template <class T> using of = typename Policy::template of<T>;
    /** Takes ownership of a lease of the C interface. @param item What item() returns. */
    explicit basic_lease(antenv_lease *handle, std::string item = {}) noexcept : handle_(handle), item_(std::move(item)) {}
    /** Returns the work item's JSON, verbatim, its `secret` too; of an adopted lease, what is known of the item. */
    const std::string &item() const noexcept { return item_; }
    /** Returns the lease's state, as JSON; antenv_lease_state documents its members. Does not block. */
    of<std::string> state() const noexcept(Policy::is_noexcept) {
        return Policy::give(detail::json([&](char **out) { return antenv_lease_state(handle_.get(), out); }));
    }
    /**
     * Waits until the lease is lost, or its item is to be stopped. Returns the state; nothing while it is still held. When
     * another thread ended the lease, that is an error, ANTENV_DONE. A signal does not end the wait. Blocks for at most
     * `timeout`.
     */
    of<std::optional<std::string>> wait(std::chrono::milliseconds timeout = forever) const noexcept(Policy::is_noexcept) {
        using outcome = std::optional<std::string>;
        result<std::string> state =
            detail::json([&](char **out) { return antenv_lease_wait(handle_.get(), timeout.count(), out); });
        if (state) return Policy::template give<outcome>(outcome(*std::move(state)));
        if (state.error().status() == ANTENV_TIMEOUT) return Policy::template give<outcome>(outcome());
        return Policy::template give<outcome>(state.error());
    }
    /** Waits until the lease is lost, also while its item is to be stopped. Otherwise as wait(). */
    of<std::optional<std::string>> wait_lost(std::chrono::milliseconds timeout = forever) const noexcept(Policy::is_noexcept) {
        using outcome = std::optional<std::string>;
        result<std::string> state =
            detail::json([&](char **out) { return antenv_lease_wait_lost(handle_.get(), timeout.count(), out); });
        if (state) return Policy::template give<outcome>(outcome(*std::move(state)));
        if (state.error().status() == ANTENV_TIMEOUT) return Policy::template give<outcome>(outcome());
        return Policy::template give<outcome>(state.error());
    }
    /** Reports by one completion that the lease is lost; ANTENV_DONE: it was ended. Does not block. */
    template <class F>
    of<void> attach_lost(const basic_queue<F> &queue, std::uint64_t tag) const noexcept(Policy::is_noexcept) {
        return detail::done<Policy>(antenv_lease_attach_lost(handle_.get(), queue.handle(), tag));
    }
    /** Reports by one completion that the lease is no longer simply held; ANTENV_DONE: it was ended. Does not block. */
    template <class F>
    of<void> attach(const basic_queue<F> &queue, std::uint64_t tag) const noexcept(Policy::is_noexcept) {
        return detail::done<Policy>(antenv_lease_attach(handle_.get(), queue.handle(), tag));
    }
    /** Creates a client with the item's own token, on the worker's connections. It may outlive the lease. Does not block. */
    of<basic_client<Policy>> client() const noexcept(Policy::is_noexcept) {
        return Policy::give(detail::make_handle<basic_client<Policy>, antenv_client>(
            [&](antenv_client **out, char **error) { return antenv_lease_client(handle_.get(), out, error); }));
    }
    /**
     * Begins to serve the item's session. @param config Such as {"tools":["weather"]}; antenv_session_new documents the keys and
     * the errors. Does not block.
     */
    of<basic_session<Policy>> serve(const text &config) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"config_json", &config}})) {
            return Policy::template give<basic_session<Policy>>(std::move(*cut));
        }
        return Policy::give(detail::make_handle<basic_session<Policy>, antenv_session>([&](antenv_session **out, char **error) {
            return antenv_session_new(handle_.get(), config.c_str(), out, error);
        }));
    }
    /**
     * Serves the item's session with these tools to its end, and returns why it is over: serve(), and run() of the session. The
     * lease is as it was. @param config As for serve(), without `tools`. Blocks until the session is over.
     */
    of<std::string> run(const basic_tools<Policy> &tools, const text &config = {}) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"config_json", &config}})) return Policy::template give<std::string>(std::move(*cut));
        std::string names;
        for (const auto &tool : tools) names += (names.empty() ? "" : ",") + detail::quoted(tool.first);
        std::string all = detail::with_members("\"tools\":[" + names + "]", config);
        auto session = detail::make_handle<basic_session<Policy>, antenv_session>([&](antenv_session **out, char **error) {
            return antenv_session_new(handle_.get(), all.c_str(), out, error);
        });
        if (!session) return Policy::template give<std::string>(session.error());
        return session->run(tools);
    }
    /**
     * Stops the item and ends the lease; returns the item, or `null`. The lease is ended even if this fails, except with
     * ANTENV_INVALID_ARGUMENT. Ending it again gives ANTENV_INVALID_HANDLE. Blocks for at most the `timeout_ms` in `params`.
     */
    of<std::string> finish(const text &params = {}) const noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"params_json", &params}})) return Policy::template give<std::string>(std::move(*cut));
        return Policy::give(
            detail::json([&](char **out) { return antenv_lease_finish(handle_.get(), params.c_str(), out); }));
    }
    /** Finishes the lease without waiting: one completion has the result of finish(). Does not block. */
    template <class F>
    of<void> submit_finish(const basic_queue<F> &queue, std::uint64_t tag, const text &params = {}) const
        noexcept(Policy::is_noexcept) {
        if (auto cut = detail::cut_short({{"params_json", &params}})) return Policy::template give<void>(std::move(*cut));
        char *text = nullptr;
        antenv_status status = antenv_lease_submit_finish(handle_.get(), params.c_str(), queue.handle(), tag, &text);
        if (status != ANTENV_OK) return Policy::template give<void>(error(status, detail::take(text)));
        return Policy::template give<void>({});
    }
    /**
     * Ends the lease so that another process can go on with it, and returns what that must know, as JSON with secrets;
     * antenv_lease_release documents its members. Nothing is sent any more. The lease is ended even if this fails. Blocks
     * while the result of a heartbeat is unknown.
     */
    of<std::string> release() const noexcept(Policy::is_noexcept) {
        return Policy::give(detail::json([&](char **out) { return antenv_lease_release(handle_.get(), out); }));
    }
    /** Ends the lease without stopping the item, which the queue then hands out again. Does not block. */
    antenv_status abandon() const noexcept { return antenv_lease_abandon(handle_.get()); }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_lease *handle() const noexcept { return handle_.get(); }

private:
    detail::owner<antenv_lease, detail::finish> handle_;
    std::string item_;
};

template <class Policy>
auto basic_client<Policy>::adopt(const text &config) const noexcept(Policy::is_noexcept) -> of<basic_lease<Policy>> {
    using lease = basic_lease<Policy>;
    if (auto cut = detail::cut_short({{"config_json", &config}})) return Policy::template give<lease>(std::move(*cut));
    struct unclaimed {
        antenv_lease *handle = nullptr;
        ~unclaimed() { antenv_lease_abandon(handle); }
    } taken;
    char *out = nullptr;
    antenv_status status = antenv_lease_adopt(handle_.get(), config.c_str(), &taken.handle, &out);
    std::string json = detail::take(out);
    if (status != ANTENV_OK) return Policy::template give<lease>(error(status, std::move(json)));
    return Policy::template give<lease>(lease(std::exchange(taken.handle, nullptr), std::move(json)));
}

/**
 * The result of waiting for a work item: its lease, or why there is none.
 */
template <class Policy> struct basic_claimed {
    /**
     * ANTENV_OK: there is one. ANTENV_TIMEOUT: none came in time. ANTENV_INTERRUPTED: a signal handler ran in the waiting thread.
     * ANTENV_DONE: nothing more will come.
     */
    antenv_status status;
    /** The lease, with ANTENV_OK. */
    std::optional<basic_lease<Policy>> lease;
};

/**
 * A worker: claims items of a self-hosted environment's work queue, and keeps their leases. Destroying it stops it; the leases
 * that it has handed out go on.
 *
 * Items come by next(), or in a range-for, which ends when nothing more will come. It finishes each lease at the end of the
 * loop's body, unless the lease was ended or moved away. (A nothrow worker returns results there, and an error is the last one.)
 * Threads may share a worker: each item goes to one of them. To serve four items at a time, configure "concurrency":4 and run
 * four loops, a thread each.
 *
 * When a signal handler runs in the waiting thread, a range-for ends with the error ANTENV_INTERRUPTED: what the handler requests
 * must not wait for the next item. Another range-for goes on from there. A program that ends by a signal should have a thread in
 * sigwait() that calls stop(): then the loops end by themselves.
 */
template <class Policy> class basic_worker {
public:
    template <class T> using of = typename Policy::template of<T>;
    using item = of<basic_lease<Policy>>;
    using claimed = basic_claimed<Policy>;
    /** Takes ownership of a worker of the C interface. */
    explicit basic_worker(antenv_worker *handle) noexcept : handle_(handle) {}
    /**
     * Waits for the next item and returns its lease; `status` says why there is none: none came in time, a signal handler ran in
     * this thread, or nothing more will come. An error: why the worker failed, from then on for every call. Blocks for at most
     * `timeout`.
     */
    of<claimed> next(std::chrono::milliseconds timeout = forever) const noexcept(Policy::is_noexcept) {
        return Policy::give(take(timeout));
    }

    /** The iterator of a range-for. */
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = item;
        using difference_type = std::ptrdiff_t;
        using pointer = item *;
        using reference = item &;
        iterator() noexcept = default;
        explicit iterator(const basic_worker *worker) noexcept(Policy::is_noexcept) : worker_(worker) { ++*this; }
        reference operator*() const noexcept { return *item_; }
        pointer operator->() const noexcept { return &*item_; }
        iterator &operator++() noexcept(Policy::is_noexcept) {
            item_.reset(); // stops the item first: by default a worker holds one at a time
            if (failed_) worker_ = nullptr;
            if (!worker_) return *this;
            result<claimed> taken = worker_->take(forever);
            if (taken && taken->status != ANTENV_OK && taken->status != ANTENV_DONE) taken = error(taken->status, {});
            failed_ = !taken;
            if (!taken) item_.emplace(Policy::template give<basic_lease<Policy>>(taken.error()));
            else if (taken->lease) item_.emplace(std::move(*taken->lease));
            else worker_ = nullptr;
            return *this;
        }
        void operator++(int) noexcept(Policy::is_noexcept) { ++*this; }
        bool operator==(const iterator &other) const noexcept { return worker_ == other.worker_; }
        bool operator!=(const iterator &other) const noexcept { return worker_ != other.worker_; }

    private:
        const basic_worker *worker_ = nullptr;
        mutable std::optional<item> item_;
        bool failed_ = false;
    };
    iterator begin() const noexcept(Policy::is_noexcept) { return iterator(this); }
    iterator end() const noexcept { return iterator(); }

    /**
     * Delivers items through a completion queue: one completion for each that is ready, after which next() with a timeout of zero
     * takes it; the last one has ANTENV_DONE, or the error for which the worker failed. From now on the worker claims as many
     * items as it may hold. Does not block.
     */
    template <class F>
    of<void> attach(const basic_queue<F> &queue, std::uint64_t tag) const noexcept(Policy::is_noexcept) {
        return detail::done<Policy>(antenv_worker_attach(handle_.get(), queue.handle(), tag));
    }
    /** Stops claiming: next() still returns what was claimed, and leases go on for `grace_ms`. Does not block. */
    of<void> stop() const noexcept(Policy::is_noexcept) { return detail::done<Policy>(antenv_worker_stop(handle_.get())); }
    /** Returns what the worker did so far, as JSON. Does not block. */
    of<std::string> stats() const noexcept(Policy::is_noexcept) {
        return Policy::give(detail::json([&](char **out) { return antenv_worker_stats(handle_.get(), out); }));
    }
    /** Returns the counts of stats() as text for Prometheus. Does not block. */
    of<std::string> metrics() const noexcept(Policy::is_noexcept) {
        return Policy::give(detail::json([&](char **out) { return antenv_worker_metrics(handle_.get(), out); }));
    }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_worker *handle() const noexcept { return handle_.get(); }

private:
    result<claimed> take(std::chrono::milliseconds timeout) const {
        struct unclaimed {
            antenv_lease *lease = nullptr;
            ~unclaimed() { antenv_lease_abandon(lease); }
        } taken;
        char *out = nullptr;
        antenv_status status = antenv_worker_next(handle_.get(), timeout.count(), &taken.lease, &out);
        std::string json = detail::take(out);
        if (status == ANTENV_OK) {
            return claimed{status, basic_lease<Policy>(std::exchange(taken.lease, nullptr), std::move(json))};
        }
        if (status == ANTENV_TIMEOUT || status == ANTENV_INTERRUPTED || status == ANTENV_DONE) return claimed{status, {}};
        return error(status, std::move(json));
    }
    detail::owner<antenv_worker, antenv_worker_free> handle_;
};

#ifdef ANTENV_EXCEPTIONS
using client = basic_client<throw_policy>;
using pager = basic_pager<throw_policy>;
using queue = basic_queue<throw_policy>;
using worker = basic_worker<throw_policy>;
using lease = basic_lease<throw_policy>;
using stream = basic_stream<throw_policy>;
using session = basic_session<throw_policy>;
using tool_call = basic_tool_call<throw_policy>;
using called = basic_called<throw_policy>;
using tools = basic_tools<throw_policy>;
using claimed = basic_claimed<throw_policy>;
#endif

namespace nothrow {
using client = basic_client<result_policy>;
using pager = basic_pager<result_policy>;
using queue = basic_queue<result_policy>;
using worker = basic_worker<result_policy>;
using lease = basic_lease<result_policy>;
using stream = basic_stream<result_policy>;
using session = basic_session<result_policy>;
using tool_call = basic_tool_call<result_policy>;
using called = basic_called<result_policy>;
using tools = basic_tools<result_policy>;
using claimed = basic_claimed<result_policy>;
} // namespace nothrow

/**
 * Ends the library's thread and closes all connections: antenv_shutdown. Nothing has to call it; a later call starts the library
 * again.
 *
 * @param timeout How long calls in flight may take; the rest is cancelled.
 *
 * Returns whether all calls ended in time. Blocks for little longer than `timeout`.
 */
inline bool shutdown(std::chrono::milliseconds timeout = forever) noexcept {
    return antenv_shutdown(timeout.count()) == ANTENV_OK;
}

} // namespace ANTENV_FLAVOUR
} // namespace antenv

#endif
