//! The scan: every frame of a directory in order, from a position on. Damage is counted and set aside, never fatal.
//! Where all is sound a segment is read in windows; one with damage is held in memory as a whole.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FallocateFlags;

use super::block::{self, BlockHead};
use super::codec::len_u32;
use super::dead::{self, DeadLetter};
use super::frame::{FrameError, Header, Kind};
use super::group::MAX_GROUP_BYTES;
use super::head::{self, Found, HEAD_BYTES, Head};
use super::segment::{self, SegmentFile};
use super::settlements::RunReader;
use super::stream::{self, Stream};
use super::walk::{Damage, ScanReport, Step, Walk, Walked};
use super::{JournalOptions, Position};
use crate::store::{StoreError, files};

pub(super) const MAX_FILE_BYTES: u64 = JournalOptions::MAX_SEGMENT_BYTES + MAX_GROUP_BYTES as u64;

/// How to scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scan {
    /// Where to begin: a position at which a frame starts or the journal ended. The default is the beginning.
    pub from: Position,
    /// Set damage aside, give the room behind the last frame back, and remove a stillborn last segment. Without it nothing
    /// is written. The torn end stays until [`cut`] is called: when what is missing with it is on record.
    pub repair: bool,
    /// The salt on record: a segment both copies of whose head are bad is tried with it.
    pub salt: Option<u64>,
    /// What the account says of the journal's end.
    pub marked: Option<Marked>,
}

/// What the last mark of the account says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marked {
    /// Everything below was acknowledged.
    pub end: Position,
    /// Nothing was acknowledged behind it.
    pub closed: bool,
}

/// What bad bytes at the end of the last segment are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    Damage,
    Torn,
    Uncertain,
}

