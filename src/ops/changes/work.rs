//! The work of a change of many, cut into steps: whoever has things that can be changed implements it.
//!
//! Must not know: who counts, how progress is shown.

use futures_util::future::BoxFuture;

use crate::queue::QueueError;
use crate::store::{LetterPlace, ScanPlace};

/// What is done, and to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum ChangeVerb {
    /// Events that wait end as `cancelled`.
    Cancel,
    /// Events are put off.
    Delay,
    /// Events go ahead of their turn.
    SendNow,
    /// Events are dropped for good, waiting or dead.
    Purge,
    /// The events of dead letters are handed in again.
    Redrive,
    /// Dead letters are dropped for good.
    PurgeLetters,
}

impl ChangeVerb {
    /// The verb, as answers name it.
    pub(in crate::ops) const fn word(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Delay => "delay",
            Self::SendNow => "send_now",
            Self::Purge | Self::PurgeLetters => "purge",
            Self::Redrive => "redrive",
        }
    }

    /// What it is done to, as answers name it.
    pub(in crate::ops) const fn of(self) -> &'static str {
        match self {
            Self::Cancel | Self::Delay | Self::SendNow | Self::Purge => "events",
            Self::Redrive | Self::PurgeLetters => "dead_letters",
        }
    }
}

/// How far a walk has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Place {
    /// In the search through what waits.
    Waiting(ScanPlace),
    /// What waits was looked at; the dead letters come next.
    Letters,
    /// Among the dead letters.
    Letter(LetterPlace),
}

/// What a step of a count has found.
#[derive(Debug, Default)]
pub(in crate::ops) struct Looked {
    pub matched: u64,
    /// Passed over: whether they are meant cannot be read.
    pub unread: u64,
    /// Where to go on; `None` when all was looked at.
    pub next: Option<Place>,
}

/// What has become of those that were meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::ops) struct Tally {
    pub changed: u64,
    /// Left alone: their calls were under way.
    pub under_way: u64,
    /// Left alone for another reason.
    pub left: u64,
    /// Why the first of these was.
    pub left_because: Option<String>,
    /// Passed over: they could not be read.
    pub unread: u64,
}

impl Tally {
    /// How many of what was counted are dealt with.
    pub(in crate::ops) const fn dealt_with(&self) -> u64 {
        self.changed + self.under_way + self.left
    }

    /// So many were left alone, for this reason.
    pub(in crate::ops) fn leave(&mut self, count: u64, because: impl FnOnce() -> String) {
        self.left += count;
        if count > 0 {
            self.left_because.get_or_insert_with(because);
        }
    }

    /// Adds what a further step has done.
    pub(in crate::ops) fn add(&mut self, more: Self) {
        self.changed += more.changed;
        self.under_way += more.under_way;
        self.left += more.left;
        self.unread += more.unread;
        self.left_because = self.left_because.take().or(more.left_because);
    }
}

/// What a step of a change has done.
#[derive(Debug, Default)]
pub(in crate::ops) struct Step {
    pub tally: Tally,
    /// Where to go on; `None` when all was looked at.
    pub next: Option<Place>,
    /// Why nothing more can be changed; what was done counts.
    pub error: Option<QueueError>,
}

/// What is to be changed, and how.
pub(in crate::ops) trait Work: Send + Sync + 'static {
    /// Counts the next ones that are meant, in bounded time.
    fn look(&self, after: Option<Place>) -> BoxFuture<'_, Result<Looked, QueueError>>;

    /// Changes the next ones that are meant, a few and at most so many.
    fn change(&self, after: Option<Place>, most: u64) -> BoxFuture<'_, Result<Step, QueueError>>;

    /// Whether it begins anew at its end until there is nothing left to change, however many that are.
    fn is_exhaustive(&self) -> bool {
        false
    }
}
