//! One file of ends: its head and marks, records in the order of ends, and once it is full their order by place. See the
//! head of the room for the form.
//!
//! Must not know: which files there are, what is kept.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;

use super::record::{KeptRecord, RECORD_BYTES};
use crate::store::embedded::files;
use crate::store::embedded::journal::Position;

const MAGIC: &[u8; 8] = b"TIDEENDS";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 64;
/// Where the two marks stand, and how long each is.
const MARKS_AT: [u64; 2] = [64, 96];
const MARK_BYTES: usize = 20;
const RECORDS_AT: u64 = 128;
const SEAL_MAGIC: &[u8; 4] = b"SEAL";
const SEAL_BYTES: usize = 40;
/// Most ends of a file: their places in it have two bytes.
pub(super) const MAX_ENDS: u32 = 1 << 16;

/// What the head of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHead {
    /// From the file's name.
    pub number: u32,
    pub log: u64,
    /// The number of its first end.
    pub first: u64,
    /// Every end after this time that is in no earlier file is in this or a later one; 0: all there were.
    pub before_ms: u64,
    pub capacity: u32,
}

/// A file that is full and is only read from now on.
#[derive(Debug, Clone)]
pub(super) struct SealedFile {
    pub head: FileHead,
    pub path: PathBuf,
    pub count: u32,
    pub last_ms: u64,
    /// The least and the greatest key in it.
    keys: (u64, u64),
}

/// The file that is written.
#[derive(Debug)]
pub(super) struct ActiveFile {
    pub head: FileHead,
    pub path: PathBuf,
    pub file: Arc<File>,
    pub count: u32,
    pub last_ms: u64,
    by_key: HashMap<u64, u16>,
}

/// A mark: every end that was settled before this place of the journal is durable in the log. The later turn counts.
pub(super) type Mark = (u64, Position);

/// The name of a file.
pub(in crate::store::embedded) fn name(number: u32) -> String {
    format!("{number:010}.ends")
}

/// The number in a name, if it is one of a file.
pub(in crate::store::embedded) fn number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".ends")?;
    let is_plain = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { digits.parse().ok() } else { None }
}

/// Bytes of a file with this many ends, full.
pub(super) fn full_bytes(count: u32) -> u64 {
    RECORDS_AT + u64::from(count) * (RECORD_BYTES as u64 + 2) + SEAL_BYTES as u64
}

impl FileHead {
    fn encode(&self, salt: u64) -> [u8; HEAD_BYTES] {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&salt.to_le_bytes());
        bytes.extend_from_slice(&self.log.to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.before_ms.to_le_bytes());
        bytes.extend_from_slice(&self.capacity.to_le_bytes());
        bytes.resize(HEAD_BYTES - 4, 0);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        let mut head = [0; HEAD_BYTES];
        head.copy_from_slice(&bytes);
        head
    }

    /// `None`: it is no head, not of this directory, or of a version that is not known.
    fn decode(bytes: &[u8; HEAD_BYTES], number: u32, salt: u64) -> Option<Self> {
        let u32_at = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let u64_at = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let is_whole = u32_at(HEAD_BYTES - 4)? == crc32c::crc32c(bytes.get(..HEAD_BYTES - 4)?);
        let is_ours = bytes.get(..8)? == MAGIC
            && u32_at(8)? == u32::from(VERSION)
            && u32_at(12)? == number
            && u64_at(16)? == salt;
        let head = Self {
            number,
            log: u64_at(24)?,
            first: u64_at(32)?,
            before_ms: u64_at(40)?,
            capacity: u32_at(48)?,
        };
        (is_whole && is_ours && (1..=MAX_ENDS).contains(&head.capacity)).then_some(head)
    }
}

/// What stands under a name.
pub(super) enum Opened {
    Sealed(SealedFile),
    /// It has no seal: its records were read.
    Open(ActiveFile),
    /// It is none of this directory's files, or its head is damaged.
    Foreign,
}

/// Opens a file, and reads it whole if it has no seal.
pub(super) fn open(dir: &Path, number: u32, salt: u64) -> io::Result<(Opened, Option<Mark>)> {
    let path = dir.join(name(number));
    let Some(file) = files::read(&path)? else { return Ok((Opened::Foreign, None)) };
    let length = file.metadata()?.len();
    let mut head = [0; HEAD_BYTES];
    if length < RECORDS_AT {
        return Ok((Opened::Foreign, None));
    }
    file.read_exact_at(&mut head, 0)?;
    let Some(head) = FileHead::decode(&head, number, salt) else { return Ok((Opened::Foreign, None)) };
    let mark = mark(&file, salt)?;
    if let Some(sealed) = sealed(&file, length, head, &path)? {
        return Ok((Opened::Sealed(sealed), mark));
    }
    let file = Arc::new(files::write(&path)?);
    let mut active =
        ActiveFile { head, path, file, count: 0, last_ms: head.before_ms, by_key: HashMap::new() };
    let held =
        u32::try_from((length - RECORDS_AT) / RECORD_BYTES as u64).unwrap_or(u32::MAX).min(head.capacity);
    // Behind the last sound record is a torn one at most: it is written again.
    for (at, record) in (0..held).zip(read_from(&active.file, head, 0, held)?) {
        if let Some(record) = record {
            active.take(at, &record);
            active.count = at + 1;
        }
    }
    Ok((Opened::Open(active), mark))
}

