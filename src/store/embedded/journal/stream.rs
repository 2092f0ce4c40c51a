//! The sound frames of a segment in order, read in windows: what a scan needs where nothing is damaged, whatever the
//! size of the segment. It stops at the first bytes that are no sound frame and judges nothing.
//!
//! Must not know: damage, the torn end, what frames hold.

use std::fs::File;
use std::io;

use super::block::BlockHead;
use super::codec::len_u32;
use super::dead;
use super::frame::{self, FRAME_HEADER_BYTES, FrameKind, FramePlace, Header};
use super::head::{FileStart, HEAD_BYTES, HeadFields};
use super::scan::MAX_FILE_BYTES;
use super::settlements::RunReader;
use super::window::FileWindow;

/// A segment in which all is sound.
pub(super) struct Survey {
    salt: u64,
    segment: u32,
    /// Entries in its frames before the starting point.
    pub(super) before: u32,
    /// Where its last frame ends; zeros follow.
    pub(super) end: u64,
    /// Length of its file in bytes.
    pub(super) length: u64,
}

impl Survey {
    pub(super) fn place(&self, start: usize) -> FramePlace {
        FramePlace { salt: self.salt, segment: self.segment, offset: len_u32(start) }
    }
}

/// Reads a segment through. `None` when anything in it is not as it was written, or no frame starts or ends at
/// `start`: then it has to be judged as a whole.
///
/// # Errors The error of the system when a read fails.
pub(super) fn survey(file: &File, segment: u32, start: u64) -> io::Result<Option<Survey>> {
    let length = file.metadata()?.len();
    if length > MAX_FILE_BYTES {
        return Ok(None);
    }
    let mut window = FileWindow::new(file, MAX_FILE_BYTES)?;
    let FileStart::Sound { head: HeadFields { salt, .. }, damaged: false } =
        HeadFields::decode(window.bytes(0, HEAD_BYTES)?, segment)
    else {
        return Ok(None);
    };
    let mut frames = FrameStream {
        window,
        place: FramePlace { salt, segment, offset: len_u32(HEAD_BYTES) },
        at: HEAD_BYTES as u64,
    };
    let (mut counted, mut before) = (0, None);
    loop {
        // Only a place where a frame starts, or the last one ends, has a count of entries before it.
        if frames.at() == start {
            before = Some(counted);
        }
        let Some((_, header, payload)) = frames.next()? else { break };
        // A frame may pass its sum and break its form: the other pass counts that as damage.
        if !decodes(header, payload) {
            return Ok(None);
        }
        counted = header.entries_before.saturating_add(header.entries.into());
    }
    let end = frames.at();
    let Some(before) = before.filter(|_| end <= length) else { return Ok(None) };
    // Anything but zeros behind the last frame is a torn group or damage: not for this pass to judge.
    let is_blank = frames.window.used_end(end)? == end;
    Ok(is_blank.then_some(Survey { salt, segment, before, end, length }))
}

fn decodes(header: Header, payload: &[u8]) -> bool {
    match header.kind {
        FrameKind::Block => BlockHead::decode(payload).is_ok(),
        FrameKind::Settlements => RunReader::decode(payload).is_ok(),
        FrameKind::Dead => dead::without_keys(payload, header.sealed).is_ok(),
    }
}

/// The frames of one segment from a place on.
pub(super) struct FrameStream<'a> {
    window: FileWindow<'a>,
    place: FramePlace,
    /// Byte in the file at which the next frame starts.
    at: u64,
}

impl<'a> FrameStream<'a> {
    /// `place` names the segment; its offset is where to begin.
    ///
    /// # Errors The error of the system when it does not return the file's length.
    pub(super) fn new(file: &'a File, place: FramePlace) -> io::Result<Self> {
        Ok(Self { window: FileWindow::new(file, MAX_FILE_BYTES)?, place, at: u64::from(place.offset) })
    }

    /// Where the frames shown so far end.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next frame; `None` where the next bytes are no sound one.
    ///
    /// # Errors The error of the system when a read fails.
    pub(super) fn next(&mut self) -> io::Result<Option<(u32, Header, &[u8])>> {
        let Self { window, at, .. } = self;
        let Ok(payload_bytes) = frame::claimed_payload_bytes(window.bytes(*at, FRAME_HEADER_BYTES)?) else {
            return Ok(None);
        };
        let place = FramePlace { offset: len_u32(usize::try_from(*at).unwrap_or(usize::MAX)), ..self.place };
        let bytes = window.bytes(*at, FRAME_HEADER_BYTES + payload_bytes)?;
        let Ok((header, payload)) = frame::open(bytes, place) else { return Ok(None) };
        *at += header.frame_bytes() as u64;
        Ok(Some((place.offset, header, payload)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use bytes::Bytes;

    use super::super::{FrameGroup, Journal, JournalOptions, NewBlock, Position};
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::LaneKey;
    use crate::store::embedded::files;

    /// One segment whose frames are shorter and longer than a window, one ending in zeros; where each starts.
    fn written(dir: &Path) -> Vec<Position> {
        let mut journal = Journal::open(dir, JournalOptions::default(), 0, Timestamp::ZERO).expect("opens");
        let (lane, mut group, mut at) =
            (LaneKey::new("a@1").expect("valid"), FrameGroup::default(), Vec::new());
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
            let mut frames = FrameStream::new(&file, survey.place(start.offset as usize)).expect("asks");
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
