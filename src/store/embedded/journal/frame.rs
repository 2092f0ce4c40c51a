//! Frames: the header and its sum. Knows nothing of what a payload means.

use super::codec::{PayloadReader, len_u32};
use crate::store::embedded::keys::KeyId;

/// Length of a frame's header in bytes; the payload follows it.
pub(crate) const FRAME_HEADER_BYTES: usize = 24;
/// Frames start at multiples of this.
pub(super) const ALIGN: usize = 8;
/// Longest payload that is believed when read: twice the longest body of a block.
pub(super) const MAX_PAYLOAD_BYTES: usize = 8 * 1024 * 1024;
/// Every frame starts with these bytes; a scan finds its way back by them.
pub(super) const MARK: [u8; 4] = [0xf7, 0x74, 0x67, 0x1e];

const VERSION: u8 = 1;
/// Of frames whose records are encrypted: versions that do not know how refuse them.
const SEALED_VERSION: u8 = 2;
/// Flag: the frame begins a group, so that everything before it was synced.
const FIRST_OF_GROUP: u8 = 1;
/// Byte of the header at which its sum stands.
const CRC_AT: usize = 20;

/// What the payload of a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Accepted entries of one lane.
    Block,
    /// Decisions about entries of earlier blocks.
    Settlements,
    /// An entry parked for a person.
    Dead,
}

impl FrameKind {
    const fn code(self) -> u8 {
        match self {
            Self::Block => 1,
            Self::Settlements => 2,
            Self::Dead => 3,
        }
    }
}

/// Why bytes are not a frame, or its payload not what its kind says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes do not begin with the mark.
    #[error("no frame mark")]
    Mark,
    /// The header or payload reaches beyond the end.
    #[error("cut short")]
    Short,
    /// The checksum does not match the bytes at this place.
    #[error("checksum mismatch")]
    Checksum,
    /// The length exceeds what a frame may hold.
    #[error("payload length out of bounds")]
    Length,
    /// Sound, but written by a newer version.
    #[error("frame version {0} is unknown")]
    Version(u8),
    /// Sound, but of a kind that this version does not know.
    #[error("frame kind {0} is unknown")]
    Kind(u8),
    /// The payload breaks the form of its kind.
    #[error("malformed payload: {0}")]
    Payload(&'static str),
    /// Sound, and encrypted with a key that is not there: no damage.
    #[error("its key {0} is not in store.key_file")]
    Locked(KeyId),
}

/// What goes into the sum beside the bytes: binds a frame to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FramePlace {
    pub(super) salt: u64,
    pub(super) segment: u32,
    pub(super) offset: u32,
}

impl FramePlace {
    /// The place as sums and encryption take it.
    pub(super) fn bytes(self) -> [u8; 16] {
        let mut bytes = [0_u8; 16];
        let (salt, rest) = bytes.split_at_mut(8);
        let (segment, offset) = rest.split_at_mut(4);
        salt.copy_from_slice(&self.salt.to_le_bytes());
        segment.copy_from_slice(&self.segment.to_le_bytes());
        offset.copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }
}

/// A header whose frame has passed the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: FrameKind,
    /// Its records are encrypted.
    pub(super) sealed: bool,
    pub(super) first_of_group: bool,
    pub(super) entries_before: u32,
    pub(super) entries: u16,
    pub(super) payload_bytes: usize,
}

impl Header {
    /// Bytes of the whole frame with its padding.
    pub(super) fn frame_bytes(&self) -> usize {
        (FRAME_HEADER_BYTES + self.payload_bytes).next_multiple_of(ALIGN)
    }

