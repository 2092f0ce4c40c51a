//! The account of the usage record: how long it has to be, and how it begins. Kept in a file of its own, so that a
//! record that was cut, or replaced by an older one, is known for what it is. This head is the complete specification.
//!
//! `limits/usage.mark` is one line of 256 bytes: the CRC-32C of its JSON as eight lower-case hex digits, one blank, the
//! JSON, blanks, a line feed. The same line stands again at byte 4096, in another sector. Both are written in place,
//! after the bytes that they account for are durable; the first one that reads counts.
//!
//! `{"b":BASE,"s":SUM,"e":END,"nb":BASE,"ns":SUM}`: the part of the record that its last rewrite left has BASE bytes
//! and the CRC-32C SUM, and at least END bytes are acknowledged. `nb` and `ns` say the same of a rewrite that has been
//! begun; that mark is synced before the record is renamed. A power cut may leave an older END than the last one.
//!
//! A record that fits neither, or is shorter, is damaged. So is one whose head says that it has a mark when there is
//! none that reads: nobody knows then whether it is whole, or an older one. Versions before kept no marks and their
//! heads say nothing of any.
//!
//! Must not know: what the record holds.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::rewrite;
use crate::store::StoreError;
use crate::store::embedded::files;
use crate::telemetry::defect;

/// Bytes of one line, filled up with blanks: written in one piece within one sector.
const BYTES: usize = 256;
/// Byte at which the line stands again: in another sector of any usual size.
const COPY_AT: u64 = 4096;
const SUM_BYTES: usize = 8;

/// The part of a record that its last rewrite left: it never changes until the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Base {
    /// Its length in bytes.
    pub(super) bytes: u64,
    /// The CRC-32C of these bytes.
    pub(super) sum: u32,
}

/// What a record must be: one that fits neither base, or is shorter than `end`, is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct RecordMark {
    /// How the record begins, by its last rewrite.
    pub(super) base: Base,
    /// At least this many bytes are acknowledged.
    pub(super) end: u64,
    /// How it begins if a rewrite was carried out that had been begun.
    pub(super) next: Option<Base>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredMark {
    b: u64,
    s: u32,
    e: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nb: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ns: Option<u32>,
}

/// Path of the mark beside the record.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("usage.mark")
}

