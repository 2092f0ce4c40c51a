//! One end in its kept form: see the head of the room.
//!
//! Must not know: files.

use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey, Reason, Tries, Why};
use crate::store::embedded::ids::{self, Home};
use crate::store::embedded::journal::{Position, Settled, What};

/// Bytes of one end in a file, without its place in the order of ids.
pub(in crate::store::embedded) const RECORD_BYTES: usize = 29;
/// Bytes under the sum.
const SUMMED_BYTES: usize = RECORD_BYTES - 3;
/// The sum's bits that are kept.
const SUM_MASK: u32 = 0x00ff_ffff;

/// An entry that a settlement has ended, as the index met it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::embedded) struct Ended {
    pub lane: LaneKey,
    pub block: Position,
    pub accepted_ms: u64,
    pub settled: Settled,
    /// The tries on record before its end; `None` when they are not known any more.
    pub tries: Option<Tries>,
}

impl Ended {
    pub(super) fn home(&self) -> Home {
        Home { block: self.block, index: self.settled.index }
    }

    /// Why it ended, as far as that is on record.
    fn why(&self) -> Why {
        let reason = match self.settled.what {
            What::Delivered | What::Reschedule { .. } => Reason::Delivered,
            What::Dead => Reason::Other,
            What::Expired => Reason::Expired,
            What::Drained => Reason::Drained,
            What::Cancelled => Reason::Cancelled,
            What::Lost => Reason::Lost,
        };
        self.settled.why.unwrap_or(Why { reason, status: None, limited: None })
    }

    /// The attempts that counted, the last one included.
    fn attempts(&self) -> Option<u16> {
        self.tries.map(|before| crate::store::ends::attempts(before, &self.why()))
    }
}

/// One end as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeptRecord {
    pub home: Home,
    pub accepted_ms: u64,
    pub ended_ms: u64,
    pub why: Why,
    pub attempts: Option<u16>,
    /// The number of the policies' names; 0 when it is not known.
    pub policies: u16,
}

impl KeptRecord {
    pub(super) fn of(ended: &Ended, ended_ms: u64, policies: u16) -> Self {
        Self {
            home: ended.home(),
            accepted_ms: ended.accepted_ms,
            ended_ms,
            why: ended.why(),
            attempts: ended.attempts(),
            policies,
        }
    }

    pub(super) fn id(&self, salt: u64) -> EventId {
        ids::encode(self.accepted_ms, self.home, salt)
    }

    pub(super) fn ended_at(&self) -> Timestamp {
        Timestamp::from_millis(self.ended_ms)
    }

    pub(super) fn key(&self) -> u64 {
        key(self.home)
    }

    pub(super) fn encode(&self, log: u64, number: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let [r0, r1, s0, s1, kind, place] = self.why.to_bytes();
        let status = u32::from(u16::from_le_bytes([s0, s1]).min(0x3ff));
        // 0 stands for unknown, so that one more is kept.
        let attempts = self.attempts.map_or(0, |attempts| u32::from(attempts.min(0x3ff)) + 1);
        let facts = status | (attempts << 10) | (u32::from(kind & 7) << 21);
        out.extend_from_slice(low(&self.accepted_ms.to_le_bytes(), 6));
        out.extend_from_slice(low(&self.home.block.segment.to_le_bytes(), 3));
        out.extend_from_slice(low(&(self.home.block.offset / 8).to_le_bytes(), 3));
        out.push(self.home.index);
        let took = self.ended_ms.saturating_sub(self.accepted_ms).min((1 << 40) - 1);
        out.extend_from_slice(low(&took.to_le_bytes(), 5));
        out.extend_from_slice(&[r0, r1]);
        out.extend_from_slice(low(&facts.to_le_bytes(), 3));
        out.push(place);
        out.extend_from_slice(&self.policies.to_le_bytes());
        let sum = sum(out.get(start..).unwrap_or_default(), log, number);
        out.extend_from_slice(low(&sum.to_le_bytes(), 3));
        debug_assert_eq!(out.len() - start, RECORD_BYTES);
    }