/// What a sound frame holds.
pub enum Frame<'a> {
    /// Accepted entries; not unpacked.
    Block(BlockHead<'a>),
    /// Decisions about entries.
    Settlements(RunReader<'a>),
    /// A parked entry.
    Dead(DeadLetter),
}

/// Shows every frame of `dir` to `visit`, in order. Of `.settled` segments only settlements are shown.
///
/// # Errors
/// [`StoreError::Io`] when files cannot be read or repaired, [`StoreError::Format`] when a newer version wrote
/// them, and whatever `visit` returns: the scan ends there.
pub fn scan(
    dir: &Path,
    scan: Scan,
    mut visit: impl FnMut(Position, Frame<'_>) -> Result<(), StoreError>,
) -> Result<ScanReport, StoreError> {
    let files = segment::list(dir)?;
    let last = files.last().map(|file| file.number);
    let mut report = ScanReport::default();
    let from = scan.from;
    for file in files.iter().filter(|file| file.number >= from.segment) {
        let start =
            if file.number == from.segment { (from.offset as usize).max(HEAD_BYTES) } else { HEAD_BYTES };
        let last = last == Some(file.number);
        let walked = Walked::default();
        let mut pass = Pass { dir, file, last, scan: &scan, report: &mut report, walked };
        if !pass.sound_segment(start, &mut visit)? {
            let bytes = pass.read()?;
            pass.segment(&bytes, start, &mut visit)?;
        }
        let walked = pass.walked;
        report.walked.insert(file.number, walked);
    }
    Ok(report)
}

/// The pass over one segment.
struct Pass<'a> {
    dir: &'a Path,
    file: &'a SegmentFile,
    last: bool,
    scan: &'a Scan,
    report: &'a mut ScanReport,
    walked: Walked,
}

impl Pass<'_> {
    /// The pass over a segment in which all is sound; false, and nothing shown, when it is not.
    fn sound_segment(
        &mut self,
        start: usize,
        visit: &mut impl FnMut(Position, Frame<'_>) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let path = &self.file.path;
        let failed = |error: std::io::Error| StoreError::io("read", path, error);
        let Some(file) = files::read(path).map_err(failed)? else { return Ok(false) };
        let number = self.file.number;
        let Some(survey) = stream::survey(&file, number, start as u64).map_err(failed)? else {
            return Ok(false);
        };
        let mut frames = Stream::new(&file, survey.place(start));
        while let Some((offset, header, payload)) = frames.next().map_err(failed)? {
            self.frame(offset, header, payload, visit)?;
        }
        if frames.at() != survey.end {
            return Err(failed(std::io::Error::other("it changed while it was read")));
        }
        self.report.segments += 1;
        self.report.bytes += survey.length;
        self.walked.length = survey.length;
        self.walked.before = Some(survey.before.into());
        let end = usize::try_from(survey.end).unwrap_or(usize::MAX);
        self.walked.end = len_u32(end);
        if self.last && self.scan.repair && survey.end < survey.length {
            self.ends(end, end);
        }
        Ok(true)
    }

    fn read(&mut self) -> Result<Vec<u8>, StoreError> {
        let bytes = read(&self.file.path)?;
        let length = fs::symlink_metadata(&self.file.path)
            .map_err(|error| StoreError::io("read", &self.file.path, error))?
            .len();
        self.walked.length = length;
        self.report.segments += 1;
        self.report.bytes += bytes.len() as u64;
        if length > MAX_FILE_BYTES {
            self.note(bytes.len(), length - MAX_FILE_BYTES, FrameError::Length, false);
        }
        Ok(bytes)
    }

    /// The salt of the segment; `None` when nothing in it can be read.
    fn salt(&mut self, bytes: &[u8]) -> Result<Option<u64>, StoreError> {
        match Head::decode(bytes, self.file.number) {
            Found::Sound { damaged: true, .. } if self.last && untouched(bytes) => Ok(None),
            Found::Sound { head, damaged } => {
                if damaged {
                    self.set_aside(bytes, 0, HEAD_BYTES);
                    self.note(0, HEAD_BYTES as u64, FrameError::Checksum, false);
                }
                Ok(Some(head.salt))
            }
            Found::Newer(version) => Err(self.newer(version.into())),
            Found::Nothing => {
                let number = self.file.number;
                let proves = |salt: &u64| {
                    Walk::new(bytes, HEAD_BYTES, *salt, number).any(|step| matches!(step, Step::Frame { .. }))
                };
                let salt = self.scan.salt.filter(proves);
                if salt.is_some() {
                    self.set_aside(bytes, 0, HEAD_BYTES);
                    self.note(0, HEAD_BYTES as u64, FrameError::Checksum, false);
                }
                Ok(salt)
            }
        }
    }

    fn segment(
        &mut self,
        bytes: &[u8],
        start: usize,
        visit: &mut impl FnMut(Position, Frame<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Some(salt) = self.salt(bytes)? else { return self.headless(bytes) };
        let number = self.file.number;
        let counted = Walk::count_before(bytes, start, salt, number);
        self.walked.before = counted.map(u64::from);
        let mut walk = Walk::new(bytes, start.min(bytes.len()), salt, number).counted(counted);
        if start > bytes.len() || walk.starts_beyond_end() {
            self.report.start_beyond = Some((number, len_u32(walk.used_end())));
        }
        let mut end = start.min(bytes.len());
        let mut keep = end;
        for step in walk.by_ref() {
            match step {
                Step::Frame { offset, header, payload } => {
                    if !self.frame(offset, header, payload, visit)? {
                        self.set_aside(bytes, offset as usize, header.frame_bytes());
                    }
                    end = offset as usize + header.frame_bytes();
                    keep = end;
                }
                Step::Bad { offset, bytes: length, error, lost, is_counted, unacknowledged, claimed } => {
                    let tail = self.tail(offset, unacknowledged, is_counted);
                    if tail == Tail::Uncertain {
                        let counted = is_counted.then_some(u64::from(lost));
                        self.uncertain(claimed.or(counted).unwrap_or_else(|| block::most_entries(length)));
                    }
                    if tail == Tail::Damage {
                        self.lost(offset, lost);
                    }
                    if tail != Tail::Torn {
                        keep = offset as usize + length;
                    }
                    self.set_aside(bytes, offset as usize, length);
                    self.note(offset as usize, length as u64, error, tail != Tail::Damage);
                }
                Step::Newer(version) => return Err(self.newer(version)),
            }
        }
        self.walked.end = len_u32(end);
        if self.last && self.scan.repair && keep < bytes.len() {
            self.ends(keep, walk.used_end().max(keep));
        }
        Ok(())
    }

    /// Whether the account says nothing of this place.
    fn is_behind_mark(&self, offset: u32) -> bool {
        let at = Position { segment: self.file.number, offset };
        self.scan.marked.is_some_and(|marked| !marked.closed && at >= marked.end)
    }

    /// Counts entries that a damage at this place has cost.
    fn lost(&mut self, offset: u32, entries: u32) {
        self.report.lost_entries += u64::from(entries);
        if self.is_behind_mark(offset) {
            self.walked.behind += u64::from(entries);
        }
    }

    /// Counts entries that may have been lost.
    fn uncertain(&mut self, at_most: u64) {
        self.walked.uncertain = true;
        self.walked.hidden = self.walked.hidden.saturating_add(at_most);
    }

    fn tail(&self, offset: u32, unacknowledged: bool, is_counted: bool) -> Tail {
        let at = Position { segment: self.file.number, offset };
        match self.scan.marked {
            Some(_) if self.is_behind_mark(offset) && (unacknowledged || !is_counted) => Tail::Uncertain,
            Some(marked) if marked.closed && at >= marked.end && unacknowledged => Tail::Torn,
            _ if !self.last || !unacknowledged => Tail::Damage,
            Some(marked) if at < marked.end => Tail::Damage,
            _ => Tail::Torn,
        }
    }

    /// Shows one frame; `false` when its payload breaks its form although the sum is right.
    fn frame(
        &mut self,
        offset: u32,
        header: Header,
        payload: &[u8],
        visit: &mut impl FnMut(Position, Frame<'_>) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let position = Position { segment: self.file.number, offset };
        let frame = match header.kind {
            Kind::Block => BlockHead::decode(payload).map(Frame::Block),
            Kind::Settlements => RunReader::decode(payload).map(Frame::Settlements),
            Kind::Dead => dead::decode(payload).map(Frame::Dead),
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                self.lost(offset, header.entries.into());
                self.note(offset as usize, header.frame_bytes() as u64, error, false);
                return Ok(false);
            }
        };
        self.report.frames += 1;
        self.report.entries += u64::from(header.entries);
        match &frame {
            Frame::Block(head) => self.report.newest_ms = self.report.newest_ms.max(head.accepted_ms),
            Frame::Settlements(runs) => {
                self.report.settlements += runs.clone().map(|run| run.entries.len() as u64).sum::<u64>();
            }
            Frame::Dead(letter) => self.report.newest_ms = self.report.newest_ms.max(letter.at_ms),
        }
        if !self.file.settled || matches!(frame, Frame::Settlements(_)) {
            visit(position, frame)?;
        }
        Ok(true)
    }

    /// A file without a head: a creation that was cut short if it is the last one, else damage as a whole.
    fn headless(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        // A segment that the account knows to hold groups is no stillborn one.
        let number = self.file.number;
        let is_marked = self.scan.marked.is_some_and(|marked| {
            let untouched = Position { segment: number, offset: len_u32(HEAD_BYTES) };
            marked.end > untouched
        });
        let torn = self.last && untouched(bytes) && !is_marked;
        // Whatever it held was accepted behind the mark.
        if !torn && !is_marked && self.scan.marked.is_some_and(|marked| !marked.closed) {
            self.uncertain(block::most_entries(bytes.len()));
        }
        self.note(0, bytes.len() as u64, FrameError::Mark, torn);
        if !torn {
            self.set_aside(bytes, 0, bytes.len());
        } else if self.scan.repair {
            fs::remove_file(&self.file.path)
                .map_err(|error| StoreError::io("delete", &self.file.path, error))?;
            return segment::sync_dir(self.dir);
        }
        Ok(())
    }

    fn newer(&self, version: u32) -> StoreError {
        head::newer(self.file.path.display().to_string(), version)
    }

    fn note(&mut self, offset: usize, bytes: u64, error: FrameError, torn: bool) {
        self.walked.damaged += u64::from(!torn);
        self.report.note(Damage { segment: self.file.number, offset: len_u32(offset), bytes, error, torn });
    }

    /// Copies raw bytes to the quarantine. A failure must not stop the start: the bytes are still where they were,
    /// or belong to nobody.
    fn set_aside(&mut self, bytes: &[u8], offset: usize, length: usize) {
        if !self.scan.repair {
            return;
        }
        let dir = self.dir.join("quarantine");
        let path = dir.join(format!("{:010}-{offset}.bin", self.file.number));
        let raw = bytes.get(offset..offset.saturating_add(length)).unwrap_or_default();
        let done = make_quarantine(&dir).and_then(|()| {
            if path.exists() {
                return Ok(());
            }
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?.write_all(raw)
        });
        self.report.set_aside_failures += u64::from(done.is_err());
    }

    /// Notes where the last segment is to be cut. The zeros behind `used` are given back at once, by a hole: a full disk
    /// may need the room for the next segment. The length stays: a last segment that is shorter than it was made has
    /// been cut by somebody else.
    fn ends(&mut self, keep: usize, used: usize) {
        self.report.cut = Some((self.file.number, len_u32(keep)));
        let (used, length) = (used as u64, self.walked.length);
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if used < length
            && let Ok(file) = files::write(&self.file.path)
        {
            // Not every file system can.
            let _ = rustix::fs::fallocate(&file, hole, used, length - used);
        }
    }
}

/// Cuts the last segment where a scan with repair found its end. To be called when the account no longer expects what
/// is missing there: a second start would take the cut for a loss.
///
/// # Errors
/// [`StoreError::Io`] when the system refuses; the next segment that is begun does no harm to a torn end.
pub fn cut(dir: &Path, report: &ScanReport) -> Result<(), StoreError> {
    let Some((number, keep)) = report.cut else { return Ok(()) };
    let Some(file) = segment::list(dir)?.into_iter().find(|file| file.number == number) else {
        return Ok(());
    };
    let failed = |error: std::io::Error| StoreError::io("cut", &file.path, error);
    let opened = files::write(&file.path).map_err(failed)?;
    opened.set_len(keep.into()).map_err(failed)?;
    opened.sync_all().map_err(failed)
}

/// The bytes of a segment's file, up to the longest that one can have.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    let failed = |error: std::io::Error| StoreError::io("read", path, error);
    let file = files::read(path).map_err(failed)?.ok_or_else(|| failed(ErrorKind::NotFound.into()))?;
    let length = file.metadata().map_err(failed)?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(MAX_FILE_BYTES)).unwrap_or(0));
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Where the sound frames of one segment start; nothing when it is not there.
///
/// # Errors
/// [`StoreError::Io`] when it cannot be read.
pub fn sound_frames(dir: &Path, number: u32, salt: u64) -> Result<BTreeSet<u32>, StoreError> {
    let Some(file) = segment::list(dir)?.into_iter().find(|file| file.number == number) else {
        return Ok(BTreeSet::new());
    };
    let bytes = read(&file.path)?;
    let salt = match Head::decode(&bytes, number) {
        Found::Sound { head, .. } => head.salt,
        _ => salt,
    };
    let sound = Walk::new(&bytes, HEAD_BYTES, salt, number).filter_map(|step| match step {
        Step::Frame { offset, .. } => Some(offset),
        _ => None,
    });
    Ok(sound.collect())
}

/// Whether everything in a segment is as it was written.
///
/// # Errors
/// [`StoreError::Io`] when it cannot be read.
pub fn is_whole(segment: &SegmentFile) -> Result<bool, StoreError> {
    let failed = |error: std::io::Error| StoreError::io("read", &segment.path, error);
    let Some(file) = files::read(&segment.path).map_err(failed)? else { return Ok(false) };
    Ok(stream::survey(&file, segment.number, HEAD_BYTES as u64).map_err(failed)?.is_some())
}

/// Makes the room for what is set aside.
pub(super) fn make_quarantine(dir: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// No frame was ever written into the segment.
fn untouched(bytes: &[u8]) -> bool {
    bytes.iter().skip(HEAD_BYTES).all(|byte| *byte == 0)
}
