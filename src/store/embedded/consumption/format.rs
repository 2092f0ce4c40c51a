//! The lines of the usage record. This head is the complete specification of format version 1.
//!
//! `limits/usage.log` is UTF-8 text. Each line is the CRC-32C of its JSON as eight lower-case hex digits, one blank,
//! the JSON without line breaks, a line feed. Moments are Unix milliseconds. Unknown members are passed over.
//!
//! | line | JSON | meaning |
//! |---|---|---|
//! | first | `{"format":1,"from":M}` | head; what was consumed before `from` may be missing, 0 when nothing is; with `"marked":true` there is a `usage.mark` |
//! | usage | `{"l":NAME,"n":COUNT,"t":AT,"x":OVER_AT}` | one usage; with `"c":true` it is not the first of its write |
//! | mark | `{"m":"opened"}` | a process took the record up; what it consumes follows |
//! | mark | `{"m":"closed"}` | the last line of an orderly end |
//!
//! # Order
//! 1. A file is only ever begun by a rewrite: `usage.log.tmp`, fsync, rename, fsync of the directory. Opening and an
//!    orderly end are rewrites; they end with their mark. So is the record of a new directory, which is born closed,
//!    before its journal has a first segment: a directory with segments and without this file has lost it, or comes
//!    from a version that had none.
//! 2. After `opened`, groups of usages are appended: one write and one fdatasync each. Once the file is longer than
//!    4 MiB and four times what the last rewrite left, it is rewritten without what is over, equal lines summed.
//! 3. After the first failure nothing is written or synced again.
//!
//! # Damage
//! Bad lines after which no intact line begins a write are a torn end: never acknowledged, cut, unless `usage.mark`
//! says that they were. Other bad lines, a missing head, a record without a mark line (each rewrite ends with one) and
//! one that `usage.mark` does not fit are damage: counted, the bytes of bad lines set aside in `usage.damaged-N`, and
//! `from` becomes the moment of the opening that met them. The end was orderly when `closed` is the last line and no
//! line is bad. Another format in an intact head is not ours to judge: nothing is changed.
//!
//! Must not know: files, who writes when.

use std::borrow::Cow;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::mark::{Judge, RecordMark};
use crate::clock::Timestamp;
use crate::store::Usage;
use crate::store::consumption::Merged;

/// The format version that this version writes, and the only one that it reads.
pub(super) const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct UsageRecordHead {
    format: u32,
    #[serde(default)]
    from: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    marked: bool,
}

#[derive(Serialize, Deserialize)]
struct UsageLine<'a> {
    #[serde(borrow)]
    l: Cow<'a, str>,
    n: u32,
    t: u64,
    x: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    c: bool,
}

#[derive(Serialize, Deserialize)]
struct MarkLine {
    m: ProcessStand,
}

/// How a process stood when it wrote the last of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ProcessStand {
    /// It may have consumed what follows.
    Opened,
    /// It ended in good order: nothing else was consumed.
    Closed,
}

/// Adds the head; `marked` when there is a mark beside the record.
pub(super) fn put_head(out: &mut Vec<u8>, complete_from: Timestamp, marked: bool) -> io::Result<()> {
    put(out, &UsageRecordHead { format: FORMAT, from: complete_from.ceil_millis(), marked })
}

/// Adds one usage; `first` says that it is the first of its write.
pub(super) fn put_usage(out: &mut Vec<u8>, usage: &Usage, first: bool) -> io::Result<()> {
    let Usage { limit, count, at, over_at } = usage;
    let (t, x) = (at.ceil_millis(), over_at.ceil_millis());
    put(out, &UsageLine { l: Cow::Borrowed(limit), n: *count, t, x, c: !first })
}

/// Adds the line that ends a rewrite.
pub(super) fn put_mark(out: &mut Vec<u8>, stand: ProcessStand) -> io::Result<()> {
    put(out, &MarkLine { m: stand })
}

/// Hex digits of a line's checksum.
const SUM_BYTES: usize = 8;

fn put(out: &mut Vec<u8>, line: &impl Serialize) -> io::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[b' '; SUM_BYTES + 1]);
    serde_json::to_writer(&mut *out, line)?;
    let sum = crc32c::crc32c(out.get(start + SUM_BYTES + 1..).unwrap_or_default());
    if let Some(mut place) = out.get_mut(start..start + SUM_BYTES) {
        write!(place, "{sum:08x}")?;
    }
    out.push(b'\n');
    Ok(())
}

/// The JSON of a whole line whose sum is right.
fn intact(line: &[u8]) -> Option<&[u8]> {
    let (sum, rest) = line.strip_suffix(b"\n")?.split_at_checked(SUM_BYTES)?;
    let json = rest.strip_prefix(b" ")?;
    (format!("{:08x}", crc32c::crc32c(json)).as_bytes() == sum).then_some(json)
}

