//! Reports to the service manager (systemd) that the daemon is starting, ready, reading its configuration again,
//! stopping, and that its dispatch loop lives. The protocol is that of sd_notify(3); without `NOTIFY_SOCKET` nothing is
//! sent.
//!
//! Messages leave on a thread of their own: a service manager that does not read delays nothing, and what it does not
//! take is dropped.
//!
//! Must not know: what is dispatched, what is in the store.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use sd_notify::NotifyState;

/// While the daemon starts it asks this often for more time.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
/// How much it asks for: the start may be silent for as long, and longer only while its process lives.
const EXTENSION_US: u32 = 30_000_000;
/// Messages that wait for a service manager that does not read.
const WAITING_MESSAGES: usize = 16;
/// Beats in the time after which a silent daemon is ended.
const BEATS_IN_WATCHDOG_TIME: u32 = 3;

/// The daemon's side of the service manager. Clones share it.
#[derive(Debug, Clone)]
pub struct ServiceManager {
    /// `None` without a service manager: nothing is sent then.
    messages: Option<SyncSender<Message>>,
    watchdog: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Message {
    Ready(String),
    Reloading,
    Stopping(String),
    Alive,
}

impl ServiceManager {
    /// The service manager that the environment names, from now on kept waiting until the daemon is ready.
    #[expect(clippy::disallowed_methods, reason = "the protocol's own variable, no setting of ours")]
    #[must_use]
    pub fn from_environment() -> Self {
        Self::of(std::env::var_os("NOTIFY_SOCKET").as_deref())
    }

    /// The service manager that listens at `socket`, the value of `NOTIFY_SOCKET`.
    fn of(socket: Option<&OsStr>) -> Self {
        if socket.is_none_or(OsStr::is_empty) {
            return Self { messages: None, watchdog: None };
        }
        let (messages, received) = mpsc::sync_channel(WAITING_MESSAGES);
        let thread = std::thread::Builder::new().name("service-manager".to_owned());
        let started = thread.spawn(move || talk(&received, &mut |states| sd_notify::notify(states)));
        // The daemon goes on: it needs no service manager, which then goes by its own time limits alone.
        if let Err(error) = started {
            tracing::warn!(%error, "the service manager hears nothing: its thread did not start");
        }
        Self { messages: Some(messages), watchdog: sd_notify::watchdog_enabled() }
    }

    /// The daemon serves; also the end of reading its configuration again.
    pub fn ready(&self, status: String) {
        self.send(Message::Ready(status));
    }

    /// The daemon reads its configuration again; [`ServiceManager::ready`] ends that.
    pub fn reloading(&self) {
        self.send(Message::Reloading);
    }

    /// The daemon stops; `status` is shown meanwhile.
    pub fn stopping(&self, status: String) {
        self.send(Message::Stopping(status));
    }

    /// Feeds the watchdog, if one is set, after each answer of `is_alive`. It gets nothing while there is no answer,
    /// nor after the first one that is false.
    pub async fn beat(&self, is_alive: impl AsyncFn() -> bool) -> Infallible {
        if let Some(watchdog) = self.watchdog.filter(|_| self.messages.is_some()) {
            while is_alive().await {
                self.send(Message::Alive);
                tokio::time::sleep(watchdog / BEATS_IN_WATCHDOG_TIME).await;
            }
        }
        std::future::pending().await
    }

