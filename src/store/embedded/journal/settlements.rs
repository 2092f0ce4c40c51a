//! Settlements: what became of entries, grouped by the block in which they stand.

use super::Position;
use super::codec::{PayloadReader, len_u16};
use super::frame::FrameError;
use crate::clock::Timestamp;
use crate::event::{Settlement, Tries};
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
            // The journal keeps that it is over, not why.
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

/// Appends one run to a payload.
pub(super) fn encode(run: &SettledRun, out: &mut Vec<u8>) {
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

/// Walks the runs of a payload that [`check`] has passed.
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
        if self.0.is_empty() {
            return None;
        }
        let run = run(&mut self.0).ok();
        defect!(unless run.is_some(), "settlements that were checked and do not decode");
        run
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
        entries.push(Settled { index, from_due_ms, what });
    }
    Ok(SettledRun { lane_no, block, entries })
}
