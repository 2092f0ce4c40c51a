//! Ends: how events ended, in the order in which that became durable, within a bound of bytes, oldest first out.
//!
//! Must not know: who reads them, how they are kept.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::event::{EventId, Reason, Tries, Why};
use crate::store::StoreError;

/// A place in a log of ends: behind the ends with smaller numbers. It stays what it is over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndPlace {
    /// Tells the log from others: a directory that was restored without its log begins another one.
    pub log: u64,
    /// The number of the next end.
    pub number: u64,
}

/// How one event ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndRecord {
    /// The id of the entry: after a redrive it is that of the entry that was put back.
    pub id: EventId,
    /// When its end became durable; of an end that was taken up again after a crash, shortly before.
    pub ended_at: Timestamp,
    /// The reason with the facts that were kept of it.
    pub why: Why,
    /// The attempts that counted, as far as they are known.
    pub attempts: Option<u16>,
    /// The policies that governed it, joined by `+`; `None` when that is not known.
    pub policies: Option<Arc<str>>,
}

/// Some ends, in their order, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndsPage {
    /// Each with the place behind it.
    pub ends: Vec<(EndPlace, EndRecord)>,
    /// Behind everything that was looked at.
    pub next: EndPlace,
}

/// What a read of ends comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndsRead {
    /// As many as there are, none when there are none yet.
    Page(EndsPage),
    /// The place is not one from which every end is kept.
    Gone,
}

/// Which ends are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndsKept {
    /// The first place from which every end is kept.
    pub first: EndPlace,
    /// Behind the newest end.
    pub next: EndPlace,
    /// Every end from this time on is kept; `None` when that is every end there was.
    pub known_since: Option<Timestamp>,
    /// Bytes that they take.
    pub bytes: u64,
}

/// Reads ends. Promises of every implementation: an end is in it once, at the latest when the settlement that made it has
/// returned; a place stays what it is over restarts and crashes; a read never passes over an end.
pub trait EndLog: Send + Sync + 'static {
    /// The ends from a place on, at most `most`; from the first one kept without a place.
    fn read(&self, from: Option<EndPlace>, most: usize) -> BoxFuture<'_, Result<EndsRead, StoreError>>;

    /// Which ends are kept now.
    fn kept(&self) -> EndsKept;

    /// Tells the number of the next end whenever there is another one.
    fn grown(&self) -> watch::Receiver<u64>;
}

/// The attempts that counted when an event ended for this reason after `before` tries on record.
pub(super) fn attempts(before: Tries, why: &Why) -> u16 {
    let was_called = match why.reason {
        Reason::Status(_) | Reason::Delivered => true,
        // The reasons of attempts, and the codes of systems in answers; the others are decisions without a call.
        reason => why.limited.is_none() && matches!(reason.number(), 10..=19 | 1000..),
    };
    if was_called { before.and_attempt().attempts() } else { before.attempts() }
}
