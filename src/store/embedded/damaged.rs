//! Which blocks are known to be damaged, and how far each lane was handed out: decides together, under one lock, that
//! an entry is either handed out or lost, never both.
//!
//! Reads announce here that they hand out entries of a block. The scrub, which finds damage without having been asked
//! for entries, declares the block first and then leaves alone what may have been handed out since the store was
//! opened.
//!
//! Must not know: how damage is found, what becomes of entries.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ids::Home;
use crate::store::embedded::journal::Position;

/// Grows with the damaged blocks and the lanes that hold something.
#[derive(Default)]
pub(super) struct DamagedBlocks(Mutex<DamageTable>);

#[derive(Default)]
struct DamageTable {
    /// Why each cannot be read; `None` while an operator gives it up.
    blocks: HashMap<Position, Option<String>>,
    handed_out: HashMap<u32, HandedOut>,
    /// Lanes beyond this number are searched for forgotten ones.
    prune_at: usize,
}

/// How far a lane was handed out since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct HandedOut {
    /// The last entry in plain order.
    plain: Option<Home>,
    /// The latest due time of an entry that was put off, Unix ms.
    due_ms: Option<u64>,
}

impl HandedOut {
    pub(super) fn may_have_plain(&self, home: Home) -> bool {
        self.plain.is_some_and(|last| home <= last)
    }

    pub(super) fn may_have_due(&self, due_ms: u64) -> bool {
        self.due_ms.is_some_and(|last| due_ms <= last)
    }
}

/// Lanes whose marks are kept without asking whether they still exist.
const FEW_LANES: usize = 1024;

impl DamagedBlocks {
    fn lock(&self) -> MutexGuard<'_, DamageTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Declares a block damaged: nothing of it is handed out any more. Whether that is news.
    pub(super) fn declare(&self, at: Position, reason: String) -> bool {
        self.lock().blocks.insert(at, Some(reason)).is_none()
    }

    /// Nothing of the block is handed out until [`DamagedBlocks::lift`], because an operator gives it up.
    pub(super) fn close(&self, at: Position) {
        self.lock().blocks.entry(at).or_default();
    }

    /// Ends a [`DamagedBlocks::close`]: the block is read again for what is left of it.
    pub(super) fn lift(&self, at: Position) {
        let mut table = self.lock();
        // Declared damaged meanwhile, it stays closed.
        if table.blocks.get(&at).is_some_and(Option::is_none) {
            table.blocks.remove(&at);
        }
    }

    pub(super) fn is_closed(&self, at: Position) -> bool {
        self.lock().blocks.contains_key(&at)
    }

    /// Why a block is damaged, if it is.
    pub(super) fn reason(&self, at: Position) -> Option<String> {
        self.lock().blocks.get(&at).cloned().flatten()
    }

    /// Asks to hand out entries of a lane's plain order up to `last`. False when their block is damaged.
    pub(super) fn hand_out(&self, lane: u32, last: Home, exists: impl Fn(u32) -> bool) -> bool {
        let mut table = self.lock();
        // Asked and noted under one lock: a declaration that comes later sees this entry as handed out.
        if table.blocks.contains_key(&last.block) {
            return false;
        }
        let mark = table.mark(lane, exists);
        mark.plain = mark.plain.max(Some(last));
        true
    }

    /// Asks to hand out an entry that was put off until `due_ms`. False when its block is damaged.
    pub(super) fn hand_out_due(
        &self,
        lane: u32,
        block: Position,
        due_ms: u64,
        exists: impl Fn(u32) -> bool,
    ) -> bool {
        let mut table = self.lock();
        if table.blocks.contains_key(&block) {
            return false;
        }
        let mark = table.mark(lane, exists);
        mark.due_ms = mark.due_ms.max(Some(due_ms));
        true
    }

    /// How far a lane was handed out. To be asked after the block was declared.
    pub(super) fn handed_out(&self, lane: u32) -> HandedOut {
        self.lock().handed_out.get(&lane).copied().unwrap_or_default()
    }
}

impl DamageTable {
    fn mark(&mut self, lane: u32, exists: impl Fn(u32) -> bool) -> &mut HandedOut {
        if self.handed_out.len() > self.prune_at.max(FEW_LANES) {
            // Numbers of lanes that became empty are not used again.
            self.handed_out.retain(|lane, _| exists(*lane));
            // Doubled: the search then costs a constant for each new lane.
            self.prune_at = 2 * self.handed_out.len();
        }
        self.handed_out.entry(lane).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn home(offset: u32, index: u8) -> Home {
        Home { block: Position { segment: 1, offset }, index }
    }

    #[test]
    fn an_entry_is_handed_out_or_its_block_is_closed() {
        let blocks = DamagedBlocks::default();
        assert!(blocks.hand_out(7, home(64, 3), |_| true));
        assert!(blocks.hand_out_due(7, home(64, 0).block, 500, |_| true));
        assert!(blocks.declare(home(64, 0).block, "sum".to_owned()));
        assert!(!blocks.declare(home(64, 0).block, "sum".to_owned()), "once");
        assert!(!blocks.hand_out(7, home(64, 9), |_| true) && blocks.hand_out(7, home(128, 0), |_| true));
        let out = blocks.handed_out(7);
        assert!(out.may_have_plain(home(128, 0)) && !out.may_have_plain(home(128, 1)));
        assert!(out.may_have_due(500) && !out.may_have_due(501));
        assert_eq!(blocks.handed_out(8), HandedOut::default());
        blocks.close(home(256, 0).block);
        assert!(!blocks.hand_out(7, home(256, 0), |_| true));
        blocks.lift(home(256, 0).block);
        assert!(blocks.hand_out(7, home(256, 0), |_| true));
        blocks.lift(home(64, 0).block);
        assert!(blocks.is_closed(home(64, 0).block), "damage stays");
    }

    #[test]
    fn marks_of_lanes_that_are_gone_do_not_pile_up() {
        let blocks = DamagedBlocks::default();
        for lane in 0..20_000 {
            blocks.hand_out(lane, home(64, 0), |other| other + 10 > lane);
        }
        assert!(blocks.lock().handed_out.len() <= FEW_LANES + 1);
    }
}
