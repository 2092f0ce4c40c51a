//! The judge: opens a damaged directory, reads everything that waits, and holds what is reported as lost against
//! what is not returned.
//!
//! Must not know: what was damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tidegate::testkit::clock::Timestamp;
use tidegate::testkit::event::{EventId, LaneKey, Settlement};
use tidegate::testkit::store::doubts::DoubtKind;
use tidegate::testkit::store::embedded::EmbeddedStore;
use tidegate::testkit::store::embedded::journal::{self, Frame, Scan};
use tidegate::testkit::store::{
    Appended, DirectoryError, DocumentStore, EntryStore, Lookup, NewEntry, SettleRequest, StoreError,
    UsageFound, UsageStore,
};

use super::base::{ALL, BOOK, End, Truth, clock, lanes, options};

/// How well a store can know what is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// After an orderly stop.
    Exactly,
    /// After a kill: exactly up to the last mark of the account, within a bound behind it.
    UpToTheMark,
    /// After a kill without the index as well: which of the entries of a damaged segment had ended may be gone with them.
    WithBounds,
}

impl Known {
    pub(super) fn after(end: End, without_index: bool) -> Self {
        match end {
            End::Orderly => Self::Exactly,
            End::Killed if without_index => Self::WithBounds,
            End::Killed => Self::UpToTheMark,
        }
    }
}

/// What the doubts of a directory say is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reported {
    pub(super) lost: u64,
    /// At most this many more.
    pub(super) uncertain: u64,
    /// Held because they cannot be read.
    pub(super) unread: u64,
    /// The persistent total.
    pub(super) total: u64,
}

/// A directory as one start shows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) returned: BTreeMap<EventId, Bytes>,
    pub(super) letters: BTreeSet<EventId>,
    pub(super) reported: Reported,
    /// Why the store is held.
    pub(super) held: Option<String>,
    /// What the ids of entries that were not returned lead to.
    pub(super) lookups: BTreeMap<EventId, Result<Lookup, String>>,
    pub(super) book: Option<Result<Bytes, String>>,
    pub(super) usages: Option<Result<UsageFound, String>>,
    pub(super) usages_in_doubt: bool,
    /// What failed that should not.
    pub(super) failures: Vec<String>,
}

/// Opens the directory, reads everything, closes it.
pub(super) fn look(root: &Path, truth: &Truth) -> Result<Seen, StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let store = open(root)?;
    let mut seen = Seen::default();
    runtime.block_on(seen.take(&store, truth));
    if let Some(reason) = store.health().poisoned {
        seen.failures.push(format!("poisoned: {reason}"));
    }
    if let Err(error) = runtime.block_on(store.close()) {
        seen.failures.push(format!("close: {error}"));
    }
    drop(store);
    let letters = journal::scan(&root.join("dead"), Scan::default(), |_, frame| {
        if let Frame::Dead(letter) = frame {
            seen.letters.insert(letter.id);
        }
        Ok(())
    });
    if let Err(error) = letters {
        seen.failures.push(format!("dead letters: {error}"));
    }
    Ok(seen)
}

/// Opens the directory. A process that another test begins has a copy of the lock of a store that was just closed, until
/// it executes its program.
fn open(root: &Path) -> Result<EmbeddedStore, StoreError> {
    for _ in 0..500 {
        match EmbeddedStore::open(root, options(), clock()) {
            Err(StoreError::Directory(DirectoryError::Locked { .. })) => {
                std::thread::sleep(Duration::from_millis(10))
            }
            other => return other,
        }
    }
    EmbeddedStore::open(root, options(), clock())
}

