//! The scan: every frame of a directory in order, from a position on. Damage is counted and set aside, never fatal.
//! A segment is read in windows, whatever its size and its damage.
//!
//! Must not know: which entries live, who is informed.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::fs::FallocateFlags;

use super::block::{self, BlockHead};
use super::codec::len_u32;
use super::dead;
use super::frame::{FrameError, FrameKind, Header};
use super::group::MAX_GROUP_BYTES;
use super::head::{self, FileStart, HEAD_BYTES, HeadFields};
use super::segment::{self, SegmentFile};
use super::settlements::RunReader;
use super::stream::{self, FrameStream};
use super::walk::{Damage, ScanReport, Walk, WalkStep, Walked};
use super::window::FileWindow;
use super::{JournalOptions, Position, aside};
use crate::store::embedded::files;
use crate::store::{DeadLetter, StoreError};
use crate::telemetry::defect;

/// A bound for the files that a writer leaves: the largest segment and the longest group. Bytes behind it are damage.
pub(super) const MAX_FILE_BYTES: u64 = JournalOptions::MAX_SEGMENT_BYTES + MAX_GROUP_BYTES as u64;

/// From where a scan reads, and whether it may change what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scan {
    /// Where to begin: a position at which a frame starts or the journal ended. The default is the beginning.
    pub from: Position,
    /// Set damage aside, give the room behind the last frame back, and remove a stillborn last segment. Without it
    /// nothing is written. The torn end stays until [`super::cut()`] is called: when what is missing with it is on
    /// record.
    pub repair: bool,
    /// The salt on record: a segment both copies of whose head are bad is tried with it.
    pub salt: Option<u64>,
    /// What the account says of the journal's end.
    pub marked: Option<Marked>,
}

/// The end of the journal as the account's last mark has it: it tells a torn end from damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marked {
    /// Everything below this position was acknowledged.
    pub end: Position,
    /// It is a closing mark: nothing was acknowledged behind `end`.
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
    /// Accepted entries. Their records are still compressed.
    Block(BlockHead<'a>),
    /// Decisions about entries of earlier blocks, or of dead letters.
    Settlements(RunReader<'a>),
    /// An entry parked for a person; in `dead/` alone. Of an encrypted one the record is left out.
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
        let mut pass = ScanPass { dir, file, last, scan: &scan, report: &mut report, walked };
        if !pass.sound_segment(start, &mut visit)? {
            pass.damaged_segment(start, &mut visit)?;
        }
        let walked = pass.walked;
        report.walked.insert(file.number, walked);
    }
    Ok(report)
}

/// The pass over one segment, with what it adds to the report.
struct ScanPass<'a> {
    dir: &'a Path,
    file: &'a SegmentFile,
    last: bool,
    scan: &'a Scan,
    report: &'a mut ScanReport,
    walked: Walked,
}

