//! What a session has besides its events: the helper that runs its toolset, the skills of its agent, and its memory directories. They are
//! prepared before the stream is opened, and released when the session is over, before the lease ends.
//!
//! ```text
//! prepare   make the memory directories ─► start the helper ─► download the memories ─► unpack the skills
//! release   kill the commands ─► remove the skills ─► last sync and uploads ─► end the helper ─► remove the memory directories
//! ```

use crate::client::{Client, PoolHandle};
use crate::error::{Error, Result, Status};
use crate::runtime::blocking::BlockingThread;
use crate::runtime::clock::{self, ClockTime};
use crate::runtime::fork::ForkSafeMutex;
use crate::session::LOG;
use crate::session::memory::directory::{MemoryDirectory, MemoryMetrics};
use crate::session::memory::root::{self, MadeRoot};
use crate::session::memory::store::Store;
use crate::session::memory::table::Access;
use crate::session::skills::{self, Folders, Skill};
use crate::session::tools::config::{MemoryMode, ResourcesConfig};
use crate::session::tools::helper::{Directories, Helper};
use crate::telemetry::log::{self, Level};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The pause between syncs.
const SYNC_INTERVAL: Duration = Duration::from_secs(15);
/// How long the last sync may take, and the uploads after it, and ending the commands.
const LAST_SYNC_TIMEOUT: Duration = Duration::from_secs(30);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);
const END_COMMANDS_TIMEOUT: Duration = Duration::from_secs(30);
/// Ends the commands of the agent and everything that they have started.
const END_COMMANDS: &str = r#""name":"bash","input":{"restart":true}"#;

/// The resources of a session.
pub(super) struct Resources {
    /// Runs the toolset; `None` if it is off.
    pub(super) helper: Option<Arc<Helper>>,
    config: ResourcesConfig,
    client: Client,
    pool: PoolHandle,
    session_id: String,
    /// Whether the item has a token of its own, as memory stores need it.
    has_token: bool,
    roots: Arc<ForkSafeMutex<Vec<MadeRoot>>>,
    state: ForkSafeMutex<State>,
    folders: Folders,
    memory_metrics: Arc<ForkSafeMutex<MemoryMetrics>>,
}

#[derive(Default)]
struct State {
    directories: Vec<Arc<MemoryDirectory>>,
    /// How many skills were tried, and what became of them.
    skills_tried: usize,
    skills_failed: u64,
    synced_at: ClockTime,
}

/// What is looked at in a session.
#[derive(Deserialize)]
struct SessionView {
    #[serde(default)]
    agent: AgentView,
    #[serde(default)]
    resources: Option<Vec<Value>>,
}

#[derive(Default, Deserialize)]
struct AgentView {
    #[serde(default)]
    skills: Option<Vec<Value>>,
}

/// A memory store of a session.
#[derive(Deserialize)]
struct StoreView {
    memory_store_id: String,
    #[serde(default)]
    access: Option<String>,
    #[serde(default)]
    mount_path: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

impl Resources {
    pub(super) fn new(
        helper: Option<Helper>,
        config: ResourcesConfig,
        client: Client,
        pool: PoolHandle,
        session_id: &str,
        has_token: bool,
    ) -> Resources {
        Resources {
            helper: helper.map(Arc::new),
            config,
            client,
            pool,
            session_id: session_id.to_owned(),
            has_token,
            roots: Arc::default(),
            state: ForkSafeMutex::default(),
            folders: Folders::default(),
            memory_metrics: Arc::default(),
        }
    }