impl Seen {
    async fn take(&mut self, store: &EmbeddedStore, truth: &Truth) {
        let mut known: BTreeSet<LaneKey> = lanes().collect();
        match store.lanes().await {
            Ok(found) => known.extend(found.into_iter().map(|lane| lane.lane)),
            Err(error) => self.failures.push(format!("lanes: {error}")),
        }
        self.held = store.health().held;
        // What a first pass meets as damaged is taken out of the way for the second.
        self.read(store, &known).await;
        self.append(store).await;
        self.read(store, &known).await;
        for id in truth.owed.keys().filter(|id| !self.returned.contains_key(id)) {
            let found = store.lookup(*id).await.map_err(|error| error.to_string());
            self.lookups.insert(*id, found);
        }
        let book = store.documents().get(BOOK).await;
        let book = book.map_err(|error| error.to_string());
        self.book = Some(book.and_then(|found| found.map(|(_, body)| body).ok_or("missing".to_owned())));
        self.usages = Some(store.usages().open(clock().now()).await.map_err(|error| error.to_string()));
        let health = store.health();
        self.held = self.held.take().or(health.held);
        self.reported.total = health.lost_entries;
        for doubt in store.doubts().list() {
            match doubt.kind {
                DoubtKind::Lost => self.reported.lost += doubt.events,
                DoubtKind::Uncertain => self.reported.uncertain += doubt.events,
                DoubtKind::Unread => self.reported.unread += doubt.events,
                DoubtKind::Usages => self.usages_in_doubt = true,
                _ => {}
            }
        }
    }

    async fn read(&mut self, store: &EmbeddedStore, lanes: &BTreeSet<LaneKey>) {
        for lane in lanes {
            let mut after = None;
            // A lane that cannot be read is held: the doubt says how many it concerns.
            while let Ok(page) = store.read_ready(lane, after, ALL).await {
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                self.returned.extend(page.into_iter().map(|entry| (entry.id, entry.record)));
            }
            if let Ok(page) = store.read_due(lane, Timestamp::MAX, &Default::default(), ALL).await {
                self.returned.extend(page.entries.into_iter().map(|entry| (entry.id, entry.record)));
            }
        }
    }

    /// A store that is not held takes events, returns them and lets them end.
    async fn append(&mut self, store: &EmbeddedStore) {
        let lane = LaneKey::new("added@1").expect("a lane");
        let record = Bytes::from_static(b"added");
        let new = NewEntry { lane: lane.clone(), due_at: None, record, dedup: None };
        let done = async {
            let answers = store.append(vec![new]).await?;
            let [Appended::New(id)] = answers[..] else { return Ok(false) };
            let read = store.read_ready(&lane, None, ALL).await?;
            let is_there = read.iter().any(|entry| entry.id == id);
            let settlement = Settlement::Delivered;
            store
                .settle(
                    store.owner(),
                    vec![SettleRequest { why: None, lane: lane.clone(), id, due_at: None, settlement }],
                )
                .await?;
            Ok::<_, StoreError>(is_there)
        };
        match done.await {
            Ok(true) => {}
            Ok(false) => self.failures.push("a new entry is not returned".to_owned()),
            Err(_) if self.held.is_some() => {}
            Err(error) => self.failures.push(format!("append: {error}")),
        }
    }
}

/// What is wrong with what was seen, against the truth.
pub(super) fn verdict(truth: &Truth, known: Known, seen: &Seen) -> Vec<String> {
    let mut wrong = seen.failures.clone();
    counts(truth, known, seen, &mut wrong);
    let known_exactly = known == Known::Exactly;
    for (id, record) in &seen.returned {
        let known = truth.owed.get(id).map(|owed| &owed.record).or_else(|| truth.settled.get(id));
        match known {
            Some(known) if known != record => wrong.push(format!("{id} is returned altered")),
            None => wrong.push(format!("{id} is returned and was never handed in")),
            Some(_) if known_exactly && truth.settled.contains_key(id) => {
                wrong.push(format!("{id} is returned and had ended"));
            }
            Some(_) => {}
        }
    }
    match &seen.book {
        Some(Ok(body)) if *body != truth.book && seen.held.is_none() => {
            wrong.push("the book is another one and the store is not held".to_owned());
        }
        Some(Err(error)) if seen.held.is_none() => {
            wrong.push(format!("the book cannot be had and the store is not held: {error}"));
        }
        _ => {}
    }
    wrong.extend(usages(truth, seen));
    wrong
}

