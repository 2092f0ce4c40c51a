//! The sound frames of a segment in order, read in windows: what a scan needs where nothing is damaged, whatever the
//! size of the segment. It stops at the first bytes that are no sound frame and judges nothing.
//!
//! Must not know: damage, the torn end, what frames hold.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use super::block::BlockHead;
use super::codec::len_u32;
use super::dead;
use super::frame::{self, FRAME_HEADER_BYTES, Header, Kind, Place};
use super::head::{Found, HEAD_BYTES, Head};
use super::scan::MAX_FILE_BYTES;
use super::settlements::RunReader;

/// Bytes read at a time; more only for a longer frame.
const WINDOW_BYTES: usize = 1 << 20;

/// A segment in which all is sound.
pub(super) struct Survey {
    salt: u64,
    segment: u32,
    /// Entries in its frames before the starting point.
    pub(super) before: u32,
    /// Where its last frame ends; zeros follow.
    pub(super) end: u64,
    /// Bytes of its file.
    pub(super) length: u64,
}

impl Survey {
    pub(super) fn place(&self, start: usize) -> Place {
        Place { salt: self.salt, segment: self.segment, offset: len_u32(start) }
    }
}

/// Reads a segment through. `None` when anything in it is not as it was written, or no frame starts or ends at
/// `start`: then it has to be judged as a whole.
///
/// # Errors
/// What the system says when it does not read.
pub(super) fn survey(file: &File, segment: u32, start: u64) -> io::Result<Option<Survey>> {
    let length = file.metadata()?.len();
    let mut head = [0; HEAD_BYTES];
    if length > MAX_FILE_BYTES || read_full(file, &mut head, 0)? < HEAD_BYTES {
        return Ok(None);
    }
    let Found::Sound { head: Head { salt, .. }, damaged: false } = Head::decode(&head, segment) else {
        return Ok(None);
    };
    let mut frames = Stream::new(file, Place { salt, segment, offset: len_u32(HEAD_BYTES) });
    let (mut counted, mut before) = (0, None);
    loop {
        if frames.at() == start {
            before = Some(counted);
        }
        let Some((_, header, payload)) = frames.next()? else { break };
        if !decodes(header.kind, payload) {
            return Ok(None);
        }
        counted = header.entries_before.saturating_add(header.entries.into());
    }
    let end = frames.at();
    let Some(before) = before.filter(|_| end <= length) else { return Ok(None) };
    Ok(is_blank(file, end)?.then_some(Survey { salt, segment, before, end, length }))
}

fn decodes(kind: Kind, payload: &[u8]) -> bool {
    match kind {
        Kind::Block => BlockHead::decode(payload).is_ok(),
        Kind::Settlements => RunReader::decode(payload).is_ok(),
        Kind::Dead => dead::decode(payload).is_ok(),
    }
}

/// The frames of one segment from a place on.
pub(super) struct Stream<'a> {
    file: &'a File,
    place: Place,
    /// Where the next frame starts.
    at: u64,
    /// The file's bytes from `base` on.
    window: Vec<u8>,
    base: u64,
}

impl<'a> Stream<'a> {
    /// `place` names the segment; its offset is where to begin.
    pub(super) fn new(file: &'a File, place: Place) -> Self {
        let at = u64::from(place.offset);
        Self { file, place, at, window: Vec::new(), base: at }
    }

    /// Where the frames shown so far end.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next frame; `None` where the next bytes are no sound one.
    ///
    /// # Errors
    /// What the system says when it does not read.
    pub(super) fn next(&mut self) -> io::Result<Option<(u32, Header, &[u8])>> {
        let Ok(payload_bytes) = frame::claimed_payload_bytes(self.bytes(FRAME_HEADER_BYTES)?) else {
            return Ok(None);
        };
        let place = Place { offset: len_u32(usize::try_from(self.at).unwrap_or(usize::MAX)), ..self.place };
        self.hold(FRAME_HEADER_BYTES + payload_bytes)?;
        let Self { window, base, at, .. } = self;
        let start = usize::try_from(*at - *base).unwrap_or(usize::MAX);
        let bytes = window.get(start..).unwrap_or_default();
        let Ok((header, payload)) = frame::open(bytes, place) else { return Ok(None) };
        *at += header.frame_bytes() as u64;
        Ok(Some((place.offset, header, payload)))
    }

    /// This many bytes from the present place on, or what there is.
    fn bytes(&mut self, count: usize) -> io::Result<&[u8]> {
        self.hold(count)?;
        let start = usize::try_from(self.at - self.base).unwrap_or(usize::MAX);
        Ok(self.window.get(start..).unwrap_or_default())
    }

