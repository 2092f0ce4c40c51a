//! Calls that have their permits: what is known of each, what is asked before it starts, and how it is put back or ends.
//!
//! Must not know: when calls start.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::dispatch::endpoints::{Endpoint, Endpoints};
use crate::dispatch::input::Ticket;
use crate::dispatch::lanes::LaneId;
use crate::dispatch::retry::RetryPolicy;
use crate::dispatch::suspects::Suspicion;
use crate::event::{Entry, Outcome};
use crate::limit::Permit;

/// A call that has its permit, under way or about to be.
pub(super) struct Flight {
    pub(super) lane: LaneId,
    pub(super) entry: Box<Entry>,
    pub(super) permit: Permit,
    /// The slots that it takes, whatever becomes of its body.
    pub(super) slots: usize,
    /// A promise of its lane was redeemed for this start.
    pub(super) promised: bool,
    /// It finds out whether the endpoint of an open breaker takes calls again.
    pub(super) is_probe: bool,
    /// The rules of its endpoint, as they were when it started.
    pub(super) endpoint: Option<Arc<Endpoint>>,
    /// How failed calls were repeated when it started, where its endpoint does not say otherwise.
    pub(super) retry_for_all: Option<RetryPolicy>,
    /// When the time for all tries of its event ends, if these rules set one.
    pub(super) retry_until: Option<Timestamp>,
}

/// A start that is to be confirmed.
pub(super) struct Asked<'e> {
    pub(super) ticket: Ticket,
    /// The rules in force.
    pub(super) endpoints: &'e Endpoints,
    /// Nothing starts any more.
    pub(super) draining: bool,
}

/// Why a call that had its permit is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PutBack {
    /// Its permit is stale, or nothing starts any more: its entry is back in its place.
    Waits,
    /// An operator stopped it: its entry is back in its place.
    Stopped,
    /// Its entry has outlived its time.
    Expired,
    /// The time for all tries of its event is over.
    Late,
    /// It may have ended the process.
    Suspected(Suspicion),
}

/// An attempt that has ended, as it was reported.
pub(super) struct Finished<'o> {
    pub(super) ticket: Ticket,
    pub(super) outcome: &'o Outcome,
    /// From its start to its end.
    pub(super) took: Duration,
}