/// Reported = lost. Entries that wait behind one that cannot be read are held with their lane: their ids lead to
/// them. An entry that cannot be read counts as lost unless a doubt says that it is held.
fn counts(truth: &Truth, known: Known, seen: &Seen, wrong: &mut Vec<String>) {
    let (mut gone, mut late, mut unreadable, mut untold) = (0, 0, 0, 0);
    for id in truth.owed.keys().filter(|id| !seen.returned.contains_key(id)) {
        match seen.lookups.get(id) {
            Some(Ok(Lookup::Waiting(..))) => continue,
            Some(Ok(Lookup::Lost)) => {}
            Some(Err(_)) => unreadable += 1,
            Some(Ok(Lookup::Settled(_) | Lookup::Unknown)) | None => untold += 1,
        }
        gone += 1;
        late += u64::from(truth.owed.get(id).is_some_and(|owed| owed.is_late));
    }
    let is_gone = |id: &&EventId| !seen.letters.contains(id) && !seen.returned.contains_key(id);
    let letters = truth.letters.iter().filter(is_gone).count() as u64;
    let Reported { lost: reported, uncertain, unread, total } = seen.reported;
    let lost = gone - unread.min(unreadable) + letters;
    let is_right = match known {
        Known::Exactly => reported == lost,
        Known::UpToTheMark => reported <= lost + truth.ended_late && lost <= reported + uncertain.min(late),
        Known::WithBounds => reported <= lost + truth.ended_late && lost <= reported + uncertain,
    };
    if !is_right {
        wrong.push(format!(
            "{gone} entries ({late} late, {unreadable} unreadable) and {letters} letters are gone; reported lost \
             {reported}, unread {unread}, uncertain {uncertain}"
        ));
    }
    // A letter has had its end: the total counts ends.
    if total != reported.saturating_sub(letters) {
        wrong.push(format!("the total says {total} lost, the doubts {reported}, {letters} of them letters"));
    }
    if untold > uncertain {
        wrong.push(format!("{untold} of the entries that are gone look up as settled or unknown"));
    }
}

/// A record that does not hold what was consumed says so.
fn usages(truth: &Truth, seen: &Seen) -> Option<String> {
    let found = match &seen.usages {
        Some(Ok(found)) => found,
        Some(Err(error)) => return Some(format!("the usages cannot be opened: {error}")),
        None => return None,
    };
    let is_complete = found.damaged == 0 && found.complete_from == Timestamp::ZERO;
    let of = |usages: &[tidegate::testkit::store::Usage], limit: &str| -> u64 {
        usages.iter().filter(|usage| &*usage.limit == limit).map(|usage| u64::from(usage.count)).sum()
    };
    let less = truth.usages.iter().find(|usage| of(&found.usages, &usage.limit) < u64::from(usage.count));
    let limit = less.filter(|_| is_complete && !seen.usages_in_doubt)?;
    Some(format!("the usage of {} is granted again without a word", limit.limit))
}

/// Whether a second start shows the same.
pub(super) fn repeats(first: &Seen, second: &Seen) -> Option<String> {
    let returned = |seen: &Seen| seen.returned.keys().copied().collect::<Vec<_>>();
    let figures = |seen: &Seen| {
        let Reported { lost, uncertain, unread, total } = seen.reported;
        format!(
            "{} returned, {lost} lost, {uncertain} uncertain, {unread} unread, total {total}",
            seen.returned.len()
        )
    };
    let same = returned(first) == returned(second) && first.reported == second.reported;
    (!same).then(|| format!("a second start differs: {}; then {}", figures(first), figures(second)))
}
