//! The files of the log together: appending, going on in the next file, dropping the oldest, syncing.
//!
//! Must not know: the form of records, the journal's frames.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::file::{self, ActiveFile, FileHead, Opened, SealedFile};
use super::names::PolicyNames;
use super::record::{Ended, KeptRecord};
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::embedded::journal::Position;
use crate::store::embedded::{files, retry};
use crate::store::{EndPlace, EndsKept};

/// The bound is shared out among at least this many files, so that little goes at a time.
const LEAST_FILES: u64 = 8;
/// Ends that wait for a disk that does not take them: 4 MB.
const MAX_PENDING: usize = 65_536;

/// The log. One thread appends; any may read or sync.
pub(in crate::store::embedded) struct Ends {
    pub(super) dir: PathBuf,
    pub(super) salt: u64,
    max_bytes: u64,
    pub(super) state: Mutex<LogState>,
    pub(super) grown: watch::Sender<u64>,
    is_failing: AtomicBool,
}

/// What is known of the files.
pub(super) struct LogState {
    /// The full files, the oldest one first.
    pub sealed: VecDeque<SealedFile>,
    pub active: ActiveFile,
    pub names: PolicyNames,
    /// From this number on no end is missing.
    pub complete_from: u64,
    /// Every end after this time is kept; 0: all there were.
    pub before_ms: u64,
    /// A number is still to be left out: ends up to this time, Unix ms, may be missing.
    gap_owed: Option<u64>,
    /// Encoded and not written yet.
    pending: VecDeque<KeptRecord>,
    /// The journal up to here is in the log.
    applied: Position,
    /// Turn and place of the newest mark.
    mark: file::Mark,
    /// Files with writes that are not synced, beside the active one.
    unsynced: Vec<Arc<File>>,
    is_dirty: bool,
    has_new_file: bool,
}

impl LogState {
    /// The number of the next end.
    pub(super) fn next(&self) -> u64 {
        self.active.next().max(self.complete_from)
    }

    fn owe_gap(&mut self, until_ms: u64) {
        self.before_ms = self.active.last_ms.max(until_ms).max(self.before_ms);
        self.complete_from = self.active.next() + 1;
        self.gap_owed = Some(self.before_ms);
    }
}

/// What a start finds.
struct FoundFiles {
    sealed: VecDeque<SealedFile>,
    last: Option<ActiveFile>,
    mark: Option<file::Mark>,
    /// The highest number that is in use, by whatever file.
    highest: u32,
}

impl Ends {
    /// Takes up the log in `dir`, or begins one. `before` says from when on its ends are all there are if there is none; 0:
    /// from the beginning.
    ///
    /// # Errors
    /// [`StoreError`] when the system refuses.
    pub(in crate::store::embedded) fn open(
        dir: &Path,
        salt: u64,
        max_bytes: u64,
        before: Timestamp,
    ) -> Result<Self, StoreError> {
        Self::take_up(dir, salt, max_bytes, before).map_err(|error| StoreError::io("open", dir, error))
    }

