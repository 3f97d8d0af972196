/* Linked into programs that run with a sanitizer: its settings. */

#ifdef __cplusplus
extern "C" {
#endif

const char *__tsan_default_options(void);

const char *__tsan_default_options(void) {
    return "halt_on_error=1";
}

#ifdef __cplusplus
}
#endif
