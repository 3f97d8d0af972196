/* Linked into programs that run with a sanitizer: its settings. */

const char *__tsan_default_options(void);
const char *__tsan_default_suppressions(void);

const char *__tsan_default_options(void) {
    return "halt_on_error=1";
}

/* Rust's standard library comes without instrumentation. Its reference counts end with a memory fence, which this tool does not
 * understand: what is freed when the last reference goes looks like a race. And who waits for a condition takes the lock again where
 * it does not look. */
const char *__tsan_default_suppressions(void) {
    return "race:drop_slow\nrace:condvar::Condvar\n";
}
