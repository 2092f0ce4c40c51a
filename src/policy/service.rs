//! The handle through which policies are read and changed.
//!
//! A change edits a copy of the book, is checked as a whole, written under compare-and-set, then published;
//! the new [`Runtime`] is active when the call returns, also with those who follow it. A writer that was overtaken
//! reads again and repeats its edit.
//!
//! A write that was begun is finished and published whether or not its caller still waits, and no other one begins
//! before: what is active and what is stored are the same book again as soon as the store has answered.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex as StdMutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tracing::warn;

use crate::clock::{Clock, Leap, Timestamp};
use crate::event::PolicyId;
use crate::policy::{Book, Bounds, Follower, PolicyError, Runtime, Spec, document};
use crate::store::{AppendTurn, DocumentStore, Expect, RunToEnd, StoreError, Version};

/// The name of the stored book.
pub(super) const DOCUMENT: &str = "policies";
/// How often a change is tried when others write in between.
const ATTEMPTS_MAX: u32 = 16;
/// The longest wait for those who follow the policies: far longer than a step of theirs.
const FOLLOWERS_WAIT: Duration = Duration::from_secs(2);

/// All policies. Cheap to clone; clones are the same policies.
#[derive(Clone)]
pub struct Policies {
    shared: Arc<PoliciesState>,
    /// How long the changes made through this handle wait for the store; `None`: as long as it takes.
    patience: Option<Duration>,
    /// What the changes made through this handle keep to.
    bounds: Option<Bounds>,
}

/// Takes each runtime before it becomes active, so that what it prepares is there when the first call needs it.
type Announce = Box<dyn Fn(&Runtime) + Send + Sync>;

struct PoliciesState {
    documents: Arc<dyn DocumentStore>,
    book: ArcSwap<Book>,
    runtime: watch::Sender<Arc<Runtime>>,
    /// Called with each runtime before it is active.
    announce: OnceLock<Announce>,
    /// By which runtime each follower acts.
    followers: StdMutex<Vec<watch::Receiver<u64>>>,
    /// One writer at a time within this process.
    writer: Arc<Mutex<BookWriter>>,
}

struct BookWriter {
    version: Option<Version>,
    /// The stored book may be another than the published one: a write failed.
    in_doubt: bool,
}

/// Why a change was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError<E> {
    /// The edit refused, for a reason of its own.
    #[error("refused: {0}")]
    Refused(E),
    /// It could not be stored or applied.
    #[error(transparent)]
    Failed(PolicyError),
}

/// The time by which drains and pauses end: none passes while the clock is in doubt.
fn certain(clock: &Clock) -> Timestamp {
    if clock.is_trusted() { clock.now() } else { Timestamp::ZERO }
}

impl Policies {
    /// Reads the stored book and makes it active; without one, starts empty. A book that is damaged, does not decode or
    /// has policies that cannot be active together holds the store: no policy is active then, and no change is taken.
    ///
    /// # Errors
    /// [`PolicyError`] when it cannot be read or is newer.
    #[cfg(any(test, feature = "testkit"))]
    pub async fn open(documents: Arc<dyn DocumentStore>, clock: Clock) -> Result<Self, PolicyError> {
        Self::open_sharing(documents, clock, std::iter::empty()).await
    }

    /// As `Policies::open`; what the book has as it is in `listed` is not kept in memory a second time.
    ///
    /// # Errors
    /// As for `Policies::open`.
    pub async fn open_sharing(
        documents: Arc<dyn DocumentStore>,
        clock: Clock,
        listed: impl Iterator<Item = (&PolicyId, &Arc<Spec>)>,
    ) -> Result<Self, PolicyError> {
        let (stored, runtime) = read_usable(&*documents, &listed.collect()).await?;
        let Stored { version, book } = stored;
        let shared = Arc::new(PoliciesState {
            documents,
            book: ArcSwap::from_pointee(book),
            runtime: watch::Sender::new(Arc::new(runtime)),
            announce: OnceLock::new(),
            followers: StdMutex::default(),
            writer: Arc::new(Mutex::new(BookWriter { version, in_doubt: false })),
        });
        let policies = Self { shared, patience: None, bounds: None };
        policies.expire(certain(&clock), None).await?;
        Ok(policies)
    }

