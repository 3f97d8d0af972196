//! Downloads: the response of an operation, written to a file that is whole or not there.
//!
//! ```text
//! runtime's thread   attempts ---parts---> receive ---outcome---> result
//!                                           |   ^      |   ^
//! file thread                               write      rename the file, or remove it
//! ```
//!
//! A cancellation ends the attempts, and so the parts. The file is renamed unless it was cancelled before.

use crate::api::operations::{self, ResponseKind};
use crate::client::{Client, RawOutcome};
use crate::completion::{Queue, Ticket};
use crate::error::{Error, Result};
use crate::http::transport::Part;
use crate::runtime::blocking::BlockingThread;
use crate::runtime::{self, Cancel, Runtime};
use serde_json::json;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// How many parts may wait to be written.
const MAX_UNWRITTEN: usize = 4;
/// How often another name is tried for the temporary file.
const MAX_NAMES: u32 = 16;

/// Downloads the response of an operation to `path`, replacing a file that is there only by a whole one. Returns
/// `{"path","bytes","content_type"}`. Blocks until the file is in its place. Errors: the common call errors; `INVALID_ARGUMENT` about
/// `path`.
pub fn download(client: &Client, operation: &str, params_json: Option<&str>, path: &str) -> Result<String> {
    let (sender, receiver) = oneshot::channel();
    start(client, operation, params_json, path, Arc::default(), move |result| drop(sender.send(result)))?;
    runtime::wait(receiver)
}

/// Does the same without blocking: a completion with this tag reports the result. `ticket` cancels it; when the completion has arrived,
/// the temporary file is gone. An operation, parameters or a path that are not valid are reported here.
pub fn submit(
    client: &Client,
    queue: &Arc<Queue>,
    operation: &str,
    params_json: Option<&str>,
    path: &str,
    tag: u64,
    ticket: &Ticket,
) -> Result<()> {
    queue.submit_with(tag, ticket, |cancel, submitted| {
        start(client, operation, params_json, path, cancel, move |result| submitted.end(result))
    })
}

/// Starts a download: of an operation by its name, with the per-call options in `params_json`. `done` receives its result exactly once. On an error it was not started.
pub(crate) fn start(
    client: &Client,
    operation: &str,
    params_json: Option<&str>,
    path: &str,
    cancel: Arc<Cancel>,
    done: impl FnOnce(Result<String>) + Send + 'static,
) -> Result<()> {
    let request = client.prepare(operations::find(operation, ResponseKind::Binary)?, params_json)?;
    if request.with_response {
        return Err(Error::argument("with_response", "cannot be used with a download, which writes a file"));
    }
    let pool = client.pool_handle()?;
    let thread = BlockingThread::current()?;
    let file = TemporaryFile::create(Path::new(path)).map_err(|e| unwritable(&e))?;
    let (sender, parts) = mpsc::channel(MAX_UNWRITTEN);
    let (done_sender, outcome) = oneshot::channel();
    client.start(request, Some(sender), cancel.clone(), move |outcome| drop(done_sender.send(outcome)))?;
    let download = Download { client: client.clone(), target: path.to_owned(), file, cancel, thread };
    let runtime = pool.runtime().clone();
    pool.runtime().spawn(async move { download.run(parts, outcome, &runtime).await }, None, |result| done(result.flatten()));
    Ok(())
}

/// A download under way.
struct Download {
    client: Client,
    target: String,
    file: TemporaryFile,
    cancel: Arc<Cancel>,
    thread: BlockingThread,
}

impl Download {
    async fn run(
        self,
        parts: mpsc::Receiver<Part>,
        outcome: oneshot::Receiver<Result<RawOutcome>>,
        runtime: &Runtime,
    ) -> Result<String> {
        let outcome = match self.receive(parts).await {
            Ok(()) => outcome.await.unwrap_or_else(|_| Err(runtime::fault())),
            Err(error) => Err(error),
        };
        // The end of the runtime waits until the file is in its place, or gone.
        let _critical = runtime.critical();
        let thread = self.thread.clone();
        thread.run(move || self.finish(outcome)).await?
    }

    /// Writes the parts until there are no more.
    async fn receive(&self, mut parts: mpsc::Receiver<Part>) -> Result<()> {
        let mut batch = Vec::new();
        while parts.recv_many(&mut batch, MAX_UNWRITTEN).await > 0 {
            let (file, batch) = (self.file.file.clone(), std::mem::take(&mut batch));
            if !self.cancel.is_requested() {
                self.thread.run(move || write(&file, batch)).await?.map_err(|e| unwritable(&e))?;
            }
        }
        Ok(())
    }

    /// Moves the file to its place if it is whole. Else it is removed.
    fn finish(self, outcome: Result<RawOutcome>) -> Result<String> {
        let content_type = outcome?.into_content_type(&self.client)?;
        let bytes = self.file.sync().map_err(|e| unwritable(&e))?;
        if self.cancel.is_requested() {
            return Err(runtime::cancelled());
        }
        self.file.rename_to(Path::new(&self.target)).map_err(|e| unwritable(&e))?;
        Ok(json!({"path": self.target, "bytes": bytes, "content_type": content_type}).to_string())
    }
}

fn write(mut file: &File, parts: Vec<Part>) -> io::Result<()> {
    for part in parts {
        match part {
            Part::Begin => {
                file.set_len(0)?;
                file.rewind()?;
            }
            Part::Data(bytes) => file.write_all(&bytes)?,
        }
    }
    Ok(())
}

fn unwritable(error: &io::Error) -> Error {
    Error::argument("path", format_args!("cannot be written: {error}"))
}

/// A file beside another one, which it may replace. Dropping it removes it.
struct TemporaryFile {
    file: Arc<File>,
    path: PathBuf,
    is_renamed: bool,
}

impl TemporaryFile {
    fn create(target: &Path) -> io::Result<TemporaryFile> {
        // A path may go on after the name: "name/", "name/.".
        let is_at_end = |name: &&OsStr| target.as_os_str().as_encoded_bytes().ends_with(name.as_encoded_bytes());
        if target.file_name().filter(is_at_end).is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it names no file"));
        }
        if target.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        let mut tries = 0;
        loop {
            // Without the file's own name, which may be as long as a name can be.
            let path = target.with_file_name(format!(".antenv-{:08x}.part", fastrand::u32(..)));
            tries += 1;
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(TemporaryFile { file: Arc::new(file), path, is_renamed: false }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && tries < MAX_NAMES => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Writes the file to the disk, so that after a crash, too, it is whole once it is renamed. Returns its size in bytes.
    fn sync(&self) -> io::Result<u64> {
        self.file.sync_all()?;
        Ok(self.file.metadata()?.len())
    }

    /// Moves the file to its place.
    fn rename_to(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.is_renamed = true;
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.is_renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}
