//! The embedded record: one file, appended to in groups, one write and one fdatasync each.
//!
//! Callers queue up; whoever finds nobody writing has the blocking pool write until the queue is empty. What arrives
//! while a sync runs is the next group. What is on record is never kept in memory: only a rewrite reads it.
//!
//! Must not know: the form of a line, what a limit is.

mod format;
mod mark;
mod rewrite;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use self::format::{ProcessStand, ScanError, Scanned};
use self::mark::{MarkFile, RecordMark};
use self::rewrite::Content;
use crate::clock::{Clock, Timestamp};
use crate::store::consumption::{check, rounded};
use crate::store::embedded::journal::{Disk, OsDisk};
use crate::store::embedded::operations::{Operation, Operations};
use crate::store::embedded::{ballast, files};
use crate::store::{Owner, StoreError, Usage, UsageFound, UsageStore};
use crate::telemetry::defect;

/// Below this length a record is not rewritten: a start reads it in no time.
const WORTH_A_REWRITE_BYTES: u64 = 4 * 1024 * 1024;
/// A rewrite is due when the file is this many times as long as the last rewrite left it: each byte is then rewritten a
/// bounded number of times.
const GROWTH: u64 = 4;

/// The record in a directory. Clones share it; there must be one family of clones per directory.
#[derive(Clone)]
pub struct UsageLog(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    /// In whose name limits use what they record.
    owner: Owner,
    clock: Clock,
    operations: Operations,
    queue: Mutex<GroupQueue>,
    /// Held over reading, writing and syncing: on the blocking pool alone.
    file: Mutex<UsageLogState>,
    poisoned: Mutex<Option<String>>,
}

#[derive(Default)]
struct GroupQueue {
    waiting: Vec<QueuedUsages>,
    /// A writer is at work and takes what waits before it ends.
    writing: bool,
}

struct QueuedUsages {
    usages: Vec<Usage>,
    reply: oneshot::Sender<Result<(), StoreError>>,
}

struct UsageLogState {
    phase: Phase,
    disk: Box<dyn Disk>,
}

enum Phase {
    New,
    Open(OpenRecord),
    Closed,
}

/// The open record, and where its next group goes.
struct OpenRecord {
    file: File,
    end: u64,
    /// Length after the last rewrite, or at which one failed.
    rewritten: u64,
    complete_from: Timestamp,
    mark: MarkFile,
}

impl UsageLog {
    /// The record in `dir`, which must exist. Nothing is read or written before [`UsageStore::open`].
    #[cfg(test)]
    #[must_use]
    pub fn new(dir: &Path, clock: Clock) -> Self {
        Self::new_on(dir, clock, Box::new(OsDisk))
    }

    /// The record of `owner` in `dir`, as `UsageLog::new`; its writes are noted among `operations`.
    pub(in crate::store::embedded) fn watched(
        dir: &Path,
        owner: Owner,
        clock: Clock,
        operations: Operations,
    ) -> Self {
        Self::made_of(dir, owner, clock, operations, Box::new(OsDisk))
    }

    /// As [`UsageLog::new`], with writes and syncs on another disk.
    #[cfg(test)]
    #[must_use]
    pub fn new_on(dir: &Path, clock: Clock, disk: Box<dyn Disk>) -> Self {
        Self::made_of(dir, Owner { epoch: 1 }, clock, Operations::default(), disk)
    }

    fn made_of(dir: &Path, owner: Owner, clock: Clock, operations: Operations, disk: Box<dyn Disk>) -> Self {
        Self(Arc::new(Inner {
            dir: dir.to_owned(),
            owner,
            clock,
            operations,
            queue: Mutex::default(),
            file: Mutex::new(UsageLogState { phase: Phase::New, disk }),
            poisoned: Mutex::default(),
        }))
    }

    /// Lays an empty record in good order, for a data directory in which nothing was ever accepted. Leaves one
    /// that is there alone. Without this a missing record counts as lost.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`Denied`](crate::store::DirectoryError::Denied) when the system refuses.
    pub fn lay(dir: &Path) -> Result<(), StoreError> {
        Self::lay_marked(dir, ProcessStand::Closed)
    }

