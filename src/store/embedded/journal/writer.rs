//! The writer: one group, one write, one fdatasync. No threads of its own; the caller decides which one waits.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(test)]
use super::BlockReader;
use super::Position;
use super::codec::len_u32;
use super::disk::Disk;
#[cfg(any(test, feature = "testkit"))]
use super::disk::OsDisk;
use super::frame::{ALIGN, FramePlace};
use super::group::{FrameGroup, MAX_GROUP_BYTES};
use super::head::{HEAD_BYTES, HeadFields};
use super::segment::{self, MAX_SEGMENT};
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::embedded::keys::{Keys, NoRandom, Sealer};
use crate::telemetry::defect;

/// When a segment is closed and the next begun, and the salt that goes into every sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalOptions {
    /// Size at which a new segment is begun; at most 2^26, which is the default.
    pub segment_bytes: u64,
    /// Age at which a new segment is begun when something is written; 5 minutes by default.
    pub segment_age: Duration,
    /// Random number of the data directory.
    pub salt: u64,
}

impl JournalOptions {
    /// Largest segment size: offsets in event ids end there.
    pub const MAX_SEGMENT_BYTES: u64 = 1 << 26;
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { segment_bytes: Self::MAX_SEGMENT_BYTES, segment_age: Duration::from_secs(300), salt: 0 }
    }
}

/// The writing end. There may be one for a directory; the data directory's lock sees to it.
pub struct Journal {
    dir: PathBuf,
    options: JournalOptions,
    disk: Box<dyn Disk>,
    file: File,
    /// The segment before this one and where it ends, until its unused preallocation is given back.
    full: Option<(File, u64)>,
    number: u32,
    end: u64,
    /// Bytes preallocated for the segment: beyond them another one is begun.
    size_bytes: u64,
    entries: u32,
    begun: Timestamp,
    keys: Keys,
    /// What encrypts the records of the present segment.
    sealer: Option<Sealer>,
    /// When there was no room for a segment with another key.
    rekey_refused: Option<Timestamp>,
    failed: Option<String>,
}

impl Journal {
    /// Begins a new segment above every one in the directory and above `seen_segment` (the highest number that
    /// the index knows). Scan with repair first: the last segment counts as whole from here on.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the directory or the segment cannot be made.
    #[cfg(any(test, feature = "testkit"))]
    pub fn open(
        dir: &Path,
        options: JournalOptions,
        seen_segment: u32,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        Self::open_on(dir, options, seen_segment, now, Box::new(OsDisk), Keys::default())
    }