impl ScanPass<'_> {
    /// The pass over a segment in which all is sound; false, and nothing shown, when it is not.
    fn sound_segment(
        &mut self,
        start: usize,
        visit: &mut impl FnMut(Position, Frame<'_>) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let path = &self.file.path;
        let failed = |error: io::Error| StoreError::io("read", path, error);
        let file = open(path)?;
        let number = self.file.number;
        // Read twice: a damage at the end has to be known before the first frame is shown.
        let Some(survey) = stream::survey(&file, number, start as u64).map_err(failed)? else {
            return Ok(false);
        };
        let mut frames = FrameStream::new(&file, survey.place(start)).map_err(failed)?;
        while let Some((offset, header, payload)) = frames.next().map_err(failed)? {
            self.frame(offset, header, payload, visit)?;
        }
        // The second pass must end where the survey did; another end means that somebody else writes to the file.
        if frames.at() != survey.end {
            return Err(failed(io::Error::other("it changed while it was read")));
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

    /// The pass over a segment in which something is not as it was written.
    fn damaged_segment(
        &mut self,
        start: usize,
        visit: &mut impl FnMut(Position, Frame<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let path = &self.file.path;
        let failed = |error: io::Error| StoreError::io("read", path, error);
        let file = open(path)?;
        let length = file.metadata().map_err(failed)?.len();
        let bytes = length.min(MAX_FILE_BYTES);
        self.walked.length = length;
        self.report.segments += 1;
        self.report.bytes += bytes;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        // No writer makes a longer file: what lies behind is damage and is not read.
        if length > MAX_FILE_BYTES {
            self.note(bytes, length - MAX_FILE_BYTES, FrameError::Length, false);
        }
        let Some(salt) = self.salt(&file)? else { return self.headless(&file, bytes) };
        let number = self.file.number;
        // From the beginning: only that gives the count of entries before `start`.
        let counted = Walk::new(&file, HEAD_BYTES, salt, number).and_then(|walk| walk.count_before(start));
        let counted = counted.map_err(failed)?;
        self.walked.before = counted.map(u64::from);
        let walk = Walk::new(&file, start.min(bytes), salt, number).map_err(failed)?.counted(counted);
        if start > bytes || walk.starts_beyond_end() {
            self.report.start_beyond = Some((number, len_u32(walk.used_end())));
        }
        let used = walk.used_end();
        let (end, keep) = self.walk(&file, walk, start.min(bytes), visit)?;
        self.walked.end = len_u32(end);
        if self.last && self.scan.repair && keep < bytes {
            self.ends(keep, used.max(keep));
        }
        Ok(())
    }

    /// The salt of the segment; `None` when nothing in it can be read.
    fn salt(&mut self, file: &File) -> Result<Option<u64>, StoreError> {
        let path = &self.file.path;
        let failed = |error: io::Error| StoreError::io("read", path, error);
        let mut window = FileWindow::new(file, MAX_FILE_BYTES).map_err(failed)?;
        let found = HeadFields::decode(window.bytes(0, HEAD_BYTES).map_err(failed)?, self.file.number);
        let salt = match found {
            // A crash between creation and first sync can leave one copy of the head; such a segment held nothing yet.
            FileStart::Sound { damaged: true, .. } if self.last && is_untouched(file).map_err(failed)? => {
                return Ok(None);
            }
            FileStart::Sound { head, damaged: false } => return Ok(Some(head.salt)),
            FileStart::Sound { head, damaged: true } => head.salt,
            FileStart::Newer(version) => return Err(self.newer(version.into())),
            FileStart::Nothing => {
                let Some(salt) = self.scan.salt else { return Ok(None) };
                let walk = Walk::new(file, HEAD_BYTES, salt, self.file.number);
                // A frame that passes its sum proves number and salt, which the head can no longer say.
                if !walk.and_then(Walk::has_frames).map_err(failed)? {
                    return Ok(None);
                }
                salt
            }
        };
        self.set_aside(file, 0, HEAD_BYTES);
        self.note(0, HEAD_BYTES as u64, FrameError::Checksum, false);
        Ok(Some(salt))
    }

    /// Shows the frames from `start` on; returns where the last one ends, and the byte behind what is to be kept.
    fn walk(
        &mut self,
        file: &File,
        mut walk: Walk<'_>,
        start: usize,
        visit: &mut impl FnMut(Position, Frame<'_>) -> Result<(), StoreError>,
    ) -> Result<(usize, usize), StoreError> {
        let (mut end, mut keep) = (start, start);
        let path = &self.file.path;
        while let Some(step) = walk.next().map_err(|error| StoreError::io("read", path, error))? {
            match step {
                WalkStep::Frame { offset, header, payload } => {
                    // The sum is right and the form is not: `frame` has counted it, and its bytes are kept for a
                    // person.
                    if !self.frame(offset, header, payload, visit)? {
                        self.set_aside(file, offset as usize, header.frame_bytes());
                    }
                    end = offset as usize + header.frame_bytes();
                    keep = end;
                }
                WalkStep::Bad { offset, bytes: length, error, lost, is_counted, unacknowledged, claimed } => {
                    let tail = self.tail(offset, unacknowledged, is_counted);
                    if tail == Tail::Uncertain {
                        let counted = is_counted.then_some(u64::from(lost));
                        self.uncertain(claimed.or(counted).unwrap_or_else(|| block::most_entries(length)));
                    }
                    if tail == Tail::Damage {
                        self.lost(offset, lost);
                        self.reaches_over_mark(offset as usize, length, is_counted.then_some(lost));
                    }
                    // Only a torn end is cut; damage and uncertain bytes stay in the segment.
                    if tail != Tail::Torn {
                        keep = offset as usize + length;
                    }
                    self.set_aside(file, offset as usize, length);
                    self.note(offset as usize, length as u64, error, tail != Tail::Damage);
                }
                WalkStep::Newer(version) => return Err(self.newer(version)),
            }
        }
        defect!(unless end <= keep, "a cut that would take a sound frame");
        Ok((end, keep))
    }

    /// Whether the account says nothing of this place.
    fn is_behind_mark(&self, offset: u32) -> bool {
        let at = Position { segment: self.file.number, offset };
        self.scan.marked.is_some_and(|marked| !marked.closed && at >= marked.end)
    }

    /// A damage that begins below the mark and ends behind it: of what it cost behind the mark there is a bound at
    /// most.
    fn reaches_over_mark(&mut self, offset: usize, length: usize, counted: Option<u32>) {
        let Some(marked) = self.scan.marked.filter(|marked| !marked.closed) else { return };
        let (mark, end) = (marked.end.offset as usize, offset.saturating_add(length));
        if self.file.number == marked.end.segment && offset < mark && mark < end {
            let at_most = counted.map_or_else(|| block::most_entries(end - mark), u64::from);
            self.walked.hidden = self.walked.hidden.saturating_add(at_most);
        }
    }

    /// Counts entries that a damage at this place has cost.
    fn lost(&mut self, offset: u32, entries: u32) {
        self.report.lost_entries += u64::from(entries);
        if self.is_behind_mark(offset) {
            self.walked.behind += u64::from(entries);
        }
    }

    /// Counts entries that may have been lost; `at_most` is an upper bound.
    fn uncertain(&mut self, at_most: u64) {
        self.walked.uncertain = true;
        self.walked.hidden = self.walked.hidden.saturating_add(at_most);
    }

    fn tail(&self, offset: u32, unacknowledged: bool, is_counted: bool) -> Tail {
        let at = Position { segment: self.file.number, offset };
        match self.scan.marked {
            // Behind a mark that is not a closing one it is unknown what was acknowledged.
            Some(_) if self.is_behind_mark(offset) && (unacknowledged || !is_counted) => Tail::Uncertain,
            Some(marked) if marked.closed && at >= marked.end && unacknowledged => Tail::Torn,
            // A later group, or a later segment, began only after this one was synced.
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
            FrameKind::Block => BlockHead::decode(payload).map(Frame::Block),
            FrameKind::Settlements => RunReader::decode(payload).map(Frame::Settlements),
            FrameKind::Dead => dead::without_keys(payload, header.sealed).map(Frame::Dead),
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
            Frame::Dead(letter) => self.report.newest_ms = self.report.newest_ms.max(letter.at.as_millis()),
        }
        // The blocks of a settled segment hold nothing alive; its settlements end entries of older segments.
        if !self.file.settled || matches!(frame, Frame::Settlements(_)) {
            visit(position, frame)?;
        }
        Ok(true)
    }

    /// A file without a head: a creation that was cut short if it is the last one, else damage as a whole.
    fn headless(&mut self, file: &File, bytes: usize) -> Result<(), StoreError> {
        // A segment that the account knows to hold groups is no stillborn one.
        let number = self.file.number;
        let is_marked = self.scan.marked.is_some_and(|marked| {
            let untouched = Position { segment: number, offset: len_u32(HEAD_BYTES) };
            marked.end > untouched
        });
        let torn = self.last
            && is_untouched(file).map_err(|error| StoreError::io("read", &self.file.path, error))?
            && !is_marked;
        // Whatever it held was accepted behind the mark.
        if !torn && !is_marked && self.scan.marked.is_some_and(|marked| !marked.closed) {
            self.uncertain(block::most_entries(bytes));
        }
        self.note(0, bytes as u64, FrameError::Mark, torn);
        if !torn {
            self.reaches_over_mark(0, bytes, None);
            self.set_aside(file, 0, bytes);
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
    fn set_aside(&mut self, file: &File, offset: usize, length: usize) {
        if self.scan.repair {
            let done = aside::copy(self.dir, self.file.number, file, offset as u64, length as u64);
            self.report.set_aside_failures += u64::from(done.is_err());
        }
    }

    /// Notes where the last segment is to be cut. The zeros behind `used` are given back at once, by a hole: a full
    /// disk may need the room for the next segment. The length stays: a last segment that is shorter than it was made
    /// has been cut by somebody else.
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

fn open(path: &Path) -> Result<File, StoreError> {
    let opened = files::read(path).and_then(|file| file.ok_or(ErrorKind::NotFound.into()));
    opened.map_err(|error| StoreError::io("read", path, error))
}

/// Where the sound frames of one segment start; nothing when it is not there.
///
/// # Errors
/// [`StoreError::Io`] when it cannot be read.
pub(crate) fn sound_frames(dir: &Path, number: u32, salt: u64) -> Result<BTreeSet<u32>, StoreError> {
    let Some(file) = segment::list(dir)?.into_iter().find(|file| file.number == number) else {
        return Ok(BTreeSet::new());
    };
    let failed = |error: io::Error| StoreError::io("read", &file.path, error);
    let opened = open(&file.path)?;
    let mut window = FileWindow::new(&opened, MAX_FILE_BYTES).map_err(failed)?;
    let salt = match HeadFields::decode(window.bytes(0, HEAD_BYTES).map_err(failed)?, number) {
        FileStart::Sound { head, .. } => head.salt,
        _ => salt,
    };
    let mut walk = Walk::new(&opened, HEAD_BYTES, salt, number).map_err(failed)?;
    let mut sound = BTreeSet::new();
    while let Some(step) = walk.next().map_err(failed)? {
        if let WalkStep::Frame { offset, .. } = step {
            sound.insert(offset);
        }
    }
    Ok(sound)
}

/// Whether everything in a segment is as it was written.
///
/// # Errors
/// [`StoreError::Io`] when it cannot be read.
pub(crate) fn is_whole(segment: &SegmentFile) -> Result<bool, StoreError> {
    let failed = |error: io::Error| StoreError::io("read", &segment.path, error);
    let Some(file) = files::read(&segment.path).map_err(failed)? else { return Ok(false) };
    Ok(stream::survey(&file, segment.number, HEAD_BYTES as u64).map_err(failed)?.is_some())
}

/// No frame was ever written into the segment.
fn is_untouched(file: &File) -> io::Result<bool> {
    let behind = HEAD_BYTES as u64;
    Ok(FileWindow::new(file, MAX_FILE_BYTES)?.used_end(behind)? == behind)
}