    /// The same for a directory of a version without such a record: what it consumed lies at most a disorderly end back.
    ///
    /// # Errors
    /// As for [`UsageLog::lay`].
    pub fn lay_open(dir: &Path) -> Result<(), StoreError> {
        Self::lay_marked(dir, ProcessStand::Opened)
    }

    /// Damaged places of the record in `dir`, which nobody may be using; `None` when there is none. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] when the system does not let it be read or another version wrote it.
    pub(in crate::store::embedded) fn count_damage(dir: &Path) -> Result<Option<u64>, StoreError> {
        let path = rewrite::path(dir);
        let failed = |error| StoreError::io("read", &path, error);
        let file = match files::read(&path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(error) if files::is_foreign(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mark = mark::read(dir).map_err(failed)?;
        let scanned = scan_file(&path, file, mark, Timestamp::ZERO)?;
        Ok(Some(scanned.damaged))
    }

    fn lay_marked(dir: &Path, stand: ProcessStand) -> Result<(), StoreError> {
        let path = rewrite::path(dir);
        if path.try_exists().map_err(|error| StoreError::io("look at", &path, error))? {
            return Ok(());
        }
        let content = Content { complete_from: Timestamp::ZERO, usages: &[], stand };
        // Its first opening makes the mark.
        rewrite::replace(dir, &content, None, &mut OsDisk).map(drop)
    }

    /// Runs on the blocking pool, to its end even if the caller goes away.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        // The pool refuses only while the runtime shuts down.
        tokio::task::spawn_blocking(move || work(&inner)).await.unwrap_or(Err(StoreError::Closed))
    }

    async fn record_all(&self, owner: Owner, usages: Vec<Usage>) -> Result<(), StoreError> {
        self.0.owner.check(owner)?;
        check(&usages, || rewrite::path(&self.0.dir).display().to_string())?;
        let (reply, answer) = oneshot::channel();
        if self.0.queue(QueuedUsages { usages, reply }) {
            let mut writer = GroupWriter { inner: Arc::clone(&self.0), group: Vec::new(), finished: false };
            // Nobody waits for it: a caller that goes away must not stop the writing for the others.
            tokio::task::spawn_blocking(move || writer.run());
        }
        answer.await.unwrap_or_else(|_| Err(self.0.sound().err().unwrap_or(StoreError::Closed)))
    }
}

/// Writes groups until the queue is empty.
struct GroupWriter {
    inner: Arc<Inner>,
    /// Kept here and not in a call, so that a panic poisons the record before the replies are dropped.
    group: Vec<QueuedUsages>,
    finished: bool,
}

impl GroupWriter {
    fn run(&mut self) {
        while let Some(group) = self.inner.next_group() {
            let inner = Arc::clone(&self.inner);
            let _under_way = inner.operations.begin(Operation::Usages, inner.clock.now());
            self.group = group;
            let written = self.inner.append(&self.group);
            for waiting in self.group.drain(..) {
                // A caller that went away has lost its answer, not its record.
                let _ = waiting.reply.send(written.clone());
            }
            // After the answers: callers need not wait for it.
            self.inner.rewrite_if_grown();
        }
        self.finished = true;
    }
}

/// A writer that never ran or panicked leaves nobody waiting for ever.
impl Drop for GroupWriter {
    fn drop(&mut self) {
        if !self.finished {
            self.inner.poison(&"the writing of usages was broken off");
            let mut queue = lock(&self.inner.queue);
            queue.writing = false;
            queue.waiting.clear();
        }
    }
}

impl Inner {
    /// The data directory, in which the ballast lies.
    fn root(&self) -> &Path {
        self.dir.parent().unwrap_or(&self.dir)
    }

    /// Puts a call into the queue; true when its caller has to see to the writing.
    fn queue(&self, waiting: QueuedUsages) -> bool {
        let mut queue = lock(&self.queue);
        queue.waiting.push(waiting);
        !std::mem::replace(&mut queue.writing, true)
    }

    fn next_group(&self) -> Option<Vec<QueuedUsages>> {
        let mut queue = lock(&self.queue);
        defect!(unless queue.writing, "a group of usages without a writer");
        // Under one lock with the look at the queue: a caller that comes later sees that it has to start a writer.
        queue.writing = !queue.waiting.is_empty();
        queue.writing.then(|| std::mem::take(&mut queue.waiting))
    }

