//! Environment variables, from the process or from a test.

use crate::error::Error;

/// Returns the value of an environment variable, even an empty one: the process's, or a test's.
pub type EnvVars<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Returns an environment variable of the process. A value that is not Unicode gets replacement characters, so that it is rejected where
/// it is used instead of being ignored.
pub fn process_env_vars(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Returns the variables that are not empty: an empty one counts as unset.
pub fn non_empty<'a>(env: EnvVars<'a>) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| env(name).filter(|value| !value.is_empty())
}

/// Makes the error for a setting that neither the configuration nor one of these variables gives. If a variable is set but empty, the
/// error names that variable, otherwise the configuration key.
pub fn missing(env: EnvVars, key: &str, variables: &[&str], advice: &str) -> Error {
    match variables.iter().find(|name| env(name).is_some_and(|value| value.is_empty())) {
        Some(name) => Error::config(name, format_args!("is set but empty: {advice}")),
        None => Error::config(key, format_args!("is missing: {advice}")),
    }
}