    /// Writes the header over the first bytes of a frame whose payload has the sum `payload_crc`.
    pub(super) fn seal(&self, out: &mut [u8; FRAME_HEADER_BYTES], payload_crc: u32, place: FramePlace) {
        let mut fields = [0_u8; CRC_AT];
        let (mark, rest) = fields.split_at_mut(4);
        mark.copy_from_slice(&MARK);
        let flags = if self.first_of_group { FIRST_OF_GROUP } else { 0 };
        let [l0, l1, l2, l3] = len_u32(self.payload_bytes).to_le_bytes();
        let [b0, b1, b2, b3] = self.entries_before.to_le_bytes();
        let [e0, e1] = self.entries.to_le_bytes();
        rest.copy_from_slice(&[
            if self.sealed { SEALED_VERSION } else { VERSION },
            self.kind.code(),
            flags,
            0,
            l0,
            l1,
            l2,
            l3,
            b0,
            b1,
            b2,
            b3,
            e0,
            e1,
            0,
            0,
        ]);
        let crc = finish_crc(payload_crc, rest, place);
        let (head, tail) = out.split_at_mut(CRC_AT);
        head.copy_from_slice(&fields);
        tail.copy_from_slice(&crc.to_le_bytes());
    }
}

fn finish_crc(payload_crc: u32, fields: &[u8], place: FramePlace) -> u32 {
    // The payload first: its sum is known before the place, which a group gets only when it is written.
    let crc = crc32c::crc32c_append(payload_crc, fields);
    crc32c::crc32c_append(crc, &place.bytes())
}

/// The length of the payload that a header claims, unverified: how much to read before [`open`].
pub(super) fn claimed_payload_bytes(header: &[u8]) -> Result<usize, FrameError> {
    let mut input = PayloadReader::new(header);
    if input.array::<4>().map_err(|_| FrameError::Short)? != MARK {
        return Err(FrameError::Mark);
    }
    input.take(4).map_err(|_| FrameError::Short)?;
    let claimed = input.u32().map_err(|_| FrameError::Short)? as usize;
    if claimed > MAX_PAYLOAD_BYTES { Err(FrameError::Length) } else { Ok(claimed) }
}

/// The counts that a header claims, unverified: entries before it and in it. For estimates of a loss.
pub(super) fn claimed_entries(header: &[u8]) -> Option<(u32, u16)> {
    let mut input = PayloadReader::new(header);
    (input.array::<4>().ok()? == MARK).then_some(())?;
    input.take(8).ok()?;
    Some((input.u32().ok()?, input.u16().ok()?))
}

/// Checks the frame at the start of `bytes` and splits it into header and payload.
pub(super) fn open(bytes: &[u8], place: FramePlace) -> Result<(Header, &[u8]), FrameError> {
    // Bounded: a damaged length is refused before anything is read by it.
    let payload_bytes = claimed_payload_bytes(bytes)?;
    let mut input = PayloadReader::new(bytes);
    let header = input.take(FRAME_HEADER_BYTES).map_err(|_| FrameError::Short)?;
    let payload = input.take(payload_bytes).map_err(|_| FrameError::Short)?;
    // Nothing of the header is used before the sum holds, except the length that says what to sum.
    let (fields, sum) = header.split_at(CRC_AT);
    let fields = fields.get(4..).ok_or(FrameError::Short)?;
    if finish_crc(crc32c::crc32c(payload), fields, place).to_le_bytes() != *sum {
        return Err(FrameError::Checksum);
    }
    parse(fields, payload_bytes).map(|header| (header, payload))
}

/// Header fields below the checksum layer.
pub(super) fn parse(fields: &[u8], payload_bytes: usize) -> Result<Header, FrameError> {
    let mut input = PayloadReader::new(fields);
    let version = input.u8()?;
    let sealed = match version {
        VERSION => false,
        SEALED_VERSION => true,
        newer => return Err(FrameError::Version(newer)),
    };
    let kind = match input.u8()? {
        1 => FrameKind::Block,
        2 => FrameKind::Settlements,
        3 => FrameKind::Dead,
        other => return Err(FrameError::Kind(other)),
    };
    let first_of_group = input.u8()? & FIRST_OF_GROUP != 0;
    input.take(5)?;
    let entries_before = input.u32()?;
    let entries = input.u16()?;
    Ok(Header { kind, sealed, first_of_group, entries_before, entries, payload_bytes })
}
