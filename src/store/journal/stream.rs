//! The sound frames of a segment in order, read in windows: what a scan needs where nothing is damaged, whatever the
//! size of the segment. It stops at the first bytes that are no sound frame and judges nothing.
//!
//! Must not know: damage, the torn end, what frames hold.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use super::codec::len_u32;
use super::frame::{self, FRAME_HEADER_BYTES, Header, Place};

/// Bytes read at a time; more only for a longer frame.
const WINDOW_BYTES: usize = 1 << 20;

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
        let Some(header) = self.bytes(FRAME_HEADER_BYTES)?.first_chunk() else { return Ok(None) };
        let Ok(payload_bytes) = frame::claimed_payload_bytes(header) else { return Ok(None) };
        let place = Place { offset: len_u32(usize::try_from(self.at).unwrap_or(usize::MAX)), ..self.place };
        let start = usize::try_from(self.at - self.base_after(FRAME_HEADER_BYTES + payload_bytes)?);
        let bytes = self.window.get(start.unwrap_or(usize::MAX)..).unwrap_or_default();
        let Ok((header, payload)) = frame::open(bytes, place) else { return Ok(None) };
        self.at += header.frame_bytes() as u64;
        Ok(Some((place.offset, header, payload)))
    }

    /// This many bytes from the present place on, or what there is.
    fn bytes(&mut self, count: usize) -> io::Result<&[u8]> {
        let start = usize::try_from(self.at - self.base_after(count)?).unwrap_or(usize::MAX);
        Ok(self.window.get(start..).unwrap_or_default())
    }

    /// Sees to it that the window holds `count` bytes from the present place on, as far as the file has them, and
    /// returns where it begins.
    fn base_after(&mut self, count: usize) -> io::Result<u64> {
        let skipped = usize::try_from(self.at - self.base).unwrap_or(usize::MAX);
        if self.window.len() < skipped.saturating_add(count) {
            self.window.drain(..skipped.min(self.window.len()));
            self.base = self.at;
            let held = self.window.len();
            self.window.resize(count.max(WINDOW_BYTES), 0);
            let read = self.window.get_mut(held..).unwrap_or_default();
            let filled = held + read_full(self.file, read, self.base + held as u64)?;
            self.window.truncate(filled);
        }
        Ok(self.base)
    }
}

/// Whether the file holds nothing but zeros from `at` on.
pub(super) fn is_blank(file: &File, mut at: u64) -> io::Result<bool> {
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
