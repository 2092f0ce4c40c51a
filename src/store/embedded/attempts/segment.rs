//! One file of attempts.
//!
//! ```text
//! "TGATTM" version 1 LF | frames … | table, once it is full
//! frame:  length of payload u32 | CRC-32C of payload u32 | payload
//! payload: place of the frame before it of the same event u32, 0 for none | id 16 bytes | record
//! table:  (low half of the id's digest u32 | place of its last frame u32) …, sorted | footer
//! footer: "TGATIX" version 1 LF | place of the table u32 | members u32 | CRC-32C of these sixteen bytes u32
//! ```
//! All numbers are little-endian. A table that leads elsewhere shows nothing: each frame proves itself and names its event.
//!
//! Must not know: other files, what a record says.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::event::EventId;
use crate::store::embedded::files;

const HEAD: &[u8; 8] = b"TGATTM\x01\n";
const FOOT: &[u8; 8] = b"TGATIX\x01\n";
const FOOT_BYTES: u64 = 20;
const FRAME_BYTES: usize = 8;
/// What stands in a payload before the record.
const BEFORE_RECORD_BYTES: usize = 20;
const MEMBER_BYTES: u64 = 8;
/// The longest payload: an excerpt of an answer and room for the rest.
pub(super) const PAYLOAD_MAX_BYTES: usize = 16 * 1024;

/// The file that is written.
pub(super) struct Open {
    file: File,
    /// Where the next frame goes, that what is not written yet included.
    end: u32,
    /// How much of it is in the file.
    written: u32,
    unwritten: Vec<u8>,
    /// The last frame of each event.
    last: HashMap<EventId, u32>,
}

/// A file that is full.
pub(super) struct Full {
    file: File,
    table: u64,
    members: u32,
    bytes: u64,
}

/// What a file turned out to be.
pub(super) enum Found {
    Open(Open),
    Full(Full),
    /// Not of this version, or no such file at all: it is left as it is.
    Foreign,
}

impl Open {
    /// Begins an empty file, which must not exist.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = files::create(path)?;
        let mut open = Self { file, end: 0, written: 0, unwritten: HEAD.to_vec(), last: HashMap::new() };
        open.end = length(&open.unwritten)?;
        open.write()?;
        Ok(open)
    }

    /// Where the next frame goes: how long the file is.
    pub(super) const fn end(&self) -> u32 {
        self.end
    }

    /// Adds a record, to be written with the next [`Open::write`].
    ///
    /// # Errors
    /// When it is too long.
    pub(super) fn add(&mut self, event: EventId, record: &[u8]) -> io::Result<()> {
        let before = self.last.get(&event).copied().unwrap_or(0);
        let mut payload = Vec::with_capacity(BEFORE_RECORD_BYTES + record.len());
        payload.extend(before.to_le_bytes());
        payload.extend(event.to_bytes());
        payload.extend(record);
        if payload.len() > PAYLOAD_MAX_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let end = self.end.checked_add(length(&payload)?).and_then(|end| end.checked_add(8));
        let end = end.ok_or(io::ErrorKind::FileTooLarge)?;
        self.unwritten.extend(length(&payload)?.to_le_bytes());
        self.unwritten.extend(crc32c::crc32c(&payload).to_le_bytes());
        self.unwritten.extend(payload);
        self.last.insert(event, self.end);
        self.end = end;
        Ok(())
    }

    /// Hands what was added to the system.
    ///
    /// # Errors
    /// What the system says; the file is of no use for more then.
    pub(super) fn write(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.unwritten, u64::from(self.written))?;
        self.unwritten.clear();
        self.written = self.end;
        Ok(())
    }

    /// The records of an event, the newest first, at most `most`. Everything was written before.
    pub(super) fn last(&self, event: EventId, most: usize) -> Vec<Vec<u8>> {
        let place = self.last.get(&event).copied().unwrap_or(0);
        chain(&self.file, place, event, most)
    }

    /// Writes the table; nothing is added any more.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn fill(mut self) -> io::Result<Full> {
        self.write()?;
        let mut members: Vec<(u32, u32)> =
            self.last.iter().map(|(event, place)| (digest(*event), *place)).collect();
        members.sort_unstable();
        let mut tail = Vec::with_capacity(members.len() * 8 + 20);
        for (digest, place) in &members {
            tail.extend(digest.to_le_bytes());
            tail.extend(place.to_le_bytes());
        }
        let members = u32::try_from(members.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut foot = FOOT.to_vec();
        foot.extend(self.end.to_le_bytes());
        foot.extend(members.to_le_bytes());
        let sum = crc32c::crc32c(&foot);
        foot.extend(sum.to_le_bytes());
        tail.extend(foot);
        let table = u64::from(self.end);
        self.file.write_all_at(&tail, table)?;
        self.file.sync_data()?;
        let bytes = table + u64::try_from(tail.len()).unwrap_or(u64::MAX);
        Ok(Full { file: self.file, table, members, bytes })
    }
}

