//! Ends in the background what a change of letters, or a crash, has left half done. The keys of redrives are on record for
//! a day: what nobody asks about until then would be a letter and handed in.
//!
//! Must not know: how it is ended.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use super::ParkedParts;
use super::notes::Pending;
use crate::queue::QueueError;
use crate::store::StoreError;

/// The wait before the first try; each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Begins to end what is pending, unless nothing is or a task does so already. For whoever has the turn.
pub(super) fn finish_later(parts: &Arc<ParkedParts>, pending: &mut Pending) {
    if pending.is_over() || pending.is_tended {
        return;
    }
    // Without a runtime the process ends: the next start sees to it.
    let Ok(runtime) = Handle::try_current() else { return };
    pending.is_tended = true;
    runtime.spawn(finish(Arc::downgrade(parts)));
}

async fn finish(parts: Weak<ParkedParts>) {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        // When all handles are gone, so is the store.
        let Some(parts) = parts.upgrade() else { return };
        let mut pending = parts.turn.lock().await;
        // Also when what follows panics: the next change begins another task.
        pending.is_tended = false;
        match parts.settle(&mut pending).await {
            Err(error) if is_final(&error) => return,
            Err(error) if pause == FIRST_PAUSE => {
                tracing::warn!(%error, "redriven dead letters cannot be taken at present; they stay hidden, and it is tried again");
            }
            Ok(()) | Err(_) => {}
        }
        if pending.is_over() {
            return;
        }
        pending.is_tended = true;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether only another start can do it.
const fn is_final(error: &QueueError) -> bool {
    matches!(
        error,
        QueueError::Store(StoreError::Poisoned { .. } | StoreError::Closed | StoreError::Fenced { .. })
    )
}
