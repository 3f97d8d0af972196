//! Environment variables, from the process or from a test.

/// A source of environment variables: the process's, or a test's.
pub type EnvVars<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's environment; an empty variable counts as unset. What is not Unicode comes with replacement characters, so that it is
/// found wrong where it is used rather than passed over.
pub fn process_env_vars(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}
