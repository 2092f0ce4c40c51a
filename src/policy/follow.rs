//! Following the active policies: a change of policies returns only when its followers act by it.
//!
//! Must not know: what followers do with it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::policy::Runtime;

/// Sees every [`Runtime`] that makes a difference, and says which one it acts by.
#[derive(Debug)]
pub struct Follower {
    runtime: watch::Receiver<Arc<Runtime>>,
    acts_by: watch::Sender<u64>,
}

impl Follower {
    /// Follows a publisher, who learns through the receiver by which number it acts.
    #[must_use]
    pub fn new(runtime: watch::Receiver<Arc<Runtime>>) -> (Self, watch::Receiver<u64>) {
        let (acts_by, seen) = watch::channel(0);
        (Self { runtime, acts_by }, seen)
    }

    /// The newest runtime; it counts as taken from now on.
    #[must_use]
    pub fn newest(&mut self) -> Arc<Runtime> {
        Arc::clone(&self.runtime.borrow_and_update())
    }

    /// The newest one, if that was not taken yet.
    #[must_use]
    pub fn news(&mut self) -> Option<Arc<Runtime>> {
        // An error means that the publisher is gone: nothing newer will come.
        self.runtime.has_changed().unwrap_or(false).then(|| self.newest())
    }

    /// Waits for a newer one; for ever once there will be none.
    pub async fn changed(&mut self) -> Arc<Runtime> {
        // A follower selects over this and other events: an end that came back at once would spin.
        if self.runtime.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.newest()
    }

    /// From now on everything goes by this one.
    pub fn act_by(&self, runtime: &Runtime) {
        self.acts_by.send_replace(runtime.number());
    }
}
