//! The writer thread: group commit. It takes everything that waits, writes it at once, syncs once, and hands
//! the commit with its callers to the indexer, which answers them.
//!
//! Order: dead letters are synced before their settlement; answers leave after the sync and the index.
//!
//! Must not know: rows of the index, reads.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::commit::{self, AppendReply, Draft, PlacedSettlement};
use super::dead_letters::LetterRequest;
use super::finds::{self, Find};
use super::indexer::{Commit, Work};
use super::owed::{QueuedSettlements, Settling};
use super::shared::Shared;
use crate::clock::Timestamp;
use crate::store::embedded::ballast;
use crate::store::embedded::index::dedup::DedupIndex;
use crate::store::embedded::index::{guarded, room};
use crate::store::embedded::journal::{DeadLog, FrameGroup, Journal, Position};
use crate::store::embedded::operations::Operation;
use crate::store::{AppendTurn, Appended, DeadLetter, NewEntry, StoreError};
use crate::telemetry::{LettersRemoved, defect};

/// A request to the writer thread. A reply that is dropped unanswered means that the thread ended or the store is
/// poisoned.
pub(super) enum Request {
    Append {
        entries: Vec<NewEntry>,
        /// Whether the caller still wants it.
        turn: Arc<AppendTurn>,
        reply: oneshot::Sender<Result<Vec<Appended>, StoreError>>,
        room: Option<OwnedSemaphorePermit>,
    },
    Settle {
        decisions: Vec<PlacedSettlement>,
        letters: Vec<DeadLetter>,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    Find(Find),
    Letters(LetterRequest),
    Close {
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
}

/// A commit takes no more requests beyond these. Requests are bounded parts, so that the last one taken cannot
/// carry it over the bound of a group.
const COMMIT_BYTES: usize = 12 * 1024 * 1024;
const COMMIT_ENTRIES: usize = 16 * 1024;
/// From this many pending settlements on a commit no longer waits `settle_delay` for more of them.
const SETTLEMENTS: usize = 8 * 1024;
/// What an entry may cost beside its record and its lane's key: a block of its own.
const ENTRY_BYTES: usize = 128;
/// The least time between two rounds of upkeep: what has outlived its time may stay this much longer.
const UPKEEP_AGE: Duration = Duration::from_secs(60);

/// What the writer thread owns. No lock is needed: nothing else writes the journal, the dead letters or the keys.
pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub journal: Journal,
    pub dead: DeadLog,
    pub dedup: DedupIndex,
    pub indexer: SyncSender<Work>,
    /// The newest acceptance so far, Unix ms: time in the journal never decreases.
    pub newest_ms: u64,
    pub group: FrameGroup,
    pub pending: PendingRequests,
    /// Settlements that found no room in the journal yet.
    pub owed: QueuedSettlements,
    pub upkeep_done: Timestamp,
    /// Where the segment before the present one ends.
    pub full: Position,
    /// The segment of the journal that the account has last been given.
    pub on_record: u32,
}

/// Requests that the next commit takes.
#[derive(Default)]
pub(super) struct PendingRequests {
    appends: Vec<Request>,
    append_entries: usize,
    append_bytes: usize,
    decisions: Vec<PlacedSettlement>,
    letters: Vec<DeadLetter>,
    settles: Vec<oneshot::Sender<Result<(), StoreError>>>,
    first_settle: Option<Timestamp>,
    /// Look-ups of keys, answered without a commit.
    finds: Vec<Find>,
    letter_requests: Vec<LetterRequest>,
    close: Option<oneshot::Sender<Result<(), StoreError>>>,
}

impl PendingRequests {
    fn take(&mut self, request: Request, now: Timestamp) {
        match request {
            Request::Append { ref entries, .. } => {
                self.append_entries += entries.len();
                let bytes = |entry: &NewEntry| entry.record.len() + entry.lane.as_str().len() + ENTRY_BYTES;
                self.append_bytes += entries.iter().map(bytes).sum::<usize>();
                self.appends.push(request);
            }
            Request::Settle { decisions, letters, reply } => {
                self.decisions.extend(decisions);
                self.letters.extend(letters);
                self.settles.push(reply);
                self.first_settle.get_or_insert(now);
            }
            Request::Find(find) => self.finds.push(find),
            Request::Letters(request) => self.letter_requests.push(request),
            Request::Close { reply } => self.close = Some(reply),
        }
    }

