//! The arguments of commands that ask a running daemon.
//!
//! Must not know: what is asked.

use clap::Args;

use crate::cli::ConfigArguments;
use crate::cli::client::Client;
use crate::cli::exit::Failure;
use crate::cli::output::OutputArguments;

/// Where the daemon is, and how its answer is written.
#[derive(Debug, Clone, Args)]
pub(super) struct DaemonArguments {
    /// `--listen` (listen.address) says where the daemon listens
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    #[command(flatten)]
    pub(super) output: OutputArguments,
}

impl DaemonArguments {
    /// A connection to the daemon.
    ///
    /// # Errors
    /// [`Failure`] when the configuration cannot be read or nobody takes the connection.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        Client::connect(self.config.load()?.config.listen.address).await
    }
}
