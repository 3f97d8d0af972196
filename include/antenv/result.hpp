/* What all of antenv.hpp builds on: errors and results, texts, and the calls of the C interface. Include antenv.hpp. */

#ifndef ANTENV_RESULT_HPP
#define ANTENV_RESULT_HPP

#include "../antenv.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
#define ANTENV_EXCEPTIONS 1
#define ANTENV_FLAVOUR with_exceptions
#include <exception>
#else
#define ANTENV_FLAVOUR without_exceptions
#endif

namespace antenv {
// An error has another layout without exceptions. The linker sees different names, so a program may mix such units.
inline namespace ANTENV_FLAVOUR {

/** The timeout that waits forever. */
inline constexpr std::chrono::milliseconds forever{-1};

/** Returns the library's version, such as "0.1.0". Does not block. */
inline std::string_view version() noexcept { return antenv_version(); }

/** Returns the name of a status, such as "not_found". Does not block. */
inline std::string_view status_name(antenv_status status) noexcept { return antenv_status_name(static_cast<int32_t>(status)); }

namespace detail {

/** Takes ownership of a string that the library returned. */
inline std::string take(char *text) {
    struct freed {
        char *text;
        ~freed() { antenv_string_free(text); }
    } owner{text};
    return text ? std::string(text) : std::string();
}

/** Returns the value at a pointer in a JSON text of the library's; nothing when it is `null` or absent. */
inline std::optional<std::string> value_at(const std::string &json, const char *pointer) {
    if (json.empty()) return std::nullopt;
    char *out = nullptr;
    antenv_status status = antenv_json_get(json.c_str(), pointer, &out);
    std::string value = take(out);
    if (status != ANTENV_OK || value == "null") return std::nullopt;
    return std::optional<std::string>(std::move(value));
}

inline std::optional<int> int_at(const std::string &json, const char *pointer) {
    std::optional<std::string> value = value_at(json, pointer);
    if (!value) return std::nullopt;
    return std::atoi(value->c_str());
}

} // namespace detail

/**
 * A failure: a status, and the members of the error object (docs/errors.md). Copies share one text, and copying does not throw.
 */
class error
#ifdef ANTENV_EXCEPTIONS
    : public std::exception
#endif
{
public:
    /** Creates one from a status and an error object; without an object the status's name is the message. */
    error(antenv_status status, std::string json) : data_(std::make_shared<data>(data{status, std::move(json), {}, {}})) {
        std::optional<std::string> message = member("/message"), operation = member("/operation");
        std::optional<std::string> http_status = member("/http_status"), request_id = member("/request_id");
        data_->message = message ? std::move(*message) : std::string(status_name(status));
        if (operation) data_->what += *operation + ": ";
        if (http_status) data_->what.append(*http_status + " ").append(status_name(status)).append(": ");
        data_->what += data_->message;
        if (request_id) data_->what += " (" + *request_id + ")";
    }
    /** Copies one. There is no move, which would leave an error without its text. */
    error(const error &) noexcept = default;
    error &operator=(const error &) noexcept = default;

    /** Returns the kind of failure. */
    antenv_status status() const noexcept { return data_->status; }
    /** Returns what happened, in words. */
    const std::string &message() const noexcept { return data_->message; }
    /**
     * Returns a line for logs: operation, HTTP status, message and request identifier, as far as they are known, such as
     * `environments.retrieve: 404 not_found: There is no environment "env_missing". (req_...)`.
     */
    const char *what() const noexcept
#ifdef ANTENV_EXCEPTIONS
        override
#endif
    {
        return data_->what.c_str();
    }
    /** Returns the whole error object, as JSON. */
    const std::string &json() const noexcept { return data_->json; }
    /** Returns the operation that failed, such as "environments.retrieve". */
    std::optional<std::string> operation() const { return member("/operation"); }
    /** Returns the HTTP status, when there was a response. */
    std::optional<int> http_status() const { return detail::int_at(data_->json, "/http_status"); }
    /** Returns the response's headers, as a JSON object with lower-case names; "{}" when there was no response. */
    std::string headers() const { return member("/headers").value_or("{}"); }
    /** Returns a header of the response. @param name Its name, in lower case, such as "retry-after". */
    std::optional<std::string> header(const std::string &name) const {
        std::string pointer = "/headers/";
        for (char c : name) pointer += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
        return member(pointer.c_str());
    }
    /** Returns how long the server asked to wait before the next attempt. */
    std::optional<std::chrono::milliseconds> retry_after() const {
        std::optional<int> wait = detail::int_at(data_->json, "/retry_after_ms");
        if (!wait) return std::nullopt;
        return std::chrono::milliseconds(*wait);
    }
    /** Returns the API's kind of error, such as "not_found_error". */
    std::optional<std::string> type() const { return member("/type"); }
    /** Returns the API's code for the cause, such as "environment_not_found". */
    std::optional<std::string> error_code() const { return member("/error_code"); }
    /** Returns what else the API says about the cause, as JSON; "null" when nothing. */
    std::string details() const { return member("/details").value_or("null"); }
    /** Returns the server's identifier of the request. */
    std::optional<std::string> request_id() const { return member("/request_id"); }
    /** Returns how many requests were made, retries included. */
    int attempts() const { return detail::int_at(data_->json, "/attempts").value_or(0); }
    /** Returns the parameter that was rejected. */
    std::optional<std::string> parameter() const { return member("/parameter"); }
    /** Returns the response's body: JSON, or plain text if it was not JSON; "null" when there was none. */
    std::string body() const { return member("/body").value_or("null"); }

private:
    struct data {
        antenv_status status;
        std::string json, message, what;
    };
    std::optional<std::string> member(const char *pointer) const { return detail::value_at(data_->json, pointer); }
    std::shared_ptr<data> data_;
};

/**
 * A value, or an error in its place, like std::expected. For `void` there is only the error.
 */
template <class T> class [[nodiscard]] result {
public:
    /** Creates one with a value. */
    result(T value) noexcept : is_(std::in_place_index<0>, std::move(value)) {}
    /** Creates one with an error. */
    result(antenv::error error) noexcept : is_(std::in_place_index<1>, std::move(error)) {}
    /** Returns whether there is a value. */
    bool has_value() const noexcept { return is_.index() == 0; }
    /** Returns whether there is a value. */
    explicit operator bool() const noexcept { return has_value(); }
    /** Returns the value, which must be there. */
    T &operator*() & noexcept { return *std::get_if<0>(&is_); }
    const T &operator*() const & noexcept { return *std::get_if<0>(&is_); }
    T operator*() && noexcept { return std::move(*std::get_if<0>(&is_)); }
    /** Accesses a member of the value, which must be there. */
    T *operator->() noexcept { return std::get_if<0>(&is_); }
    const T *operator->() const noexcept { return std::get_if<0>(&is_); }
    /** Returns the error, which must be there. */
    const antenv::error &error() const noexcept { return *std::get_if<1>(&is_); }
    /** Returns the value, or `other` if there is none. */
    T value_or(T other) && { return has_value() ? *std::move(*this) : std::move(other); }
#ifdef ANTENV_EXCEPTIONS
    /** Returns the value, or throws the error if there is none. */
    const T &value() const & { return has_value() ? **this : throw error(); }
    T value() && { return has_value() ? *std::move(*this) : throw error(); }
#endif

private:
    std::variant<T, antenv::error> is_;
};

template <> class [[nodiscard]] result<void> {
public:
    /** Creates one for a success. */
    result() noexcept = default;
    /** Creates one with an error. */
    result(antenv::error error) noexcept : error_(std::move(error)) {}
    /** Returns whether it succeeded. */
    bool has_value() const noexcept { return !error_; }
    /** Returns whether it succeeded. */
    explicit operator bool() const noexcept { return has_value(); }
    /** Returns the error, which must be there. */
    const antenv::error &error() const noexcept { return *error_; }
#ifdef ANTENV_EXCEPTIONS
    /** Throws the error if there is one. */
    void value() const {
        if (error_) throw *error_;
    }
#endif

private:
    std::optional<antenv::error> error_;
};

/** Reports failures as results. */
struct result_policy {
    template <class T> using of = result<T>;
    template <class T> static result<T> give(result<T> outcome) noexcept { return outcome; }
    static constexpr bool is_noexcept = true;
};

#ifdef ANTENV_EXCEPTIONS
/** Reports failures as exceptions. */
struct throw_policy {
    template <class T> using of = T;
    template <class T> static T give(result<T> outcome) { return std::move(outcome).value(); }
    static constexpr bool is_noexcept = false;
};
#endif

/**
 * A text that is passed on to the C interface: anything like a string, a JSON library's value that has `dump()`, or nothing (NULL
 * in C). It is copied only if no NUL terminates it. It must not outlive what it was made from.
 */
class text {
public:
    text() noexcept = default;
    text(std::nullptr_t) noexcept {}
    text(const char *string) noexcept : c_str_(string) {}
    text(const std::string &string) noexcept : c_str_(string.c_str()), is_whole_(std::strlen(c_str_) == string.size()) {}
    text(std::string_view view) : owned_(view), c_str_(nullptr), is_whole_(view.find('\0') == view.npos), is_owned_(true) {}
    template <class Json, class = std::enable_if_t<std::is_same_v<decltype(std::declval<const Json &>().dump()), std::string>>>
    text(const Json &value) : owned_(value.dump()), is_whole_(owned_.find('\0') == owned_.npos), is_owned_(true) {}
    /** Returns it as C takes it. */
    const char *c_str() const noexcept { return is_owned_ ? owned_.c_str() : c_str_; }
    /** Returns whether C sees all of it: not when there is a NUL inside. */
    bool is_whole() const noexcept { return is_whole_; }

private:
    std::string owned_;
    const char *c_str_ = nullptr;
    bool is_whole_ = true, is_owned_ = false;
};

namespace detail {

/** Returns the error for the first of these named texts that C would not see all of. */
inline std::optional<error> cut_short(std::initializer_list<std::pair<const char *, const text *>> texts) {
    for (auto [name, text] : texts) {
        if (text->is_whole()) continue;
        std::string message = std::string("`") + name + "` has a NUL character inside";
        return error(ANTENV_INVALID_ARGUMENT, R"({"status":"invalid_argument","code":1,"message":")" + message +
            R"(","http_status":null,"type":null,"error_code":null,"details":null,"request_id":null,"attempts":0,"parameter":")" +
            name + R"(","body":null,"operation":null,"headers":{},"retry_after_ms":null})");
    }
    return std::nullopt;
}

/** Calls a function that returns JSON. */
template <class Function> result<std::string> json(const Function &function) {
    char *out = nullptr;
    antenv_status status = function(&out);
    std::string text = take(out);
    if (status == ANTENV_OK) return result<std::string>(std::move(text)); // in full: C++17 would copy
    return error(status, std::move(text));
}

inline result<std::optional<std::string>> json_get(const text &json, const text &pointer) {
    if (auto cut = cut_short({{"json", &json}, {"pointer", &pointer}})) return std::move(*cut);
    char *out = nullptr;
    antenv_status status = antenv_json_get(json.c_str(), pointer.c_str(), &out);
    std::string value = take(out);
    if (status == ANTENV_OK) return std::optional<std::string>(std::move(value));
    if (status == ANTENV_DONE) return std::optional<std::string>();
    return error(status, std::move(value));
}

/** The name and the value of an identifier in an operation's path. */
using identifier = std::pair<const char *, const text *>;

/** Calls the C function of an operation. */
template <class Policy, class... Arguments, class... Identifiers>
typename Policy::template of<std::string> operation(antenv_client *client,
    antenv_status (*function)(antenv_client *, Arguments...), const text &params, const Identifiers &...identifiers) noexcept(
    Policy::is_noexcept) {
    if (auto cut = cut_short({identifiers..., {"params_json", &params}})) {
        return Policy::template give<std::string>(std::move(*cut));
    }
    return Policy::give(json([&](char **out) { return function(client, identifiers.second->c_str()..., params.c_str(), out); }));
}

/** Returns a text as a JSON string. */
inline std::string quoted(const std::string &text) {
    std::string json = "\"";
    for (char one : text) {
        if (static_cast<unsigned char>(one) < 0x20) {
            const char *digits = "0123456789abcdef";
            json.append("\\u00").append(1, digits[one >> 4]).append(1, digits[one & 15]);
        } else {
            if (one == '"' || one == '\\') json += '\\';
            json += one;
        }
    }
    return json + '"';
}

/**
 * Returns an object with members, as JSON without brackets, among its own. What is not an object stays as it is: the library
 * rejects it.
 */
inline std::string with_members(std::string members, const text &object) {
    const char *space = " \t\r\n";
    std::string given = object.c_str() ? object.c_str() : "{}";
    std::size_t open = given.find_first_not_of(space);
    if (open == std::string::npos || given[open] != '{') return given;
    std::size_t first = given.find_first_not_of(space, open + 1);
    bool is_empty = first != std::string::npos && given[first] == '}';
    if (!members.empty() && !is_empty) members += ',';
    return given.insert(open + 1, members);
}

/** Returns parameters with identifiers among them. */
inline std::string with_identifiers(std::initializer_list<identifier> identifiers, const text &params) {
    std::string members;
    for (auto [name, value] : identifiers) {
        if (value->c_str()) members += (members.empty() ? "" : ",") + quoted(name) + ":" + quoted(value->c_str());
    }
    return with_members(std::move(members), params);
}

/** Calls an operation that has no function of its own, by its name. */
template <class Policy, class... Identifiers>
typename Policy::template of<std::string> operation(antenv_client *client, const char *name, const text &params,
    const Identifiers &...identifiers) noexcept(Policy::is_noexcept) {
    if (auto cut = cut_short({identifiers..., {"params_json", &params}})) {
        return Policy::template give<std::string>(std::move(*cut));
    }
    std::string all = with_identifiers({identifiers...}, params);
    return Policy::give(json([&](char **out) { return antenv_call(client, name, all.c_str(), out); }));
}

/** Owns a handle. */
template <class Handle, antenv_status (*Free)(Handle *)> class owner {
public:
    owner() noexcept = default;
    explicit owner(Handle *handle) noexcept : handle_(handle) {}
    owner(owner &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    owner &operator=(owner &&other) noexcept {
        if (this != &other) {
            Free(handle_);
            handle_ = std::exchange(other.handle_, nullptr);
        }
        return *this;
    }
    ~owner() { Free(handle_); }
    Handle *get() const noexcept { return handle_; }

private:
    Handle *handle_ = nullptr;
};

/** Calls a function that returns a handle. */
template <class T, class Handle, class Function> result<T> make_handle(const Function &function) {
    Handle *out = nullptr;
    char *error_json = nullptr;
    antenv_status status = function(&out, &error_json);
    if (status != ANTENV_OK) return error(status, take(error_json));
    return T(out);
}

/** Converts the result of a function that returns only a status. */
template <class Policy> typename Policy::template of<void> done(antenv_status status) {
    if (status != ANTENV_OK) return Policy::template give<void>(error(status, {}));
    return Policy::template give<void>({});
}

/**
 * The iterator of a range-for over the texts that a source's `take_item` returns: nothing ends the loop, and an error is the
 * last item.
 */
template <class Policy, class Source> class item_iterator {
public:
    using iterator_category = std::input_iterator_tag;
    using value_type = typename Policy::template of<std::string>;
    using difference_type = std::ptrdiff_t;
    using pointer = const value_type *;
    using reference = const value_type &;
    item_iterator() noexcept = default;
    explicit item_iterator(const Source *source) noexcept(Policy::is_noexcept) : source_(source) { ++*this; }
    reference operator*() const noexcept { return *item_; }
    pointer operator->() const noexcept { return &*item_; }
    item_iterator &operator++() noexcept(Policy::is_noexcept) {
        item_.reset();
        if (failed_) source_ = nullptr;
        if (!source_) return *this;
        result<std::optional<std::string>> taken = source_->take_item();
        failed_ = !taken;
        if (!taken) item_.emplace(Policy::template give<std::string>(taken.error()));
        else if (*taken) item_.emplace(std::move(**taken));
        else source_ = nullptr;
        return *this;
    }
    void operator++(int) noexcept(Policy::is_noexcept) { ++*this; }
    bool operator==(const item_iterator &other) const noexcept { return source_ == other.source_; }
    bool operator!=(const item_iterator &other) const noexcept { return source_ != other.source_; }

private:
    const Source *source_ = nullptr;
    std::optional<value_type> item_;
    bool failed_ = false;
};

} // namespace detail

#ifdef ANTENV_EXCEPTIONS
/**
 * Reads one value out of a JSON text, for programs without a JSON library. Does not block; every call reads the whole text.
 *
 * @param json The text.
 * @param pointer Which value, as a JSON pointer (RFC 6901), such as "/data/0/id".
 *
 * Returns a string as its text, any other value as JSON (`null` as "null"), nothing when there is no value at that place. Throws
 * antenv::error if the text is not JSON, the pointer is not a pointer, or the string cannot be a C string.
 */
inline std::optional<std::string> json_get(const text &json, const text &pointer) {
    return detail::json_get(json, pointer).value();
}
#endif

namespace nothrow {
/** Does what antenv::json_get does, and returns a result. */
inline result<std::optional<std::string>> json_get(const text &json, const text &pointer) noexcept {
    return detail::json_get(json, pointer);
}
} // namespace nothrow

} // namespace ANTENV_FLAVOUR
} // namespace antenv

#endif
