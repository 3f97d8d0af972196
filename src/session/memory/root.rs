//! Making the root of a memory directory, and removing it: the only files of memory stores that the library itself touches.
//!
//! Commands of an earlier session may have planted links in the working directory. So no link is followed below it, and what is removed is
//! known by the descriptor of the folder above it.

use crate::error::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

/// The folder of memory directories in the working directory.
const FOLDER: &str = "memory";
const MAX_NAME_BYTES: usize = 255;

/// A root that was made.
pub struct MadeRoot {
    /// The folders that were made, from the outermost: what is above each of them, and its name there.
    made: Vec<(OwnedFd, OsString)>,
}

/// Returns where the memory directory of a store belongs: at the path that the session states, or in the working directory.
pub fn place(workdir: &Path, mount_path: Option<&str>, name: Option<&str>, store: &str) -> Result<PathBuf> {
    if let Some(path) = mount_path.filter(|path| !path.is_empty()) {
        let names = path.strip_prefix('/').map(|names| names.split('/'));
        let is_clean = names.is_some_and(|mut names| names.all(is_name));
        return match is_clean {
            true => Ok(PathBuf::from(path)),
            false => Err(refused(Path::new(path), "the store's mount path is not absolute, or not clean")),
        };
    }
    let name = name.map(str::trim).filter(|name| is_name(name)).unwrap_or(store);
    match is_name(name) {
        true => Ok(workdir.join(FOLDER).join(name)),
        false => Err(refused(Path::new(store), "the store's id can be no name of a folder")),
    }
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME_BYTES && !name.contains(['/', '\0'])
}

/// Makes the root of a memory directory, which must not be there yet. Blocks.
pub fn make(workdir: &Path, path: &Path) -> Result<MadeRoot> {
    let failed = |error: Errno| match error {
        Errno::EEXIST => refused(path, "it exists already"),
        Errno::ELOOP | Errno::ENOTDIR => refused(path, "what is above it is no folder, but a link or a file"),
        error => refused(path, error.desc()),
    };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut made = Vec::new();
    let (mut folder, names) = match path.strip_prefix(workdir) {
        Ok(relative) => (open(workdir, flags, Mode::empty()).map_err(failed)?, relative),
        Err(_) => {
            let above = path.parent().unwrap_or(Path::new("/"));
            let built = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(above);
            built.map_err(|error| refused(path, &error.to_string()))?;
            let name = path.file_name().map(Path::new).unwrap_or(Path::new(""));
            (openat(AT_FDCWD, above, flags, Mode::empty()).map_err(failed)?, name)
        }
    };
    let mut names = names.components().peekable();
    while let Some(component) = names.next() {
        let Component::Normal(name) = component else { return Err(refused(path, "its path is not clean")) };
        match mkdirat(&folder, name, Mode::S_IRWXU) {
            Ok(()) => made.push((folder.try_clone().map_err(|error| refused(path, &error.to_string()))?, name.to_owned())),
            Err(Errno::EEXIST) if names.peek().is_some() => {}
            Err(error) => {
                remove_all(&made);
                return Err(failed(error));
            }
        }
        folder = openat(&folder, name, flags | OFlag::O_NOFOLLOW, Mode::empty()).map_err(|error| {
            remove_all(&made);
            failed(error)
        })?;
    }
    match made.last() {
        Some(_) => Ok(MadeRoot { made }),
        None => Err(refused(path, "it is the working directory")),
    }
}

impl MadeRoot {
    /// Removes the root, and what was made above it, as far as they are empty. Blocks.
    pub fn remove(&self) {
        remove_all(&self.made);
    }
}

fn remove_all(made: &[(OwnedFd, OsString)]) {
    // One that is not empty keeps those above it.
    let _ = made
        .iter()
        .rev()
        .map(|(above, name)| unlinkat(above, name.as_os_str(), UnlinkatFlags::RemoveDir))
        .take_while(nix::Result::is_ok)
        .count();
}

fn refused(path: &Path, why: &str) -> Error {
    Error::config("memory", format_args!("has a directory that cannot be made: {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("antenv-{name}-{:016x}", fastrand::u64(..)));
        fs::create_dir(&path).unwrap();
        path.canonicalize().unwrap()
    }

    #[test]
    fn a_store_has_its_place_by_path_or_by_name() {
        let workdir = Path::new("/w");
        for (mount_path, name, expected) in [
            (Some("/mnt/notes"), Some("Notes"), Some("/mnt/notes")),
            (None, Some(" Notes "), Some("/w/memory/Notes")),
            (Some(""), None, Some("/w/memory/memstore_1")),
            (None, Some(""), Some("/w/memory/memstore_1")),
            (None, Some("a/b"), Some("/w/memory/memstore_1")),
            (None, Some(".."), Some("/w/memory/memstore_1")),
            (Some("mnt"), None, None),
            (Some("/"), None, None),
            (Some("/mnt/../etc"), None, None),
            (Some("/mnt/./a"), None, None),
            (Some("/mnt//a"), None, None),
            (Some("/mnt/a/"), None, None),
        ] {
            let place = place(workdir, mount_path, name, "memstore_1").ok();
            assert_eq!(place.as_deref(), expected.map(Path::new), "{mount_path:?} {name:?}");
        }
    }

    #[test]
    fn a_root_is_made_once_and_removed_with_what_was_made_above_it() {
        let workdir = folder("root");
        let path = workdir.join("memory/Notes");
        let root = make(&workdir, &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(make(&workdir, &path).is_err_and(|error| error.to_string().contains("exists already")));
        let second = make(&workdir, &workdir.join("memory/Facts")).unwrap();
        root.remove();
        assert!(!path.exists());
        fs::write(workdir.join("memory/Facts/file"), "kept").unwrap();
        second.remove();
        assert!(workdir.join("memory/Facts/file").exists());
        fs::remove_dir_all(&workdir).unwrap();
        assert!(make(&workdir, &workdir.join("memory/x")).is_err());
    }

    #[test]
    fn a_link_in_the_working_directory_is_not_followed() {
        let (workdir, outside) = (folder("workdir"), folder("outside"));
        symlink(&outside, workdir.join("memory")).unwrap();
        assert!(make(&workdir, &workdir.join("memory/Notes")).is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        // Nor is one that takes the folder's place later.
        fs::remove_file(workdir.join("memory")).unwrap();
        let root = make(&workdir, &workdir.join("memory/Notes")).unwrap();
        fs::rename(workdir.join("memory"), workdir.join("moved")).unwrap();
        fs::create_dir(outside.join("Notes")).unwrap();
        symlink(&outside, workdir.join("memory")).unwrap();
        root.remove();
        assert!(outside.join("Notes").exists() && !workdir.join("moved/Notes").exists());
        fs::remove_dir_all(&workdir).unwrap();
        fs::remove_dir_all(&outside).unwrap();
    }
}
