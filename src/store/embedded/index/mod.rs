//! The index: a cache of the journal in sled that makes starts and ordered reads fast. It is checked when it
//! is opened and rebuilt from the journal whenever it is missing, unreadable or does not add up.
//!
//! One tree holds all rows and the checkpoint, so that both change in one atomic batch of at most
//! [`batch::MAX_ROWS`] rows. Numbers in keys are big-endian: byte order is reading order.
//!
//! | key | value |
//! |---|---|
//! | `1 lane` | the lane's key as text |
//! | `2 lane segment offset` | a block with entries in plain order: [`rows::BlockRow`] |
//! | `3 lane segment offset` | a block whose living entries are all put off: [`rows::BlockRow`] |
//! | `4 lane due_ms segment offset index` | attempts of an entry that was put off; when, if that was in doubt |
//! | `5 segment offset index` | due_ms, and the same, of an entry that was *rescheduled* |
//! | `6` | the checkpoint: [`rows::Checkpoint`] |
//! | `7 segment older` | `segment` holds settlements of entries of the segment `older` |
//! | `8 segment offset` | which entries of this block are lost: [`Bits`](super::bits::Bits) |
//! | `9 segment offset` | why entries of this block ended: [`whys`] |
//!
//! Beside it stand the trees of [`dedup`] and of [`redrives`], which the check leaves out.
//!
//! Must not know: threads, callers, what a record means. No type of sled leaves this room.

pub(super) mod apply;
pub(super) mod batch;
pub(super) mod database;
pub(super) mod dedup;
pub(super) mod keys;
pub(super) mod lanes;
pub(super) mod lost;
pub(super) mod open;
pub(super) mod read;
pub(super) mod redrives;
pub(super) mod room;
pub(super) mod rows;
pub(super) mod segments;
pub(super) mod whys;

use std::time::Duration;

use crate::store::embedded::error::may_pass;

/// The index cannot be used as it should. Unless it is merely slow, it is set aside and rebuilt at the next start.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum IndexError {
    /// The library failed for another reason than room or the system.
    #[error("index: {0}")]
    Library(String),
    /// The library found no room on the disk.
    #[error("index: no room: {0}")]
    NoRoom(String),
    /// The system failed: it may pass.
    #[error("index: {0}")]
    System(String),
    /// The library panicked; the text is its message.
    #[error("index: panic: {0}")]
    Panic(String),
    /// A call on the library was not done in this time. It goes on.
    #[error("index: not done within {0:?}")]
    Slow(Duration),
    /// A row is not what it should be.
    #[error("index: {0}")]
    Corrupt(&'static str),
}

impl From<sled::Error> for IndexError {
    fn from(error: sled::Error) -> Self {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match &error {
            sled::Error::Io(system)
                if matches!(system.kind(), StorageFull | QuotaExceeded | FileTooLarge) =>
            {
                Self::NoRoom(system.to_string())
            }
            sled::Error::Io(system) if system.raw_os_error().is_some_and(may_pass) => {
                Self::System(error.to_string())
            }
            _ => Self::Library(error.to_string()),
        }
    }
}

/// Runs `work`, turning a panic of the library into an error.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    // The library panics on some damage: a start must survive that to set the index aside.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("without a message");
        Err(IndexError::Panic(text.to_owned()))
    })
}
