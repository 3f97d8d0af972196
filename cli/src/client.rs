//! The client that a subcommand uses, and its configuration.

use crate::output::Failure;
use antenv::Client;
use clap::Args;
use std::fs;

/// How to reach the API.
#[derive(Args)]
#[command(next_help_heading = "Client")]
pub struct ClientOptions {
    /// The client's configuration: a JSON object, or @FILE for one in a file; the environment variables hold what it does not
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
}

impl ClientOptions {
    /// Makes the client. Errors: the library's `CONFIG`; a file that cannot be read.
    pub fn client(&self) -> Result<Client, Failure> {
        let from_file = match self.config.as_deref().and_then(|config| config.strip_prefix('@')) {
            Some(path) => Some(fs::read_to_string(path).map_err(|error| Failure::io(path, error))?),
            None => None,
        };
        Ok(Client::new(from_file.as_deref().or(self.config.as_deref()))?)
    }
}
