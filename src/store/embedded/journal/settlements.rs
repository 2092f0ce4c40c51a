//! Settlements: what became of entries, grouped by the block in which they stand.

use super::Position;
use super::codec::{PayloadReader, len_u16};
use super::frame::FrameError;
use crate::clock::Timestamp;
use crate::event::{Settlement, Tries, Why};
use crate::telemetry::defect;

/// Bit 7 of what became of an entry: it was taken from a due place.
const FROM_DUE: u8 = 0x80;

/// What became of one entry; a dead letter's reason is in its own journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The endpoint has accepted it.
    Delivered,
    /// It lives on in a due place.
    Reschedule {
        /// The due time of its new place, Unix ms.
        due_ms: u64,
        /// The tries made so far, by kind.
        tries: Tries,
        /// When that was decided, if the clock was in doubt then; Unix ms.
        doubted_ms: Option<u64>,
    },
    /// Parked for a person; the letter was made durable before.
    Dead,
    /// It outlived its time, held or not.
    Expired,
    /// The drain window of its policy is over.
    Drained,
    /// It was dropped because somebody asked for that.
    Cancelled,
    /// Its bytes are damaged or gone, or an operator gave it up.
    Lost,
}

impl From<&Settlement> for What {
    fn from(settlement: &Settlement) -> Self {
        match settlement {
            Settlement::Delivered => Self::Delivered,
            Settlement::Reschedule { due_at, tries, doubted_at } => Self::Reschedule {
                due_ms: due_at.ceil_millis(),
                tries: *tries,
                doubted_ms: doubted_at.map(Timestamp::as_millis),
            },
            Settlement::Dead { .. } => Self::Dead,
            // Why it is over is kept beside it.
            Settlement::Expired | Settlement::ExpiredHeld => Self::Expired,
            Settlement::Drained => Self::Drained,
            Settlement::Cancelled => Self::Cancelled,
            Settlement::Lost => Self::Lost,
        }
    }
}

/// The settlement of one entry of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Index of the entry in its block.
    pub index: u8,
    /// The due place from which it was taken; `None` for its plain place.
    pub from_due_ms: Option<u64>,
    /// What became of the entry.
    pub what: What,
    /// Why it ended, where that is kept.
    pub why: Option<Why>,
}

/// Settlements of entries of one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledRun {
    /// The store's number for the lane.
    pub lane_no: u32,
    /// Where the frame of the block starts.
    pub block: Position,
    /// Settlements of its entries, at most 65535, in the order of decision.
    pub entries: Vec<Settled>,
}

/// Longest form of one entry, in bytes: a reschedule in doubt from a due place.
pub(super) const MAX_ENTRY_BYTES: usize = 28;
pub(super) const RUN_HEAD_BYTES: usize = 14;
/// Longest form of what is kept of one end, beside the entry.
pub(super) const WHY_BYTES: usize = 12;
/// In place of a number of a lane: the run says why entries of the block ended.
const WHY_LANE: u32 = u32::MAX;

/// Appends one run to a payload, and behind it why its entries ended, as far as that is to be kept.
pub(super) fn encode(run: &SettledRun, out: &mut Vec<u8>) {
    encode_run(run, out);
    // Of most ends there is nothing to tell: they are successes.
    let is_kept = |entry: &&Settled| entry.what != What::Delivered && entry.why.is_some();
    let entries: Vec<Settled> = run.entries.iter().filter(is_kept).map(told_as_reschedule).collect();
    if !entries.is_empty() {
        encode_run(&SettledRun { lane_no: WHY_LANE, block: run.block, entries }, out);
    }
}

/// In the form of a decision that ends nothing, in a lane that no version has: the form that versions pass over which do
/// not know it. See the head of the journal.
fn told_as_reschedule(entry: &Settled) -> Settled {
    let mut bytes = [0; 8];
    let why = entry.why.map(Why::to_bytes).unwrap_or_default();
    bytes.iter_mut().zip(why).for_each(|(to, from)| *to = from);
    let what =
        What::Reschedule { due_ms: u64::from_le_bytes(bytes), tries: Tries::from_bits(0), doubted_ms: None };
    Settled { index: entry.index, from_due_ms: None, what, why: None }
}

