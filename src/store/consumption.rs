//! The record of what limits have consumed: written before it is consumed, so that no restart grants it twice.
//!
//! A limit records "up to N starts may happen until T" and makes them only after that call has returned. A crash
//! forfeits what was recorded and not used; it never gives back what was used.
//!
//! Must not know: what a limit is, what its name means, when it lets a start through.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use futures_util::future::BoxFuture;

use super::{Owner, StoreError};
use crate::clock::Timestamp;

/// Longest name of a limit, in bytes.
pub(crate) const MAX_LIMIT_NAME_BYTES: usize = 2048;

/// What one limit has consumed, or may have: `count` starts, the latest of them at `at`; of no interest from
/// `over_at` on. Both moments are kept rounded up to a millisecond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The limit's opaque name: 1 to [`MAX_LIMIT_NAME_BYTES`] bytes without control characters.
    pub limit: Box<str>,
    /// Number of starts, made or still allowed.
    pub count: u32,
    /// The latest moment of any of them.
    pub at: Timestamp,
    /// From this moment on they no longer count against the limit.
    pub over_at: Timestamp,
}

/// The moment rounded up to a millisecond, as it is kept.
pub(super) fn rounded(moment: Timestamp) -> Timestamp {
    Timestamp::from_millis(moment.ceil_millis())
}

/// What was on record when it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageFound {
    /// In order of writing; those of one limit with the same moments are one, at the place of the first.
    pub usages: Vec<Usage>,
    /// The last process ended in good order: nothing but this was consumed. Otherwise it is an upper bound.
    pub orderly: bool,
    /// Lines that this opening could not read, other than a torn end; their bytes were set aside.
    pub damaged: u64,
    /// What was consumed before this moment may be missing: lines were damaged, or the directory had been used
    /// and had no record. Stays on record. [`Timestamp::ZERO`] when nothing was ever lost.
    pub complete_from: Timestamp,
}

/// The record. Promises of every implementation:
///
/// - What `record` has returned for is found by every later `open` until it is over or `close` replaces it.
/// - What a `record` that failed or was cut short has left may be found: too much is counted, never too little.
/// - `record` and `close` before `open`, and every call after `close`, answer [`StoreError::Closed`].
/// - After a failed write or sync every call answers [`StoreError::Poisoned`].
/// - What limits use is recorded by its [`Owner`] alone: `record` and `close` for another one answer
///   [`StoreError::Fenced`] and change nothing.
/// - No call blocks a runtime thread; a caller that goes away changes nothing about what it began.
pub trait UsageStore: Send + Sync + 'static {
    /// Takes up the record: what is not over at `now`. From the return on an end without [`UsageStore::close`]
    /// counts as disorderly, also over a power cut.
    fn open(&self, now: Timestamp) -> BoxFuture<'_, Result<UsageFound, StoreError>>;

    /// The owner who records what limits use.
    fn owner(&self) -> Owner;

    /// Adds to the record, durable on return. Calls that arrive while a sync runs share the next one.
    ///
    /// # Errors
    /// Besides the promised ones, [`StoreError::Io`] for a name that is no limit's; nothing was recorded then.
    fn record(&self, owner: Owner, usages: Vec<Usage>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// An orderly end: `usages` replace everything on record, all or nothing.
    ///
    /// # Errors
    /// As [`UsageStore::record`].
    fn close(&self, owner: Owner, usages: Vec<Usage>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Why the record takes no more, once a write or sync failed.
    fn poisoned(&self) -> Option<String>;
}

/// Refuses names that are not a limit's.
pub(super) fn check(usages: &[Usage], place: impl FnOnce() -> String) -> Result<(), StoreError> {
    let named = |usage: &Usage| {
        let name = &usage.limit;
        (1..=MAX_LIMIT_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control)
    };
    if usages.iter().all(named) {
        return Ok(());
    }
    let reason = "a limit's name has 1 to 2048 bytes and no control characters".to_owned();
    Err(StoreError::Io { operation: "record in", place: place(), reason })
}

/// Usages that are not over, those that agree in all but their count as one.
pub(super) struct Merged {
    now: Timestamp,
    pub(super) usages: Vec<Usage>,
    /// Where the one with this digest of limit and moments stands.
    places: HashMap<u64, usize>,
    digests: RandomState,
}

impl Merged {
    /// Nothing yet; takes what is not over at `now`.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { now, usages: Vec::new(), places: HashMap::new(), digests: RandomState::new() }
    }

    /// Takes a usage as a record keeps it.
    pub(super) fn add(&mut self, usage: Usage) {
        if usage.over_at <= self.now {
            return;
        }
        let digest = self.digests.hash_one((&usage.limit, usage.at, usage.over_at));
        let place = self.places.get(&digest).and_then(|place| self.usages.get_mut(*place));
        // Two with the same digest that differ, or a sum beyond the number, stay apart.
        let same = place.filter(|first| {
            first.limit == usage.limit && first.at == usage.at && first.over_at == usage.over_at
        });
        if let Some(first) = same
            && let Some(sum) = first.count.checked_add(usage.count)
        {
            first.count = sum;
            return;
        }
        self.places.insert(digest, self.usages.len());
        self.usages.push(usage);
    }
}
