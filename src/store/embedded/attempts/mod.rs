//! What is kept of attempts, in the directory `attempts` of the data directory, by a thread of its own: nobody waits for
//! its disk but who asks for attempts. Nothing is synced before a file is full.
//!
//! The thread starts with the first note or question, so that a run without failures has none.
//!
//! Must not know: how attempts are made.

mod log;
mod record;
mod segment;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tracing::warn;

use self::log::AttemptLog;
pub(in crate::store::embedded) use self::log::file_number;
use super::keys::Keys;
use crate::event::{AttemptDetail, EventId};
use crate::store::attempts::AttemptStore;
use crate::telemetry::AttemptsNoted;

/// The name of the directory.
pub(super) const NAME: &str = "attempts";
/// Most notes that wait for the thread; further ones are dropped.
const WAITING_MAX: usize = 4096;
/// How long a question waits for the thread: a disk that hangs must not keep anybody from the rest of an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Most notes that are written at a time.
const WRITTEN_AT_ONCE: usize = 256;

enum Message {
    Note(Box<AttemptDetail>),
    Last(EventId, oneshot::Sender<Vec<AttemptDetail>>),
    Close(oneshot::Sender<()>),
}

/// The attempts in a data directory.
pub(in crate::store::embedded) struct Attempts {
    dir: PathBuf,
    max_bytes: u64,
    /// Bytes that stay free for what counts.
    needed_bytes: u64,
    thread: OnceLock<Option<Sender<Message>>>,
    waiting: Arc<AtomicUsize>,
    is_closed: AtomicBool,
    /// Where records are encrypted, answers of receivers are not kept: they may repeat what they were sent.
    keys: Keys,
}

impl Attempts {
    /// Below this data directory, at most so many bytes, and while so many are free; none are kept with zero. Nothing is
    /// opened.
    pub(in crate::store::embedded) fn new(root: &Path, max_bytes: u64, needed_bytes: u64) -> Self {
        Self {
            dir: root.join(NAME),
            max_bytes,
            needed_bytes,
            thread: OnceLock::new(),
            waiting: Arc::default(),
            is_closed: AtomicBool::new(false),
            keys: Keys::default(),
        }
    }

    /// In a directory whose records are encrypted by these keys.
    pub(in crate::store::embedded) fn beside(self, keys: &Keys) -> Self {
        Self { keys: keys.clone(), ..self }
    }

    /// Whether the message was handed over.
    fn send(&self, message: Message) -> bool {
        if self.max_bytes == 0 || self.is_closed.load(Ordering::Acquire) {
            return false;
        }
        let start = || start((self.dir.clone(), self.max_bytes, self.needed_bytes), &self.waiting);
        let thread = self.thread.get_or_init(start);
        thread.as_ref().is_some_and(|thread| thread.send(message).is_ok())
    }
}

fn start(
    (dir, max_bytes, needed_bytes): (PathBuf, u64, u64),
    waiting: &Arc<AtomicUsize>,
) -> Option<Sender<Message>> {
    let (sender, messages) = mpsc::channel();
    let waiting = Arc::clone(waiting);
    let run = move || keep(&dir, (max_bytes, needed_bytes), &messages, &waiting);
    match thread::Builder::new().name("attempts".to_owned()).spawn(run) {
        Ok(_detached) => Some(sender),
        Err(error) => {
            warn!(%error, "no attempts are kept: there is no thread for it");
            None
        }
    }
}

/// Does what the messages ask for, until nobody sends any more.
fn keep(
    dir: &Path,
    (max_bytes, needed_bytes): (u64, u64),
    messages: &Receiver<Message>,
    waiting: &AtomicUsize,
) {
    let mut log = None;
    let mut has_failed = false;
    while let Ok(first) = messages.recv() {
        if log.is_none() {
            log = AttemptLog::open(dir, max_bytes).map_err(|error| fail(&mut has_failed, &error)).ok();
        }
        let has_room = has_room(dir, needed_bytes);
        let (mut kept, mut dropped) = (0, 0);
        let mut asked = Vec::new();
        let mut closing = None;
        for message in std::iter::once(first).chain(messages.try_iter()).take(WRITTEN_AT_ONCE) {
            match message {
                Message::Note(attempt) => {
                    waiting.fetch_sub(1, Ordering::AcqRel);
                    match log.as_mut().filter(|_| has_room).map(|log| log.add(&attempt)) {
                        Some(Ok(())) => kept += 1,
                        Some(Err(error)) => {
                            fail(&mut has_failed, &error);
                            dropped += 1;
                        }
                        None => dropped += 1,
                    }
                }
                Message::Last(event, answer) => asked.push((event, answer)),
                Message::Close(done) => closing = Some(done),
            }
        }
        match log.as_mut().map_or(Ok(()), AttemptLog::write) {
            Ok(()) if kept > 0 => has_failed = false,
            Ok(()) => {}
            Err(error) => {
                fail(&mut has_failed, &error);
                (kept, dropped) = (0, dropped + kept);
            }
        }
        AttemptsNoted { kept, dropped }.emit();
        for (event, answer) in asked {
            // Who asked may have gone.
            let _ = answer.send(log.as_ref().map_or_else(Vec::new, |log| log.last(event)));
        }
        if let Some(done) = closing {
            drop(log.take());
            let _ = done.send(());
            return;
        }
    }
}

/// Whether more than what settlements and the index need is free; where the system does not say, it is not.
fn has_room(dir: &Path, needed_bytes: u64) -> bool {
    let root = dir.parent().unwrap_or(dir);
    let stat = rustix::fs::statvfs(root);
    stat.is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) >= needed_bytes)
}

/// Says it once, until it works again.
fn fail(has_failed: &mut bool, error: &std::io::Error) {
    if !std::mem::replace(has_failed, true) {
        warn!(%error, "attempts are not kept; events are not touched by that");
    }
}

impl AttemptStore for Attempts {
    fn note(&self, mut attempt: AttemptDetail) {
        if self.max_bytes == 0 {
            return;
        }
        if let Some(noticed) = attempt.noticed.as_mut().filter(|_| self.keys.first().is_some()) {
            noticed.answer = None;
        }
        let had_room = self.waiting.fetch_add(1, Ordering::AcqRel) < WAITING_MAX;
        if !had_room || !self.send(Message::Note(Box::new(attempt))) {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            AttemptsNoted { kept: 0, dropped: 1 }.emit();
        }
    }

    fn last(&self, event: EventId) -> BoxFuture<'_, Vec<AttemptDetail>> {
        Box::pin(async move {
            let (answer, found) = oneshot::channel();
            // A message that was not taken answers by being dropped.
            self.send(Message::Last(event, answer));
            let found = tokio::time::timeout(ANSWER_WAIT, found).await;
            found.ok().and_then(Result::ok).unwrap_or_default()
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let (done, is_done) = oneshot::channel();
            let was_started = self.thread.get().is_some();
            let is_asked = was_started && self.send(Message::Close(done));
            self.is_closed.store(true, Ordering::Release);
            if is_asked {
                // A disk that hangs must not keep the process from its end.
                let _ended = tokio::time::timeout(ANSWER_WAIT, is_done).await;
            }
        })
    }
}