/// The mark in `dir`; `None` when there is none that reads.
///
/// # Errors
/// What the system says.
pub(super) fn read(dir: &Path) -> io::Result<Option<RecordMark>> {
    let file = match files::read(&path(dir)) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(error) if files::is_foreign(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(COPY_AT + BYTES as u64).read_to_end(&mut bytes)?;
    let line = |at: usize| bytes.get(at..at + BYTES).and_then(decode);
    let (mark, copy) = (line(0), line(COPY_AT as usize));
    if mark.is_none() {
        tracing::warn!(has_copy = copy.is_some(), "the account of the record of usages does not read");
    }
    Ok(mark.or(copy))
}

/// The mark of an open record, to be kept up to date.
#[derive(Debug)]
pub(super) struct MarkFile {
    file: File,
    mark: RecordMark,
}

impl MarkFile {
    /// The mark in `dir`, which says `mark` at present. A name that is no plain file is moved aside.
    pub(super) fn open(dir: &Path, mark: Option<RecordMark>) -> Result<Self, StoreError> {
        let path = path(dir);
        let io = |error: io::Error| StoreError::io("open", &path, error);
        let file = match files::write(&path) {
            Ok(file) => file,
            Err(error) if files::is_foreign(&error) => {
                rewrite::move_aside(dir, &path)?;
                files::create(&path).map_err(io)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => files::create(&path).map_err(io)?,
            Err(error) => return Err(io(error)),
        };
        Ok(Self { file, mark: mark.unwrap_or_default() })
    }

    /// Notes that a rewrite has begun. Durable on return: the rename may come next.
    pub(super) fn begin(&mut self, next: Base) -> io::Result<()> {
        self.mark.next = Some(next);
        self.write()?;
        self.file.sync_all()
    }

    /// Notes that the rewrite is in place.
    pub(super) fn done(&mut self, base: Base) {
        self.mark = RecordMark { base, end: base.bytes, next: None };
        self.write_if_possible();
    }

    /// Notes how much of the record is acknowledged by now.
    pub(super) fn grown(&mut self, end: u64) {
        defect!(unless end >= self.mark.base.bytes, "a record that is shorter than its rewrite left it");
        self.mark.end = end;
        self.write_if_possible();
    }

    /// Fails without harm: the mark then says of fewer bytes that they have to be there.
    fn write_if_possible(&self) {
        if let Err(error) = self.write() {
            tracing::warn!(%error, "the account of the record of usages is not up to date");
        }
    }

    fn write(&self) -> io::Result<()> {
        let line = encode(&self.mark)?;
        // Not synced: an older mark asks for fewer bytes, which does no harm.
        self.file.write_all_at(&line, 0)?;
        self.file.write_all_at(&line, COPY_AT)
    }

    /// The mark as it is at present.
    pub(super) const fn mark(&self) -> RecordMark {
        self.mark
    }
}

fn encode(mark: &RecordMark) -> io::Result<Vec<u8>> {
    let RecordMark { base, end, next } = *mark;
    let (nb, ns) = (next.map(|next| next.bytes), next.map(|next| next.sum));
    let json = serde_json::to_string(&StoredMark { b: base.bytes, s: base.sum, e: end, nb, ns })?;
    let mut bytes = Vec::with_capacity(BYTES);
    write!(bytes, "{:08x} {json}", crc32c::crc32c(json.as_bytes()))?;
    bytes.resize(BYTES - 1, b' ');
    bytes.push(b'\n');
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Option<RecordMark> {
    let (sum, rest) = bytes.strip_suffix(b"\n")?.split_at_checked(SUM_BYTES)?;
    let json = rest.strip_prefix(b" ")?.trim_ascii_end();
    let sound = bytes.len() == BYTES && format!("{:08x}", crc32c::crc32c(json)).as_bytes() == sum;
    let StoredMark { b, s, e, nb, ns } = serde_json::from_slice(json).ok().filter(|_| sound)?;
    let next = nb.zip(ns).map(|(bytes, sum)| Base { bytes, sum });
    Some(RecordMark { base: Base { bytes: b, sum: s }, end: e, next })
}

/// Follows a record while it is read, and judges it at the end.
pub(super) struct Judge {
    mark: RecordMark,
    sum: u32,
    read: u64,
    /// Which bases the record begins with.
    is_base: bool,
    is_next: bool,
}

impl Judge {
    pub(super) fn new(mark: RecordMark) -> Self {
        Self { mark, sum: 0, read: 0, is_base: false, is_next: false }
    }

    /// Takes the next bytes of the record, a whole line at a time.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.sum = crc32c::crc32c_append(self.sum, bytes);
        self.read += bytes.len() as u64;
        let here = Base { bytes: self.read, sum: self.sum };
        // A base ends at the end of a line, so that it is met exactly if the record begins with it.
        self.is_base |= here == self.mark.base;
        self.is_next |= self.mark.next == Some(here);
    }

    /// How many bytes are acknowledged; `None` when this is another record than it has to be, or it is too short.
    pub(super) fn acknowledged(&self) -> Option<u64> {
        let end = match (self.is_base, self.mark.next) {
            (true, _) => self.mark.end,
            (false, Some(next)) if self.is_next => next.bytes,
            _ => return None,
        };
        (self.read >= end).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_as_it_was_written_and_not_after_any_flip() {
        let base = Base { bytes: u64::MAX, sum: u32::MAX };
        let mark = RecordMark { base, end: u64::MAX, next: Some(base) };
        let bytes = encode(&mark).expect("small");
        assert_eq!((bytes.len(), decode(&bytes)), (BYTES, Some(mark)));
        for at in 0..BYTES {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_ne!(decode(&flipped), Some(RecordMark { end: 0, ..mark }));
            // A blank at the end may become another character: then nothing is read.
            assert!(decode(&flipped).is_none_or(|read| read == mark), "byte {at}");
        }
        assert_eq!(decode(&[]), None);
    }

    #[test]
    fn a_record_is_known_by_its_beginning_and_its_length() {
        let (old, new) = (b"head\nmark\n", b"head\nusage\nmark\n");
        let base = |bytes: &[u8]| Base { bytes: bytes.len() as u64, sum: crc32c::crc32c(bytes) };
        let judge = |mark: RecordMark, lines: &[&[u8]]| {
            let mut judge = Judge::new(mark);
            lines.iter().for_each(|line| judge.take(line));
            judge.acknowledged()
        };
        let mark = RecordMark { base: base(old), end: 13, next: Some(base(new)) };
        assert_eq!(judge(mark, &[b"head\n", b"mark\n", b"abc"]), Some(13));
        assert_eq!(judge(mark, &[b"head\n", b"mark\n", b"abcdef"]), Some(13), "more than is acknowledged");
        assert_eq!(judge(mark, &[b"head\n", b"mark\n"]), None, "too short");
        assert_eq!(judge(mark, &[b"head\n", b"usage\n", b"mark\n"]), Some(16), "the rewrite is in place");
        assert_eq!(judge(mark, &[b"Head\n", b"mark\n", b"abc"]), None, "another one");
    }
}