    /// Prepares what the session needs. `session`: the session, as it was retrieved. It may be called again after an error. Errors: `CONFIG`
    /// and those that the server refuses permanently end the session; others are tried again.
    pub(super) async fn prepare(&self, session: &str) -> Result<()> {
        let Some(helper) = &self.helper else { return Ok(()) };
        let unusable = |error: serde_json::Error| Error::new(Status::Response, format!("the session cannot be read: {error}"));
        let session: SessionView = serde_json::from_str(session).map_err(unusable)?;
        self.make_directories(session.resources.unwrap_or_default()).await?;
        let directories = self.state.lock().directories.clone();
        let of = |access| {
            let roots = directories.iter().filter(|directory| directory.access == access);
            roots.map(|directory| PathBuf::from(&directory.root)).collect()
        };
        helper.start(Directories { memory: of(Access::ReadWrite), memory_read_only: of(Access::ReadOnly) }).await?;
        for directory in &directories {
            directory.download(helper).await?;
        }
        self.state.lock().synced_at = clock::now();
        if self.config.skills {
            self.install_skills(helper, session.agent.skills.unwrap_or_default()).await;
        }
        Ok(())
    }

    /// Makes the memory directories that the session names.
    async fn make_directories(&self, resources: Vec<Value>) -> Result<()> {
        let is_store = |resource: &Value| resource["type"] == "memory_store";
        let stores = resources.into_iter().filter(|resource| self.config.memory != MemoryMode::Off && is_store(resource));
        for store in stores {
            let unusable =
                |error: serde_json::Error| Error::config("memory", format_args!("has a store that cannot be read: {error}"));
            let store: StoreView = serde_json::from_value(store).map_err(unusable)?;
            if !self.has_token {
                let advice = "set `memory` to false to serve the session without its memory";
                return Err(Error::config(
                    "memory",
                    format_args!(
                        "needs the work item's own token for {}, and the item has none; {advice}",
                        store.memory_store_id
                    ),
                ));
            }
            let workdir = self.config.workdir.clone();
            let path = root::place(&workdir, store.mount_path.as_deref(), store.name.as_deref(), &store.memory_store_id)?;
            let text = path.to_str().ok_or_else(|| Error::config("memory", "has a path that is not valid UTF-8"))?.to_owned();
            let is_known = |directory: &Arc<MemoryDirectory>| directory.store_id() == store.memory_store_id;
            if self.state.lock().directories.iter().any(is_known) {
                continue;
            }
            // Recorded where it is made: this future may be dropped meanwhile.
            let roots = self.roots.clone();
            let make = move || root::make(&workdir, &path).map(|root| roots.lock().push(root));
            BlockingThread::current()?.run(make).await??;
            let is_read_only = self.config.memory == MemoryMode::ReadOnly || store.access.as_deref() == Some("read_only");
            let access = if is_read_only { Access::ReadOnly } else { Access::ReadWrite };
            let store = Store::new(self.client.clone(), self.pool.clone(), store.memory_store_id);
            let directory = MemoryDirectory::new(text, access, store, self.memory_metrics.clone());
            self.state.lock().directories.push(Arc::new(directory));
        }
        Ok(())
    }

    /// Installs the skills that were not tried yet. One that fails is logged and counted.
    async fn install_skills(&self, helper: &Arc<Helper>, skills: Vec<Value>) {
        let tried = self.state.lock().skills_tried;
        for skill in skills.into_iter().skip(tried) {
            let installed = match serde_json::from_value::<Skill>(skill.clone()) {
                Ok(skill) => skills::install(&self.client, &self.pool, helper, &skill, &self.folders).await,
                Err(error) => Err(Error::new(Status::Response, format!("the skill cannot be read: {error}"))),
            };
            let mut state = self.state.lock();
            state.skills_tried += 1;
            if let Err(error) = installed {
                state.skills_failed += 1;
                drop(state);
                self.warn("a skill could not be installed", &json!({"skill": skill, "why": error.to_string()}));
            }
        }
    }

    /// Returns a sync of the memory directories, if one is due.
    pub(super) fn sync(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let helper = self.helper.clone()?;
        let mut state = self.state.lock();
        let now = clock::now();
        if state.directories.is_empty() || now.saturating_sub(state.synced_at) < SYNC_INTERVAL {
            return None;
        }
        state.synced_at = now;
        let directories = state.directories.clone();
        Some(async move {
            for directory in directories {
                directory.sync(&helper, false).await;
            }
        })
    }

