//! Names and their addresses: `/etc/hosts`, then the name servers of `/etc/resolv.conf`, with a cache in between.
//!
//! ```text
//! addresses(name) -> system: hosts -> table: known? joined? -> ask: servers, search list -> table
//! ```
//!
//! Nothing here uses a thread of the pool that the store and the doors use, except to look at the two files every two
//! seconds, and that is not waited for for longer than a tenth of a second. Names that only the name service switch of the
//! C library knows are not found.
//!
//! Must not know: which addresses may be called, HTTP, events.

mod ask;
mod system;
mod table;
#[cfg(test)]
pub(crate) mod tests;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::clock::{Clock, Timestamp};
use crate::event::NameFailure;
use crate::telemetry::{NameAsked, NameLookedUp, defect};
use ask::{Reply, ask};
use system::System;
use table::{LookupStep, NameAnswer, NameTable, Question, TableBounds};

pub(crate) use system::NameFiles;

/// How often the two files are looked at, at most.
const FILES_CHECKED_EVERY: Duration = Duration::from_secs(2);
/// How long a look at them is waited for.
const FILES_WAIT: Duration = Duration::from_millis(100);
/// Most names in line behind those that are asked; further ones fail with a shortage at once.
const WAITING_MAX: usize = 8192;
/// Names in all: some 3 MB.
const NAMES_MAX: usize = 20_000;
/// How often it is logged that no name server answers, at most.
const SILENCE_LOGGED_EVERY_MS: u64 = 60_000;

/// How names are resolved, and how much of that may go on at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameOptions {
    /// The longest for one name, all name servers and the search list together.
    pub timeout: Duration,
    /// Names that are asked for at the same time; each may take up to six sockets.
    pub max_questions: NonZeroUsize,
    /// The longest that addresses are kept, whatever their TTL.
    pub max_ttl: Duration,
    /// The files in which the system says what names mean.
    pub files: NameFiles,
}

impl Default for NameOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(3),
            max_questions: NonZeroUsize::MIN.saturating_add(63),
            max_ttl: Duration::from_secs(3600),
            files: NameFiles::default(),
        }
    }
}

/// A name did not lead to an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name {name} does not resolve: {failure}")]
pub(crate) struct NameError {
    /// The name as it was asked for.
    pub name: String,
    /// The kind of failure, as dead letters and metrics name it.
    pub failure: NameFailure,
}

/// Resolves names. Cheap to clone; clones share their cache and bounds.
#[derive(Clone)]
pub(crate) struct Names(Arc<Inner>);

struct Inner {
    options: NameOptions,
    clock: Clock,
    system: ArcSwap<System>,
    check: Mutex<FileCheck>,
    table: Mutex<NameTable>,
    /// The server that answered last, by its place in the list.
    first_server: AtomicUsize,
    /// The last name that did not resolve, and when.
    last_failure: Mutex<Option<(NameError, Timestamp)>>,
    /// When it was last logged that no name server answers, in milliseconds; 0 for never.
    silence_logged_ms: AtomicU64,
}

/// The last look at the files, or the one that is under way.
struct FileCheck {
    begun_at: Timestamp,
    is_under_way: bool,
}

impl Names {
    /// Reads the two files, which may block: only for the start.
    #[must_use]
    pub(crate) fn new(options: NameOptions, clock: Clock) -> Self {
        let bounds = TableBounds {
            max_questions: options.max_questions.get(),
            max_waiting: WAITING_MAX,
            max_names: NAMES_MAX,
            max_wait: options.timeout,
            max_ttl: options.max_ttl,
        };
        Self(Arc::new(Inner {
            system: ArcSwap::from_pointee(System::read(&options.files, options.timeout)),
            check: Mutex::new(FileCheck { begun_at: clock.now(), is_under_way: false }),
            table: Mutex::new(NameTable::new(bounds)),
            first_server: AtomicUsize::new(0),
            last_failure: Mutex::new(None),
            silence_logged_ms: AtomicU64::new(0),
            options,
            clock,
        }))
    }

