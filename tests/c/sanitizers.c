/* Linked into programs that run with a sanitizer: its settings. */

#ifdef __cplusplus
extern "C" {
#endif

const char *__tsan_default_options(void);
const char *__tsan_default_suppressions(void);

const char *__tsan_default_options(void) {
    return "halt_on_error=1";
}

/* Rust's standard library comes without instrumentation. Its reference counts end with a memory fence, which this tool does not
 * understand: what is freed when the last reference goes looks like a race. And who waits for a condition, or for a mutex that
 * another thread holds, takes it where it does not look: src/runtime/fork.rs takes our mutexes another way for this tool, tokio's own
 * (around the tasks that other threads wake) is left. */
const char *__tsan_default_suppressions(void) {
    return "race:drop_slow\nrace:sync::Weak\nrace:condvar::Condvar\nrace:condvar.rs\nrace:scheduler::inject::\n";
}

#ifdef __cplusplus
}
#endif
