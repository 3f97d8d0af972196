//! The working directories of items: one that is there, or one for each item, made and removed here.

use super::log;
use crate::output::Failure;
use antenv::telemetry::log::Level;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// How often it is tried to remove a directory in which a process that is about to end may still write, and the pause in between.
const REMOVALS: u32 = 20;
const REMOVAL_PAUSE: Duration = Duration::from_millis(100);
/// The characters of an item's identifier that a name takes at most.
const MAX_ID: usize = 64;

/// Where items have their working directories.
pub enum Workdirs {
    /// Nowhere.
    None,
    /// All in this directory.
    Shared(PathBuf),
    /// Each in a directory of its own, within this one.
    Within(PathBuf),
}

impl Workdirs {
    /// Takes the directories of the command line. Fails if one is none.
    pub fn new(workdir: Option<&Path>, root: Option<&Path>) -> Result<Workdirs, Failure> {
        Ok(match (workdir, root) {
            (Some(workdir), _) => Workdirs::Shared(existing("--workdir", workdir)?),
            (None, Some(root)) => Workdirs::Within(existing("--workdir-root", root)?),
            (None, None) => Workdirs::None,
        })
    }

    /// Returns the working directory of an item, which is made if it is to have one of its own. Its name begins with that of the item.
    pub fn make(&self, work_id: &str) -> io::Result<Workdir> {
        let root = match self {
            Workdirs::None => return Ok(Workdir { path: None, is_own: false }),
            Workdirs::Shared(path) => return Ok(Workdir { path: Some(path.clone()), is_own: false }),
            Workdirs::Within(root) => root,
        };
        let is_plain = |each: &char| each.is_ascii_alphanumeric() || matches!(each, '_' | '-');
        let id: String = work_id.chars().filter(is_plain).take(MAX_ID).collect();
        loop {
            let path = root.join(format!("{id}-{:08x}", fastrand::u32(..)));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Workdir { path: Some(path), is_own: true }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", root.display()))),
            }
        }
    }
}

/// Returns the path, without links, of the directory that an option names.
fn existing(option: &str, path: &Path) -> Result<PathBuf, Failure> {
    let shown = path.display();
    match fs::canonicalize(path) {
        Ok(path) if path.is_dir() => Ok(path),
        Ok(_) => Err(Failure::Usage(format!("{option}: {shown} is not a directory"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::Usage(format!("{option}: there is no directory {shown}: create it first")))
        }
        Err(error) => Err(Failure::Usage(format!("{option}: {shown}: {error}"))),
    }
}

/// The working directory of an item.
pub struct Workdir {
    path: Option<PathBuf>,
    is_own: bool,
}

impl Workdir {
    /// Returns where it is.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Removes it, if it is the item's own. Blocks. Call it when nothing writes there any more.
    pub fn remove(self, work_id: &str) {
        let Some(path) = self.path.filter(|_| self.is_own) else { return };
        for _ in 1..REMOVALS {
            match fs::remove_dir_all(&path) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                Err(_) => make_accessible(&path),
            }
            sleep(REMOVAL_PAUSE);
        }
        if let Err(error) = fs::remove_dir_all(&path) {
            log::record(Level::Warn, Some(work_id), &format!("{} could not be removed: {error}", path.display()));
        }
    }
}

/// Lets this process remove what directories hold that deny it.
fn make_accessible(directory: &Path) {
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        // Of a symbolic link this is false.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_accessible(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn each_item_has_a_directory_of_its_own_which_is_removed_whatever_it_holds() {
        let root = std::env::temp_dir().join(format!("antenv-workdir-{:016x}", fastrand::u64(..)));
        fs::create_dir(&root).unwrap();
        let kept = root.join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "kept").unwrap();
        let workdirs = Workdirs::new(None, Some(&root)).ok().unwrap();
        let (first, second) = (workdirs.make("../work_1").unwrap(), workdirs.make("../work_1").unwrap());
        let path = first.path().unwrap().to_owned();
        assert_ne!(first.path(), second.path());
        assert_eq!(path.parent(), fs::canonicalize(&root).ok().as_deref());
        assert!(path.file_name().unwrap().to_string_lossy().starts_with("work_1-"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::create_dir_all(path.join("a/b")).unwrap();
        fs::write(path.join("a/b/file"), "").unwrap();
        symlink(&kept, path.join("a/link")).unwrap();
        fs::set_permissions(path.join("a/b"), Permissions::from_mode(0o0)).unwrap();
        fs::set_permissions(path.join("a"), Permissions::from_mode(0o500)).unwrap();
        first.remove("work_1");
        assert!(!path.exists() && second.path().unwrap().is_dir() && kept.join("file").exists());
        second.remove("work_1");
        workdirs.make("").unwrap().remove("");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn what_is_no_directory_is_wrong_usage() {
        for wrong in ["/nowhere", "/dev/null"] {
            assert!(matches!(Workdirs::new(Some(Path::new(wrong)), None), Err(Failure::Usage(_))), "{wrong}");
            assert!(matches!(Workdirs::new(None, Some(Path::new(wrong))), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