    /// The addresses of a name, at least one, in the order in which they are to be tried. Takes at most
    /// [`NameOptions::timeout`], and a little more when the files have changed.
    ///
    /// # Errors
    /// [`NameError`] says why there is none.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Arc<[IpAddr]>, NameError> {
        self.check_files().await;
        let listed = self.0.system.load().listed(name);
        if !listed.is_empty() {
            // Before the cache, as in the C library: what an operator writes into the file counts although an answer is
            // cached.
            NameLookedUp { from: "hosts" }.emit();
            return Ok(listed.into());
        }
        let (from, waiter) = match self.look_up(name) {
            LookupStep::Known(answer) => {
                NameLookedUp { from: "cache" }.emit();
                return answer.map_err(|failure| error(name, failure));
            }
            LookupStep::Full => {
                NameLookedUp { from: "full" }.emit();
                return Err(error(name, NameFailure::Shortage));
            }
            LookupStep::Joined(waiter) => ("joined", waiter),
            LookupStep::Asked(waiter) => ("asked", waiter),
        };
        NameLookedUp { from }.emit();
        self.begin_questions();
        // A little longer than one question may take: one that began at once still answers with its own failure.
        let told = timeout(self.0.options.timeout + FILES_WAIT, waiter).await;
        // What still stands in line by now was not asked.
        let answer: NameAnswer = told.ok().and_then(Result::ok).unwrap_or(Err(NameFailure::Shortage));
        answer.map_err(|failure| error(name, failure))
    }

    /// How names are resolved at present, in a sentence.
    #[must_use]
    pub(crate) fn state(&self) -> String {
        let (under_way, waiting) = self.table().load();
        let last = self.0.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last = last.map_or_else(String::new, |(error, at)| {
            format!("; {} s ago: {error}", self.0.clock.now().since(at).as_secs())
        });
        format!("{under_way} names are being resolved, {waiting} wait{last}")
    }

    fn look_up(&self, name: &str) -> LookupStep {
        self.table().look_up(name, self.0.clock.now())
    }

    /// Sets the questions free that have a place now. Each of them ends by itself, whether someone waits for it or not:
    /// its answer is kept.
    fn begin_questions(&self) {
        loop {
            // The lock is taken for one question at a time, so that look-ups get in between.
            let Some(question) = self.table().next_question(self.0.clock.now()) else { return };
            let asking = Asking { names: self.clone(), question: Some(question) };
            tokio::spawn(asking.ask());
        }
    }

    /// Looks at the files if the last look is old enough. A look that takes long goes on after its caller has given it
    /// up.
    async fn check_files(&self) {
        let now = self.0.clock.now();
        {
            // In a block of its own: the lock must be free before the wait below.
            let mut check = self.check();
            if check.is_under_way || now.since(check.begun_at) < FILES_CHECKED_EVERY {
                return;
            }
            *check = FileCheck { begun_at: now, is_under_way: true };
        }
        let names = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let inner = &names.0;
            let system = inner.system.load_full();
            if let Some(changed) = system.reread(&inner.options.files, inner.options.timeout) {
                let has_new_servers = !Arc::ptr_eq(&changed.servers, &system.servers);
                inner.system.store(Arc::new(changed));
                // In this order: a question that begins after `forget` asks the new servers, and the answer to one that
                // began before it is not kept.
                if has_new_servers {
                    // The place counts in the list that was replaced.
                    inner.first_server.store(0, Ordering::Relaxed);
                    names.table().forget();
                }
                info!(has_new_servers, "read what the system says of names again");
            }
            names.check().is_under_way = false;
        });
        // A file system that hangs holds no call up: the look goes on, and later calls see what it finds.
        let _late = timeout(FILES_WAIT, looked).await;
    }

    /// Remembers a failure, and logs now and then that no name server answers.
    fn note_failure(&self, name: &str, failure: NameFailure) {
        let now = self.0.clock.now();
        let mut last = self.0.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((error(name, failure), now));
        drop(last);
        // An answer that there is no such name is no fault of the servers.
        if !matches!(failure, NameFailure::Timeout | NameFailure::Unreachable) {
            return;
        }
        let (logged_ms, now_ms) = (&self.0.silence_logged_ms, now.as_millis());
        let before_ms = logged_ms.load(Ordering::Relaxed);
        if before_ms == 0 || now_ms.saturating_sub(before_ms) >= SILENCE_LOGGED_EVERY_MS {
            logged_ms.store(now_ms, Ordering::Relaxed);
            warn!(name, "the name does not resolve: {failure}");
        }
    }

    fn table(&self) -> MutexGuard<'_, NameTable> {
        // Every change is complete before anything can panic.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> MutexGuard<'_, FileCheck> {
        self.0.check.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn error(name: &str, failure: NameFailure) -> NameError {
    NameError { name: name.to_owned(), failure }
}

/// A question under way. However it ends, its place becomes free and those who wait for it get an answer.
struct Asking {
    names: Names,
    question: Option<Question>,
}

impl Asking {
    async fn ask(mut self) {
        let Some(question) = &self.question else {
            defect!("a question that was settled before it was asked");
            return;
        };
        let inner = &self.names.0;
        // One list for the whole question, also when the files change meanwhile.
        let servers = Arc::clone(&inner.system.load().servers);
        let begun_at = inner.clock.now();
        // The servers share the time, but each name of the search list may use all of it again.
        let asked = timeout(inner.options.timeout, ask(&servers, &inner.first_server, &question.name)).await;
        let reply = asked.unwrap_or(Reply::failed(NameFailure::Timeout));
        let result = reply.answer.as_ref().err().map_or("found", |failure| failure.label());
        NameAsked { result, took: inner.clock.now().since(begun_at) }.emit();
        if let Err(failure) = &reply.answer {
            self.names.note_failure(&question.name, *failure);
        }
        self.settle(reply);
    }

    fn settle(&mut self, reply: Reply) {
        let Some(question) = self.question.take() else {
            defect!("a question that is settled twice");
            return;
        };
        let now = self.names.0.clock.now();
        self.names.table().settle(question, reply.answer.map(Arc::from), reply.ttl, now);
        self.names.begin_questions();
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        // It ended before its answer: the task was given up or has panicked. No further question begins here, because
        // nothing can be spawned while the runtime ends; the next look-up or settlement begins it.
        let question = self.question.take();
        if let Some(question) = question {
            let now = self.names.0.clock.now();
            self.names.table().settle(question, Err(NameFailure::Shortage), None, now);
        }
    }
}
