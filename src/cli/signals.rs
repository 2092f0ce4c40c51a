//! The first SIGTERM or SIGINT asks to stop, the second one to stop now; SIGHUP asks the daemon to read its
//! configuration again.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from its making on, so that no signal falls between two waits.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns at the next signal.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Listens from its making on, and from then on SIGHUP does not end the process, whether somebody waits or not.
pub(super) struct Hangups(Signal);

impl Hangups {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Returns at the next SIGHUP; several that came in between count as one.
    pub(super) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
