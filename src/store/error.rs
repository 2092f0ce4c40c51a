//! What a store answers when it cannot do as asked, in words that any store can give.
//!
//! Must not know: what only a store in a directory can meet, who shows it to whom, exit codes, HTTP.

use std::time::Duration;

use super::{DirectoryError, MAX_RECORD_BYTES, Version};

/// Why the store could not do as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// What only a store in a directory can meet.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The system is short of descriptors or of memory. It may pass.
    #[error("{operation} {place}: {reason}")]
    Shortage {
        /// The operation that failed: a verb for the text, such as `read`.
        operation: &'static str,
        /// On what: a file, or a table.
        place: String,
        /// The error of the system, as text.
        reason: String,
    },
    /// The store has not taken what was handed in within the time that its caller waits. Nothing of it is kept.
    #[error("the store did not take it in time; nothing was kept")]
    Slow,
    /// The store has taken what was handed in and has not confirmed it within the time that its caller waits.
    #[error("the store has not confirmed it in time: it may have been kept")]
    OutcomeUnknown,
    /// A write or sync failed; nothing more can be promised until the process is started again.
    #[error("the store failed and takes no more writes: {reason}")]
    Poisoned {
        /// The first failure; later ones may be its consequences.
        reason: String,
    },
    /// The store is closed, or is being closed.
    #[error("the store is closed")]
    Closed,
    /// It belongs to another owner by now: nothing was changed.
    #[error("the store was opened again since: its epoch is {present}, not {epoch}")]
    Fenced {
        /// The epoch of the owner that wanted to change something.
        epoch: u64,
        /// The epoch of the present owner.
        present: u64,
    },
    /// More entries would be given up than an operator has confirmed.
    #[error("{found} events would be given up, {confirmed} were confirmed")]
    WrongCount {
        /// How many events would be given up.
        found: u64,
        /// How many the operator has confirmed.
        confirmed: u64,
    },
    /// A document changed since it was read.
    #[error("the document has changed in between: it is at {found:?}")]
    VersionConflict {
        /// The version that is there; `None` when there is no document.
        found: Option<Version>,
    },
    /// The system failed, and nothing says that it may pass.
    #[error("{operation} {place}: {reason}")]
    Io {
        /// The operation that failed: a verb for the text, such as `read`.
        operation: &'static str,
        /// On what: a file, or a table.
        place: String,
        /// The error of the system, as text.
        reason: String,
    },
    /// The system failed to read: the device, or a shortage of memory or of descriptors. It may pass.
    #[error("{operation} {place}: {reason}")]
    Unread {
        /// The operation that failed: a verb for the text, such as `read`.
        operation: &'static str,
        /// On what: a file, or a table.
        place: String,
        /// The error of the system, as text.
        reason: String,
    },
    /// Something was read and is not what was written.
    #[error("{place} is damaged: {reason}")]
    Damaged {
        /// What it is: a file, or a row.
        place: String,
        /// What is wrong with it, for people.
        reason: String,
    },
    /// Something about the store as a whole is in doubt: nothing is changed until an operator has decided.
    #[error("the store is held: {reason}")]
    Held {
        /// What is in doubt, and the way out.
        reason: String,
    },
    /// A record longer than [`MAX_RECORD_BYTES`].
    #[error("a record of {bytes} bytes exceeds the {MAX_RECORD_BYTES} that the store takes")]
    TooLarge {
        /// Length of the refused record in bytes.
        bytes: usize,
    },
    /// Written by a newer version of tidegate, or not by tidegate at all.
    #[error("{what} has format {found}; this version reads up to {known}")]
    Format {
        /// What has the format, such as a file's path.
        what: String,
        /// The format number that was found.
        found: u32,
        /// The newest format that this version reads.
        known: u32,
    },
}

impl StoreError {
    /// Whether it says that there is no room: nothing was kept, and it may be tried again once there is.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Directory(error) => error.is_full(),
            _ => false,
        }
    }

    /// Whether nothing was kept and the same may succeed later: there is no room, or the system is short of descriptors
    /// or memory.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.is_full() || matches!(self, Self::Shortage { .. })
    }

    /// When to try again what found no room, where the store says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Directory(error) => error.retry_after(),
            _ => None,
        }
    }
}
