//! The first SIGTERM or SIGINT asks to stop, the second one to stop now; SIGHUP asks the daemon to read its
//! configuration again. SIGXFSZ, sent to who writes beyond the limit on the size of files, is ignored: the write fails.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from its making on, so that no signal falls between two waits.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        // Once a listener was made for a signal, the signal no longer ends the process.
        let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns at the next SIGTERM or SIGINT.
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
