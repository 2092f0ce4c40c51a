//! Reading the closing list: checked as a whole first, then its runs merged into one ascending order.
//!
//! Must not know: what the blocks are compared with.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{ALIGN, FORMAT, HEAD_BYTES, ListHead, MAX_BLOCK_BYTES, NAME, RUN_HEAD_BYTES};
use crate::store::StoreError;
use crate::store::embedded::bits::Bits;
use crate::store::embedded::files;
use crate::store::embedded::journal::Position;

/// Bytes read at a time while the sum is checked.
const CHECK_BYTES: usize = 64 * 1024;
/// What a reader holds of each run.
const WINDOW_BYTES: usize = 4 * 1024;

/// What was found of the closing list.
pub(in crate::store::embedded) enum StoredList {
    /// There is none of this stop: it could not be written, or belongs to another one.
    Missing,
    /// It is not what was written.
    Damaged {
        /// What does not fit, for the text of a doubt.
        reason: String,
    },
    /// The list is as it was written; none of its blocks has been read.
    Whole(Living),
}

/// A whole list, read in ascending order.
pub(in crate::store::embedded) struct Living {
    path: PathBuf,
    file: File,
    runs: Vec<Run>,
    /// The next block of each run, with the number of the run.
    next: BinaryHeap<Reverse<(Position, usize)>>,
}

/// Where the reading of a run stands.
struct Run {
    /// The next byte of the file to read, and the end of the run.
    at: u64,
    end: u64,
    blocks: u32,
    window: Vec<u8>,
    used: usize,
    /// The block that was decoded last.
    block: Position,
    living: Bits,
}

/// Opens the list that belongs to the closing mark with this salt and end, and checks all of it.
///
/// # Errors
/// [`StoreError::Io`] when the system does not let it be read: nothing is known of it then, and
/// [`StoreError::Format`] when a newer version wrote it.
pub(in crate::store::embedded) fn open(
    root: &Path,
    salt: u64,
    end: Position,
) -> Result<StoredList, StoreError> {
    let path = root.join(NAME);
    let failed = |error| StoreError::io("read", &path, error);
    let damaged = |reason: &str| Ok(StoredList::Damaged { reason: reason.to_owned() });
    let file = match files::read(&path) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(StoredList::Missing),
        Err(error) if files::is_foreign(&error) => return damaged(&error.to_string()),
        Err(error) => return Err(failed(error)),
    };
    let length = file.metadata().map_err(failed)?.len();
    let mut bytes = [0; HEAD_BYTES];
    if length < HEAD_BYTES as u64 {
        return damaged("it is cut short");
    }
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    let Some((format, head)) = ListHead::decode(&bytes) else { return damaged("its head is damaged") };
    if format != FORMAT {
        let what = path.display().to_string();
        return Err(StoreError::Format { what, found: format, known: FORMAT });
    }
    // Whole and of another stop: it says nothing about this one, and that is no damage.
    if (head.salt, head.end) != (salt, end) {
        return Ok(StoredList::Missing);
    }
    if length != HEAD_BYTES as u64 + head.bytes || checksum(&file, head.bytes).map_err(failed)? != head.crc {
        return damaged("checksum mismatch");
    }
    let mut living = Living { path: path.clone(), file, runs: Vec::new(), next: BinaryHeap::new() };
    // After the sum: from here on a run that does not decode means that the file is being changed.
    living.begin(&head).map_err(failed)?;
    Ok(StoredList::Whole(living))
}

fn checksum(file: &File, bytes: u64) -> io::Result<u32> {
    let (mut crc, mut at) = (0, HEAD_BYTES as u64);
    let end = at + bytes;
    let mut window = vec![0; CHECK_BYTES];
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(CHECK_BYTES).min(CHECK_BYTES);
        let part = window.get_mut(..length).unwrap_or_default();
        file.read_exact_at(part, at)?;
        crc = crc32c::crc32c_append(crc, part);
        at += length as u64;
    }
    Ok(crc)
}

/// The sum was right: other bytes are there now.
fn changed() -> io::Error {
    io::Error::other("it changed while it was read")
}

impl Living {
    /// Finds the runs and the first block of each.
    fn begin(&mut self, head: &ListHead) -> io::Result<()> {
        let mut at = HEAD_BYTES as u64;
        for number in 0..head.runs as usize {
            let mut bytes = [0; RUN_HEAD_BYTES];
            self.file.read_exact_at(&mut bytes, at)?;
            let [l0, l1, l2, l3, b0, b1, b2, b3] = bytes;
            let from = at + RUN_HEAD_BYTES as u64;
            let end = from + u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
            self.runs.push(Run {
                at: from,
                end,
                blocks: u32::from_le_bytes([b0, b1, b2, b3]),
                window: Vec::new(),
                used: 0,
                block: Position::default(),
                living: Bits::default(),
            });
            self.advance(number)?;
            at = end;
        }
        Ok(())
    }

    /// Decodes the next block of a run.
    fn advance(&mut self, number: usize) -> io::Result<()> {
        let Some(run) = self.runs.get_mut(number) else { return Ok(()) };
        if run.blocks > 0 {
            run.blocks -= 1;
            run.fill(&self.file)?;
            run.decode().ok_or_else(changed)?;
            self.next.push(Reverse((run.block, number)));
        }
        Ok(())
    }

    /// The next block and its living entries; `None` at the end.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the system does not let it be read.
    pub(in crate::store::embedded) fn next(&mut self) -> Result<Option<(Position, Bits)>, StoreError> {
        let Some(Reverse((at, number))) = self.next.pop() else { return Ok(None) };
        let living = self.runs.get(number).map(|run| run.living).unwrap_or_default();
        self.advance(number).map_err(|error| StoreError::io("read", &self.path, error))?;
        Ok(Some((at, living)))
    }
}

impl Run {
    /// Reads on when the window may not hold a whole block.
    fn fill(&mut self, file: &File) -> io::Result<()> {
        // A block of the longest form must fit, so that decoding never meets the edge of the window.
        let left = self.window.len().saturating_sub(self.used);
        if left >= MAX_BLOCK_BYTES || self.at >= self.end {
            return Ok(());
        }
        self.window.drain(..self.used);
        self.used = 0;
        let more = usize::try_from(self.end - self.at).unwrap_or(WINDOW_BYTES).min(WINDOW_BYTES);
        self.window.resize(left + more, 0);
        file.read_exact_at(self.window.get_mut(left..).unwrap_or_default(), self.at)?;
        self.at += more as u64;
        Ok(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.window.get(self.used).copied()?;
        self.used += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u32> {
        let mut value = 0_u32;
        for shift in (0..32).step_by(7) {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn decode(&mut self) -> Option<()> {
        let (segments, eighths) = (self.varint()?, self.varint()?);
        // A difference only within a segment: offsets of another one start anew.
        let from = if segments == 0 { self.block.offset } else { 0 };
        self.block.segment = self.block.segment.checked_add(segments)?;
        self.block.offset = eighths.checked_mul(ALIGN)?.checked_add(from)?;
        let bytes = self.byte()?;
        if bytes == 0 {
            self.living = Bits::first(u16::from(self.byte()?) + 1);
            return Some(());
        }
        self.living = Bits::default();
        for first in (0..=u8::MAX).step_by(8).take(bytes.into()) {
            let byte = self.byte()?;
            (0..8_u8).filter(|bit| byte & (1 << bit) != 0).for_each(|bit| self.living.set(first + bit));
        }
        Some(())
    }
}
