//! The payload of a dead letter: the entry as a whole, so that its segment can go.

use bytes::Bytes;

use super::codec::{PayloadReader, len_u16, len_u32};
use super::frame::FrameError;
use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey};
use crate::store::{DeadLetter, MAX_RECORD_BYTES, StoreError, record};

/// Longest reason that is kept: a fact for people, cut at a character.
const MAX_REASON_BYTES: usize = 1024;

/// Appends the payload of `letter` to `out`.
pub(super) fn encode(letter: &DeadLetter, out: &mut Vec<u8>) -> Result<(), StoreError> {
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
    out.extend_from_slice(&letter.record);
    Ok(())
}

/// The id by which the letter's event is known, without a copy of the record.
pub(super) fn name(payload: &[u8]) -> Result<EventId, FrameError> {
    let mut input = PayloadReader::new(payload);
    let id = EventId::from_bytes(input.array()?);
    // The moment and the attempts.
    input.take(10)?;
    let words = usize::from(input.u16()?) + usize::from(input.u16()?);
    let record_bytes = input.u32()? as usize;
    input.take(words)?;
    Ok(record::name(input.take(record_bytes)?, id))
}

/// Reads the payload of a dead-letter frame. Below the checksum.
pub(super) fn decode(payload: &[u8]) -> Result<DeadLetter, FrameError> {
    let mut input = PayloadReader::new(payload);
    let id = EventId::from_bytes(input.array()?);
    let at = Timestamp::from_millis(input.u64()?);
    let attempts = input.u16()?;
    let lane_bytes = usize::from(input.u16()?);
    let reason_bytes = usize::from(input.u16()?);
    let record_bytes = input.u32()? as usize;
    let lane = LaneKey::new(input.text(lane_bytes)?).map_err(|_| FrameError::Payload("not a lane key"))?;
    let reason = input.text(reason_bytes)?.to_owned();
    let record = Bytes::copy_from_slice(input.take(record_bytes)?);
    // A payload with a correct sum and a longer form is of another version or a defect: not to be guessed at.
    if !input.is_empty() {
        return Err(FrameError::Payload("trailing bytes"));
    }
    Ok(DeadLetter { id, lane, at, attempts, reason, record })
}
