//! The payload of a dead letter: the entry as a whole, so that its segment can go.

use bytes::Bytes;

use super::codec::{PayloadReader, len_u16, len_u32};
use super::frame::FrameError;
use super::sealing::{Opener, SealedPart};
use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey};
use crate::store::embedded::keys::{KeyId, SEALED_EXTRA_BYTES, Sealer};
use crate::store::{DeadLetter, MAX_RECORD_BYTES, StoreError, record};

/// Longest reason that is kept: a fact for people, cut at a character.
const MAX_REASON_BYTES: usize = 1024;

/// Appends the payload of `letter` to `out`, with room for what encryption adds when it is `sealed`. Returns the byte of
/// `out` at which the part begins that is encrypted then.
pub(super) fn encode(letter: &DeadLetter, sealed: bool, out: &mut Vec<u8>) -> Result<usize, StoreError> {
    if letter.record.len() > MAX_RECORD_BYTES {
        return Err(StoreError::TooLarge { bytes: letter.record.len() });
    }
    let lane = letter.lane.as_str().as_bytes();
    let mut cut = letter.reason.len().min(MAX_REASON_BYTES);
    while !letter.reason.is_char_boundary(cut) {
        cut -= 1;
    }
    let reason = letter.reason.get(..cut).unwrap_or_default().as_bytes();
    out.extend_from_slice(&letter.id.to_bytes());
    out.extend_from_slice(&letter.at.as_millis().to_le_bytes());
    out.extend_from_slice(&letter.attempts.to_le_bytes());
    out.extend_from_slice(&len_u16(lane.len()).to_le_bytes());
    out.extend_from_slice(&len_u16(reason.len()).to_le_bytes());
    out.extend_from_slice(&len_u32(letter.record.len()).to_le_bytes());
    out.extend_from_slice(lane);
    out.extend_from_slice(reason);
    if sealed {
        // In the clear: a letter is found by it whether or not its key is there.
        out.extend_from_slice(&record::name(&letter.record, letter.id).to_bytes());
    }
    let record_at = out.len();
    if sealed {
        Sealer::begin(out);
    }
    out.extend_from_slice(&letter.record);
    if sealed {
        Sealer::end(out);
    }
    Ok(record_at)
}

/// Reads the payload of a dead-letter frame as far as it can be read without keys: an encrypted record is left out.
pub(super) fn without_keys(payload: &[u8], sealed: bool) -> Result<DeadLetter, FrameError> {
    let frame = LetterFrame::decode(payload, sealed)?;
    match &frame.record {
        LetterRecord::Plain(record) => frame.with(Bytes::copy_from_slice(record)),
        LetterRecord::Sealed { .. } => frame.with(Bytes::new()),
    }
}

/// The payload of a dead-letter frame, below the checksum. Nothing is copied or decrypted yet.
pub(super) struct LetterFrame<'a> {
    id: EventId,
    at: Timestamp,
    attempts: u16,
    lane: &'a str,
    reason: &'a str,
    record: LetterRecord<'a>,
}

enum LetterRecord<'a> {
    Plain(&'a [u8]),
    Sealed { name: EventId, part: SealedPart<'a> },
}

impl<'a> LetterFrame<'a> {
    /// Reads a payload; `sealed` says whether its record is encrypted.
    pub(super) fn decode(payload: &'a [u8], sealed: bool) -> Result<Self, FrameError> {
        let mut input = PayloadReader::new(payload);
        let id = EventId::from_bytes(input.array()?);
        let at = Timestamp::from_millis(input.u64()?);
        let attempts = input.u16()?;
        let lane_bytes = usize::from(input.u16()?);
        let reason_bytes = usize::from(input.u16()?);
        let record_bytes = input.u32()? as usize;
        let (lane, reason) = (input.text(lane_bytes)?, input.text(reason_bytes)?);
        let name = if sealed { Some(EventId::from_bytes(input.array()?)) } else { None };
        let rest = input.rest();
        let extra = if sealed { SEALED_EXTRA_BYTES } else { 0 };
        // A payload with a correct sum and another form is of another version or a defect: not to be guessed at.
        if rest.len() != record_bytes.saturating_add(extra) {
            return Err(FrameError::Payload("record has another length"));
        }
        let record = match name {
            Some(name) => {
                LetterRecord::Sealed { name, part: SealedPart::split(payload, payload.len() - rest.len())? }
            }
            None => LetterRecord::Plain(rest),
        };
        Ok(Self { id, at, attempts, lane, reason, record })
    }

    /// The id by which the letter's event is known.
    pub(super) fn name(&self) -> EventId {
        match &self.record {
            LetterRecord::Plain(record) => record::name(record, self.id),
            LetterRecord::Sealed { name, .. } => *name,
        }
    }

    /// The key that its record needs; `None` when that is not encrypted.
    pub(super) fn key(&self) -> Option<KeyId> {
        match &self.record {
            LetterRecord::Plain(_) => None,
            LetterRecord::Sealed { part, .. } => Some(part.key()),
        }
    }

    /// The letter, with its record.
    pub(super) fn letter(&self, opener: Opener<'_>) -> Result<DeadLetter, FrameError> {
        let record = match &self.record {
            LetterRecord::Plain(record) => Bytes::copy_from_slice(record),
            LetterRecord::Sealed { part, .. } => part.open(opener)?.into(),
        };
        self.with(record)
    }

    fn with(&self, record: Bytes) -> Result<DeadLetter, FrameError> {
        let lane = LaneKey::new(self.lane).map_err(|_| FrameError::Payload("not a lane key"))?;
        let (reason, Self { id, at, attempts, .. }) = (self.reason.to_owned(), self);
        Ok(DeadLetter { id: *id, lane, at: *at, attempts: *attempts, reason, record })
    }
}
