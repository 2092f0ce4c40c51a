//! Room for what is handed to the library: blocks behind the end of its file, taken before. The library cannot be used
//! any more after a write that found no room, so that whoever would write waits until there is some.
//!
//! A file system that cannot take blocks in advance goes without them.
//!
//! Must not know: rows, who waits.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::FallocateFlags;

use crate::store::StoreError;
use crate::store::embedded::{ballast, files};

/// Behind the end of the file before a commit is applied: what most commits write.
pub(in crate::store::embedded) const COMMIT_BYTES: u64 = 3 * 1024 * 1024;
/// Behind the end of the file before a batch of rows is written. The library writes some KiB
/// for a row at most, and has some buffers of 512 KiB under way.
pub(in crate::store::embedded) const BATCH_BYTES: u64 = 2 * 1024 * 1024;
/// This much is taken at a time: more than a commit needs, so that not each asks the system.
const TAKEN_BYTES: u64 = 4 * 1024 * 1024;
/// How long a writer waits before it asks for room again.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// The room of one index. Shared by those who write into it.
#[derive(Debug, Default)]
pub(in crate::store::embedded) struct IndexRoom {
    root: PathBuf,
    /// `None`: room is not asked for.
    file: Option<File>,
    state: Mutex<RoomState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct RoomState {
    /// Writers wait for room. While the store starts and once it is being closed they do not.
    waits: bool,
    /// Pieces of the ballast that the index leaves: none until the store has started.
    kept: u64,
    is_short: bool,
}

impl IndexRoom {
    /// Room for the index in `index`, from the ballast in `root` if need be.
    pub(in crate::store::embedded) fn new(root: &Path, index: &Path) -> Self {
        // Without its file the index fails at the first write, and says why.
        let file = files::write(&index.join("db")).ok();
        Self { root: root.to_owned(), file, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, RoomState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store has started: whether writers wait from now on for room that is not there.
    pub(in crate::store::embedded) fn set_waits(&self, waits: bool) {
        // What is not applied at a stop is applied by the next start, which needs its room.
        let mut state = self.lock();
        (state.waits, state.kept) = (waits, ballast::FOR_DOCUMENTS);
        drop(state);
        self.changed.notify_all();
    }

    /// Returns once there is room for `bytes`; false when there is none and nobody waits for it.
    pub(in crate::store::embedded) fn wait_for(&self, bytes: u64) -> bool {
        while let Err(error) = self.take(bytes) {
            let mut state = self.lock();
            if !state.waits {
                return false;
            }
            // One line for each shortage: the wait repeats every 500 ms.
            if !std::mem::replace(&mut state.is_short, true) {
                tracing::warn!(%error, "the index finds no room on the disk; what is settled waits for it");
            }
            // Room may appear without a notice, when somebody else deletes files.
            drop(self.changed.wait_timeout(state, RETRY_EVERY));
        }
        let mut state = self.lock();
        if std::mem::take(&mut state.is_short) {
            tracing::info!("the index finds room again");
        }
        true
    }

    /// Whether there is room for `bytes` now.
    pub(in crate::store::embedded) fn has(&self, bytes: u64) -> bool {
        self.take(bytes).is_ok()
    }

    /// Sees to room for `bytes`, with what the ballast has if it must.
    fn take(&self, bytes: u64) -> Result<(), StoreError> {
        let Some(file) = &self.file else { return Ok(()) };
        // Nothing is known about room then: the library's own write decides.
        let Ok(meta) = file.metadata() else { return Ok(()) };
        // Blocks count in 512 bytes, whatever the file system's own size is. What is allocated beyond the length is
        // room.
        if meta.blocks().saturating_mul(512).saturating_sub(meta.len()) >= bytes {
            return Ok(());
        }
        let kept = self.lock().kept;
        let taken = ballast::with_room(&self.root, kept, || {
            rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, meta.len(), TAKEN_BYTES)
                .map_err(|error| StoreError::io("reserve", &self.root, error))
        });
        // Other failures say nothing about room.
        taken.or_else(|error| if error.is_full() { Err(error) } else { Ok(()) })
    }
}
