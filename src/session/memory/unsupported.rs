//! The root of a memory directory where there is none: they need the toolset's process, which runs on Linux.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// A root that cannot exist.
pub struct MadeRoot(std::convert::Infallible);

/// Returns no place.
pub fn place(_workdir: &Path, _mount_path: Option<&str>, _name: Option<&str>, _store: &str) -> Result<PathBuf> {
    Err(Error::config("memory", "runs on Linux only"))
}

/// Makes no root.
pub fn make(_workdir: &Path, _path: &Path) -> Result<MadeRoot> {
    Err(Error::config("memory", "runs on Linux only"))
}

impl MadeRoot {
    /// Removes nothing.
    pub fn remove(&self) {}
}
