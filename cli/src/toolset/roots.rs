//! The directories that file tools may use, and how a path of the agent's finds its place in them.
//!
//! A path is cleaned lexically and its symbolic links are followed here, also in a part that does not exist yet, so that absolute links
//! into a root work. The place is a path without links, relative to a root; it is opened by cap-std, which cannot leave the root even if
//! a link was put there meanwhile.

use super::error::{OUTSIDE, ToolError, ToolResult};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// How many symbolic links a path may lead through.
const MAX_LINKS: usize = 40;

/// A directory that file tools may use.
pub struct Root {
    /// Without symbolic links.
    pub path: PathBuf,
    /// As it was given: the agent knows it by this name.
    given: PathBuf,
    pub dir: Dir,
    pub writable: bool,
}

/// The working directory and the memory roots.
pub struct Roots {
    roots: Vec<Root>,
}

/// A place in a root.
pub struct Location<'a> {
    pub root: &'a Root,
    /// Relative to the root, without symbolic links; `.` for the root itself.
    pub relative: PathBuf,
}

impl Location<'_> {
    pub fn absolute(&self) -> PathBuf {
        clean(&self.root.path.join(&self.relative))
    }

    /// Returns an error if the root is read-only.
    pub fn check_writable(&self, given: &str) -> ToolResult<()> {
        if self.root.writable { Ok(()) } else { Err(ToolError::new(format!("{given}: the directory is read-only"))) }
    }
}

impl Roots {
    /// Opens the directories; the first is the working directory, the flag says whether tools may write there. `opened`: those that are
    /// open already, by their paths.
    pub fn open(directories: &[(PathBuf, bool)], mut opened: HashMap<PathBuf, Dir>) -> io::Result<Roots> {
        let open = |(given, writable): &(PathBuf, bool)| {
            let path = given.canonicalize()?;
            let dir = opened.remove(&path).map_or_else(|| Dir::open_ambient_dir(&path, ambient_authority()), Ok)?;
            Ok(Root { path, given: clean(given), dir, writable: *writable })
        };
        Ok(Roots { roots: directories.iter().map(open).collect::<io::Result<_>>()? })
    }

    pub fn workdir(&self) -> &Root {
        &self.roots[0]
    }

    /// Finds a memory directory by its path.
    pub fn memory(&self, given: &str) -> Option<&Root> {
        let path = Path::new(given);
        self.roots.iter().skip(1).find(|root| root.path == path || root.given == path)
    }

    /// Finds the place of a path: relative to the working directory, or absolute.
    pub fn locate(&self, given: &str) -> ToolResult<Location<'_>> {
        if given.is_empty() || given.contains('\0') {
            return Err(ToolError::new("the path is empty or holds a NUL character"));
        }
        let outside = || ToolError::new(format!("{given}: {OUTSIDE}"));
        let (mut root, mut rest) = self.enter(&clean(&self.workdir().path.join(given))).ok_or_else(outside)?;
        let mut place = PathBuf::new();
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                if place.pop() {
                    continue;
                }
                // Above the root, as a link may lead: another root may be there, or this one again.
                let above = root.path.join("..").join(rest.iter().collect::<PathBuf>());
                (root, rest) = self.enter(&clean(&above)).ok_or_else(outside)?;
                continue;
            }
            place.push(&name);
            let Some(target) = link_target(&root.dir, &place).map_err(|error| ToolError::io(given, &error))? else { continue };
            links += 1;
            if links > MAX_LINKS {
                return Err(ToolError::new(format!("{given}: too many symbolic links")));
            }
            place.pop();
            let names = target.components().filter_map(name_of).collect::<Vec<_>>();
            if target.is_absolute() {
                place.clear();
                let absolute = Path::new("/").join(names.iter().chain(&rest).collect::<PathBuf>());
                (root, rest) = self.enter(&clean(&absolute)).ok_or_else(outside)?;
            } else {
                names.into_iter().rev().for_each(|name| rest.push_front(name));
            }
        }
        // A root may lie within another, and have rights of its own.
        let (root, rest) = self.enter(&root.path.join(place)).ok_or_else(outside)?;
        let relative: PathBuf = rest.into_iter().collect();
        Ok(Location { root, relative: if relative.as_os_str().is_empty() { ".".into() } else { relative } })
    }

    /// Returns the innermost root that an absolute path is in, and the names below it.
    fn enter(&self, path: &Path) -> Option<(&Root, VecDeque<OsString>)> {
        let names = |root: &Root| [path.strip_prefix(&root.path).ok(), path.strip_prefix(&root.given).ok()].into_iter().flatten();
        let found = self.roots.iter().flat_map(|root| names(root).map(move |rest| (root, rest)));
        let (root, rest) = found.min_by_key(|(_, rest)| rest.components().count())?;
        Some((root, rest.iter().map(OsString::from).collect()))
    }
}

/// Returns where a symbolic link leads; None for anything else, and for what does not exist.
fn link_target(dir: &Dir, place: &Path) -> io::Result<Option<PathBuf>> {
    match dir.symlink_metadata(place) {
        Ok(metadata) if metadata.is_symlink() => dir.read_link_contents(place).map(Some),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Cleans an absolute path lexically: no `.`, no `..`.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => drop(cleaned.pop()),
            Component::Normal(name) => cleaned.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

fn name_of(component: Component<'_>) -> Option<OsString> {
    match component {
        Component::ParentDir => Some("..".into()),
        Component::Normal(name) => Some(name.into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    }
}
