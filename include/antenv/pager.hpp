/* The items of a list, over all its pages: a part of antenv.hpp. */

#ifndef ANTENV_PAGER_HPP
#define ANTENV_PAGER_HPP

#include "result.hpp"

namespace antenv {
inline namespace ANTENV_FLAVOUR {

/**
 * The items of a list, over all its pages, while the next page is being fetched: by next(), or once in a range-for. In a
 * range-for, a nothrow pager returns results, and an error is the last one. Threads may share a pager: each item goes to one of
 * them.
 */
template <class Policy> class basic_pager {
public:
    using item = typename Policy::template of<std::string>;
    /** Takes ownership of a pager of the C interface. */
    explicit basic_pager(antenv_pager *handle) noexcept : handle_(handle) {}
    /** Returns the next item's JSON; nothing at the end. After an error, the next call requests the same page again. Blocks. */
    typename Policy::template of<std::optional<std::string>> next() const noexcept(Policy::is_noexcept) {
        return Policy::give(take());
    }

    /** The iterator of a range-for. */
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = item;
        using difference_type = std::ptrdiff_t;
        using pointer = const item *;
        using reference = const item &;
        iterator() noexcept = default;
        explicit iterator(const basic_pager *pager) noexcept(Policy::is_noexcept) : pager_(pager) { ++*this; }
        reference operator*() const noexcept { return *item_; }
        pointer operator->() const noexcept { return &*item_; }
        iterator &operator++() noexcept(Policy::is_noexcept) {
            bool failed = failed_;
            result<std::optional<std::string>> taken = failed ? std::optional<std::string>() : pager_->take();
            item_.reset();
            failed_ = !taken;
            if (!taken) item_.emplace(Policy::template give<std::string>(taken.error()));
            else if (*taken) item_.emplace(std::move(**taken));
            else pager_ = nullptr;
            return *this;
        }
        void operator++(int) noexcept(Policy::is_noexcept) { ++*this; }
        bool operator==(const iterator &other) const noexcept { return pager_ == other.pager_; }
        bool operator!=(const iterator &other) const noexcept { return pager_ != other.pager_; }

    private:
        const basic_pager *pager_ = nullptr;
        std::optional<item> item_;
        bool failed_ = false;
    };
    iterator begin() const noexcept(Policy::is_noexcept) { return iterator(this); }
    iterator end() const noexcept { return iterator(); }
    /** Returns the C interface's handle, which stays owned by this object. */
    antenv_pager *handle() const noexcept { return handle_.get(); }

private:
    result<std::optional<std::string>> take() const {
        char *out = nullptr;
        antenv_status status = antenv_pager_next(handle_.get(), &out);
        std::string json = detail::take(out);
        if (status == ANTENV_OK) return std::optional<std::string>(std::move(json));
        if (status == ANTENV_DONE) return std::optional<std::string>();
        return error(status, std::move(json));
    }
    detail::owner<antenv_pager, antenv_pager_free> handle_;
};

} // namespace ANTENV_FLAVOUR
} // namespace antenv

#endif
