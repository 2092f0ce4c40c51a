//! The only room that sees all others: build, spawn, drain.
//!
//! [`App::build`] opens the store and binds the doors and starts nothing; [`App::spawn`] starts every task;
//! [`Running::drain`] stops the doors, lets calls end, syncs and closes the store, in this order.

mod api_doc;
mod backup;
mod build;
mod clock_watch;
mod descriptors;
mod dialects;
mod doubts;
mod doubts_at_rest;
mod drain_ends;
mod error;
mod held;
mod housekeeping;
mod html;
mod in_doubt;
mod keys;
mod known;
mod letter_census;
pub(crate) mod listen;
mod live;
mod logging;
mod measured;
mod memory;
mod offline;
mod posting;
mod process;
mod reload;
mod restore;
mod running;
mod service_manager;
mod slow_store;
mod snapshot;
mod spent;
mod traces;
mod worked;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::Deliver;
use crate::dispatch::{DispatchHandle, Service};
use crate::ingest::Intake;
use crate::limit::Outlooks;
use crate::ops::Pulse;
use crate::policy::Policies;
use crate::queue::Queue;
use crate::store::{EntryStore, UsageStore};
use crate::telemetry::MetricsHandle;
pub(crate) use crate::telemetry::printable;
use crate::traces::Exporter;

pub(crate) use api_doc::api_doc;
pub(crate) use backup::{BackedUp, back_up};
#[cfg(any(test, feature = "testkit"))]
pub use build::Seams;
pub(crate) use doubts_at_rest::{DirectoryUse, directory_use, doubts_at_rest};
pub(crate) use error::{AppError, AppErrorKind};
use listen::{ListenOptions, Listener};
use live::Live;
pub use logging::init_logging;
pub(crate) use logging::{flush_lines, warn_of, write_line};
pub(crate) use offline::{BookSource, accept_rollback, adopt_book, rebuild_store, verify_store};
pub(crate) use process::keep_private;
pub(crate) use restore::{Restored, restore};
pub(crate) use running::FeedSummary;
pub use running::Running;
pub(crate) use service_manager::ServiceManager;
use spent::SpentLimits;

/// The doors, bound and not open yet.
struct Doors {
    listener: Listener,
    routes: axum::Router,
    options: ListenOptions,
}

/// Everything built and bound, nothing running.
pub struct App {
    doors: Doors,
    service: Service,
    dispatch: DispatchHandle,
    queue: Queue,
    policies: Policies,
    store: Arc<dyn EntryStore>,
    usages: Arc<dyn UsageStore>,
    /// Makes the calls; it has to be kept in tokens.
    deliver: Arc<dyn Deliver>,
    spent: SpentLimits,
    intake: Intake,
    live: Live,
    /// What forecasts are made from; the housekeeper replaces it.
    outlooks: Arc<ArcSwap<Outlooks>>,
    metrics: MetricsHandle,
    pulse: Pulse,
    letters: letter_census::LetterCensus,
    clock: Clock,
    exporter: Option<Exporter>,
    posting: Option<posting::Posting>,
    /// Cancelled when no more events are taken.
    closing: CancellationToken,
}

impl App {
    /// Why nothing is taken or sent, if that is so: the store as a whole is in doubt.
    #[must_use]
    pub fn held(&self) -> Option<String> {
        self.queue.doubts().store_held()
    }

    /// Starts every task; the doors accept connections from then on.
    #[must_use]
    pub fn spawn(self) -> Running {
        running::spawn(self)
    }
}

/// Whether what is configured can be applied, as far as that can be found out without the store.
///
/// # Errors
/// [`AppErrorKind::Config`] with all that is wrong.
pub(crate) fn check(config: &Config) -> Result<(), AppError> {
    reload::FileListing::of(config).map(drop)
}

/// What has become of the events since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventReport {
    /// Events that their endpoint has taken.
    pub delivered: u64,
    /// Dead letters: events parked for a person.
    pub dead: u64,
    /// Events that outlived their time unsent.
    pub expired: u64,
    /// Dropped on request or with their drained policy.
    pub dropped: u64,
    /// Events that are still owed an end.
    pub waiting: u64,
}

impl fmt::Display for EventReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delivered, dead, expired, dropped, waiting } = self;
        write!(
            f,
            "{delivered} delivered, {dead} dead, {expired} expired, {dropped} dropped, {waiting} waiting"
        )
    }
}
