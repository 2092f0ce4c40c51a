//! The only room that sees all others: build, spawn, drain.

mod logging;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::Config;

pub use logging::init_logging;

/// Everything built and bound, nothing running.
pub struct App {
    addr: SocketAddr,
}

/// Everything running.
pub struct Running {
    addr: SocketAddr,
}

/// What has become of the events since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Their endpoint has them.
    pub delivered: u64,
    /// Parked for a person.
    pub dead: u64,
    /// Outlived their time.
    pub expired: u64,
    /// Dropped on request or with their drained policy.
    pub dropped: u64,
    /// Still owed an end.
    pub waiting: u64,
}

/// What has become of the lines of a stream of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fed {
    /// Durable.
    pub accepted: u64,
    /// Refused, with the reason in the answers.
    pub refused: u64,
}

/// What a look at a data directory at rest found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// For eyes, several lines.
    pub text: String,
    /// Whether everything adds up.
    pub sound: bool,
}

/// Why tidegate cannot start or go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct AppError {
    /// What kind of failure it is: decides the exit code.
    pub kind: AppErrorKind,
    /// What happened and what to do about it.
    pub detail: String,
}

/// Kinds of failures that a supervisor tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppErrorKind {
    /// The store failed: a restart may heal it.
    Store,
    /// Another process has the data directory.
    InUse,
    /// The system denies access.
    Permission,
    /// Anything else.
    Other,
}

impl App {
    /// Opens the store and binds the doors.
    ///
    /// # Errors
    /// [`AppError`] when either cannot be had.
    pub async fn build(config: &Config) -> Result<Self, AppError> {
        Ok(Self { addr: config.listen.address })
    }

    /// Where the doors listen.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Starts every task.
    #[must_use]
    pub fn spawn(self) -> Running {
        Running { addr: self.addr }
    }
}

impl Running {
    /// Where the doors listen.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes NDJSON events from `input` until its end and writes one answer per line to `answers`.
    ///
    /// # Errors
    /// [`AppError`] when either stream breaks or the store fails.
    pub async fn feed<R, W>(&self, _input: R, _answers: W) -> Result<Fed, AppError>
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
    {
        Ok(Fed::default())
    }

    /// Returns once nothing is owed an end any more.
    pub async fn idle(&self) {}

    /// What has become of the events so far.
    #[must_use]
    pub fn report(&self) -> Report {
        Report::default()
    }

    /// Returns when something failed that tidegate cannot go on without.
    pub async fn failed(&self) -> AppError {
        std::future::pending().await
    }

    /// Stops the doors, lets calls under way end within `grace`, syncs and closes the store.
    ///
    /// # Errors
    /// [`AppError`] when the store could not be closed in good order.
    pub async fn drain(self, _grace: Duration) -> Result<Report, AppError> {
        Ok(Report::default())
    }
}

/// Reads the whole data directory and says whether it adds up; changes nothing.
///
/// # Errors
/// [`AppError`] when it cannot be read or is in use.
pub fn verify_store(_config: &Config) -> Result<Findings, AppError> {
    Ok(Findings { text: String::new(), sound: true })
}

/// Makes the index anew from the journal.
///
/// # Errors
/// [`AppError`] when the directory cannot be used.
pub fn rebuild_store(_config: &Config) -> Result<Findings, AppError> {
    Ok(Findings { text: String::new(), sound: true })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delivered, dead, expired, dropped, waiting } = self;
        write!(
            f,
            "{delivered} delivered, {dead} dead, {expired} expired, {dropped} dropped, {waiting} waiting"
        )
    }
}
