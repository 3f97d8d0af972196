//! A memory directory and its store: downloads, syncs and uploads. What to do is the [plan's](super::plan), the files are the helper's.

use super::plan::{Action, Plan, Scan, SyncState};
use super::store::{Item, Store, Written};
use super::table::Access;
use crate::error::{Error, Result, Status};
use crate::runtime::clock;
use crate::runtime::fork::ForkSafeMutex;
use crate::session::LOG;
use crate::session::tools::helper::Helper;
use crate::telemetry::log::{self, Level};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use tokio::task::JoinSet;

/// How many memories are fetched at once, and how many are written.
const MAX_PULLS: usize = 16;
const MAX_UPLOADS: usize = 32;

/// What has happened to memories so far.
#[derive(Debug, Default, Clone, serde::Serialize)]
pub struct MemoryMetrics {
    pub syncs: u64,
    pub failed_syncs: u64,
    pub pulled: u64,
    pub uploaded: u64,
    pub deleted: u64,
    pub overwritten: u64,
    pub rejected: u64,
    pub refused: u64,
}

/// A memory directory.
pub struct MemoryDirectory {
    /// Its path, as the helper knows it.
    pub root: String,
    pub access: Access,
    store: Store,
    state: ForkSafeMutex<SyncState>,
    metrics: Arc<ForkSafeMutex<MemoryMetrics>>,
    /// The marker was gone while there were files: nothing of it is removed.
    is_distrusted: AtomicBool,
    /// Something was written.
    has_begun: AtomicBool,
    /// All memories were written once.
    is_complete: AtomicBool,
}

/// What the helper has found at a path.
#[derive(Deserialize)]
struct Found {
    marker: bool,
    state: String,
    #[serde(default)]
    sha256: String,
    #[serde(default)]
    content: String,
}

impl MemoryDirectory {
    pub fn new(root: String, access: Access, store: Store, metrics: Arc<ForkSafeMutex<MemoryMetrics>>) -> MemoryDirectory {
        MemoryDirectory {
            root,
            access,
            store,
            state: ForkSafeMutex::new(SyncState::new(access)),
            metrics,
            is_distrusted: AtomicBool::new(false),
            has_begun: AtomicBool::new(false),
            is_complete: AtomicBool::new(false),
        }
    }

    /// Returns the id of its store.
    pub fn store_id(&self) -> &str {
        &self.store.id
    }

    /// Returns whether there may be something in it.
    pub fn has_begun(&self) -> bool {
        self.has_begun.load(SeqCst)
    }

    /// Returns whether all memories of the store were written once.
    pub fn is_downloaded(&self) -> bool {
        self.is_complete.load(SeqCst)
    }

    /// Writes all memories of the store. Does so again after an error.
    pub async fn download(&self, helper: &Helper) -> Result<()> {
        if self.is_downloaded() {
            return Ok(());
        }
        let items = self.store.list(true).await?;
        self.has_begun.store(true, SeqCst);
        // Such a failure is the disk's: another attempt would not help.
        let unwritable = |error: Error| match error.status() {
            Status::Internal => {
                Error::config("memory", format_args!("has a directory that cannot be written: {}: {error}", self.root))
            }
            _ => error,
        };
        self.ask::<Value>(helper, "mark", json!({})).await.map_err(unwritable)?;
        for item in &items {
            self.write(helper, item).await.map_err(unwritable)?;
        }
        self.is_complete.store(true, SeqCst);
        Ok(())
    }

    /// Does one sync. `is_last`: there is no later one. Errors are logged; what was not done is left to the next one.
    pub async fn sync(self: &Arc<Self>, helper: &Arc<Helper>, is_last: bool) {
        self.metrics.lock().syncs += 1;
        if let Err(error) = self.try_sync(helper, is_last).await {
            self.metrics.lock().failed_syncs += 1;
            self.warn("a memory directory could not be synced", &json!({"why": error.to_string()}));
        }
    }

    async fn try_sync(self: &Arc<Self>, helper: &Arc<Helper>, is_last: bool) -> Result<()> {
        let listing = self.store.listing().await?;
        let scan: Scan = self.ask(helper, "scan", json!({})).await?;
        let plan = self.state.lock().plan(clock::now(), &scan, &listing, is_last);
        self.perform(helper, plan, MAX_PULLS).await
    }

