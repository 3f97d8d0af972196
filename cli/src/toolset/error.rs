//! What a tool answers when it fails: a message for the agent, without the host's own words or paths.

use std::io;

/// The message of a tool that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolError(pub String);

pub type ToolResult<T> = Result<T, ToolError>;

impl ToolError {
    pub fn new(message: impl Into<String>) -> ToolError {
        ToolError(message.into())
    }

    /// Makes the message of a failed system call; `subject` is the path as the agent gave it.
    pub fn io(subject: &str, error: &io::Error) -> ToolError {
        ToolError(format!("{subject}: {}", describe(error)))
    }
}

/// Returns fixed words for an error of the system: no message of the system's, which could name a real path.
pub fn describe(error: &io::Error) -> &'static str {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => "no such file or directory",
        Some(Errno::ACCESS | Errno::PERM) => "permission denied",
        Some(Errno::ISDIR) => "is a directory",
        Some(Errno::NOTDIR) => "not a directory",
        Some(Errno::LOOP) => "too many symbolic links",
        Some(Errno::NAMETOOLONG) => "the name is too long",
        Some(Errno::NOSPC | Errno::DQUOT) => "no space left",
        Some(Errno::FBIG) => "the file is too large",
        Some(Errno::ROFS) => "read-only file system",
        Some(Errno::EXIST) => "already exists",
        Some(Errno::TXTBSY | Errno::BUSY) => "busy",
        Some(Errno::XDEV) => OUTSIDE,
        Some(Errno::NXIO | Errno::NODEV) => "not a regular file",
        Some(_) => "input/output error",
        // cap-std's own errors: a path that leads outside.
        None if error.kind() == io::ErrorKind::PermissionDenied => OUTSIDE,
        None => "input/output error",
    }
}

/// What a path that leaves the roots is refused with.
pub const OUTSIDE: &str = "the path is outside the working directory";