/// Takes it back; `None` for what a newer version has put there.
fn why_of(what: What) -> Option<Why> {
    let What::Reschedule { due_ms, .. } = what else { return None };
    let bytes = due_ms.to_le_bytes();
    Why::from_bytes(*bytes.first_chunk()?)
}

fn encode_run(run: &SettledRun, out: &mut Vec<u8>) {
    // A block has at most 256 entries; more than a u16 holds would be a caller settling entries twice.
    defect!(unless run.entries.len() <= usize::from(u16::MAX), "more settlements of a block than it has entries");
    // The count has 16 bits: a longer run would not decode, and its frame would be lost as damage.
    let entries = run.entries.get(..usize::from(u16::MAX)).unwrap_or(&run.entries);
    out.extend_from_slice(&run.lane_no.to_le_bytes());
    out.extend_from_slice(&run.block.segment.to_le_bytes());
    out.extend_from_slice(&run.block.offset.to_le_bytes());
    out.extend_from_slice(&len_u16(entries.len()).to_le_bytes());
    for entry in entries {
        let code = match entry.what {
            What::Delivered => 1,
            What::Reschedule { doubted_ms: None, .. } => 2,
            What::Reschedule { doubted_ms: Some(_), .. } => 8,
            What::Dead => 3,
            What::Expired => 4,
            What::Drained => 5,
            What::Cancelled => 6,
            What::Lost => 7,
        };
        let from = if entry.from_due_ms.is_some() { FROM_DUE } else { 0 };
        out.extend_from_slice(&[entry.index, code | from]);
        if let Some(due_ms) = entry.from_due_ms {
            out.extend_from_slice(&due_ms.to_le_bytes());
        }
        if let What::Reschedule { due_ms, tries, doubted_ms } = entry.what {
            out.extend_from_slice(&due_ms.to_le_bytes());
            out.extend_from_slice(&tries.to_bits().to_le_bytes());
            if let Some(doubted_ms) = doubted_ms {
                out.extend_from_slice(&doubted_ms.to_le_bytes());
            }
        }
    }
}

/// Walks the runs of a payload that `check` has passed.
#[derive(Clone)]
pub struct RunReader<'a>(PayloadReader<'a>);

impl<'a> RunReader<'a> {
    /// Walks a payload once to the end, so that later walks cannot meet an error half-way.
    pub(super) fn decode(payload: &'a [u8]) -> Result<Self, FrameError> {
        let mut input = PayloadReader::new(payload);
        while !input.is_empty() {
            run(&mut input)?;
        }
        Ok(Self(PayloadReader::new(payload)))
    }
}

impl Iterator for RunReader<'_> {
    type Item = SettledRun;

    fn next(&mut self) -> Option<SettledRun> {
        while !self.0.is_empty() {
            let read = run(&mut self.0).ok();
            defect!(unless read.is_some(), "settlements that were checked and do not decode");
            let mut read = read?;
            // What belongs to no run before it, as no version writes it, ends nothing.
            if read.lane_no == WHY_LANE {
                continue;
            }
            self.take_whys(&mut read);
            return Some(read);
        }
        None
    }
}

impl RunReader<'_> {
    /// Takes what stands behind a run about why its entries ended.
    fn take_whys(&mut self, of: &mut SettledRun) {
        let mut behind = self.0;
        let Some(whys) =
            run(&mut behind).ok().filter(|next| next.lane_no == WHY_LANE && next.block == of.block)
        else {
            return;
        };
        self.0 = behind;
        for told in whys.entries {
            // An entry may be settled twice in one run: what is kept is of its end.
            let ends = |entry: &&mut Settled| {
                entry.index == told.index && !matches!(entry.what, What::Reschedule { .. })
            };
            if let Some(entry) = of.entries.iter_mut().find(ends) {
                entry.why = why_of(told.what);
            }
        }
    }
}