    fn take_up(dir: &Path, salt: u64, max_bytes: u64, before: Timestamp) -> io::Result<Self> {
        let found = find(dir, salt)?;
        let names = PolicyNames::open(dir);
        let capacity = capacity(max_bytes);
        // A log is told from others by its beginning.
        let log = salt.rotate_left(17) ^ before.as_millis();
        let begun =
            FileHead { number: found.highest + 1, log, first: 0, before_ms: before.as_millis(), capacity };
        let (mark, mut sealed) = (found.mark.unwrap_or_default(), found.sealed);
        let active = match found.last {
            Some(last) => last,
            None => {
                let head = sealed.back().map_or(begun, |last| match last.head.number == found.highest {
                    true => {
                        FileHead { log: last.head.log, first: last.next(), before_ms: last.last_ms, ..begun }
                    }
                    // What the file that cannot be read has held keeps its numbers.
                    false => {
                        let first = last.next() + u64::from(file::MAX_ENDS) + 1;
                        FileHead { log: last.head.log, first, ..begun }
                    }
                });
                ActiveFile::create(dir, head, salt, false)?
            }
        };
        // Of another log, as a restored file may be: it says nothing here.
        sealed.retain(|file| file.head.log == active.head.log);
        let heads = sealed.iter().map(|file| (file.head, file.next())).chain([(active.head, active.next())]);
        let (complete_from, before_ms) = complete(heads);
        let (grown, _) = watch::channel(active.next());
        let state = LogState {
            sealed,
            active,
            names,
            complete_from,
            before_ms,
            gap_owed: None,
            pending: VecDeque::new(),
            applied: mark.1,
            mark,
            unsynced: Vec::new(),
            is_dirty: true,
            has_new_file: true,
        };
        let state = Mutex::new(state);
        Ok(Self { dir: dir.to_owned(), salt, max_bytes, state, grown, is_failing: AtomicBool::new(false) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place in the journal before which every end is in the log; `None` in a log that has just begun.
    pub(in crate::store::embedded) fn marked(&self) -> Option<Position> {
        Some(self.lock().mark.1).filter(|at| *at != Position::default())
    }

    /// Ends that came until now may be missing behind everything that is here: a number is left out, and the ends from then on
    /// are complete.
    pub(in crate::store::embedded) fn leave_gap(&self, until_ms: u64) {
        let mut state = self.lock();
        state.owe_gap(until_ms);
        self.note(self.write(&mut state));
    }

    /// Takes ends in their order, of a commit that ends at `applied` in the journal. What the disk does not take is kept in
    /// memory within a bound, and written with a later one.
    pub(in crate::store::embedded) fn append(&self, ended: &[Ended], ended_ms: u64, applied: Position) {
        let mut state = self.lock();
        let mut failed = Ok(());
        let before = state.next();
        for one in ended {
            let policies = state.names.number(&one.lane).unwrap_or_else(|error| {
                failed = Err(error);
                0
            });
            state.pending.push_back(KeptRecord::of(one, ended_ms, policies));
        }
        let written = failed.and_then(|()| self.write(&mut state));
        if written.is_ok() {
            state.applied = state.applied.max(applied);
        }
        if state.pending.len() > MAX_PENDING {
            let lost = state.pending.len();
            state.pending.clear();
            tracing::error!(lost, "ends could not be kept; the feed of outcomes says so to its readers");
            state.owe_gap(ended_ms);
        }
        // A segment is deleted only when the mark is beyond it.
        state.is_dirty |= state.applied.segment != state.mark.1.segment;
        // A commit without ends may write those that had to wait.
        if !ended.is_empty() || written.is_err() || state.next() != before {
            self.note(written);
            self.grown.send_replace(state.next());
        }
    }

    /// One line for each run of failures.
    fn note(&self, done: io::Result<()>) {
        let was_failing = self.is_failing.swap(done.is_err(), Ordering::Relaxed);
        match done {
            Err(error) if !was_failing => {
                tracing::warn!(%error, "ends cannot be written; they are kept in memory and tried again");
            }
            Ok(()) if was_failing => tracing::info!("ends are written again"),
            Ok(()) | Err(_) => {}
        }
    }

    fn write(&self, state: &mut LogState) -> io::Result<()> {
        if let Some(before_ms) = state.gap_owed {
            // Nothing goes into the present file any more: its numbers would run on as if nothing were missing.
            let first = state.complete_from;
            self.next_file(state, first, Some(before_ms))?;
            state.gap_owed = None;
        }
        while !state.pending.is_empty() {
            if state.active.room() == 0 {
                let next = state.active.next();
                self.next_file(state, next, None)?;
            }
            let room = state.active.room() as usize;
            let count = state.pending.len().min(room);
            let records = state.pending.make_contiguous().get(..count).unwrap_or_default();
            state.active.append(records)?;
            state.pending.drain(..count);
            state.is_dirty = true;
        }
        Ok(())
    }

    /// Seals the active file and goes on in another one; the oldest go.
    fn next_file(&self, state: &mut LogState, first: u64, before_ms: Option<u64>) -> io::Result<()> {
        let head = FileHead {
            number: state.active.head.number + 1,
            first,
            before_ms: before_ms.unwrap_or(state.active.last_ms),
            capacity: capacity(self.max_bytes),
            ..state.active.head
        };
        // Before the seal: while there is no room for it the present file stays as it is.
        let next = ActiveFile::create(&self.dir, head, self.salt, true)?;
        let sealed = state.active.seal()?;
        state.unsynced.push(Arc::clone(&state.active.file));
        state.active = next;
        state.sealed.push_back(sealed);
        (state.is_dirty, state.has_new_file) = (true, true);
        let mut bytes: u64 = state.sealed.iter().map(|file| file::full_bytes(file.count)).sum();
        bytes += file::full_bytes(state.active.head.capacity);
        while bytes > self.max_bytes
            && let Some(oldest) = state.sealed.pop_front()
        {
            bytes -= file::full_bytes(oldest.count);
            // First: what is not complete any more is never taken for complete, whether the file goes or stays.
            let (next, before_ms) =
                state.sealed.front().map_or((state.active.head.first, state.active.head.before_ms), |file| {
                    (file.head.first, file.head.before_ms)
                });
            if next > state.complete_from {
                (state.complete_from, state.before_ms) = (next, before_ms);
            }
            if let Err(error) = files::remove(&oldest.path) {
                tracing::warn!(%error, "an old file of ends cannot be deleted; the next start tries it again");
            }
        }
        Ok(())
    }

    /// The time of the newest end.
    pub(in crate::store::embedded) fn last_ms(&self) -> u64 {
        self.lock().active.last_ms
    }

    /// Whether there is something to sync.
    pub(in crate::store::embedded) fn is_dirty(&self) -> bool {
        self.lock().is_dirty
    }

    /// Makes durable what was appended so far, and the mark that says so. Waits for the disk.
    ///
    /// # Errors
    /// [`StoreError`] when the system refuses; nothing was marked then.
    pub(in crate::store::embedded) fn sync(&self) -> Result<(), StoreError> {
        let mut state = self.lock();
        let (applied, turn) = (state.applied, state.mark.0 + 1);
        let (active, names) = (Arc::clone(&state.active.file), state.names.file());
        let unsynced = std::mem::take(&mut state.unsynced);
        let has_new_file = std::mem::take(&mut state.has_new_file);
        state.is_dirty = false;
        drop(state);
        let synced = sync_all(&unsynced, &active, names.as_deref(), has_new_file.then_some(&*self.dir))
            .and_then(|()| file::write_mark(&active, (turn, applied), self.salt))
            .and_then(|()| active.sync_data());
        let mut state = self.lock();
        match synced {
            Ok(()) => state.mark = (turn, applied),
            Err(_) => {
                (state.is_dirty, state.has_new_file) = (true, state.has_new_file || has_new_file);
                state.unsynced.extend(unsynced);
            }
        }
        synced.map_err(|error| StoreError::io("sync", &self.dir, error))
    }

    /// Which ends are kept.
    pub(in crate::store::embedded) fn kept_now(&self) -> EndsKept {
        let state = self.lock();
        let place = |number| EndPlace { log: state.active.head.log, number };
        let sealed: u64 = state.sealed.iter().map(|file| file::full_bytes(file.count)).sum();
        // The first millisecond that is after that time.
        let known_since = (state.before_ms > 0).then(|| Timestamp::from_millis(state.before_ms + 1));
        EndsKept {
            first: place(state.complete_from),
            next: place(state.next()),
            known_since,
            bytes: sealed + file::full_bytes(state.active.count),
        }
    }
}

fn sync_all(sealed: &[Arc<File>], active: &File, names: Option<&File>, dir: Option<&Path>) -> io::Result<()> {
    names.map_or(Ok(()), File::sync_data)?;
    for file in sealed {
        file.sync_data()?;
    }
    active.sync_data()?;
    dir.map_or(Ok(()), files::sync_dir)
}

/// Ends of a file, so that the bound holds whatever it is.
fn capacity(max_bytes: u64) -> u32 {
    let each = max_bytes / LEAST_FILES / 32;
    u32::try_from(each).unwrap_or(file::MAX_ENDS).clamp(16, file::MAX_ENDS)
}

/// From where on no end is missing, and the time before which some may be, of files in order.
fn complete(heads: impl Iterator<Item = (FileHead, u64)>) -> (u64, u64) {
    let (mut from, mut before_ms, mut expected) = (0, 0, None);
    for (head, next) in heads {
        if expected != Some(head.first) {
            (from, before_ms) = (head.first, head.before_ms);
        }
        expected = Some(next);
    }
    (from, before_ms)
}

/// Opens all files; those without a seal, but for the last, are sealed now.
fn find(dir: &Path, salt: u64) -> io::Result<FoundFiles> {
    let mut numbers = Vec::new();
    for entry in files::list(dir)? {
        numbers.extend(entry?.file_name().to_str().and_then(file::number));
    }
    numbers.sort_unstable();
    let mut found = FoundFiles { sealed: VecDeque::new(), last: None, mark: None, highest: 0 };
    for number in numbers {
        found.highest = number;
        // An end that cannot be read keeps nobody from sending: it is unknown, and readers are told.
        let open = || file::open(dir, number, salt).map_err(|error| StoreError::io("open", dir, error));
        let (opened, mark) = retry::reading(open).unwrap_or_else(|error| {
            tracing::warn!(number, %error, "a file of ends cannot be opened");
            (Opened::Foreign, None)
        });
        found.mark = found.mark.max(mark);
        match opened {
            Opened::Sealed(sealed) => found.sealed.push_back(sealed),
            Opened::Open(active) => {
                if let Some(before) = found.last.replace(active) {
                    found.sealed.extend(seal(&before));
                }
                continue;
            }
            Opened::Foreign => {
                tracing::warn!(
                    number,
                    "a file of ends cannot be read; the ends from behind it on are complete"
                );
            }
        }
        // Only the last file is written.
        if let Some(sealed) = found.last.take().and_then(|before| seal(&before)) {
            let at = found.sealed.partition_point(|file| file.head.number < sealed.head.number);
            found.sealed.insert(at, sealed);
        }
    }
    Ok(found)
}

/// `None` where the system refuses: the file is left as it is, for a later start.
fn seal(file: &ActiveFile) -> Option<SealedFile> {
    let number = file.head.number;
    let warn = |error: &io::Error| tracing::warn!(number, %error, "a file of ends cannot be completed");
    file.seal().inspect_err(warn).ok()
}