    fn send(&self, message: Message) {
        if let Some(messages) = &self.messages {
            // A service manager that does not take its messages misses some; the daemon does not wait for it.
            let _ = messages.try_send(message);
        }
    }
}

/// Sends what is received until the last sender is gone; asks for more time until the daemon is ready.
fn talk(received: &Receiver<Message>, send: &mut dyn FnMut(&[NotifyState<'_>]) -> std::io::Result<()>) {
    let mut is_starting = true;
    let mut has_failed = false;
    let mut tell = |states: &[NotifyState<'_>]| {
        if let Err(error) = send(states)
            && !std::mem::replace(&mut has_failed, true)
        {
            tracing::warn!(%error, "the service manager cannot be told what the daemon does");
        }
    };
    tell(&[
        NotifyState::Status("starting: reading what waits"),
        NotifyState::ExtendTimeoutUsec(EXTENSION_US),
    ]);
    loop {
        match received.recv_timeout(EXTEND_EVERY) {
            Ok(Message::Ready(status)) => {
                is_starting = false;
                tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
            }
            Ok(Message::Reloading) => match NotifyState::monotonic_usec_now() {
                Ok(now) => tell(&[
                    NotifyState::Reloading,
                    now,
                    NotifyState::Status("reading the configuration again"),
                ]),
                // A service manager waits for ever for the end of a reload that has no moment.
                Err(error) => tracing::warn!(%error, "the service manager is not told of the reload"),
            },
            Ok(Message::Stopping(status)) => {
                is_starting = false;
                tell(&[NotifyState::Stopping, NotifyState::Status(&status)]);
            }
            Ok(Message::Alive) => tell(&[NotifyState::Watchdog]),
            Err(RecvTimeoutError::Timeout) if is_starting => {
                tell(&[NotifyState::ExtendTimeoutUsec(EXTENSION_US)])
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(messages: Vec<Message>, fails: bool) -> Vec<String> {
        let (sender, received) = mpsc::sync_channel(messages.len().max(1));
        for message in messages {
            sender.try_send(message).expect("room");
        }
        drop(sender);
        let mut said = Vec::new();
        talk(&received, &mut |states| {
            said.push(states.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
            if fails { Err(std::io::ErrorKind::NotFound.into()) } else { Ok(()) }
        });
        said
    }

    #[test]
    fn a_life_is_told_in_order_and_failures_end_nothing() {
        let life = || {
            vec![
                Message::Ready("serving".to_owned()),
                Message::Alive,
                Message::Reloading,
                Message::Ready("serving".to_owned()),
                Message::Stopping("finishing".to_owned()),
            ]
        };
        for fails in [false, true] {
            let said = said(life(), fails);
            let begins = ["STATUS=starting", "READY=1", "WATCHDOG=1", "RELOADING=1", "READY=1", "STOPPING=1"];
            assert_eq!(said.len(), begins.len(), "{said:?}");
            for (message, begin) in said.iter().zip(begins) {
                assert!(message.starts_with(begin), "{said:?}");
            }
            assert!(said[0].contains("EXTEND_TIMEOUT_USEC=30000000"), "{said:?}");
            assert!(said[3].contains("MONOTONIC_USEC="), "{said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_only_while_the_loop_answers() {
        let (sender, received) = mpsc::sync_channel(WAITING_MESSAGES);
        let manager = ServiceManager { messages: Some(sender), watchdog: Some(Duration::from_secs(30)) };
        let beats = |seconds: u64, hangs: bool| {
            let manager = manager.clone();
            async move {
                let answer = async || if hangs { std::future::pending().await } else { true };
                let _ = tokio::time::timeout(Duration::from_secs(seconds), manager.beat(answer)).await;
            }
        };
        beats(29, false).await;
        assert_eq!(received.try_iter().count(), 3, "at 0, 10 and 20 seconds");
        beats(600, true).await;
        assert_eq!(received.try_iter().count(), 0, "a loop that hangs");
        let stopped = tokio::time::timeout(Duration::from_secs(600), manager.beat(async || false)).await;
        assert!(stopped.is_err() && received.try_iter().count() == 0, "a loop that has ended");
    }

    #[test]
    fn without_a_socket_nothing_is_sent_and_nobody_waits() {
        for socket in [None, Some(OsStr::new(""))] {
            let manager = ServiceManager::of(socket);
            assert!(manager.messages.is_none());
            manager.ready("serving".to_owned());
        }
    }
}
