//! The signals that `tidegate top` gets from outside: each has to find the terminal given back before it does its work.
//!
//! Must not know: what is on the screen, which keys there are.

use rustix::process::{Signal as Number, getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks this command for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalRequest {
    /// To end, after the terminal was given back.
    End,
    /// To stop, until SIGCONT lets the process go on.
    Stop,
    /// To go on after a stop, perhaps by SIGSTOP, of which nobody hears.
    Resume,
}

/// Listens from its making on. From then on none of these signals does its work by itself.
pub(super) struct TopSignals {
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hangup: Signal,
    stop: Signal,
    resume: Signal,
}

impl TopSignals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            stop: signal(SignalKind::from_raw(Number::TSTP.as_raw()))?,
            resume: signal(SignalKind::from_raw(Number::CONT.as_raw()))?,
        })
    }

    /// Returns at the next signal, with what it asks for.
    pub(super) async fn next(&mut self) -> SignalRequest {
        tokio::select! {
            _ = self.interrupt.recv() => SignalRequest::End,
            _ = self.quit.recv() => SignalRequest::End,
            _ = self.terminate.recv() => SignalRequest::End,
            _ = self.hangup.recv() => SignalRequest::End,
            _ = self.stop.recv() => SignalRequest::Stop,
            _ = self.resume.recv() => SignalRequest::Resume,
        }
    }

    /// Stops the process; returns once it is asked to go on or to end. By SIGSTOP: the system drops SIGTSTP where
    /// nobody is there who would let the process go on.
    pub(super) async fn stop(&mut self) -> std::io::Result<SignalRequest> {
        kill_process(getpid(), Number::STOP)?;
        loop {
            match self.next().await {
                // It is a second one of before, or came while the process stood still.
                SignalRequest::Stop => {}
                asked => return Ok(asked),
            }
        }
    }
}