    fn is_full(&self) -> bool {
        self.append_entries >= COMMIT_ENTRIES
            || self.append_bytes >= COMMIT_BYTES
            || self.decisions.len() >= SETTLEMENTS
            || self.close.is_some()
    }

    /// How long the next commit may wait for more; `None` when nothing waits for it.
    fn patience(&self, now: Timestamp, settle_delay: Duration) -> Option<Duration> {
        // Only settlements may wait for company: a producer or an operator waits for the answer to the others.
        if !self.appends.is_empty() || !self.letter_requests.is_empty() || self.is_full() {
            return Some(Duration::ZERO);
        }
        self.first_settle.map(|first| settle_delay.saturating_sub(now.since(first)))
    }
}

/// Refuses appends that their callers still want.
fn refuse(appends: Vec<Request>, error: &StoreError) {
    for request in appends {
        if let Request::Append { turn, reply, .. } = request
            // The caller of a withdrawn append has stopped waiting and answers for itself.
            && turn.take()
        {
            let _ = reply.send(Err(error.clone()));
        }
    }
}

pub(super) fn with_ballast<T>(
    shared: &Shared,
    may_release: bool,
    mut work: impl FnMut() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    if may_release { ballast::with_room(shared.dir.root(), ballast::FOR_DOCUMENTS, work) } else { work() }
}

impl Writer {
    /// Until the store is closed or dropped. Settlements that wait are written before.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        loop {
            let open = self.gather(requests);
            let closing = self.pending.close.take();
            if closing.is_some() || !open {
                self.owed.hurry();
            }
            let shared = Arc::clone(&self.shared);
            let under_way = shared.figures.operations.begin(Operation::Journal, shared.clock.now());
            self.commit();
            self.upkeep();
            drop(under_way);
            if closing.is_some() || !open {
                self.dead.close();
                // Without an indexer the store is poisoned; the dropped reply reports that.
                let _ = self.indexer.send(Work::Close { reply: closing, journal: Box::new(self.journal) });
                return;
            }
        }
    }

    /// Waits for a reason to commit. False when no request can come any more.
    fn gather(&mut self, requests: &Receiver<Request>) -> bool {
        loop {
            let now = self.shared.clock.now();
            while !self.pending.is_full() {
                let Ok(request) = requests.try_recv() else { break };
                self.pending.take(request, now);
            }
            // Appends that were answered have their keys on record by now. Those still pending have not: nothing of
            // them is durable.
            std::mem::take(&mut self.pending.finds).into_iter().for_each(|find| find.answer(&self.dedup));
            let patience = self.pending.patience(now, self.shared.options.settle_delay);
            let received = match patience.into_iter().chain(self.owed.patience(now)).min() {
                Some(Duration::ZERO) => return true,
                Some(patience) => requests.recv_timeout(patience),
                None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match received {
                Ok(request) => self.pending.take(request, self.shared.clock.now()),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn commit(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        let now = self.shared.clock.now();
        // Older settlements first: what room there is belongs to them.
        self.settle_owed(now);
        self.change_letters(std::mem::take(&mut pending.letter_requests), now);
        if pending.appends.is_empty() && pending.settles.is_empty() {
            return;
        }
        let PendingRequests { append_bytes, appends, decisions, letters, settles, .. } = pending;
        let settling = Settling { runs: commit::runs(decisions), letters, replies: settles };
        // Writing these now would let later settlements overtake older ones, and appends take the room the older ones
        // wait for.
        if let Some(full) = self.owed.reason().cloned() {
            refuse(appends, &full);
            self.owed.push(settling);
            return;
        }
        let room = self.room(append_bytes);
        let mut draft = Draft::default();
        let drafted = self.shared.figures.sound().and_then(|()| self.draft(&mut draft, appends, &room));
        if let Err(error) = drafted {
            let error = self.shared.figures.fail(&error);
            draft.refuse(&error);
            settling.refuse(&error);
            return;
        }
        self.write(draft, settling, now);
        self.settle_owed(now);
    }

    /// Writes the settlements for which there was no room, as far as there is some now.
    fn settle_owed(&mut self, now: Timestamp) {
        while let Some(settling) = self.owed.next(now) {
            self.write(Draft::default(), settling, now);
        }
        // After the last of them is on record: whoever reads the figure then finds it.
        self.shared.figures.note_owed(self.owed.reason().is_some());
    }

    /// One group. Without room for it, or without a descriptor, its appends are refused and its settlements wait.
    fn write(&mut self, draft: Draft, mut settling: Settling, now: Timestamp) {
        defect!(unless self.group.is_empty(), "frames that an earlier group has left");
        self.newest_ms = self.newest_ms.max(now.as_millis());
        match self.write_group(&draft, &mut settling, now) {
            Ok(positions) => self.hand_on(draft, settling, &positions),
            Err(error) if error.is_refusal() => {
                self.group.clear();
                for block in &draft.blocks {
                    // The draft counted these entries into their lanes; nothing of them became durable.
                    self.shared.lanes.settle(block.lane_no, block.records.len() as u64);
                }
                let had_appends = !draft.blocks.is_empty();
                draft.refuse(&error);
                if !settling.is_empty() {
                    // Alone they may use what appends may not: at once.
                    let now = if had_appends { Timestamp::ZERO } else { now };
                    self.owed.put_back(settling, error, now);
                    self.shared.figures.note_owed(true);
                }
            }
            Err(error) => {
                self.group.clear();
                let error = self.shared.figures.fail(&error);
                draft.refuse(&error);
                settling.refuse(&error);
                self.owed.refuse(&error);
            }
        }
    }

    /// Settlements alone may use up the ballast. The account knows of the entries, and of a segment that was begun for
    /// them, before anything is written: what fails until then is refused and may be tried again.
    fn write_group(
        &mut self,
        draft: &Draft,
        settling: &mut Settling,
        now: Timestamp,
    ) -> Result<Vec<Position>, StoreError> {
        self.shared.figures.sound()?;
        let shared = Arc::clone(&self.shared);
        let may_release = draft.blocks.is_empty();
        if !settling.letters.is_empty() {
            with_ballast(&shared, may_release, || self.dead.append(&settling.letters, now))?;
            // They are durable: writing them again with the repeated settlement would list each letter twice.
            settling.letters.clear();
            self.count_dead();
        }
        draft.encode(&mut self.group, &settling.runs, self.newest_ms)?;
        shared.account.admit(draft.entries())?;
        let before = self.journal.end();
        with_ballast(&shared, may_release, || self.journal.begin_if_due(&self.group, now))?;
        let segment = self.journal.end().segment;
        if before.segment != segment {
            self.full = before;
        }
        if segment != self.on_record {
            let bytes = self.journal.preallocated_bytes();
            with_ballast(&shared, true, || shared.account.begin_segment(segment, bytes, self.full))?;
            self.on_record = segment;
        }
        with_ballast(&shared, may_release, || self.journal.append(&mut self.group, now))
    }

    /// Puts the appends into blocks. After an error every request still gets its answer from the caller: those not yet
    /// drafted see that the writer dropped them.
    fn draft(
        &mut self,
        draft: &mut Draft,
        appends: Vec<Request>,
        room: &Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for request in appends {
            let Request::Append { entries, turn, reply, room: permit } = request else { continue };
            if !turn.take() {
                continue;
            }
            if let Err(full) = room {
                let _ = reply.send(Err(full.clone()));
                continue;
            }
            let mut answers = Vec::with_capacity(entries.len());
            for entry in entries {
                let answer = draft
                    .add(entry, &self.shared.lanes, |dedup| guarded(|| self.dedup.find(dedup)))
                    .map_err(|error| StoreError::Poisoned { reason: error.to_string() })?;
                answers.push(answer);
            }
            draft.appends.push(AppendReply { answers, reply, room: permit });
        }
        Ok(())
    }

    fn hand_on(&mut self, draft: Draft, settling: Settling, positions: &[Position]) {
        let (salt, newest_ms) = (self.shared.salt, self.newest_ms);
        if draft.blocks.iter().any(|block| !block.dedup.is_empty()) {
            // An insert that finds no room makes the library refuse everything until it is opened again.
            self.shared.room.wait_for(room::BATCH_BYTES);
            if let Err(error) = finds::note(&draft, positions, newest_ms, &self.shared, &mut self.dedup) {
                // The entries are durable and will be answered; nothing is accepted after them.
                self.shared.figures.poison(&error.to_string());
            }
        }
        defect!(unless positions.len() == draft.blocks.len(), "blocks that the journal gave no position");
        let mut replies = Vec::with_capacity(draft.appends.len());
        for append in draft.appends {
            let answers: Option<Vec<Appended>> = append
                .answers
                .iter()
                .map(|answer| commit::answer(*answer, positions, newest_ms, salt))
                .collect();
            match answers {
                Some(answers) => replies.push((append.reply, answers, append.room)),
                None => defect!("a durable append whose entries have no ids"),
            }
        }
        let blocks = draft.blocks.into_iter().zip(positions.iter().copied());
        let commit = Commit {
            blocks: blocks
                .map(|(block, at)| (at, block.lane_no, block.lane, block.records.len(), block.due_ms))
                .collect(),
            accepted_ms: newest_ms,
            runs: settling.runs,
            end: self.journal.end(),
            replies,
            settles: settling.replies,
        };
        // A dead indexer has poisoned the store; callers see that their reply was dropped. A full channel blocks here:
        // that keeps the journal from running far ahead of the index.
        let _ = self.indexer.send(Work::Commit(commit));
    }

    /// Whether there is room for `append_bytes`, asked of the system for every commit: at full speed a commit
    /// can take more than any reserve that was seen a moment ago. A new segment takes its whole size at once.
    pub(super) fn room(&self, append_bytes: usize) -> Result<(), StoreError> {
        self.shared.measure_room(u64::try_from(append_bytes).unwrap_or(u64::MAX))
    }

    pub(super) fn count_dead(&self) {
        self.shared.account.letters(self.dead.by_segment());
        self.shared
            .figures
            .dead_entries
            .store(self.dead.letters().count(), std::sync::atomic::Ordering::Relaxed);
    }

    /// Lets keys and dead letters go that have outlived their time.
    fn upkeep(&mut self) {
        let now = self.shared.clock.now();
        // Nothing is deleted on doubt, and while the clock is in doubt the age of everything is unknown.
        let in_doubt = self.shared.doubts.store_held().is_some() || !self.shared.clock.is_trusted();
        if in_doubt || now.since(self.upkeep_done) < UPKEEP_AGE {
            return;
        }
        self.upkeep_done = now;
        let corrections = self.shared.clock.corrections();
        let shared = &self.shared;
        let expired = if shared.room.has(room::BATCH_BYTES) {
            guarded(|| self.dedup.expire(now, &corrections)).map_err(|error| error.to_string())
        } else {
            Ok(())
        };
        let on_record = |letters| {
            shared.account.letters(letters);
            shared.mark()
        };
        let kept = self.dead.letters().count();
        let removed =
            self.dead.expire(now, &corrections, on_record).map(|_| ()).map_err(|error| error.to_string());
        LettersRemoved { how: "retention", count: kept.saturating_sub(self.dead.letters().count()) }.emit();
        self.count_dead();
        for error in [expired, removed].into_iter().filter_map(Result::err) {
            self.shared.figures.errors.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tracing::warn!(error, "store upkeep failed; it is tried again later");
        }
    }
}