    /// Ends what was prepared. The lease is still held, unless it is lost. `is_well`: the session has come to its end; `is_online`: requests
    /// may still be sent.
    pub(super) async fn release(&self, is_well: bool, is_online: bool) {
        let Some(helper) = &self.helper else { return };
        let critical = self.pool.runtime().critical();
        let directories = std::mem::take(&mut self.state.lock().directories);
        let folders = std::mem::take(&mut *self.folders.lock().await);
        if directories.iter().any(|directory| directory.has_begun()) || !folders.is_empty() {
            let _ = timeout(END_COMMANDS_TIMEOUT, helper.request(END_COMMANDS)).await;
        }
        for folder in folders.iter().rev() {
            if let Err(error) = skills::remove(helper, folder).await {
                self.warn("a skill could not be removed", &json!({"why": error.to_string()}));
            }
        }
        if is_online {
            let whole: Vec<_> = directories.iter().filter(|directory| directory.is_downloaded()).cloned().collect();
            self.finish_memories(helper, &whole, is_well).await;
        }
        for directory in &directories {
            directory.clear(helper).await;
        }
        helper.end().await;
        let roots = std::mem::take(&mut *self.roots.lock());
        if !roots.is_empty()
            && let Ok(thread) = BlockingThread::current()
        {
            let _ = thread.run(move || roots.iter().rev().for_each(MadeRoot::remove)).await;
        }
        drop(critical);
    }

    async fn finish_memories(&self, helper: &Arc<Helper>, directories: &[Arc<MemoryDirectory>], is_well: bool) {
        let last_sync = async {
            for directory in directories {
                directory.sync(helper, true).await;
            }
        };
        if is_well && timeout(LAST_SYNC_TIMEOUT, last_sync).await.is_err() {
            self.warn("the last sync of the memory directories took too long", &json!({}));
        }
        let flush = async {
            for directory in directories {
                directory.flush(helper).await;
            }
        };
        if timeout(FLUSH_TIMEOUT, flush).await.is_err() {
            self.warn("changes of memories may be lost", &json!({"why": "uploading them took too long"}));
        }
    }

    /// Returns what happened to skills and memories so far, as members of a session's statistics.
    pub(super) fn stats(&self) -> [(&'static str, Value); 3] {
        let state = self.state.lock();
        let installed = state.skills_tried as u64 - state.skills_failed;
        let memory = serde_json::to_value(&*self.memory_metrics.lock()).unwrap_or_default();
        [("skills_installed", installed.into()), ("skills_failed", state.skills_failed.into()), ("memory", memory)]
    }

    fn warn(&self, what: &'static str, fields: &Value) {
        log::record(Level::Warn, LOG, what, || {
            let mut fields = fields.clone();
            fields["session_id"] = self.session_id.clone().into();
            fields
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime;

    #[test]
    fn a_memory_store_takes_a_token_of_the_items_own() {
        let client = Client::new(Some(r#"{"api_key":"k","base_url":"http://127.0.0.1:9"}"#)).unwrap();
        let pool = client.pool_handle().unwrap();
        for (memory, resource, is_refused) in [
            (MemoryMode::On, json!({"type": "memory_store", "memory_store_id": "memstore_1"}), true),
            (MemoryMode::ReadOnly, json!({"type": "memory_store", "memory_store_id": "memstore_1"}), true),
            (MemoryMode::Off, json!({"type": "memory_store", "memory_store_id": "memstore_1"}), false),
            (MemoryMode::On, json!({"type": "file", "file_id": "file_1"}), false),
        ] {
            let config = ResourcesConfig { workdir: PathBuf::from("/nowhere"), skills: true, memory };
            let resources = Resources::new(None, config, client.clone(), pool.clone(), "session_1", false);
            let made = pool.runtime().spawn_awaited(async move { resources.make_directories(vec![resource]).await });
            let error = runtime::wait(made).and_then(|made| made).err();
            assert_eq!(error.as_ref().and_then(Error::parameter), is_refused.then_some("memory"));
            assert!(error.is_none_or(|error| error.to_string().contains("the item has none")));
        }
    }
}
