//! The handle through which policies are read and changed.
//!
//! A change edits a copy of the book, is checked as a whole, written under compare-and-set, then published;
//! the new [`Runtime`] is in force when the call returns, also with those who follow it. A writer that was overtaken
//! reads again and repeats its edit.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};
use tracing::warn;

use crate::clock::{Clock, Timestamp};
use crate::event::PolicyId;
use crate::policy::{Book, Clause, Follower, PolicyError, Runtime, Scope, document};
use crate::store::{DocumentStore, Expect, StoreError, Version};

/// The name of the stored book.
pub(super) const DOCUMENT: &str = "policies";
/// How often a change is tried when others write in between.
const ATTEMPTS_MAX: u32 = 16;
/// The longest wait for those who follow the policies: far longer than a step of theirs.
const FOLLOWERS_WAIT: Duration = Duration::from_secs(2);

/// All policies. Cheap to clone; clones are the same policies.
#[derive(Clone)]
pub struct Policies(Arc<Shared>);

struct Shared {
    documents: Arc<dyn DocumentStore>,
    book: ArcSwap<Book>,
    runtime: watch::Sender<Arc<Runtime>>,
    /// By which runtime each follower acts.
    followers: StdMutex<Vec<watch::Receiver<u64>>>,
    /// One writer at a time within this process.
    writer: Mutex<Writer>,
}

struct Writer {
    version: Option<Version>,
    /// The stored book may be another than the published one: a write failed or its caller went away.
    in_doubt: bool,
}

/// Why a change was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError<E> {
    /// The edit itself refused.
    #[error("refused: {0}")]
    Refused(E),
    /// It could not be stored or put in force.
    #[error(transparent)]
    Failed(PolicyError),
}

/// The time by which drains and pauses end: none passes while the clock is in doubt.
fn certain(clock: &Clock) -> Timestamp {
    if clock.is_trusted() { clock.now() } else { Timestamp::ZERO }
}

impl Policies {
    /// Reads the stored book and puts it in force; without one, starts empty.
    ///
    /// # Errors
    /// [`PolicyError`] when it cannot be read, does not decode, or cannot be put in force.
    pub async fn open(documents: Arc<dyn DocumentStore>, clock: Clock) -> Result<Self, PolicyError> {
        let (version, book) = read(&*documents).await?;
        let runtime = Runtime::build(&book)?;
        let policies = Self(Arc::new(Shared {
            documents,
            book: ArcSwap::from_pointee(book),
            runtime: watch::Sender::new(Arc::new(runtime)),
            followers: StdMutex::default(),
            writer: Mutex::new(Writer { version, in_doubt: false }),
        }));
        policies.expire(certain(&clock)).await?;
        Ok(policies)
    }

    /// What rules now.
    #[must_use]
    pub fn runtime(&self) -> Arc<Runtime> {
        self.0.runtime.borrow().clone()
    }

    /// Sees every later [`Runtime`]; only changes that make a difference wake it, and they wait until it acts by them.
    #[must_use]
    pub fn follow(&self) -> Follower {
        let (follower, acts_by) = Follower::new(self.0.runtime.subscribe());
        self.0.followers.lock().unwrap_or_else(PoisonError::into_inner).push(acts_by);
        follower
    }

    /// What is authored now.
    #[must_use]
    pub fn book(&self) -> Arc<Book> {
        self.0.book.load_full()
    }