    fn open(&self, now: Timestamp) -> Result<UsageFound, StoreError> {
        let mut state = lock(&self.file);
        if matches!(state.phase, Phase::Closed) {
            return Err(StoreError::Closed);
        }
        self.sound()?;
        let read = mark::read(&self.dir);
        let present = read.map_err(|error| StoreError::io("read", &mark::path(&self.dir), error))?;
        let found = self.found(present, now)?;
        let complete_from = found.complete_from;
        let content = Content { complete_from, usages: &found.usages, stand: ProcessStand::Opened };
        // After the scan, which judges by the mark as it was.
        let mut mark = MarkFile::open(&self.dir, present)?;
        let replaced = ballast::with_room(self.root(), 0, || {
            rewrite::replace(&self.dir, &content, Some(&mut mark), &mut *state.disk)
        });
        // The caller gets the system's own error and not the poisoned one: missing rights are another matter than a
        // broken disk.
        let (file, end) = replaced.inspect_err(|error| drop(self.poison(error)))?;
        state.phase = Phase::Open(OpenRecord { file, end, rewritten: end, complete_from, mark });
        Ok(found)
    }

    /// What is on record; the bytes of damaged lines are set aside.
    fn found(&self, mark: Option<RecordMark>, now: Timestamp) -> Result<UsageFound, StoreError> {
        let Some(scanned) = self.scan(mark, now)? else {
            let path = rewrite::path(&self.dir);
            tracing::warn!(path = %path.display(), "there is no record of what the limits have consumed");
            return Ok(UsageFound { complete_from: rounded(now), ..UsageFound::default() });
        };
        let Scanned { usages, orderly, damaged, raw, complete_from, .. } = scanned;
        if !raw.is_empty() {
            let copy = rewrite::set_aside(&self.dir, &raw)?;
            let copy = copy.display();
            tracing::warn!(damaged, %copy, "usages of limits are damaged; the bytes were set aside");
        }
        // After damage nobody knows what was consumed before: limits have to count that time as spent.
        let complete_from = complete_from.filter(|_| damaged == 0).unwrap_or_else(|| rounded(now));
        Ok(UsageFound { usages, orderly, damaged, complete_from })
    }

    fn scan(&self, mark: Option<RecordMark>, now: Timestamp) -> Result<Option<Scanned>, StoreError> {
        let path = rewrite::path(&self.dir);
        let file = match files::read(&path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(error) if files::is_foreign(&error) => {
                let aside = rewrite::move_aside(&self.dir, &path)?;
                tracing::warn!(%error, aside = %aside.display(), "the record of usages is no file; it was moved aside");
                return Ok(None);
            }
            Err(error) => return Err(StoreError::io("open", &path, error)),
        };
        scan_file(&path, file, mark, now).map(Some)
    }

    fn append(&self, group: &[QueuedUsages]) -> Result<(), StoreError> {
        let mut state = lock(&self.file);
        let UsageLogState { phase: Phase::Open(tail), disk } = &mut *state else {
            return Err(StoreError::Closed);
        };
        self.sound()?;
        let failed = |operation| {
            let path = rewrite::path(&self.dir);
            move |error: io::Error| self.poison(&StoreError::io(operation, &path, error))
        };
        let mut lines = Vec::new();
        for usage in group.iter().flat_map(|waiting| &waiting.usages) {
            let first = lines.is_empty();
            format::put_usage(&mut lines, usage, first).map_err(failed("write"))?;
        }
        if lines.is_empty() {
            return Ok(());
        }
        // A write that found no room has changed nothing that counts: the next one goes to the same place.
        let (file, end, path) = (&tail.file, tail.end, rewrite::path(&self.dir));
        let write =
            || disk.write_at(file, &lines, end).map_err(|error| StoreError::io("write", &path, error));
        if let Err(error) = ballast::with_room(self.root(), ballast::FOR_START, write) {
            // The part that was written would stand behind a later, shorter one.
            let is_taken_back = error.is_refusal() && file.set_len(end).is_ok();
            return Err(if is_taken_back { error } else { self.poison(&error) });
        }
        disk.sync(&tail.file).map_err(failed("sync"))?;
        tail.end += lines.len() as u64;
        tail.mark.grown(tail.end);
        Ok(())
    }