    /// As `Journal::open` on another disk, with records encrypted by the first of the keys, if there is one.
    ///
    /// # Errors
    /// As `Journal::open`.
    pub fn open_on(
        dir: &Path,
        mut options: JournalOptions,
        seen_segment: u32,
        now: Timestamp,
        mut disk: Box<dyn Disk>,
        keys: Keys,
    ) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(|error| StoreError::io("create", dir, error))?;
        if let Some(parent) = dir.parent() {
            // The name of the directory itself has to survive a power cut, or all of it is gone.
            segment::sync_dir(parent)?;
        }
        // At least one page, and no offset that an id cannot hold.
        options.segment_bytes = options.segment_bytes.clamp(4096, JournalOptions::MAX_SEGMENT_BYTES);
        let highest = segment::list(dir)?.last().map_or(0, |file| file.number).max(seen_segment);
        let number = next_number(highest)?;
        let sealer = keys.sealer();
        let head = HeadFields { segment: number, salt: options.salt, key: sealer.as_ref().map(Sealer::id) };
        let (file, size_bytes) = segment::create(dir, head, options.segment_bytes, &mut *disk)?;
        let end = HEAD_BYTES as u64;
        let dir = dir.to_owned();
        Ok(Self {
            dir,
            options,
            disk,
            file,
            full: None,
            number,
            end,
            size_bytes,
            entries: 0,
            begun: now,
            keys,
            sealer,
            rekey_refused: None,
            failed: None,
        })
    }

    /// Writes and syncs a group, and empties it. Returns the positions of its blocks (or dead letters) in the order
    /// in which they were pushed. An empty group does nothing.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] on the first failure of a write or sync and ever after. What the group held is in doubt
    /// then: it must not be acknowledged, and may be found by the next scan. An error for which
    /// [`StoreError::is_refusal`] holds when there was no room for the group, or no descriptor for its segment: nothing
    /// of it is in the journal, it still holds its frames, and it may be appended again.
    pub fn append(&mut self, group: &mut FrameGroup, now: Timestamp) -> Result<Vec<Position>, StoreError> {
        if group.is_empty() {
            return self.sound().map(|()| Vec::new());
        }
        let written = self.begin_if_due(group, now).and_then(|()| self.write(group));
        if written.as_ref().is_err_and(StoreError::is_refusal) {
            return written;
        }
        group.clear();
        written.map_err(|error| self.fail(error))
    }

    /// Begins the next segment if this group needs one. [`Journal::append`] does so by itself; a caller that has to
    /// note a segment before anything is written into it calls this first.
    ///
    /// # Errors
    /// As [`Journal::append`]. The segment before is in use still when it is a refusal.
    pub fn begin_if_due(&mut self, group: &FrameGroup, now: Timestamp) -> Result<(), StoreError> {
        self.sound()?;
        // An empty segment takes any group: a group longer than a segment gets one of its own.
        let used = self.end > HEAD_BYTES as u64;
        let full = self.end + group.len() as u64 > self.size_bytes;
        let due = now.since(self.begun) >= self.options.segment_age;
        if !(self.is_rekeyed(group, now) || used && (full || due)) {
            return Ok(());
        }
        match self.rotate(now) {
            // The present segment has room that was put aside for it: without room for another it stays in use.
            Err(error) if !full && error.is_refusal() && self.may_go_on(group) => {
                // Tried again after another age, not at each group: each try is a failing call of the system.
                self.begun = now;
                // The segment keeps its key: it is in memory, whatever has become of the file.
                self.rekey_refused = Some(now);
                Ok(())
            }
            Err(error) if error.is_refusal() => Err(error),
            rotated => rotated.map_err(|error| self.fail(error)),
        }
    }

    /// Whether the present segment is encrypted by another key than the next one would be.
    fn is_rekeyed(&self, group: &FrameGroup, now: Timestamp) -> bool {
        let refused = self.rekey_refused.is_some_and(|at| now.since(at) < self.options.segment_age)
            && self.may_go_on(group);
        self.keys.first() != self.sealer.as_ref().map(Sealer::id) && !refused
    }

    /// Whether the group may go into the present segment though another key encrypts by now: nothing is encrypted by a key
    /// that was taken out of the file, since nobody could read it any more.
    fn may_go_on(&self, group: &FrameGroup) -> bool {
        let has_key = self.sealer.as_ref().is_none_or(|sealer| self.keys.has(sealer.id()));
        has_key || !group.has_records()
    }

    fn sound(&self) -> Result<(), StoreError> {
        match &self.failed {
            Some(reason) => Err(StoreError::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Notes the first failure, and returns it: later ones may only be its consequences.
    fn fail(&mut self, error: StoreError) -> StoreError {
        let reason = match error {
            StoreError::Poisoned { reason } => reason,
            other => other.to_string(),
        };
        StoreError::Poisoned { reason: self.failed.get_or_insert(reason).clone() }
    }

    /// Where the next group will start, unless it begins a new segment: everything before is durable.
    #[must_use]
    pub fn end(&self) -> Position {
        // A segment is 2^26 bytes long at most, and only a group that begins one is longer than what is left.
        defect!(unless self.end <= JournalOptions::MAX_SEGMENT_BYTES + MAX_GROUP_BYTES as u64, "a segment without an end");
        Position { segment: self.number, offset: u32::try_from(self.end).unwrap_or(u32::MAX) }
    }

    /// Bytes that the file of the present segment had from the beginning; 0 when its file system preallocates nothing.
    #[must_use]
    pub fn preallocated_bytes(&self) -> u64 {
        let size = self.size_bytes;
        if self.end <= size && self.file.metadata().is_ok_and(|meta| meta.len() >= size) { size } else { 0 }
    }

    /// Why the journal refuses, once it does.
    #[cfg(test)]
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// A reader of the same directory.
    #[cfg(test)]
    #[must_use]
    pub fn reader(&self) -> BlockReader {
        BlockReader::new(&self.dir, self.options.salt)
    }

    /// Gives the preallocation of the present segment back; after a failure the file is left as it is for the scan.
    /// To be called when the account says where the journal ends.
    pub fn close(mut self) {
        if self.failed.is_none() {
            self.give_back_full();
            let _ = self.file.set_len(self.end);
        }
    }

    /// Gives the unused preallocation of the segment before this one back. Not synced and free to fail: zeros at the
    /// end are the same to a reader. Not before something was written into the next one, so that a caller that notes
    /// segments has noted by then where the full one ends: a file that is shorter than noted has been cut.
    fn give_back_full(&mut self) {
        if let Some((full, end)) = self.full.take() {
            let _ = full.set_len(end);
        }
    }

    fn write(&mut self, group: &mut FrameGroup) -> Result<Vec<Position>, StoreError> {
        let place = FramePlace { salt: self.options.salt, segment: self.number, offset: self.end().offset };
        let failed = |operation| {
            let path = self.dir.join(segment::name(self.number, false));
            move |error: std::io::Error| StoreError::io(operation, &path, error)
        };
        let is_plain = self.sealer.is_some() && group.has_plain();
        defect!(unless !is_plain, "records without room for their encryption");
        let sealed =
            if is_plain { Err(NoRandom) } else { group.seal(place, self.entries, self.sealer.as_mut()) };
        // Nothing may be written that should be encrypted and is not.
        let refused =
            |NoRandom| failed("encrypt")(std::io::Error::other("the system gave no random numbers"));
        let (positions, bytes, entries) = sealed.map_err(refused)?;
        if let Err(error) = self.disk.write_at(&self.file, bytes, self.end).map_err(failed("write")) {
            // What was written of the group is taken back, or it might be found behind a later, shorter one.
            // The length stays: a last segment that is shorter than it was made has been cut.
            let length = self.file.metadata().map_or(self.size_bytes, |meta| meta.len());
            let taken_back = self.file.set_len(self.end).and_then(|()| self.file.set_len(length));
            return match taken_back {
                Err(_) if error.is_refusal() => Err(StoreError::Poisoned { reason: error.to_string() }),
                _ => Err(error),
            };
        }
        // Whatever the reason: after a failed sync nothing is known about the bytes.
        let lost = |error| StoreError::Poisoned { reason: failed("sync")(error).to_string() };
        self.disk.sync(&self.file).map_err(lost)?;
        self.give_back_full();
        self.end += u64::from(len_u32(bytes.len()));
        defect!(unless self.end.is_multiple_of(ALIGN as u64), "a segment whose end is off the alignment of frames");
        let is_within = positions.last().is_none_or(|last| *last < self.end());
        defect!(unless is_within, "a position behind the end of its segment");
        self.entries = self.entries.saturating_add(entries);
        Ok(positions)
    }

    fn rotate(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let number = next_number(self.number)?;
        let sealer = self.keys.sealer();
        let key = sealer.as_ref().map(Sealer::id);
        let head = HeadFields { segment: number, salt: self.options.salt, key };
        let (next, size_bytes) =
            segment::create(&self.dir, head, self.options.segment_bytes, &mut *self.disk)?;
        defect!(unless number > self.number && size_bytes > HEAD_BYTES as u64, "a segment that cannot follow");
        // Kept open: its preallocation is given back later, when the account knows where it ends.
        self.full = Some((std::mem::replace(&mut self.file, next), self.end));
        (self.sealer, self.rekey_refused) = (sealer, None);
        self.size_bytes = size_bytes;
        self.number = number;
        self.end = HEAD_BYTES as u64;
        // The count of entries in a frame's header begins anew in each segment.
        self.entries = 0;
        self.begun = now;
        Ok(())
    }
}

fn next_number(highest: u32) -> Result<u32, StoreError> {
    if highest >= MAX_SEGMENT {
        let what = "the journal has used up its segment numbers; it".to_owned();
        return Err(StoreError::Format { what, found: highest, known: MAX_SEGMENT });
    }
    Ok(highest + 1)
}