    /// Changes the book: all of `edit` or nothing. Durable and in force on return. `edit` may be called several
    /// times, each time with a fresh copy, when other writers come in between.
    ///
    /// A caller that goes away half-way may leave the change stored but not yet in force; the next change or
    /// [`Policies::expire`] puts that right.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] with what `edit` answered, [`ChangeError::Failed`] when the store refused.
    pub async fn change<T, E>(
        &self,
        mut edit: impl FnMut(&mut Book) -> Result<T, E>,
    ) -> Result<T, ChangeError<E>> {
        let mut writer = self.0.writer.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            if writer.in_doubt {
                self.reload(&mut writer).await.map_err(ChangeError::Failed)?;
            }
            let before = self.book();
            let mut next = Book::clone(&before);
            let answer = edit(&mut next).map_err(ChangeError::Refused)?;
            if next == *before {
                return Ok(answer);
            }
            if self.write(&mut writer, next).await.map_err(ChangeError::Failed)? {
                self.await_followers().await;
                return Ok(answer);
            }
        }
        Err(ChangeError::Failed(PolicyError::Contended { attempts: ATTEMPTS_MAX }))
    }

    /// Drops generations whose drain window is over at `now`. To be called every few seconds: it writes only
    /// when there is something to drop.
    ///
    /// # Errors
    /// [`PolicyError`] when the store refuses; the next call tries again.
    pub async fn expire(&self, now: Timestamp) -> Result<(), PolicyError> {
        let edit = |book: &mut Book| {
            book.expire(now);
            Ok::<(), std::convert::Infallible>(())
        };
        self.change(edit).await.map_err(|error| match error {
            ChangeError::Refused(never) => match never {},
            ChangeError::Failed(error) => error,
        })
    }

    /// Writes and publishes; `false` when somebody else wrote in between.
    async fn write(&self, writer: &mut Writer, next: Book) -> Result<bool, PolicyError> {
        // Before the write, so that what is stored can always be put in force.
        let runtime = Runtime::build(&next)?;
        let body = document::encode(&next)?;
        readable(&next, &body)?;
        let expect = writer.version.map_or(Expect::Absent, Expect::At);
        // Holds until the answer is here: also when this future is dropped while it waits.
        writer.in_doubt = true;
        match self.0.documents.put(DOCUMENT, expect, body).await {
            Ok(version) => {
                *writer = Writer { version: Some(version), in_doubt: false };
                self.publish(next, runtime);
                Ok(true)
            }
            Err(StoreError::VersionConflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until everybody acts by what is in force; a follower that has ended acts no more.
    async fn await_followers(&self) {
        let number = self.runtime().number();
        let followers = self.0.followers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let all = async {
            for mut acts_by in followers {
                // An error means that it has ended.
                let _ = acts_by.wait_for(|acts_by| *acts_by >= number).await;
            }
        };
        if tokio::time::timeout(FOLLOWERS_WAIT, all).await.is_err() {
            warn!(wait = ?FOLLOWERS_WAIT, "changed policies are not in force everywhere yet");
        }
    }

    async fn reload(&self, writer: &mut Writer) -> Result<(), PolicyError> {
        let (version, book) = read(&*self.0.documents).await?;
        let runtime = Runtime::build(&book)?;
        *writer = Writer { version, in_doubt: false };
        self.publish(book, runtime);
        Ok(())
    }

    fn publish(&self, book: Book, runtime: Runtime) {
        self.0.book.store(Arc::new(book));
        self.0.runtime.send_if_modified(|current| {
            let differs = !runtime.diff(current).is_empty();
            if differs {
                let number = current.number() + 1;
                *current = Arc::new(runtime.numbered(number));
            }
            differs
        });
    }
}

/// Whether the next start would read what is about to be written, and every policy would govern the same calls: a book
/// that cannot be read keeps the process from starting. Numbers may lose their last bit, times what lies below a
/// millisecond.
fn readable(book: &Book, body: &[u8]) -> Result<(), PolicyError> {
    let read = document::decode(body)?;
    if governed(book).eq(governed(&read)) {
        return Ok(());
    }
    Err(PolicyError::Document { reason: "what is to be written reads differently".to_owned() })
}

/// Each policy with the calls that it governs.
fn governed(book: &Book) -> impl Iterator<Item = (&PolicyId, Option<(&Vec<Clause>, &Scope)>)> {
    book.policies.iter().map(|(id, policy)| (id, policy.ruling().map(|spec| (&spec.clauses, &spec.scope))))
}

async fn read(documents: &dyn DocumentStore) -> Result<(Option<Version>, Book), PolicyError> {
    match documents.get(DOCUMENT).await? {
        None => Ok((None, Book::default())),
        Some((version, body)) => Ok((Some(version), document::decode(&body)?)),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use serde_json::Value;

    use super::*;
    use crate::policy::testing::{Fault, TestDocuments, id, spec};
    use crate::policy::{BookError, DRAIN_WINDOW, LabelCondition, Limits, Origin, Spec, UrlPattern};

    const START: Timestamp = Timestamp::from_millis(1_000_000);

    async fn open(documents: &Arc<TestDocuments>) -> (Policies, Clock) {
        let clock = Clock::manual(START);
        let policies = Policies::open(documents.clone(), clock.clone()).await.expect("readable");
        (policies, clock)
    }

    fn add(book: &mut Book, name: &str) -> Result<(), BookError> {
        book.create(id(name), Origin::new("x"), Value::Null)?;
        book.deploy(&id(name), Value::Null, spec("https://h.org/*", 200.0))
    }

    #[tokio::test]
    async fn a_change_is_durable_and_in_force_on_return() {
        let documents = Arc::new(TestDocuments::default());
        let (policies, _) = open(&documents).await;
        let mut seen = policies.0.runtime.subscribe();
        policies.change(|book| add(book, "p")).await.expect("changed");
        assert!(seen.has_changed().expect("alive"));
        assert!(seen.borrow_and_update().get(&id("p")).is_some());
        let (again, _) = open(&documents).await;
        assert_eq!(again.book(), policies.book());
        assert_eq!(again.runtime().diff(&policies.runtime()), []);

        policies.change(|book| book.update(&id("p"), Value::from("name"), None)).await.expect("changed");
        assert!(!seen.has_changed().expect("alive"), "a cosmetic edit wakes nobody");
        assert_eq!(policies.book().get(&id("p")).map(|p| p.record().clone()), Some(Value::from("name")));
    }

    #[tokio::test]
    async fn a_change_returns_when_those_who_follow_act_by_it() {
        let documents = Arc::new(TestDocuments::default());
        let (policies, _) = open(&documents).await;
        let mut follower = policies.follow();
        assert!(follower.news().is_none());
        let mut change = Box::pin(policies.change(|book| add(book, "p")));
        let runtime = loop {
            // The change gets its turns, but does not end.
            assert!((&mut change).now_or_never().is_none());
            if let Some(runtime) = follower.news() {
                break runtime;
            }
        };
        assert!(runtime.get(&id("p")).is_some());
        follower.act_by(&runtime);
        change.await.expect("changed");
        drop(follower);
        policies.change(|book| add(book, "q")).await.expect("nobody follows any more");
    }

    #[tokio::test]
    async fn a_refusal_or_a_failure_changes_nothing() {
        let documents = Arc::new(TestDocuments::default());
        let (policies, _) = open(&documents).await;
        let half = |book: &mut Book| {
            add(book, "p").expect("free");
            add(book, "p")
        };
        assert!(matches!(policies.change(half).await, Err(ChangeError::Refused(BookError::Exists))));
        documents.fail([Fault::Refuse]);
        let failed = policies.change(|book| add(book, "p")).await;
        assert!(matches!(failed, Err(ChangeError::Failed(PolicyError::Store(StoreError::Closed)))));
        assert_eq!((policies.book().as_ref(), documents.body(DOCUMENT)), (&Book::default(), None));
    }

    #[tokio::test]
    async fn what_could_not_be_read_at_the_next_start_is_not_written() {
        let documents = Arc::new(TestDocuments::default());
        let (policies, _) = open(&documents).await;
        policies.change(|book| add(book, "p")).await.expect("changed");
        let before = (policies.book(), documents.body(DOCUMENT));
        let without_clauses = Spec::new(Vec::new(), Limits::default());
        let failed = policies.change(|book| {
            book.create(id("q"), Origin::new("x"), Value::Null)?;
            book.deploy(&id("q"), Value::Null, without_clauses.clone())
        });
        assert!(matches!(failed.await, Err(ChangeError::Failed(PolicyError::Document { .. }))));
        assert_eq!((policies.book(), documents.body(DOCUMENT)), before);
        let or_absent = LabelCondition::equals_or_absent("org", "A");
        let clause =
            Clause { labels: vec![or_absent], ..Clause::of(UrlPattern::any_host("/{}").expect("valid")) };
        policies
            .change(|book| {
                book.create(id("r"), Origin::new("x"), Value::Null)?;
                book.deploy(&id("r"), Value::Null, Spec::new(vec![clause.clone()], Limits::default()))
            })
            .await
            .expect("readable");
    }

    #[tokio::test]
    async fn an_overtaken_writer_repeats_its_edit_on_what_the_other_wrote() {
        let documents = Arc::new(TestDocuments::default());
        let (policies, _) = open(&documents).await;
        let mut other = Book::default();
        add(&mut other, "other").expect("free");
        documents.fail([Fault::Overtake(document::encode(&other).expect("encodes"))]);
        let mut runs = 0;
        policies
            .change(|book| {
                runs += 1;
                add(book, "mine")
            })
            .await
            .expect("changed");
        assert_eq!(runs, 2);
        let (again, _) = open(&documents).await;
        for name in ["mine", "other"] {
            assert!(again.runtime().get(&id(name)).is_some(), "{name}");
            assert!(policies.runtime().get(&id(name)).is_some(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_write_whose_answer_was_lost_comes_into_force_with_the_next_call() {
        let documents = Arc::new(TestDocuments::default());
        let (policies, _) = open(&documents).await;
        documents.fail([Fault::LoseTheAnswer]);
        assert!(policies.change(|book| add(book, "p")).await.is_err());
        assert!(policies.runtime().get(&id("p")).is_none());
        policies.expire(START).await.expect("reads again");
        assert!(policies.runtime().get(&id("p")).is_some());

        documents.fail([Fault::Hang]);
        assert!(policies.change(|book| add(book, "q")).now_or_never().is_none(), "dropped half-way");
        policies.expire(START).await.expect("reads again");
        assert!(policies.runtime().get(&id("q")).is_some());
    }

    #[tokio::test]
    async fn drained_generations_leave_when_their_time_is_over() {
        let documents = Arc::new(TestDocuments::default());
        let (policies, clock) = open(&documents).await;
        policies.change(|book| add(book, "p")).await.expect("changed");
        policies
            .change(|book| book.delete(&id("p"), clock.now(), DRAIN_WINDOW, true))
            .await
            .expect("changed");
        clock.advance(DRAIN_WINDOW - Duration::from_nanos(1));
        policies.expire(clock.now()).await.expect("stored");
        assert!(policies.runtime().get(&id("p")).is_some());
        let version = documents.body(DOCUMENT).map(|(version, _)| version);
        policies.expire(clock.now()).await.expect("stored");
        assert_eq!(documents.body(DOCUMENT).map(|(version, _)| version), version, "nothing to write");
        clock.advance(Duration::from_nanos(1));
        policies.expire(clock.now()).await.expect("stored");
        assert!(policies.runtime().get(&id("p")).is_none());
        assert_eq!(policies.book().as_ref().policies.len(), 0);
    }
}