/// A record as it was found.
pub(super) struct Scanned {
    /// The usages that still count at the time of the scan.
    pub usages: Vec<Usage>,
    /// The end was orderly and nothing is bad.
    pub orderly: bool,
    /// Number of damaged lines, a torn end not among them.
    pub damaged: u64,
    /// The bytes of the damaged lines, in order.
    pub raw: Vec<u8>,
    /// The last lines are bad and were never acknowledged.
    pub torn: bool,
    /// What the head says, if there is one.
    pub complete_from: Option<Timestamp>,
}

/// Why a record was not read to its end. Nothing is known of it then.
pub(super) enum ScanError {
    /// The system failed to read it.
    Io(io::Error),
    /// The head is intact and of this other format.
    Format(u32),
}

/// Reads a record line by line, and judges it by its mark, if there is one.
pub(super) fn scan(
    input: &mut dyn BufRead,
    mark: Option<RecordMark>,
    now: Timestamp,
) -> Result<Scanned, ScanError> {
    let mut reading = RecordReading::new(mark, now);
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line).map_err(ScanError::Io)? == 0 {
            return Ok(reading.finish());
        }
        reading.take(&line)?;
    }
}

struct RecordReading {
    merged: Merged,
    head: Option<Timestamp>,
    /// The head says that there is a mark beside the record.
    has_mark: bool,
    closed: bool,
    damaged: u64,
    raw: Vec<u8>,
    /// Bad lines since the last intact one that began a write, and their bytes: a torn end or damage.
    doubtful: u64,
    doubtful_raw: Vec<u8>,
    /// Where the first of them begins.
    doubtful_from: u64,
    /// Bytes read so far: where the next line begins.
    read: u64,
    is_marked: bool,
    judge: Option<Judge>,
}

impl RecordReading {
    fn new(mark: Option<RecordMark>, now: Timestamp) -> Self {
        Self {
            merged: Merged::new(now),
            head: None,
            has_mark: false,
            closed: false,
            damaged: 0,
            raw: Vec::new(),
            doubtful: 0,
            doubtful_raw: Vec::new(),
            doubtful_from: 0,
            read: 0,
            is_marked: false,
            judge: mark.map(Judge::new),
        }
    }

    fn take(&mut self, line: &[u8]) -> Result<(), ScanError> {
        // Only the last line can close the record.
        self.closed = false;
        if let Some(judge) = &mut self.judge {
            judge.take(line);
        }
        let begins = self.read;
        self.read += line.len() as u64;
        // No JSON is empty: a line that is not intact fits none of the forms below.
        let json = intact(line).unwrap_or_default();
        if let Ok(UsageLine { l, n, t, x, c }) = serde_json::from_slice(json) {
            // It begins a write, so that the write before it was synced: bad lines there were acknowledged.
            if !c {
                self.doubtful_is_damage();
            }
            let (at, over_at) = (Timestamp::from_millis(t), Timestamp::from_millis(x));
            self.merged.add(Usage { limit: l.into(), count: n, at, over_at });
        } else if let Ok(MarkLine { m }) = serde_json::from_slice(json) {
            self.doubtful_is_damage();
            self.closed = m == ProcessStand::Closed;
            self.is_marked = true;
        } else if let Ok(UsageRecordHead { format, from, marked }) = serde_json::from_slice(json) {
            if format != FORMAT {
                return Err(ScanError::Format(format));
            }
            self.doubtful_is_damage();
            self.head = Some(Timestamp::from_millis(from));
            self.has_mark = marked;
        } else {
            if self.doubtful == 0 {
                self.doubtful_from = begins;
            }
            self.doubtful += 1;
            self.doubtful_raw.extend_from_slice(line);
        }
        Ok(())
    }

    fn doubtful_is_damage(&mut self) {
        self.damaged += std::mem::take(&mut self.doubtful);
        self.raw.append(&mut self.doubtful_raw);
    }

    fn finish(mut self) -> Scanned {
        // What `usage.mark` says of it; a record that never had one is as long as it should be.
        let without = (!self.has_mark).then_some(0);
        let acknowledged = self.judge.as_ref().map_or(without, Judge::acknowledged);
        let lost = acknowledged.is_none_or(|end| self.doubtful > 0 && self.doubtful_from < end);
        // Not even a rewrite that was cut short leaves a record without a head or a mark line.
        if lost || self.head.is_none() || !self.is_marked {
            self.doubtful_is_damage();
            self.damaged = self.damaged.max(1);
        }
        Scanned {
            usages: self.merged.usages,
            orderly: self.closed && self.damaged == 0,
            damaged: self.damaged,
            raw: self.raw,
            torn: self.doubtful > 0,
            complete_from: self.head,
        }
    }
}