fn mark(file: &File, salt: u64) -> io::Result<Option<Mark>> {
    let mut newest = None;
    for at in MARKS_AT {
        let mut bytes = [0; MARK_BYTES];
        file.read_exact_at(&mut bytes, at)?;
        newest = newest.max(decode_mark(&bytes, salt));
    }
    Ok(newest)
}

fn decode_mark(bytes: &[u8; MARK_BYTES], salt: u64) -> Option<Mark> {
    let (summed, sum) = bytes.split_last_chunk::<4>()?;
    let (segment, rest) = summed.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let turn = u64::from_le_bytes(*rest.first_chunk()?);
    let is_sound = crc32c::crc32c_append(crc32c::crc32c(summed), &salt.to_le_bytes()).to_le_bytes() == *sum;
    let (segment, offset) = (u32::from_le_bytes(*segment), u32::from_le_bytes(*offset));
    is_sound.then_some((turn, Position { segment, offset }))
}

/// Writes a mark; the one before stays until it is whole.
pub(super) fn write_mark(file: &File, (turn, at): Mark, salt: u64) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(MARK_BYTES);
    bytes.extend_from_slice(&at.segment.to_le_bytes());
    bytes.extend_from_slice(&at.offset.to_le_bytes());
    bytes.extend_from_slice(&turn.to_le_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes), &salt.to_le_bytes());
    bytes.extend_from_slice(&sum.to_le_bytes());
    let [even, odd] = MARKS_AT;
    file.write_all_at(&bytes, if turn.is_multiple_of(2) { even } else { odd })
}

fn sealed(file: &File, length: u64, head: FileHead, path: &Path) -> io::Result<Option<SealedFile>> {
    let Some(at) = length.checked_sub(SEAL_BYTES as u64) else { return Ok(None) };
    let mut seal = [0; SEAL_BYTES];
    file.read_exact_at(&mut seal, at)?;
    Ok(decode_seal(&seal, head)
        .filter(|(count, ..)| full_bytes(*count) == length)
        .map(|(count, keys, last_ms)| SealedFile { head, path: path.to_owned(), count, last_ms, keys }))
}

/// The count, the least and the greatest key, the time of the last end.
fn decode_seal(bytes: &[u8; SEAL_BYTES], head: FileHead) -> Option<(u32, (u64, u64), u64)> {
    let (summed, sum) = bytes.split_last_chunk::<4>()?;
    let is_sound =
        crc32c::crc32c_append(crc32c::crc32c(summed), &head.log.to_le_bytes()).to_le_bytes() == *sum;
    let rest = summed.strip_prefix(SEAL_MAGIC).filter(|_| is_sound)?;
    let (count, rest) = rest.split_first_chunk()?;
    let (least, rest) = rest.split_first_chunk()?;
    let (greatest, rest) = rest.split_first_chunk()?;
    let last_ms = rest.first_chunk()?;
    let keys = (u64::from_le_bytes(*least), u64::from_le_bytes(*greatest));
    Some((u32::from_le_bytes(*count), keys, u64::from_le_bytes(*last_ms)))
}

/// Ends of a file from the one at `from` on; those that are damaged are `None`.
pub(super) fn read_from(
    file: &File,
    head: FileHead,
    from: u32,
    most: u32,
) -> io::Result<Vec<Option<KeptRecord>>> {
    let mut bytes = vec![0; most as usize * RECORD_BYTES];
    file.read_exact_at(&mut bytes, record_at(from))?;
    let numbers = (u64::from(from)..).map(|at| head.first + at);
    Ok(bytes
        .chunks_exact(RECORD_BYTES)
        .zip(numbers)
        .map(|(record, number)| KeptRecord::decode(record, head.log, number))
        .collect())
}

fn record_at(at: u32) -> u64 {
    RECORDS_AT + u64::from(at) * RECORD_BYTES as u64
}