impl Full {
    /// How long the file is.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The records of an event, the newest first, at most `most`.
    pub(super) fn last(&self, event: EventId, most: usize) -> Vec<Vec<u8>> {
        let wanted = digest(event);
        let (mut low, mut high) = (0, self.members);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.member(middle) {
                Some((digest, _)) if digest < wanted => low = middle + 1,
                Some(_) => high = middle,
                None => return Vec::new(),
            }
        }
        // Events with the same digest stand beside each other.
        for at in low..self.members {
            let Some((_, place)) = self.member(at).filter(|(digest, _)| *digest == wanted) else { break };
            let found = chain(&self.file, place, event, most);
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    fn member(&self, at: u32) -> Option<(u32, u32)> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, self.table + u64::from(at) * MEMBER_BYTES).ok()?;
        let [a, b, c, d, place @ ..] = bytes;
        Some((u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes(place)))
    }
}

/// Opens a file that lies there. One that was being written is cut behind its last sound frame.
///
/// # Errors
/// What the system says.
pub(super) fn open(path: &Path) -> io::Result<Found> {
    let file = files::write(path)?;
    let bytes = file.metadata()?.len();
    let mut head = [0; 8];
    if bytes >= 8 {
        file.read_exact_at(&mut head, 0)?;
    }
    if head != *HEAD || bytes > u64::from(u32::MAX) {
        return Ok(Found::Foreign);
    }
    if let Some((table, members)) = footer(&file, bytes) {
        return Ok(Found::Full(Full { file, table, members, bytes }));
    }
    let (mut last, mut at) = (HashMap::new(), 8_u32);
    while let Some((event, payload)) = frame(&file, at) {
        last.insert(event, at);
        // Within the length of the file, which fits.
        at = at.saturating_add(length(&payload)?).saturating_add(8);
    }
    file.set_len(u64::from(at))?;
    Ok(Found::Open(Open { file, end: at, written: at, unwritten: Vec::new(), last }))
}

fn footer(file: &File, bytes: u64) -> Option<(u64, u32)> {
    let mut foot = [0; 20];
    file.read_exact_at(&mut foot, bytes.checked_sub(FOOT_BYTES)?).ok()?;
    let (said, sum) = foot.split_at(16);
    let word = |at: usize| Some(u32::from_le_bytes(foot.get(at..at + 4)?.try_into().ok()?));
    let is_sound = said.starts_with(FOOT) && sum == crc32c::crc32c(said).to_le_bytes();
    let (table, members) = (u64::from(word(8)?), word(12)?);
    let adds_up = table + u64::from(members) * MEMBER_BYTES + FOOT_BYTES == bytes;
    (is_sound && adds_up).then_some((table, members))
}

/// The event and the payload of the frame at this place; `None` where no sound one is.
fn frame(file: &File, at: u32) -> Option<(EventId, Vec<u8>)> {
    let mut head = [0; FRAME_BYTES];
    file.read_exact_at(&mut head, u64::from(at)).ok()?;
    let [a, b, c, d, sum @ ..] = head;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
    if !(BEFORE_RECORD_BYTES..=PAYLOAD_MAX_BYTES).contains(&length) {
        return None;
    }
    let mut payload = vec![0; length];
    file.read_exact_at(&mut payload, u64::from(at) + 8).ok()?;
    let id = payload.get(4..BEFORE_RECORD_BYTES)?.try_into().ok()?;
    (crc32c::crc32c(&payload) == u32::from_le_bytes(sum)).then_some((EventId::from_bytes(id), payload))
}

/// The records of an event from this place on, one before the other.
fn chain(file: &File, mut place: u32, event: EventId, most: usize) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while place != 0 && found.len() < most {
        let Some((_, payload)) = frame(file, place).filter(|(of, _)| *of == event) else { break };
        let before = payload.get(..4).and_then(|bytes| Some(u32::from_le_bytes(bytes.try_into().ok()?)));
        // Each lies before the one that names it: a chain ends.
        let Some(before) = before.filter(|before| *before < place) else { break };
        found.push(payload.get(BEFORE_RECORD_BYTES..).unwrap_or_default().to_vec());
        place = before;
    }
    found
}

/// Spreads ids, whose bits are times and numbers.
fn digest(event: EventId) -> u32 {
    crc32c::crc32c(&event.to_bytes())
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