    /// Uploads what has changed since the last sync.
    pub async fn flush(self: &Arc<Self>, helper: &Arc<Helper>) {
        let result = match self.ask::<Scan>(helper, "scan", json!({})).await {
            Ok(scan) => {
                let plan = self.state.lock().plan_flush(&scan);
                self.perform(helper, plan, MAX_UPLOADS).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.warn("changes of memories may be lost", &json!({"why": error.to_string()}));
        }
    }

    /// Removes everything in the directory, unless it is not trusted.
    pub async fn clear(&self, helper: &Helper) {
        if self.is_distrusted.load(SeqCst) || !self.has_begun() {
            return;
        }
        if let Err(error) = self.ask::<Value>(helper, "clear", json!({})).await {
            self.warn("a memory directory could not be removed", &json!({"why": error.to_string()}));
        }
    }

    async fn perform(self: &Arc<Self>, helper: &Arc<Helper>, plan: Plan, at_once: usize) -> Result<()> {
        self.is_distrusted.store(plan.distrust.is_some(), SeqCst);
        if let Some(why) = plan.distrust {
            self.warn("a memory directory is not synced", &json!({"why": why}));
        }
        if plan.write_marker {
            self.warn("a memory directory is written anew", &json!({"why": "its files are gone"}));
            self.ask::<Value>(helper, "mark", json!({})).await?;
        }
        if !plan.overwritten.is_empty() {
            self.metrics.lock().overwritten += plan.overwritten.len() as u64;
            self.warn("changes of memory files are overwritten", &json!({"paths": plan.overwritten}));
        }
        if plan.held_deletes > 0 {
            log::record(
                Level::Info,
                LOG,
                "memories whose files are missing are not deleted yet",
                || json!({"root": self.root, "count": plan.held_deletes}),
            );
        }
        let (mut running, mut failure) = (JoinSet::new(), Ok(()));
        for (path, action) in plan.actions {
            while running.len() >= at_once {
                failure = failure.and(joined(running.join_next().await));
            }
            let (directory, helper) = (self.clone(), helper.clone());
            running.spawn(async move {
                let done = directory.act(&helper, &path, action).await;
                done.map_err(|error| Error::new(error.status(), format!("{path}: {error}")))
            });
        }
        while !running.is_empty() {
            failure = failure.and(joined(running.join_next().await));
        }
        failure
    }

    async fn act(&self, helper: &Helper, path: &str, action: Action) -> Result<()> {
        match action {
            Action::Pull { id } => self.pull(helper, path, &id).await,
            Action::Create => self.upload(helper, path, None).await,
            Action::Update { id, expected } => self.upload(helper, path, Some((&id, &expected))).await,
            Action::RemoveFile { sha256 } => {
                #[derive(Deserialize)]
                struct Removed {
                    removed: bool,
                }
                let removed: Removed = self.ask(helper, "remove", json!({"path": path, "sha256": sha256})).await?;
                if removed.removed {
                    self.state.lock().forget(path);
                }
                Ok(())
            }
            Action::DeleteMemory { id, expected } => {
                let found = self.look(helper, path).await?;
                if !found.marker || found.state != "absent" || !self.store.delete(&id, &expected).await? {
                    return Ok(());
                }
                self.state.lock().forget(path);
                self.metrics.lock().deleted += 1;
                Ok(())
            }
        }
    }

    async fn pull(&self, helper: &Helper, path: &str, id: &str) -> Result<()> {
        // One that is gone, or was renamed, is the next sync's matter.
        let Some(item) = self.store.retrieve(id).await?.filter(|item| item.path == path) else { return Ok(()) };
        self.write(helper, &item).await
    }

    /// Writes a memory to its file. One whose path no file can have is passed over.
    async fn write(&self, helper: &Helper, item: &Item) -> Result<()> {
        #[derive(Deserialize)]
        struct FileWritten {
            refused: Option<String>,
        }
        let content = item.content.as_deref().unwrap_or_default();
        let written: FileWritten = self.ask(helper, "write", json!({"path": item.path, "content": content})).await?;
        if let Some(why) = written.refused {
            self.metrics.lock().refused += 1;
            self.warn("a memory cannot be a file", &json!({"path": item.path, "why": why}));
            return Ok(());
        }
        self.state.lock().agree(&item.path, item.memory());
        self.metrics.lock().pulled += 1;
        Ok(())
    }

    /// Sends the content of a file. `known`: the id of its memory, and the hash that it is expected to have.
    async fn upload(&self, helper: &Helper, path: &str, known: Option<(&str, &str)>) -> Result<()> {
        let found = self.look(helper, path).await?;
        if !found.marker || found.state != "file" {
            return Ok(());
        }
        self.state.lock().doubt(path, found.sha256.clone());
        let written = match known {
            Some((id, expected)) => self.store.update(id, &found.content, expected).await,
            None => Written::Gone,
        };
        let written = match written {
            Written::Gone => self.store.create(path, &found.content).await,
            other => other,
        };
        match written {
            Written::Done(memory) => {
                self.state.lock().agree(path, memory);
                self.metrics.lock().uploaded += 1;
                Ok(())
            }
            // The next sync sees what the server has.
            Written::Conflict | Written::Gone => Ok(()),
            Written::Rejected(error) => {
                self.state.lock().reject(path, found.sha256);
                self.metrics.lock().rejected += 1;
                self.warn("the server rejected a memory", &json!({"path": path, "why": error.to_string()}));
                Ok(())
            }
            Written::Failed(error) => Err(error),
        }
    }

    async fn look(&self, helper: &Helper, path: &str) -> Result<Found> {
        self.ask(helper, "read", json!({"path": path})).await
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, helper: &Helper, action: &str, input: Value) -> Result<T> {
        let mut request = Map::new();
        request.insert("root".to_owned(), self.root.clone().into());
        request.insert("store".to_owned(), self.store.id.clone().into());
        request.insert(action.to_owned(), input);
        helper.ask("memory", &Value::Object(request)).await
    }

    fn warn(&self, what: &'static str, fields: &Value) {
        log::record(Level::Warn, LOG, what, || {
            let mut fields = fields.clone();
            fields["root"] = self.root.clone().into();
            fields["memory_store_id"] = self.store.id.clone().into();
            fields
        });
    }
}

fn joined(done: Option<std::result::Result<Result<()>, tokio::task::JoinError>>) -> Result<()> {
    match done {
        None => Ok(()),
        Some(done) => done.unwrap_or_else(|error| Err(Error::new(Status::Internal, error.to_string()))),
    }
}