impl ActiveFile {
    /// Makes a file with its room, which a later write then has; without room none is made if it `needs_room`. Nothing of it
    /// is synced.
    pub(super) fn create(dir: &Path, head: FileHead, salt: u64, needs_room: bool) -> io::Result<Self> {
        let path = dir.join(name(head.number));
        let file = files::create_temporary(&path)?;
        // A file system that cannot take blocks in advance goes without them.
        match rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, full_bytes(head.capacity)) {
            Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) if needs_room => {
                drop(files::remove(&path));
                return Err(error.into());
            }
            Ok(()) | Err(_) => {}
        }
        let mut start = [0; RECORDS_AT as usize];
        start.iter_mut().zip(head.encode(salt)).for_each(|(to, from)| *to = from);
        file.write_all_at(&start, 0)?;
        let by_key = HashMap::new();
        Ok(Self { head, path, file: Arc::new(file), count: 0, last_ms: head.before_ms, by_key })
    }

    pub(super) fn room(&self) -> u32 {
        self.head.capacity - self.count
    }

    /// The number of the next end.
    pub(super) fn next(&self) -> u64 {
        self.head.first + u64::from(self.count)
    }

    /// Appends records, at most as many as there is room for. After an error none of them counts.
    pub(super) fn append(&mut self, records: &[KeptRecord]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(records.len() * RECORD_BYTES);
        for (record, number) in records.iter().zip(self.next()..) {
            record.encode(self.head.log, number, &mut bytes);
        }
        self.file.write_all_at(&bytes, record_at(self.count))?;
        for record in records {
            self.take(self.count, record);
            self.count += 1;
        }
        Ok(())
    }

    fn take(&mut self, at: u32, record: &KeptRecord) {
        // A file has at most 65 536 ends.
        self.by_key.insert(record.key(), u16::try_from(at).unwrap_or(u16::MAX));
        self.last_ms = self.last_ms.max(record.ended_ms);
    }

    pub(super) fn find(&self, key: u64) -> io::Result<Option<KeptRecord>> {
        let Some(at) = self.by_key.get(&key) else { return Ok(None) };
        Ok(read_from(&self.file, self.head, (*at).into(), 1)?.pop().flatten())
    }

    /// Writes the order of its ends by place behind them: no end comes after it.
    pub(super) fn seal(&self) -> io::Result<SealedFile> {
        let mut order: Vec<(u64, u16)> = self.by_key.iter().map(|(key, at)| (*key, *at)).collect();
        order.sort_unstable();
        let keys = order.first().zip(order.last()).map_or((u64::MAX, 0), |(first, last)| (first.0, last.0));
        let mut bytes: Vec<u8> = order.iter().flat_map(|(_, at)| at.to_le_bytes()).collect();
        // Damaged records have no place in the order; its last place is repeated for them.
        let last = order.last().map_or(0, |(_, at)| *at).to_le_bytes();
        bytes.extend(std::iter::repeat_n(last, self.count as usize - order.len()).flatten());
        let sum = crc32c::crc32c(&bytes);
        let mut seal = SEAL_MAGIC.to_vec();
        seal.extend_from_slice(&self.count.to_le_bytes());
        seal.extend_from_slice(&keys.0.to_le_bytes());
        seal.extend_from_slice(&keys.1.to_le_bytes());
        seal.extend_from_slice(&self.last_ms.to_le_bytes());
        seal.extend_from_slice(&sum.to_le_bytes());
        let own = crc32c::crc32c_append(crc32c::crc32c(&seal), &self.head.log.to_le_bytes());
        seal.extend_from_slice(&own.to_le_bytes());
        bytes.extend_from_slice(&seal);
        // What stood behind the records before was a torn one.
        self.file.set_len(record_at(self.count))?;
        self.file.write_all_at(&bytes, record_at(self.count))?;
        let (head, path) = (self.head, self.path.clone());
        Ok(SealedFile { head, path, count: self.count, last_ms: self.last_ms, keys })
    }
}

impl SealedFile {
    /// The number behind its last end.
    pub(super) fn next(&self) -> u64 {
        self.head.first + u64::from(self.count)
    }

    /// Whether an entry with this key may be in it.
    pub(super) fn spans(&self, key: u64) -> bool {
        (self.keys.0..=self.keys.1).contains(&key)
    }

    /// The end of the entry with this key: a search in the order by place, not through all of it.
    pub(super) fn find(&self, key: u64) -> io::Result<Option<KeptRecord>> {
        // It may have been dropped meanwhile.
        let Some(file) = files::read(&self.path)? else { return Ok(None) };
        let mut order = vec![0; self.count as usize * 2];
        file.read_exact_at(&mut order, record_at(self.count))?;
        let mut seal = [0; SEAL_BYTES];
        file.read_exact_at(&mut seal, record_at(self.count) + order.len() as u64)?;
        let sum = seal.get(SEAL_BYTES - 8..).and_then(|sum| sum.first_chunk::<4>());
        if sum != Some(&crc32c::crc32c(&order).to_le_bytes()) {
            // The records have sums of their own.
            let records = read_from(&file, self.head, 0, self.count)?;
            return Ok(records.into_iter().flatten().find(|record| record.key() == key));
        }
        let at = |nth: usize| {
            let place = order.get(nth * 2..).and_then(|place| place.first_chunk());
            u32::from(place.map_or(0, |place| u16::from_le_bytes(*place)))
        };
        let (mut low, mut high) = (0, self.count as usize);
        while low < high {
            let middle = usize::midpoint(low, high);
            let mut bytes = [0; RECORD_BYTES];
            file.read_exact_at(&mut bytes, record_at(at(middle)))?;
            match KeptRecord::key_of(&bytes).map(|found| found.cmp(&key)) {
                Some(std::cmp::Ordering::Less) => low = middle + 1,
                Some(std::cmp::Ordering::Equal) => {
                    return Ok(read_from(&file, self.head, at(middle), 1)?.pop().flatten());
                }
                _ => high = middle,
            }
        }
        Ok(None)
    }
}