    /// A handle on the same policies whose changes wait for the store at most for `patience`.
    #[must_use]
    pub fn within(&self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self.clone() }
    }

    /// A handle on the same policies whose changes wait for the store as long as it takes.
    #[must_use]
    pub fn patient(&self) -> Self {
        Self { patience: None, ..self.clone() }
    }

    /// A handle on the same policies whose changes add nothing beyond `bounds`. Other handles have none: they are for
    /// operators and for what the passing of time changes.
    #[must_use]
    pub fn bounded(&self, bounds: Bounds) -> Self {
        Self { bounds: Some(bounds), ..self.clone() }
    }

    /// Why no change is taken now, if that is so: the store is held as a whole.
    #[must_use]
    pub fn held(&self) -> Option<String> {
        self.shared.documents.held()
    }

    /// The active policies, as one snapshot that later changes leave as it is.
    #[must_use]
    pub fn runtime(&self) -> Arc<Runtime> {
        self.shared.runtime.borrow().clone()
    }

    /// Sees every later [`Runtime`]; only changes that make a difference wake it, and they wait until it acts by them.
    #[must_use]
    pub fn follow(&self) -> Follower {
        let (follower, acts_by) = Follower::new(self.shared.runtime.subscribe());
        self.shared.followers.lock().unwrap_or_else(PoisonError::into_inner).push(acts_by);
        follower
    }

    /// Calls `announce` with what is active now, and with every later [`Runtime`] just before it is active. Only the
    /// first call of this counts.
    pub fn announce_to(&self, announce: impl Fn(&Runtime) + Send + Sync + 'static) {
        announce(&self.runtime());
        let _ = self.shared.announce.set(Box::new(announce));
    }

    /// The book as it is now, as one snapshot.
    #[must_use]
    pub fn book(&self) -> Arc<Book> {
        self.shared.book.load_full()
    }

    /// Changes the book: all of `edit` or nothing. Durable and active on return. `edit` may be called several
    /// times, each time with a fresh copy, when other writers come in between.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] with what `edit` answered, [`ChangeError::Failed`] when the store refused or is
    /// [held](Policies::held), with [`PolicyError::Full`] when it exceeds the [bounds](Policies::bounded) of the handle.
    /// Through a handle [within](Policies::within) a time: [`StoreError::Slow`] when the change
    /// was not handed to the store in that time, so that nothing of it is kept; [`StoreError::OutcomeUnknown`] when it
    /// was and the store has not confirmed it, so that it may become active when the store does.
    pub async fn change<T, E>(
        &self,
        edit: impl FnMut(&mut Book) -> Result<T, E>,
    ) -> Result<T, ChangeError<E>> {
        let turn = AppendTurn::default();
        let changed = self.change_in_turn(edit, &turn);
        let Some(patience) = self.patience else { return changed.await };
        let late = |error: StoreError| Err(ChangeError::Failed(error.into()));
        match tokio::time::timeout(patience, changed).await {
            Ok(changed) => changed,
            // Withdrawn before it was handed over: nothing of it is kept. Otherwise the write goes on without its
            // caller.
            Err(_) if turn.withdraw() => late(StoreError::Slow),
            Err(_) => late(StoreError::OutcomeUnknown),
        }
    }

    /// What [`Policies::change`] would answer now, without making the change.
    ///
    /// # Errors
    /// As for [`Policies::change`], but for what the store would say.
    pub fn rehearse<T, E>(&self, edit: impl FnOnce(&mut Book) -> Result<T, E>) -> Result<T, ChangeError<E>> {
        if let Some(reason) = self.held() {
            return Err(ChangeError::Failed(StoreError::Held { reason }.into()));
        }
        let before = self.book();
        let mut next = Book::clone(&before);
        let answer = edit(&mut next).map_err(ChangeError::Refused)?;
        let prepared = self.shared.prepare(&next, self.bounds).map(drop);
        let bounded =
            self.bounds.map_or(Ok(()), |bounds| bounds.check(&before, &next)).map_err(PolicyError::from);
        bounded.and(prepared).map_err(ChangeError::Failed)?;
        Ok(answer)
    }

    /// Takes the turn when the change is handed to the store.
    async fn change_in_turn<T, E>(
        &self,
        mut edit: impl FnMut(&mut Book) -> Result<T, E>,
        turn: &AppendTurn,
    ) -> Result<T, ChangeError<E>> {
        if let Some(reason) = self.held() {
            return Err(ChangeError::Failed(StoreError::Held { reason }.into()));
        }
        // Held until the followers act by the change: the next writer begins with what is active everywhere. Owned,
        // because it moves into a write that outlives its caller.
        let mut writer = Arc::clone(&self.shared.writer).lock_owned().await;
        for _ in 0..ATTEMPTS_MAX {
            // A write that failed may have been made: an edit of the published book would undo it.
            if writer.in_doubt {
                self.shared.reload(&mut writer).await.map_err(ChangeError::Failed)?;
            }
            let before = self.book();
            let mut next = Book::clone(&before);
            let answer = edit(&mut next).map_err(ChangeError::Refused)?;
            // Nothing to store: a request that is repeated costs no write.
            if next == *before {
                return Ok(answer);
            }
            if let Some(bounds) = self.bounds {
                bounds.check(&before, &next).map_err(|bound| ChangeError::Failed(bound.into()))?;
            }
            // The change cannot be withdrawn from here on: a caller that withdraws has stopped polling this future.
            turn.take();
            let (held, written) =
                RunToEnd::new(write(Arc::clone(&self.shared), writer, next, self.bounds)).await;
            writer = held;
            if written.map_err(ChangeError::Failed)? {
                self.await_followers().await;
                return Ok(answer);
            }
        }
        Err(ChangeError::Failed(PolicyError::Contended { attempts: ATTEMPTS_MAX }))
    }

    /// Drops generations whose drain window is over at `now`, and forgets those that ended before under which
    /// nothing is `waiting`; `None` forgets none. To be called every few seconds: it writes only when there is
    /// something to drop. Does nothing while the store is [held](Policies::held) or another change is being written.
    ///
    /// # Errors
    /// [`PolicyError`] when the store refuses; the next call tries again.
    pub async fn expire(
        &self,
        now: Timestamp,
        waiting: Option<&BTreeSet<PolicyId>>,
    ) -> Result<(), PolicyError> {
        if self.held().is_some() {
            return Ok(());
        }
        // A change copies the book: one is made only when something ends, or when it is to be read again.
        // Not awaited: behind a slow disk this would hold up its caller, and the next call comes in a few seconds.
        let is_in_doubt = match self.shared.writer.try_lock() {
            Ok(writer) => writer.in_doubt,
            Err(_) => return Ok(()),
        };
        if !is_in_doubt && !self.book().ends_something(now, waiting) {
            return Ok(());
        }
        let edit = |book: &mut Book| {
            // In this order: what ends now stays on record until the next call, when everything that was on its way
            // into the queue is counted there.
            if let Some(waiting) = waiting {
                book.forget_ended(waiting);
            }
            book.expire(now);
            Ok::<(), std::convert::Infallible>(())
        };
        self.change(edit).await.map_err(|error| match error {
            ChangeError::Refused(never) => match never {},
            ChangeError::Failed(error) => error,
        })
    }

    /// Moves the ends of drains, and of pauses that began in doubt, with the line of time ([`Book::leap`]). Waits for
    /// the store as long as it takes: a leap whose outcome is unknown would be made twice.
    ///
    /// # Errors
    /// [`PolicyError`] when the store refuses or is [held](Policies::held).
    pub async fn leap(&self, leap: &Leap) -> Result<(), PolicyError> {
        let edit = |book: &mut Book| {
            book.leap(leap);
            Ok::<(), std::convert::Infallible>(())
        };
        self.patient().change(edit).await.map_err(|error| match error {
            ChangeError::Refused(never) => match never {},
            ChangeError::Failed(error) => error,
        })
    }

    /// Waits until everybody acts by what is active; a follower that has ended acts no more.
    async fn await_followers(&self) {
        let number = self.runtime().number();
        // Copied, so that the lock is free while they are waited for.
        let followers = self.shared.followers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let all = async {
            for mut acts_by in followers {
                // An error means that it has ended.
                let _ = acts_by.wait_for(|acts_by| *acts_by >= number).await;
            }
        };
        if tokio::time::timeout(FOLLOWERS_WAIT, all).await.is_err() {
            warn!(wait = ?FOLLOWERS_WAIT, "changed policies are not active everywhere yet");
        }
    }
}