    /// Takes it back; `None` when the sum says that it is none, or not that of this place.
    pub(super) fn decode(bytes: &[u8], log: u64, number: u64) -> Option<Self> {
        let (summed, rest) = bytes.split_at_checked(SUMMED_BYTES)?;
        if number_of(rest)? != u64::from(sum(summed, log, number)) {
            return None;
        }
        let (accepted_ms, rest) = take(summed, 6)?;
        let (segment, rest) = take(rest, 3)?;
        let (offset, rest) = take(rest, 3)?;
        let (index, rest) = rest.split_first()?;
        let (took, rest) = take(rest, 5)?;
        let (reason, rest) = rest.split_first_chunk::<2>()?;
        let (facts, rest) = take(rest, 3)?;
        let (place, rest) = rest.split_first()?;
        let policies = u16::from_le_bytes(*rest.first_chunk()?);
        let status = u16::try_from(facts & 0x3ff).ok()?;
        let attempts = u16::try_from((facts >> 10) & 0x7ff).ok()?.checked_sub(1);
        let kind = u8::try_from(facts >> 21).ok()?;
        let [r0, r1] = *reason;
        let [s0, s1] = status.to_le_bytes();
        // A reason of a newer version: that it ended is known all the same.
        let unknown = Why { reason: Reason::Other, status: (status != 0).then_some(status), limited: None };
        let why = Why::from_bytes([r0, r1, s0, s1, kind, *place]).unwrap_or(unknown);
        let block =
            Position { segment: u32::try_from(segment).ok()?, offset: u32::try_from(offset).ok()? * 8 };
        Some(Self {
            home: Home { block, index: *index },
            accepted_ms,
            ended_ms: accepted_ms + took,
            why,
            attempts,
            policies,
        })
    }

    /// The key alone, of a record whose sum was checked or is not needed: a wrong one finds nothing.
    pub(super) fn key_of(bytes: &[u8]) -> Option<u64> {
        let (segment, rest) = take(bytes.get(6..)?, 3)?;
        let (offset, rest) = take(rest, 3)?;
        Some((segment << 31) | (offset << 8) | u64::from(*rest.first()?))
    }
}

/// Orders entries by their places, which are used once.
pub(super) fn key(home: Home) -> u64 {
    (u64::from(home.block.segment) << 31) | (u64::from(home.block.offset / 8) << 8) | u64::from(home.index)
}

/// The sum binds a record to its log and its number: one that was copied elsewhere is none.
fn sum(summed: &[u8], log: u64, number: u64) -> u32 {
    let crc = crc32c::crc32c(summed);
    let crc = crc32c::crc32c_append(crc, &log.to_le_bytes());
    crc32c::crc32c_append(crc, &number.to_le_bytes()) & SUM_MASK
}

fn low(bytes: &[u8], count: usize) -> &[u8] {
    bytes.get(..count).unwrap_or_default()
}

fn take(bytes: &[u8], count: usize) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_at_checked(count)?;
    Some((number_of(number)?, rest))
}

fn number_of(bytes: &[u8]) -> Option<u64> {
    let mut whole = [0; 8];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Limited;

    #[test]
    fn a_record_comes_back_and_every_flipped_bit_is_seen() {
        let home = Home { block: Position { segment: (1 << 24) - 1, offset: (1 << 26) - 8 }, index: 255 };
        let limited = Limited::by(Some(3), "window");
        let record = KeptRecord {
            home,
            accepted_ms: 1_700_000_000_123,
            ended_ms: 1_700_000_900_000,
            why: Why { reason: Reason::Capped, status: Some(503), limited },
            attempts: Some(1000),
            policies: 7,
        };
        let unknown = KeptRecord { attempts: None, why: Why::DELIVERED, policies: 0, ..record };
        for record in [record, unknown] {
            let mut bytes = Vec::new();
            record.encode(9, 12, &mut bytes);
            assert_eq!(bytes.len(), RECORD_BYTES);
            assert_eq!(KeptRecord::decode(&bytes, 9, 12), Some(record));
            assert_eq!(KeptRecord::key_of(&bytes), Some(record.key()));
            assert_eq!(KeptRecord::decode(&bytes, 9, 13), None, "at another place");
            assert_eq!(KeptRecord::decode(&bytes, 8, 12), None, "in another log");
            for bit in 0..RECORD_BYTES * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(KeptRecord::decode(&flipped, 9, 12), None, "bit {bit}");
            }
        }
        // Written by this version; must mean the same for ever.
        let mut bytes = Vec::new();
        record.encode(9, 12, &mut bytes);
        assert_eq!(
            bytes.get(..13),
            Some(&[123, 104, 229, 207, 139, 1, 255, 255, 255, 255, 255, 127, 255][..])
        );
        assert_eq!(KeptRecord::decode(&[0; RECORD_BYTES], 9, 12), None, "an end of zeros");
    }

    #[test]
    fn attempts_count_the_last_call_where_there_was_one() {
        let of = |reason, limited, tries| {
            let why = Some(Why { reason, status: None, limited });
            let settled = Settled { index: 0, from_due_ms: None, what: What::Dead, why };
            let lane = LaneKey::new("a").expect("a key");
            Ended { lane, block: Position::default(), accepted_ms: 1, settled, tries }.attempts()
        };
        assert_eq!(of(Reason::Status(404), None, Some(Tries::of(2))), Some(3));
        assert_eq!(of(Reason::Timeout, None, Some(Tries::NONE)), Some(1));
        assert_eq!(of(Reason::Cancelled, None, Some(Tries::of(2))), Some(2));
        assert_eq!(of(Reason::OverPace, Limited::by(None, "pace"), Some(Tries::NONE)), Some(0));
        assert_eq!(of(Reason::Delivered, None, None), None);
    }
}
