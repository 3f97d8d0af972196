/* Streams of events, and downloads: a part of antenv.hpp. */

#ifndef ANTENV_STREAM_HPP
#define ANTENV_STREAM_HPP

#include "result.hpp"

namespace antenv {
inline namespace ANTENV_FLAVOUR {

template <class Policy> class basic_queue;

/**
 * The result of waiting for an event of a stream: the event, or why there is none.
 */
struct received {
    /**
     * ANTENV_OK: there is one. ANTENV_TIMEOUT: none came in time; the stream is still open. ANTENV_INTERRUPTED: a signal handler
     * ran in the waiting thread. ANTENV_DONE: the server ended the stream.
     */
    antenv_status status;
    /** The event's JSON, verbatim: one object with a `type`. Empty when there is none. */
    std::string event;
    /** Returns whether there is an event. */
    explicit operator bool() const noexcept { return status == ANTENV_OK; }
};

/**
 * A stream: the events of a session, as they happen. Destroying it ends its request; the session goes on.
 *
 * Events come by next(), or in a range-for, which ends when the server ends the stream. (A nothrow stream returns results there,
 * and an error is the last one.) The stream is read only as fast as its events are taken. Threads may share a stream: each event
 * goes to one of them. A stream that has ended is not opened again: open another one, and read what was missed from the list.
 *
 * When a signal handler runs in the waiting thread, a range-for ends with the error ANTENV_INTERRUPTED. Another range-for goes on
 * from there.
 */
template <class Policy> class basic_stream {
public:
    template <class T> using of = typename Policy::template of<T>;
    using item = of<std::string>;
    /** Takes ownership of a stream of the C interface. */
    explicit basic_stream(antenv_stream *handle) noexcept : handle_(handle) {}
    /**
     * Waits for the next event and returns it; `status` says why there is none. An error: why the stream ended, which every
     * further call returns, too (antenv_stream_next lists them). Blocks for at most `timeout`.
     */
    of<received> next(std::chrono::milliseconds timeout = forever) const noexcept(Policy::is_noexcept) {
        return Policy::give(take(timeout));
    }

    /** The iterator of a range-for. */
    using iterator = detail::item_iterator<Policy, basic_stream>;
    iterator begin() const noexcept(Policy::is_noexcept) { return iterator(this); }
    iterator end() const noexcept { return iterator(); }

    /**
     * Delivers the events through a completion queue, those that wait already first; the last completion has ANTENV_DONE, or the
     * error that ended the stream. Meanwhile next() fails with ANTENV_INVALID_ARGUMENT. Does not block.
     */
    template <class F>
    of<void> attach(const basic_queue<F> &queue, std::uint64_t tag) const noexcept(Policy::is_noexcept) {
        return detail::done<Policy>(antenv_stream_attach(handle_.get(), queue.handle(), tag));
    }
    /**
     * Ends the stream from any thread: threads that wait for an event fail with ANTENV_CLOSED, later calls with
     * ANTENV_INVALID_HANDLE. Does not block.
     */
    antenv_status close() const noexcept { return antenv_stream_free(handle_.get()); }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_stream *handle() const noexcept { return handle_.get(); }

private:
    friend iterator;
    result<received> take(std::chrono::milliseconds timeout) const {
        char *out = nullptr;
        antenv_status status = antenv_stream_next(handle_.get(), timeout.count(), &out);
        std::string json = detail::take(out);
        if (status == ANTENV_OK) return received{status, std::move(json)};
        if (status == ANTENV_INTERRUPTED || status == ANTENV_DONE) return received{status, {}};
        error failure(status, std::move(json));
        // The server's silence for `idle_timeout_ms` has the same status, and ends the stream.
        if (status == ANTENV_TIMEOUT && failure.parameter() == "timeout_ms") return received{status, {}};
        return failure;
    }
    result<std::optional<std::string>> take_item() const {
        result<received> taken = take(forever);
        if (!taken) return taken.error();
        if (taken->status == ANTENV_INTERRUPTED) return error(taken->status, {});
        if (!*taken) return std::optional<std::string>();
        return std::optional<std::string>(std::move(taken->event));
    }
    detail::owner<antenv_stream, antenv_stream_free> handle_;
};

namespace detail {

/** Opens a stream, with identifiers among its parameters. */
template <class Policy, class... Identifiers>
typename Policy::template of<basic_stream<Policy>> open_stream(antenv_client *client, const text &operation, const text &params,
    const Identifiers &...identifiers) noexcept(Policy::is_noexcept) {
    using stream = basic_stream<Policy>;
    if (auto cut = cut_short({{"operation", &operation}, identifiers..., {"params_json", &params}})) {
        return Policy::template give<stream>(std::move(*cut));
    }
    std::string all = with_identifiers({identifiers...}, params);
    return Policy::give(make_handle<stream, antenv_stream>([&](antenv_stream **out, char **error) {
        return antenv_stream_open(client, operation.c_str(), all.c_str(), out, error);
    }));
}

/** Downloads to a file, with identifiers among the parameters. */
template <class Policy, class... Identifiers>
typename Policy::template of<std::string> download(antenv_client *client, const text &operation, const text &params,
    const text &path, const Identifiers &...identifiers) noexcept(Policy::is_noexcept) {
    if (auto cut = cut_short({{"operation", &operation}, identifiers..., {"params_json", &params}, {"path", &path}})) {
        return Policy::template give<std::string>(std::move(*cut));
    }
    std::string all = with_identifiers({identifiers...}, params);
    return Policy::give(json([&](char **out) {
        return antenv_download(client, operation.c_str(), all.c_str(), path.c_str(), out);
    }));
}

} // namespace detail

} // namespace ANTENV_FLAVOUR
} // namespace antenv

#endif
