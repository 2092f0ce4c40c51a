//! Which damaged blocks were met, so that each counts once, however often it is met again before the index has
//! forgotten its entries.
//!
//! Must not know: how damage is found, what becomes of it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::store::journal::Position;

/// Entries of a block are met in plain order and in due order, apart from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Plain,
    PutOff,
}

/// What is new about a damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct News {
    pub block: bool,
    pub part: bool,
}

/// Grows with the damaged blocks alone.
#[derive(Default)]
pub(super) struct DamagedBlocks(Mutex<HashMap<Position, [bool; 2]>>);

impl DamagedBlocks {
    pub(super) fn note(&self, at: Position, part: Part) -> News {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = met.contains_key(&at);
        let [plain, put_off] = met.entry(at).or_default();
        let part = match part {
            Part::Plain => plain,
            Part::PutOff => put_off,
        };
        News { block: !known, part: !std::mem::replace(part, true) }
    }
}