    /// Sees to it that the window holds `count` bytes from the present place on, as far as the file has them.
    fn hold(&mut self, count: usize) -> io::Result<()> {
        let skipped = usize::try_from(self.at - self.base).unwrap_or(usize::MAX);
        if self.window.len() < skipped.saturating_add(count) {
            let held = self.window.split_off(skipped.min(self.window.len()));
            self.base = self.at;
            // Fresh zeros come from the system; a grown vector would write them itself.
            self.window = vec![0; count.max(WINDOW_BYTES)];
            let (start, read) = self.window.split_at_mut(held.len());
            start.copy_from_slice(&held);
            let held = held.len();
            let filled = held + read_full(self.file, read, self.base + held as u64)?;
            self.window.truncate(filled);
        }
        Ok(())
    }
}

/// Whether the file holds nothing but zeros from `at` on.
fn is_blank(file: &File, mut at: u64) -> io::Result<bool> {
    let mut window = vec![0; WINDOW_BYTES];
    loop {
        let read = read_full(file, &mut window, at)?;
        if window.iter().take(read).any(|byte| *byte != 0) {
            return Ok(false);
        }
        if read < window.len() {
            return Ok(true);
        }
        at += read as u64;
    }
}

/// Reads until the buffer or the file is at its end; returns how much.
fn read_full(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;

    use super::super::{Group, Journal, JournalOptions, NewBlock, Position};
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::LaneKey;
    use crate::store::files;

    /// One segment whose frames are shorter and longer than a window, one ending in zeros; where each starts.
    fn written(dir: &Path) -> Vec<Position> {
        let mut journal = Journal::open(dir, JournalOptions::default(), 0, Timestamp::ZERO).expect("opens");
        let (lane, mut group, mut at) = (LaneKey::new("a@1").expect("valid"), Group::default(), Vec::new());
        let mut rng = fastrand::Rng::with_seed(1);
        for records in [1, 7, 3, 1, 5, 2] {
            let noise =
                |_| Bytes::from(std::iter::repeat_with(|| rng.u8(..)).take(300_000).collect::<Vec<_>>());
            let mut records: Vec<_> = (0..records).map(noise).collect();
            records.push(Bytes::from_static(&[0; 13]));
            let block = NewBlock {
                lane_no: 1,
                lane: &lane,
                accepted_ms: 1,
                records: &records,
                due_ms: &[],
                dedup: &[],
            };
            group.push_block(&block).expect("fits");
            at.extend(journal.append(&mut group, Timestamp::ZERO).expect("appends"));
        }
        at.push(journal.end());
        at
    }

    fn segment(dir: &Path) -> File {
        files::write(&dir.join("0000000001.seg")).expect("opens")
    }

    #[test]
    fn frames_of_any_length_are_shown_from_any_of_their_places() {
        let temp = tempfile::tempdir().expect("temp");
        let at = written(temp.path());
        let file = segment(temp.path());
        for (nth, start) in at.iter().enumerate() {
            let survey = survey(&file, 1, start.offset.into()).expect("reads").expect("sound");
            let entries_before = [0, 2, 10, 14, 16, 22, 25];
            assert_eq!((survey.before, survey.end), (entries_before[nth], at[6].offset.into()));
            let mut frames = Stream::new(&file, survey.place(start.offset as usize));
            let mut shown = Vec::new();
            while let Some((offset, ..)) = frames.next().expect("reads") {
                shown.push(offset);
            }
            assert!(shown.iter().eq(at[nth..6].iter().map(|at| &at.offset)), "{nth}");
        }
        assert!(survey(&file, 1, at[1].offset as u64 + 8).expect("reads").is_none(), "no place of a frame");
        assert!(survey(&file, 2, HEAD_BYTES as u64).expect("reads").is_none(), "another segment");
    }

    #[test]
    fn nothing_that_is_not_as_it_was_written_passes_for_sound() {
        let temp = tempfile::tempdir().expect("temp");
        let at = written(temp.path());
        let file = segment(temp.path());
        let is_sound = || survey(&file, 1, HEAD_BYTES as u64).expect("reads").is_some();
        assert!(is_sound(), "the control");
        let mut places = vec![3, 40, u64::from(at[6].offset) + 5_000_000];
        places.extend(at.iter().map(|at| u64::from(at.offset) + 21));
        for place in places {
            let mut byte = [0];
            file.read_exact_at(&mut byte, place).expect("reads");
            file.write_all_at(&[byte[0] ^ 4], place).expect("writes");
            assert!(!is_sound(), "byte {place}");
            file.write_all_at(&byte, place).expect("writes");
        }
        assert!(is_sound());
        file.set_len(u64::from(at[6].offset) - 8).expect("cuts");
        assert!(!is_sound(), "cut");
    }
}