fn run(input: &mut PayloadReader<'_>) -> Result<SettledRun, FrameError> {
    let lane_no = input.u32()?;
    let block = Position { segment: input.u32()?, offset: input.u32()? };
    let count = input.u16()?;
    // A damaged count must not reserve memory for what is not there.
    let mut entries = Vec::with_capacity(usize::from(count).min(256));
    for _ in 0..count {
        let index = input.u8()?;
        let code = input.u8()?;
        let from_due_ms = if code & FROM_DUE != 0 { Some(input.u64()?) } else { None };
        let what = match code & !FROM_DUE {
            1 => What::Delivered,
            code @ (2 | 8) => What::Reschedule {
                due_ms: input.u64()?,
                tries: Tries::from_bits(input.u16()?),
                doubted_ms: if code == 8 { Some(input.u64()?) } else { None },
            },
            3 => What::Dead,
            4 => What::Expired,
            5 => What::Drained,
            6 => What::Cancelled,
            7 => What::Lost,
            _ => return Err(FrameError::Payload("unknown settlement")),
        };
        entries.push(Settled { index, from_due_ms, what, why: None });
    }
    Ok(SettledRun { lane_no, block, entries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Limited, Reason};

    fn settled(index: u8, what: What, why: Option<Why>) -> Settled {
        Settled { index, from_due_ms: (index == 2).then_some(7), what, why }
    }

    fn why(reason: Reason) -> Option<Why> {
        Some(Why { reason, status: Some(503), limited: Limited::by(Some(1), "quota") })
    }

    #[test]
    fn why_entries_ended_comes_back_with_their_run_and_is_passed_over_without_it() {
        let block = |offset| Position { segment: 3, offset };
        let moved = What::Reschedule { due_ms: 9, tries: Tries::of(1), doubted_ms: None };
        let runs = [
            SettledRun {
                lane_no: 1,
                block: block(64),
                entries: vec![
                    settled(0, What::Delivered, None),
                    settled(2, What::Dead, why(Reason::ApiLimitExceeded)),
                    settled(1, moved, None),
                    settled(3, What::Expired, why(Reason::Held)),
                ],
            },
            SettledRun { lane_no: 2, block: block(64), entries: vec![settled(9, What::Drained, None)] },
        ];
        let mut payload = Vec::new();
        runs.iter().for_each(|run| encode(run, &mut payload));
        let most =
            runs.iter().map(|run| 2 * RUN_HEAD_BYTES + run.entries.len() * (MAX_ENTRY_BYTES + WHY_BYTES));
        assert!(payload.len() <= most.sum(), "the room that is asked for is enough");
        let read: Vec<SettledRun> = RunReader::decode(&payload).expect("decodes").collect();
        assert_eq!(read, runs);
        // As a version reads it that does not know such runs: a lane that nobody has, and no end.
        let mut input = PayloadReader::new(&payload);
        let plain: Vec<SettledRun> = std::iter::from_fn(|| run(&mut input).ok()).collect();
        assert_eq!(plain.len(), 3);
        let is_no_end = |entry: &Settled| matches!(entry.what, What::Reschedule { .. });
        assert!(plain[1].lane_no == u32::MAX && plain[1].entries.iter().all(is_no_end), "{plain:?}");
        // Written by this version; must mean the same for ever.
        let mut kept = Vec::new();
        let dead = settled(0, What::Dead, why(Reason::ApiLimitExceeded));
        encode(&SettledRun { lane_no: 1, block: block(64), entries: vec![dead] }, &mut kept);
        let place = [3, 0, 0, 0, 64, 0, 0, 0, 1, 0];
        let told = [0xef, 0x03, 0xf7, 0x01, 3, 1, 0, 0, 0, 0];
        let expected = [&[1, 0, 0, 0][..], &place, &[0, 3], &[0xff; 4], &place, &[0, 2], &told].concat();
        assert_eq!(kept, expected);
        // A success has nothing to tell, and a run alone is none.
        let mut short = Vec::new();
        let success = settled(0, What::Delivered, why(Reason::Delivered));
        encode(&SettledRun { lane_no: 1, block: block(64), entries: vec![success] }, &mut short);
        assert_eq!(short.len(), RUN_HEAD_BYTES + 2);
        let mut alone = Vec::new();
        encode_run(
            &SettledRun { lane_no: WHY_LANE, block: block(64), entries: vec![settled(0, moved, None)] },
            &mut alone,
        );
        assert_eq!(RunReader::decode(&alone).expect("decodes").count(), 0);
    }
}
