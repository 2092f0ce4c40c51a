//! Writing the closing list: blocks in any order, sorted in runs of bounded size.
//!
//! Must not know: where the blocks come from.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{ALIGN, HEAD_BYTES, ListHead, NAME, RUN_BLOCKS};
use crate::store::StoreError;
use crate::store::embedded::bits::Bits;
use crate::store::embedded::files;
use crate::store::embedded::journal::Position;
use crate::store::embedded::sealed;
use crate::telemetry::defect;

/// Takes the blocks of a list.
pub(in crate::store::embedded) struct ListWriter {
    file: BufWriter<File>,
    run: Vec<(Position, Bits)>,
    payload: Vec<u8>,
    head: ListHead,
}

/// Writes the list, durably: `salt` and `end` are those of the closing mark, `fill` adds the blocks. Without room there
/// is no list.
///
/// # Errors
/// [`StoreError::Io`] when the system refuses, or what `fill` returns; nothing is left behind.
pub(in crate::store::embedded) fn write(
    root: &Path,
    salt: u64,
    end: Position,
    fill: impl FnOnce(&mut ListWriter) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let path = root.join(NAME);
    let temporary = sealed::beside(&path, ".tmp");
    let failed = |error| StoreError::io("write", &path, error);
    let written = || {
        let mut writer =
            ListWriter::begin(files::create_temporary(&temporary).map_err(failed)?).map_err(failed)?;
        fill(&mut writer)?;
        let file = writer.finish(salt, end).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        files::rename_durably(&temporary, &path).map_err(failed)
    };
    written().inspect_err(|_| {
        // A full disk is fuller with it.
        let _ = files::remove(&temporary);
    })
}

impl ListWriter {
    fn begin(file: File) -> io::Result<Self> {
        let mut file = BufWriter::new(file);
        // Filled in at the end, when number and sum of the runs are known.
        file.write_all(&[0; HEAD_BYTES])?;
        Ok(Self { file, run: Vec::new(), payload: Vec::new(), head: ListHead::default() })
    }

    /// Adds a block with at least one living entry.
    pub(in crate::store::embedded) fn add(&mut self, at: Position, living: Bits) -> io::Result<()> {
        defect!(unless living != Bits::default(), "a listed block of which nothing lives");
        self.run.push((at, living));
        if self.run.len() >= RUN_BLOCKS { self.end_run() } else { Ok(()) }
    }

    fn end_run(&mut self) -> io::Result<()> {
        if self.run.is_empty() {
            return Ok(());
        }
        // By position: the index walks them by lane.
        self.run.sort_unstable_by_key(|(at, _)| *at);
        self.payload.clear();
        let mut before = Position::default();
        for (at, living) in &self.run {
            encode(*at, before, living, &mut self.payload);
            before = *at;
        }
        // A run holds 64 Ki blocks of at most 43 bytes.
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        let blocks = u32::try_from(self.run.len()).unwrap_or(u32::MAX);
        self.run.clear();
        for part in [&length.to_le_bytes()[..], &blocks.to_le_bytes(), &self.payload] {
            self.file.write_all(part)?;
            self.head.crc = crc32c::crc32c_append(self.head.crc, part);
            self.head.bytes += part.len() as u64;
        }
        self.head.runs += 1;
        Ok(())
    }

    /// Writes what is left, then the head.
    fn finish(mut self, salt: u64, end: Position) -> io::Result<File> {
        self.end_run()?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.write_all_at(&ListHead { salt, end, ..self.head }.encode(), 0)?;
        Ok(file)
    }
}

/// Appends a block that follows `before`.
fn encode(at: Position, before: Position, living: &Bits, out: &mut Vec<u8>) {
    debug_assert!(before <= at, "blocks of a run that do not ascend");
    varint(at.segment - before.segment.min(at.segment), out);
    let from = if at.segment == before.segment { before.offset.min(at.offset) } else { 0 };
    varint((at.offset - from) / ALIGN, out);
    let count = living.count();
    if *living == Bits::first(u16::try_from(count).unwrap_or(u16::MAX)) {
        out.extend_from_slice(&[0, u8::try_from(count.saturating_sub(1)).unwrap_or(u8::MAX)]);
        return;
    }
    let bitmap = bitmap(living);
    out.push(u8::try_from(bitmap.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(&bitmap);
}

/// Entry 0 in the lowest bit of the first byte; up to the last byte that is not zero.
fn bitmap(living: &Bits) -> Vec<u8> {
    let mut bytes = vec![0_u8; Bits::BYTES];
    for (byte, index) in bytes.iter_mut().zip((0..=u8::MAX).step_by(8)) {
        *byte = (0..8).map(|bit| u8::from(living.has(index + bit)) << bit).sum();
    }
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(used);
    bytes
}

fn varint(mut value: u32, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = value.to_le_bytes();
        if value < 0x80 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
        value >>= 7;
    }
}