/// Writes a book and publishes it; gives back who may write next. `false` when somebody else wrote in between.
async fn write(
    shared: Arc<PoliciesState>,
    mut writer: OwnedMutexGuard<BookWriter>,
    next: Book,
    bounds: Option<Bounds>,
) -> (OwnedMutexGuard<BookWriter>, Result<bool, PolicyError>) {
    let written = shared.write(&mut writer, next, bounds).await;
    (writer, written)
}

impl PoliciesState {
    async fn write(
        &self,
        writer: &mut BookWriter,
        next: Book,
        bounds: Option<Bounds>,
    ) -> Result<bool, PolicyError> {
        debug_assert!(!writer.in_doubt, "the edited book is the stored one");
        let (runtime, body) = self.prepare(&next, bounds)?;
        let expect = writer.version.map_or(Expect::Absent, Expect::At);
        // Until the answer is here.
        writer.in_doubt = true;
        match self.documents.put(DOCUMENT, expect, body).await {
            Ok(version) => {
                *writer = BookWriter { version: Some(version), in_doubt: false };
                self.publish(next, runtime);
                Ok(true)
            }
            // Still in doubt, so that the next attempt begins with what the other writer has stored.
            Err(StoreError::VersionConflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What a book makes active and its stored form. Before the write, so that what is stored can always be applied.
    fn prepare(&self, next: &Book, bounds: Option<Bounds>) -> Result<(Runtime, Bytes), PolicyError> {
        let runtime = Runtime::build_after(&self.runtime.borrow().clone(), next)?;
        let body = document::encode(next)?;
        if let Some(bounds) = bounds {
            // Measured only where the bound is exceeded; the forms of its parts were made before.
            let before = || document::encode(&self.book.load()).map(|body| body.len());
            bounds.check_bytes(before, body.len())?;
        }
        Ok((runtime, body))
    }

    async fn reload(&self, writer: &mut BookWriter) -> Result<(), PolicyError> {
        let current = self.book.load();
        let Stored { version, book } = read(&*self.documents, &current.specs().collect()).await?;
        let runtime = Runtime::build_after(&self.runtime.borrow().clone(), &book)?;
        *writer = BookWriter { version, in_doubt: false };
        self.publish(book, runtime);
        Ok(())
    }

    fn publish(&self, book: Book, runtime: Runtime) {
        // The book also changes where nothing that is active does, such as the name of an object.
        self.book.store(Arc::new(book));
        // Only the writer publishes: nothing comes in between, so readers need not wait while it looks and tells.
        let current = Arc::clone(&self.runtime.borrow());
        if runtime.diff(&current).is_empty() {
            return;
        }
        if let Some(announce) = self.announce.get() {
            announce(&runtime);
        }
        // After the announcement, because the first calls may come at once.
        self.runtime.send_replace(Arc::new(runtime.numbered(current.number() + 1)));
    }
}

/// A book as it was read from the store.
#[derive(Default)]
struct Stored {
    version: Option<Version>,
    book: Book,
}

/// The stored book with what it makes active. One that cannot be used holds the store, and an empty one stands in its
/// place.
async fn read_usable(
    documents: &dyn DocumentStore,
    shared: &document::KnownSpecs<'_>,
) -> Result<(Stored, Runtime), PolicyError> {
    let reason = match read(documents, shared).await {
        Ok(stored) => match Runtime::build(&stored.book) {
            Ok(runtime) => return Ok((stored, runtime)),
            Err(error) => error.to_string(),
        },
        Err(PolicyError::Document { reason }) => reason,
        Err(PolicyError::Store(StoreError::Damaged { reason, .. })) if documents.held().is_some() => reason,
        // A newer format or a disk that fails says nothing about the book: the start ends instead.
        Err(error) => return Err(error),
    };
    // A doubt about the book that is open already says more.
    if documents.held().is_none() {
        documents.reject(DOCUMENT, &reason);
    }
    let empty = Stored::default();
    let runtime = Runtime::build(&empty.book)?;
    Ok((empty, runtime))
}

async fn read(
    documents: &dyn DocumentStore,
    shared: &document::KnownSpecs<'_>,
) -> Result<Stored, PolicyError> {
    let Some((version, body)) = documents.get(DOCUMENT).await? else { return Ok(Stored::default()) };
    let book = document::decode_sharing(&body, shared)?;
    Ok(Stored { version: Some(version), book })
}

#[cfg(test)]
mod tests;
