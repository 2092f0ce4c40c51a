//! Giving up: what an operator has decided is settled as lost, from the rows of the index alone.
//!
//! Must not know: why it cannot be sent.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use super::commit::PlacedSettlement;
use super::fetch::{BlockFetcher, Unreadable};
use super::ids::{self, Home};
use super::lost::{LossSettler, decision};
use super::reads::Reads;
use super::shared::Shared;
use super::unread;
use crate::event::{EventId, LaneKey};
use crate::store::embedded::journal::Position;
use crate::store::{GiveUp, Owner, StoreError};

/// Settlements that are in memory at a time: a lane may owe millions.
const AT_ONCE: usize = 65_536;

/// One decision of an operator that is carried out.
pub(super) struct GivingUp<'s> {
    shared: &'s Shared,
    fetcher: BlockFetcher<'s>,
    losses: LossSettler<'s>,
    /// In somebody's hands: these are not given up.
    handed_out: HashSet<Home>,
}

impl<'s> GivingUp<'s> {
    pub(super) fn new(reads: &'s Reads, handed_out: &HashSet<EventId>) -> Self {
        Self {
            shared: &reads.shared,
            fetcher: reads.fetcher(),
            losses: reads.losses(),
            handed_out: ids::homes(handed_out, reads.shared.salt),
        }
    }

    /// How many entries were settled as lost.
    pub(super) fn settle(&self, owner: Owner, what: &GiveUp) -> Result<u64, StoreError> {
        self.shared.owner.check(owner)?;
        let given_up = match what {
            GiveUp::Lane(lane) => self.give_up_lane(lane),
            GiveUp::Unread { subject, at_most } => match unread::segment_of(subject) {
                Some(segment) => self.give_up_unread(segment, *at_most),
                None => Ok(0),
            },
        };
        self.fetcher.end_settled_doubts();
        given_up
    }

    fn give_up_lane(&self, lane: &LaneKey) -> Result<u64, StoreError> {
        let Some(lane) = self.shared.lanes.number(lane) else { return Ok(0) };
        let mut last = None;
        let walked = self.shared.reader.ready(lane, Position::default(), |at, _| {
            last = last.max(Some(at));
            ControlFlow::Continue(())
        });
        walked.map_err(|error| self.shared.index_error(&error))?;
        let walked = self.shared.reader.due(lane, |due, _| {
            last = last.max(Some(due.block));
            ControlFlow::Continue(())
        });
        walked.map_err(|error| self.shared.index_error(&error))?;
        // Blocks behind it were accepted after the call.
        let Some(last) = last else { return Ok(0) };
        let mut given_up = 0;
        loop {
            let owed = self.owed(lane, last)?;
            if owed.is_empty() {
                return Ok(given_up);
            }
            // Durable and applied on return: the next round no longer finds these rows.
            self.losses.settle(&owed)?;
            given_up += owed.len() as u64;
        }
    }

    /// Some of what a lane owes in blocks up to `last`.
    fn owed(&self, lane: u32, last: Position) -> Result<Vec<PlacedSettlement>, StoreError> {
        let mut owed = Vec::new();
        let walked = self.shared.reader.ready(lane, Position::default(), |at, row| {
            if at > last || owed.len() >= AT_ONCE {
                return ControlFlow::Break(());
            }
            let homes = (0..=u8::MAX).map(|index| Home { block: at, index });
            let meant = homes.filter(|home| row.is_ready(home.index) && !self.handed_out.contains(home));
            owed.extend(meant.map(|home| decision(lane, home, None)));
            ControlFlow::Continue(())
        });
        walked.map_err(|error| self.shared.index_error(&error))?;
        let walked = self.shared.reader.due(lane, |due, _| {
            if owed.len() >= AT_ONCE {
                return ControlFlow::Break(());
            }
            let home = Home { block: due.block, index: due.index };
            if due.block <= last && !self.handed_out.contains(&home) {
                owed.push(decision(lane, home, Some(due.due_ms)));
            }
            ControlFlow::Continue(())
        });
        walked.map_err(|error| self.shared.index_error(&error))?;
        Ok(owed)
    }

    /// Tries every block of the segment that holds something, and gives up those that the system does not let be read.
    /// Each that fails is counted in the doubt, so that it concerns all of them when they are more than `at_most`
    /// entries.
    fn give_up_unread(&self, segment: u32, at_most: u64) -> Result<u64, StoreError> {
        let mut unread: BTreeMap<u32, HashSet<Position>> = BTreeMap::new();
        let mut after = Position { segment, offset: 0 };
        loop {
            let found = self.shared.reader.blocks_after(after, AT_ONCE);
            let found = found.map_err(|error| self.shared.index_error(&error))?;
            let Some((last, _)) = found.last().copied() else { break };
            for (at, lane) in found.into_iter().filter(|(at, _)| at.segment == segment) {
                // Damage is nothing to decide about: the next read settles it.
                if let Err(Unreadable::Failed(_)) = self.fetcher.block(lane, at) {
                    unread.entry(lane).or_default().insert(at);
                }
            }
            if last.segment > segment {
                break;
            }
            after = last;
        }
        let blocks = || unread.values().flatten();
        // Closed before the rows are read: an entry that is handed out from here on would be settled as lost as well.
        blocks().for_each(|at| self.shared.damaged.close(*at));
        let given_up = self.settle_unread(&unread, at_most);
        blocks().for_each(|at| self.shared.damaged.lift(*at));
        given_up
    }

    fn settle_unread(
        &self,
        unread: &BTreeMap<u32, HashSet<Position>>,
        at_most: u64,
    ) -> Result<u64, StoreError> {
        let mut owed = Vec::new();
        for (lane, blocks) in unread {
            let is_meant = |home: &Home| blocks.contains(&home.block) && !self.handed_out.contains(home);
            owed.extend(self.losses.put_off(*lane, |_, home| is_meant(home))?);
            for at in blocks {
                let row =
                    self.shared.reader.block(*lane, *at).map_err(|error| self.shared.index_error(&error))?;
                let homes = (0..=u8::MAX).map(|index| Home { block: *at, index });
                let ready = homes.filter(|home| row.is_some_and(|row| row.is_ready(home.index)));
                owed.extend(ready.filter(is_meant).map(|home| decision(*lane, home, None)));
            }
        }
        let given_up = owed.len() as u64;
        // Counted before anything is settled: the operator has confirmed a number, not whatever it may be.
        if given_up > at_most {
            return Err(StoreError::WrongCount { found: given_up, confirmed: at_most });
        }
        self.losses.settle(&owed)?;
        Ok(given_up)
    }
}
