//! Environment variables, from the process or from a test.

/// Returns the value of an environment variable: the process's, or a test's.
pub type EnvVars<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Returns an environment variable of the process. An empty one counts as unset. A value that is not Unicode gets replacement
/// characters, so that it is rejected where it is used instead of being ignored.
pub fn process_env_vars(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}