    /// Rewrites the record if it has grown. Everything that was answered is durable before; a failure is returned to
    /// the next caller.
    fn rewrite_if_grown(&self) {
        let mut state = lock(&self.file);
        let UsageLogState { phase: Phase::Open(tail), disk } = &mut *state else { return };
        let most = WORTH_A_REWRITE_BYTES.max(tail.rewritten.saturating_mul(GROWTH));
        if tail.end <= most || self.sound().is_err() {
            return;
        }
        // While the process writes there is no torn end: bad bytes are damage that the next opening has to see.
        let whole = |scanned: &Scanned| scanned.damaged == 0 && !scanned.torn;
        match self.scan(Some(tail.mark.mark()), self.clock.now()).map(|scanned| scanned.filter(whole)) {
            Ok(Some(Scanned { usages, .. })) => {
                let complete_from = tail.complete_from;
                let content = Content { complete_from, usages: &usages, stand: ProcessStand::Opened };
                match rewrite::replace(&self.dir, &content, Some(&mut tail.mark), &mut **disk) {
                    Ok((file, end)) => (tail.file, tail.end, tail.rewritten) = (file, end, end),
                    // It grows on until there is room for a shorter one, or a descriptor.
                    Err(error) if error.is_refusal() => tail.rewritten = tail.end,
                    Err(error) => drop(self.poison(&error)),
                }
            }
            // A rewrite would hide what is lost from the next opening: the file stays as it is and grows on.
            Ok(None) => {
                tail.rewritten = tail.end;
                tracing::warn!("usages of limits are damaged; the next start will set them aside");
            }
            // The file is as it was: it is read again when it has grown.
            Err(error @ StoreError::Unread { .. }) => {
                tail.rewritten = tail.end;
                tracing::warn!(%error, "the record of usages could not be read; it is made shorter later");
            }
            Err(error) => drop(self.poison(&error)),
        }
    }

    fn close(&self, usages: &[Usage]) -> Result<(), StoreError> {
        let mut state = lock(&self.file);
        if !matches!(state.phase, Phase::Open(_)) {
            return Err(StoreError::Closed);
        }
        let Phase::Open(mut tail) = std::mem::replace(&mut state.phase, Phase::Closed) else {
            return Err(StoreError::Closed);
        };
        self.sound()?;
        let content = Content { complete_from: tail.complete_from, usages, stand: ProcessStand::Closed };
        let replaced = ballast::with_room(self.root(), 0, || {
            rewrite::replace(&self.dir, &content, Some(&mut tail.mark), &mut *state.disk)
        });
        replaced.map(drop).map_err(|error| if error.is_refusal() { error } else { self.poison(&error) })
    }

    /// Notes the first failure and answers with it.
    fn poison(&self, reason: &dyn std::fmt::Display) -> StoreError {
        let mut poisoned = lock(&self.poisoned);
        StoreError::Poisoned { reason: poisoned.get_or_insert_with(|| reason.to_string()).clone() }
    }

    fn sound(&self) -> Result<(), StoreError> {
        match &*lock(&self.poisoned) {
            Some(reason) => Err(StoreError::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }
}

fn scan_file(
    path: &Path,
    file: File,
    mark: Option<RecordMark>,
    now: Timestamp,
) -> Result<Scanned, StoreError> {
    format::scan(&mut BufReader::with_capacity(64 * 1024, file), mark, now).map_err(|error| match error {
        ScanError::Io(error) => StoreError::io("read", path, error),
        ScanError::Format(found) => {
            StoreError::Format { what: path.display().to_string(), found, known: format::FORMAT }
        }
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic poisons the record itself: see `GroupWriter`.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UsageStore for UsageLog {
    fn open(&self, now: Timestamp) -> BoxFuture<'_, Result<UsageFound, StoreError>> {
        Box::pin(self.blocking(move |inner| inner.open(now)))
    }

    fn owner(&self) -> Owner {
        self.0.owner
    }

    fn record(&self, owner: Owner, usages: Vec<Usage>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.record_all(owner, usages))
    }

    fn close(&self, owner: Owner, usages: Vec<Usage>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.blocking(move |inner| {
            inner.owner.check(owner)?;
            check(&usages, || rewrite::path(&inner.dir).display().to_string())?;
            inner.close(&usages)
        }))
    }

    fn poisoned(&self) -> Option<String> {
        lock(&self.0.poisoned).clone()
    }
}
