//! The skills of a session's agent: downloaded by the library, unpacked by the helper process, which is confined.

use crate::api::operations::{SKILLS_VERSIONS_DOWNLOAD, SKILLS_VERSIONS_RETRIEVE};
use crate::client::{Client, PoolHandle};
use crate::download;
use crate::error::{Error, Result, Status};
use crate::runtime::{self, Cancel};
use crate::session::tools::helper::Helper;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, oneshot};

/// The folder of skills in the working directory.
const FOLDER: &str = "skills";
/// The largest archive.
const MAX_ARCHIVE_BYTES: u64 = 64 << 20;
/// Bounds the retrieval of a version, and the download of its archive.
const RETRIEVE_TIMEOUT: Duration = Duration::from_secs(60);
const DOWNLOAD_TIMEOUT_MS: u64 = 300_000;

/// A skill of an agent.
#[derive(Debug, Clone, Deserialize)]
pub struct Skill {
    pub skill_id: String,
    pub version: String,
}

/// A folder that was unpacked.
#[derive(Debug, Clone)]
pub struct SkillFolder {
    /// Relative to the working directory.
    path: String,
    /// Whether the folder above was made for it.
    made_above: bool,
}

#[derive(Deserialize)]
struct Version {
    id: String,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Unpacked {
    made_above: bool,
}

/// Requests the cancellation of a download that is no longer awaited.
struct CancelOnDrop(Arc<Cancel>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The folders that were unpacked. Locked while one is being unpacked.
pub type Folders = Arc<Mutex<Vec<SkillFolder>>>;

/// Downloads a skill, and unpacks it to the working directory. An unpacking that has begun is not cut short when the future is dropped: its
/// folder is to be removed later, and another one that was there before is not.
pub async fn install(client: &Client, pool: &PoolHandle, helper: &Arc<Helper>, skill: &Skill, folders: &Folders) -> Result<()> {
    let ids = [("skill_id", skill.skill_id.as_str()), ("version", skill.version.as_str())];
    let mut request = client.prepare_with(&SKILLS_VERSIONS_RETRIEVE, &ids, None)?;
    request.timeout = RETRIEVE_TIMEOUT;
    let version = client.send_on(pool, request).await.result?;
    let version: Version = serde_json::from_str(&version)
        .map_err(|error| Error::new(Status::Response, format!("the server's response is no version of a skill: {error}")))?;
    let archive = format!("antenv-skill-{:016x}", fastrand::u64(..));
    let path = Path::new(&helper.tmpdir().await?).join(&archive);
    fetch(client, skill, &version.id, &path.to_string_lossy()).await?;
    let to = format!("{FOLDER}/{}", folder_name(version.name.as_deref(), &skill.skill_id));
    let (helper, mut folders) = (helper.clone(), folders.clone().lock_owned().await);
    let unpacking = tokio::spawn(async move {
        let unpacked: Unpacked = helper.ask("unpack", &json!({"archive": archive, "to": to})).await?;
        folders.push(SkillFolder { path: to, made_above: unpacked.made_above });
        Ok(())
    });
    unpacking.await.unwrap_or_else(|_| Err(runtime::fault()))
}

/// Downloads an archive. When the future is dropped, nothing is left of it.
async fn fetch(client: &Client, skill: &Skill, version: &str, path: &str) -> Result<()> {
    let params = json!({"skill_id": skill.skill_id, "version": version, "max_bytes": MAX_ARCHIVE_BYTES,
                        "timeout_ms": DOWNLOAD_TIMEOUT_MS});
    let cancel = Arc::<Cancel>::default();
    let (sender, receiver) = oneshot::channel();
    let done = move |result| drop(sender.send(result));
    download::start(client, SKILLS_VERSIONS_DOWNLOAD.name, Some(&params.to_string()), path, cancel.clone(), done)?;
    let _cancel = CancelOnDrop(cancel);
    receiver.await.unwrap_or_else(|_| Err(runtime::fault())).map(drop)
}

/// Removes a folder that was unpacked.
pub async fn remove(helper: &Helper, folder: &SkillFolder) -> Result<()> {
    helper.ask::<Value>("remove", &json!({"path": folder.path, "above": folder.made_above})).await.map(drop)
}

/// Returns the name of a skill's folder: the last part of the skill's name, or its id if nothing is left.
fn folder_name<'a>(name: Option<&'a str>, id: &'a str) -> &'a str {
    let last = name.unwrap_or_default().trim().trim_end_matches('/').rsplit('/').next().unwrap_or_default().trim();
    if matches!(last, "" | "." | "..") { id } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_called_as_the_last_part_of_the_name() {
        for (name, expected) in [
            (Some("pdf"), "pdf"),
            (Some("  pdf tools "), "pdf tools"),
            (Some("anthropic/pdf"), "pdf"),
            (Some("a/b/pdf/"), "pdf"),
            (Some("../.."), "skill_1"),
            (Some("."), "skill_1"),
            (Some("/"), "skill_1"),
            (Some(" "), "skill_1"),
            (None, "skill_1"),
        ] {
            assert_eq!(folder_name(name, "skill_1"), expected, "{name:?}");
        }
    }
}
