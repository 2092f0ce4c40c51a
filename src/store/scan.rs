//! Walks over everything that is owed an end, in steps.
//!
//! Must not know: who looks, and for what.

use std::fmt;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::LaneKey;
use crate::store::{ReadLimit, StoredEntry};

/// A place in a walk: opaque, and good for as long as the store keeps its entries, over restarts too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanPlace(pub(in crate::store) u128);

impl ScanPlace {
    /// As a number, for those who carry it around.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        self.0
    }

    /// Takes it back. Any number is taken: one that leads nowhere is a place between two others.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }
}

/// Which lanes a walk is about.
#[derive(Clone)]
pub struct LanePick(Arc<dyn Fn(&LaneKey) -> bool + Send + Sync>);

impl LanePick {
    /// Those for which `is_meant` holds.
    #[must_use]
    pub fn new(is_meant: impl Fn(&LaneKey) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_meant))
    }

    /// Whether a lane is one of them.
    #[must_use]
    pub fn has(&self, lane: &LaneKey) -> bool {
        (self.0)(lane)
    }
}

impl fmt::Debug for LanePick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LanePick")
    }
}

/// One step of a walk.
#[derive(Debug, Clone)]
pub struct Scan {
    /// It begins behind this place; at the beginning without one.
    pub after: Option<ScanPlace>,
    /// Other lanes are passed over.
    pub lanes: LanePick,
    /// What was accepted before is passed over, as far as the store can tell without reading it.
    pub accepted_from: Timestamp,
    /// The most entries and bytes of the step.
    pub limit: ReadLimit,
}

/// An entry that a walk has come by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Behind which the walk goes on.
    pub place: ScanPlace,
    /// The lane in which it stands.
    pub lane: LaneKey,
    /// The entry as it stands now.
    pub entry: StoredEntry,
}

/// What a step brought. It may be empty although there is more: a step is bounded by what it passes over, too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScanPage {
    /// In the order of the walk.
    pub entries: Vec<Scanned>,
    /// Where to go on; `None` at the end of the walk.
    pub next: Option<ScanPlace>,
    /// Entries that were passed over because they cannot be read at present.
    pub unread: u64,
}
