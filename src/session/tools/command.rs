//! Finding the command `antenv`, of which the helper is a part.

use crate::config::{EnvVars, non_empty};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const NAME: &str = "antenv";
/// The variable that names the command.
const VARIABLE: &str = "ANTENV_CLI";

/// The file of this library, or of the program that it is linked into.
static LIBRARY_FILE: OnceLock<Option<PathBuf>> = OnceLock::new();

/// Sets the file of this library, from which the command may be found, unless it is known.
pub(crate) fn set_library_file(find: impl FnOnce() -> Option<PathBuf>) {
    LIBRARY_FILE.get_or_init(find);
}

/// Returns the command: the one given, that of the variable, one installed along with the library, or one on the path. Errors: `CONFIG`,
/// which says how to name one.
pub fn find(given: Option<&Path>, env: EnvVars) -> Result<PathBuf> {
    let env = non_empty(env);
    let named = given.map(|path| ("toolset_path", path.to_owned()));
    if let Some((parameter, path)) = named.or_else(|| env(VARIABLE).map(|path| (VARIABLE, path.into()))) {
        let is_there = is_executable(&path);
        let absolute = std::path::absolute(&path).ok().filter(|_| is_there);
        return absolute
            .ok_or_else(|| Error::config(parameter, format_args!("is not an executable file: {}", path.to_string_lossy())));
    }
    let library = LIBRARY_FILE.get().into_iter().flatten().flat_map(|file| beside(file));
    let path = env("PATH").unwrap_or_default();
    // A relative directory is whatever the current one holds.
    let on_path = std::env::split_paths(&path).filter(|directory| directory.is_absolute()).map(|directory| directory.join(NAME));
    library.chain(on_path).find(|path| is_executable(path)).ok_or_else(|| {
        let advice =
            format!("the command `{NAME}` is neither installed with the library nor on PATH: set `toolset_path` or {VARIABLE}");
        Error::config("toolset_path", format_args!("is missing: {advice}"))
    })
}

/// Returns where a command that was installed along with the library would be: in its folder, and in PREFIX/bin beside PREFIX/lib or
/// PREFIX/lib/ARCHITECTURE.
fn beside(library: &Path) -> Vec<PathBuf> {
    let folders: Vec<_> = library.ancestors().skip(1).take(3).collect();
    let is_lib = |folder: &Path| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lib"));
    let mut places: Vec<_> = folders.first().map(|folder| folder.join(NAME)).into_iter().collect();
    places.extend(folders.windows(2).filter(|pair| is_lib(pair[0])).map(|pair| pair[1].join("bin").join(NAME)));
    places
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    #[test]
    fn a_command_is_looked_for_where_the_library_is_installed() {
        let places = |library: &str| {
            let places = beside(Path::new(library));
            places.iter().map(|place| place.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(places("/usr/lib/libantenv.so.0"), ["/usr/lib/antenv", "/usr/bin/antenv"]);
        assert_eq!(places("/usr/lib/x86_64-linux-gnu/libantenv.so.0"), ["/usr/lib/x86_64-linux-gnu/antenv", "/usr/bin/antenv"]);
        assert_eq!(places("/venv/site-packages/antenv/libantenv.so"), ["/venv/site-packages/antenv/antenv"]);
        assert_eq!(places("/libantenv.so"), ["/antenv"]);
    }

    #[test]
    fn what_names_a_command_must_name_one() {
        let nothing = |_: &str| None;
        let set = |name: &str| (name == VARIABLE).then(|| "/no/such/command".to_owned());
        let path = |name: &str| (name == "PATH").then(|| "relative:/no/such/directory".to_owned());
        let parameter = |given: Option<&str>, env: EnvVars| {
            let error = find(given.map(Path::new), env).unwrap_err();
            assert_eq!(error.status(), Status::Config);
            error.parameter().unwrap().to_owned()
        };
        assert_eq!(parameter(Some("/etc"), &nothing), "toolset_path");
        assert_eq!(parameter(None, &set), VARIABLE);
        assert_eq!(parameter(None, &path), "toolset_path");
        assert_eq!(find(Some(Path::new("/bin/sh")), &set).unwrap(), Path::new("/bin/sh"));
    }
}
