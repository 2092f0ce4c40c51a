//! The head of a segment, written twice so that one flipped bit cannot take the salt away.

use super::codec::PayloadReader;
use crate::store::StoreError;
use crate::store::embedded::keys::KeyId;

/// Both copies of the head: where the first frame starts.
pub(crate) const HEAD_BYTES: usize = 64;

/// Bytes of one copy of the head.
const COPY_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"TIDEGATE";
const VERSION: u16 = 1;
/// Of segments whose records are encrypted: versions that do not know how refuse them at the start.
const SEALED_VERSION: u16 = 2;

/// What a head says of its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeadFields {
    pub(super) segment: u32,
    pub(super) salt: u64,
    /// By which its records are encrypted, if they are.
    pub(super) key: Option<KeyId>,
}

/// What the first bytes of a file were found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileStart {
    /// At least one copy is sound; `damaged` when the other is not.
    Sound { head: HeadFields, damaged: bool },
    /// Sound but of a newer version.
    Newer(u16),
    /// No copy of the head is sound.
    Nothing,
}

impl HeadFields {
    pub(super) fn encode(self) -> [u8; HEAD_BYTES] {
        let mut copy = Vec::with_capacity(COPY_BYTES);
        copy.extend_from_slice(&MAGIC);
        let version = if self.key.is_some() { SEALED_VERSION } else { VERSION };
        copy.extend_from_slice(&version.to_le_bytes());
        copy.extend_from_slice(&[0; 2]);
        copy.extend_from_slice(&self.segment.to_le_bytes());
        copy.extend_from_slice(&self.salt.to_le_bytes());
        copy.extend_from_slice(&self.key.map_or([0; 4], KeyId::to_bytes));
        let crc = crc32c::crc32c(&copy);
        copy.extend_from_slice(&crc.to_le_bytes());
        let mut out = [0; HEAD_BYTES];
        for half in out.chunks_exact_mut(COPY_BYTES) {
            half.copy_from_slice(&copy);
        }
        out
    }

    /// A sound copy of the head, whatever the file's name is.
    pub(super) fn of_any(bytes: &[u8]) -> Option<Self> {
        let copies = bytes.get(..HEAD_BYTES).unwrap_or(bytes).chunks(COPY_BYTES);
        copies.filter_map(decode_copy).map(|(_, head)| head).next()
    }

    /// Reads the head of the file that is named for `segment`.
    pub(super) fn decode(bytes: &[u8], segment: u32) -> FileStart {
        match Self::read(bytes) {
            // A file under another's name: its frames would not pass their sums either.
            FileStart::Sound { head, .. } if head.segment != segment => FileStart::Nothing,
            found => found,
        }
    }

    /// Reads a head, whatever its file is named.
    pub(super) fn read(bytes: &[u8]) -> FileStart {
        let copies = bytes.get(..HEAD_BYTES).unwrap_or(bytes).chunks(COPY_BYTES);
        let found: Vec<Option<(u16, HeadFields)>> = copies.map(decode_copy).collect();
        let sound = found.iter().flatten().next().copied();
        match sound {
            Some((version, _)) if version > SEALED_VERSION => FileStart::Newer(version),
            Some((_, head)) => {
                // Two sound copies that differ are damage as well: one of them is not what was written here.
                let damaged = found.len() < 2 || found.iter().any(|copy| *copy != sound);
                FileStart::Sound { head, damaged }
            }
            None => FileStart::Nothing,
        }
    }
}

fn decode_copy(copy: &[u8]) -> Option<(u16, HeadFields)> {
    let (fields, sum) = copy.split_at_checked(COPY_BYTES - 4)?;
    (crc32c::crc32c(fields).to_le_bytes() == *sum).then_some(())?;
    let mut input = PayloadReader::new(fields);
    (input.array().ok()? == MAGIC).then_some(())?;
    let version = input.u16().ok()?;
    input.u16().ok()?;
    let (segment, salt) = (input.u32().ok()?, input.u64().ok()?);
    let key = KeyId::from_bytes(input.array().ok()?);
    let key = (version == SEALED_VERSION).then_some(key);
    Some((version, HeadFields { segment, salt, key }))
}

/// The error for a head or frame of a newer version.
pub(super) fn newer(what: String, found: u32) -> StoreError {
    StoreError::Format { what, found, known: u32::from(SEALED_VERSION) }
}
