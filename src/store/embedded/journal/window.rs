//! A file's bytes in windows: what reads a segment holds this much of it and not the whole.
//!
//! Must not know: frames.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// Bytes read at a time; more only where more are asked for at once.
const WINDOW_BYTES: usize = 1 << 20;

/// The bytes of a file up to a length that was fixed when it was made.
pub(super) struct FileWindow<'a> {
    file: &'a File,
    length: u64,
    window_bytes: usize,
    /// The file's bytes from `base` on.
    held: Vec<u8>,
    base: u64,
}

impl<'a> FileWindow<'a> {
    /// Bytes of `file` behind `most_bytes` are treated as if there were none.
    ///
    /// # Errors
    /// What the system says when it does not tell the length.
    pub(super) fn new(file: &'a File, most_bytes: u64) -> io::Result<Self> {
        Self::of(file, most_bytes, WINDOW_BYTES)
    }

    /// With windows of a given length, for tests.
    ///
    /// # Errors
    /// As [`FileWindow::new`].
    pub(super) fn of(file: &'a File, most_bytes: u64, window_bytes: usize) -> io::Result<Self> {
        let length = file.metadata()?.len().min(most_bytes);
        Ok(Self { file, length, window_bytes, held: Vec::new(), base: 0 })
    }

    /// Bytes of the file, as far as they are read.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// At least `count` bytes from `at` on, or what there is.
    ///
    /// # Errors
    /// What the system says when it does not read.
    pub(super) fn bytes(&mut self, at: u64, count: usize) -> io::Result<&[u8]> {
        // `at` may lie behind the end: frames claim lengths that reach beyond the file.
        let wanted = self.length.saturating_sub(at).min(count as u64);
        let is_held = at >= self.base && at + wanted <= self.base + self.held.len() as u64;
        if !is_held {
            self.hold(at, count)?;
        }
        debug_assert!(at >= self.base, "a window that begins behind what it is asked for");
        // An `at` behind the end of the file has no bytes.
        let start = usize::try_from(at - self.base).unwrap_or(usize::MAX);
        Ok(self.held.get(start..).unwrap_or_default())
    }

    /// Moves the window to `at`, with what it already has of the bytes there.
    fn hold(&mut self, at: u64, count: usize) -> io::Result<()> {
        let skipped = at.checked_sub(self.base).and_then(|skipped| usize::try_from(skipped).ok());
        // A frame across the edge of a window is not read twice from the disk.
        let kept = match skipped {
            Some(skipped) if skipped < self.held.len() => self.held.split_off(skipped),
            _ => Vec::new(),
        };
        let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        // Fresh zeros come from the system; a grown vector would write them itself.
        self.held = vec![0; count.max(self.window_bytes).min(left)];
        self.base = at;
        debug_assert!(kept.len() <= self.held.len(), "a window that is shorter than what it keeps");
        let (start, rest) = self.held.split_at_mut(kept.len());
        start.copy_from_slice(&kept);
        let filled = kept.len() + read_full(self.file, rest, at + kept.len() as u64)?;
        // The file may have become shorter since its length was asked for.
        self.held.truncate(filled);
        Ok(())
    }

    /// The byte behind the last one that is not zero, looking no further back than `from`; `from` when there is none.
    ///
    /// # Errors
    /// What the system says when it does not read.
    pub(super) fn used_end(&mut self, from: u64) -> io::Result<u64> {
        let mut end = self.length;
        while end > from {
            // Backwards: nearly all of a preallocated file is zeros at its end.
            let start = end.saturating_sub(self.window_bytes as u64).max(from);
            let count = usize::try_from(end - start).unwrap_or(usize::MAX);
            let bytes = self.bytes(start, count)?;
            let bytes = bytes.get(..count).unwrap_or(bytes);
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                return Ok(start + last as u64 + 1);
            }
            end = start;
        }
        Ok(from)
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
