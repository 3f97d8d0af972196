//! What to do with one path of a memory directory: a pure function of three contents.
//!
//! | local | remote | agreed | what to do |
//! |---|---|---|---|
//! | = remote | any | any | agree |
//! | = agreed | changed | yes | pull |
//! | changed | = agreed | yes | update, unless the remote content has changed meanwhile |
//! | another than both | another than agreed, or new | any | pull, with a warning: the server wins |
//! | a file | none | no | create |
//! | = agreed | none | yes | remove the file |
//! | changed | none | yes | create again |
//! | none | = agreed | yes | delete on the server, with care |
//! | none | changed | yes | pull |
//! | none | a memory | no | pull |
//! | none | none | yes | forget |
//!
//! A directory whose store may only be read pulls instead of writing: its own changes are overwritten.

/// What the directory has at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local<'a> {
    Absent,
    /// A file, by the hash of its content.
    File(&'a str),
    /// Something that can be no memory: a link, a directory, a file that is too large or not a text.
    Refused,
}

/// Whether the session may write to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadWrite,
    ReadOnly,
}

/// What to do with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Nothing,
    /// Remember that both sides have the same.
    Agree,
    /// Both sides have lost it.
    Forget,
    Pull,
    /// Pull, and warn: a change of the directory is lost.
    Overwrite,
    Create,
    Update,
    RemoveFile,
    /// Remove the file, and warn: it was changed.
    RemoveChanged,
    DeleteMemory,
}

/// Decides what to do with a path. `remote`, `agreed`: the hashes of what the store has, and of what both sides had last.
pub fn decide(access: Access, local: Local<'_>, remote: Option<&str>, agreed: Option<&str>) -> Verdict {
    let verdict = match (local, remote) {
        (Local::File(local), Some(remote)) if local == remote => Verdict::Agree,
        (Local::File(local), Some(_)) if agreed == Some(local) => Verdict::Pull,
        (Local::File(_), Some(remote)) if agreed == Some(remote) => Verdict::Update,
        (Local::File(_), Some(_)) => Verdict::Overwrite,
        (Local::File(local), None) if agreed == Some(local) => Verdict::RemoveFile,
        (Local::File(_), None) => Verdict::Create,
        (Local::Absent, Some(remote)) if agreed == Some(remote) => Verdict::DeleteMemory,
        (Local::Absent, Some(_)) => Verdict::Pull,
        (Local::Absent, None) if agreed.is_some() => Verdict::Forget,
        (Local::Absent, None) => Verdict::Nothing,
        // It is a change that cannot be uploaded.
        (Local::Refused, Some(remote)) if agreed == Some(remote) => match access {
            Access::ReadWrite => Verdict::Nothing,
            Access::ReadOnly => Verdict::Overwrite,
        },
        (Local::Refused, Some(_)) => Verdict::Overwrite,
        (Local::Refused, None) if agreed.is_some() => Verdict::Forget,
        (Local::Refused, None) => Verdict::Nothing,
    };
    match (access, verdict) {
        (Access::ReadOnly, Verdict::Update) => Verdict::Overwrite,
        (Access::ReadOnly, Verdict::DeleteMemory) => Verdict::Pull,
        (Access::ReadOnly, Verdict::Create) if agreed.is_some() => Verdict::RemoveChanged,
        // A file of the directory's own harms nothing.
        (Access::ReadOnly, Verdict::Create) => Verdict::Nothing,
        (_, verdict) => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Access::{ReadOnly, ReadWrite};
    use Local::{Absent, File, Refused};

    #[test]
    fn every_row_of_the_table_holds() {
        for (local, remote, agreed, writable, read_only) in [
            (File("a"), Some("a"), None, Verdict::Agree, Verdict::Agree),
            (File("a"), Some("a"), Some("a"), Verdict::Agree, Verdict::Agree),
            (File("a"), Some("a"), Some("b"), Verdict::Agree, Verdict::Agree),
            (File("a"), Some("b"), Some("a"), Verdict::Pull, Verdict::Pull),
            (File("a"), Some("b"), Some("b"), Verdict::Update, Verdict::Overwrite),
            (File("a"), Some("b"), Some("c"), Verdict::Overwrite, Verdict::Overwrite),
            (File("a"), Some("b"), None, Verdict::Overwrite, Verdict::Overwrite),
            (File("a"), None, None, Verdict::Create, Verdict::Nothing),
            (File("a"), None, Some("a"), Verdict::RemoveFile, Verdict::RemoveFile),
            (File("a"), None, Some("b"), Verdict::Create, Verdict::RemoveChanged),
            (Absent, Some("a"), Some("a"), Verdict::DeleteMemory, Verdict::Pull),
            (Absent, Some("a"), Some("b"), Verdict::Pull, Verdict::Pull),
            (Absent, Some("a"), None, Verdict::Pull, Verdict::Pull),
            (Absent, None, Some("a"), Verdict::Forget, Verdict::Forget),
            (Absent, None, None, Verdict::Nothing, Verdict::Nothing),
            (Refused, Some("a"), Some("a"), Verdict::Nothing, Verdict::Overwrite),
            (Refused, Some("a"), Some("b"), Verdict::Overwrite, Verdict::Overwrite),
            (Refused, Some("a"), None, Verdict::Overwrite, Verdict::Overwrite),
            (Refused, None, Some("a"), Verdict::Forget, Verdict::Forget),
            (Refused, None, None, Verdict::Nothing, Verdict::Nothing),
        ] {
            let case = format!("{local:?} {remote:?} {agreed:?}");
            assert_eq!(decide(ReadWrite, local, remote, agreed), writable, "{case}");
            assert_eq!(decide(ReadOnly, local, remote, agreed), read_only, "{case}, read-only");
        }
    }
}
