//! What a session has besides its events: the helper that runs its toolset. It is prepared before the stream is opened, and released when
//! the session is over, before the lease ends.

use crate::error::Result;
use crate::session::tools::helper::{Directories, Helper};

/// The resources of a session.
pub(super) struct Resources {
    /// Runs the toolset; `None` if it is off.
    pub(super) helper: Option<Helper>,
}

impl Resources {
    /// Prepares what the session needs. `session`: the session, as it was retrieved. It may be called again after an error. Errors: `CONFIG`
    /// and those that the server refuses permanently end the session; others are tried again.
    pub(super) async fn prepare(&self, _session: &str) -> Result<()> {
        let Some(helper) = &self.helper else { return Ok(()) };
        helper.start(Directories::default()).await
    }

    /// Ends what was prepared. The lease is still held, unless it is lost.
    pub(super) async fn release(&self) {
        if let Some(helper) = &self.helper {
            helper.end().await;
        }
    }
}
