//! How the most recent events ended, for questions about one of them. The store knows only that they ended.
//!
//! Must not know: the store, lanes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{EventId, Settlement};
use crate::telemetry::defect;

/// How many ends are remembered: about 4 MB.
const REMEMBERED: usize = 65_536;

/// How an event ended, as far as the API tells the ends apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its endpoint has accepted the call.
    Delivered,
    /// Parked for a person, as a dead letter.
    Dead,
    /// It outlived its time, and nothing held its lane by doubt.
    Expired,
    /// It outlived its time while a doubt held its lane.
    ExpiredHeld,
    /// Dropped with its drained policy, whose time to drain was over.
    Drained,
    /// Dropped on request, by a purge.
    Cancelled,
    /// Damaged on the disk, or given up by an operator.
    Lost,
}

impl End {
    /// The end that a settlement makes, if it makes one.
    #[must_use]
    pub(crate) const fn of(settlement: &Settlement) -> Option<Self> {
        match settlement {
            Settlement::Reschedule { .. } => None,
            Settlement::Delivered => Some(Self::Delivered),
            Settlement::Dead { .. } => Some(Self::Dead),
            Settlement::Expired => Some(Self::Expired),
            Settlement::ExpiredHeld => Some(Self::ExpiredHeld),
            Settlement::Drained => Some(Self::Drained),
            Settlement::Cancelled => Some(Self::Cancelled),
            Settlement::Lost => Some(Self::Lost),
        }
    }

    /// The word that the API and the metrics use.
    #[must_use]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Expired | Self::ExpiredHeld => "expired",
            Self::Drained => "config_drained",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    /// Why it ended so, where the word leaves that open: `held`.
    #[must_use]
    pub(crate) const fn cause(self) -> Option<&'static str> {
        match self {
            Self::ExpiredHeld => Some("held"),
            _ => None,
        }
    }
}

/// The last ends, shared by those who note them and those who are asked.
#[derive(Clone, Default)]
pub(super) struct RecentEnds(Arc<Mutex<Ends>>);

impl RecentEnds {
    /// Remembers how an entry ended, if it did.
    pub(super) fn note(&self, id: EventId, settlement: &Settlement) {
        if let Some(end) = End::of(settlement) {
            self.lock().note(id, end);
        }
    }

    /// How an event ended, if that is not too long ago.
    pub(super) fn of(&self, id: EventId) -> Option<End> {
        self.lock().of(id)
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last ends, oldest first out.
#[derive(Default)]
struct Ends {
    by_id: HashMap<EventId, End>,
    order: VecDeque<EventId>,
}

impl Ends {
    fn note(&mut self, id: EventId, end: End) {
        // Noted before: its place in the order stays, so that both hold the same ids.
        if self.by_id.insert(id, end).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        defect!(unless self.by_id.len() == self.order.len(), "ends that are out of step with their order");
    }

    fn of(&self, id: EventId) -> Option<End> {
        self.by_id.get(&id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_end_is_forgotten_first_and_memory_is_bounded() {
        let mut ends = Ends::default();
        let id = |n: usize| EventId::new(1, n as u128);
        for n in 0..=REMEMBERED {
            ends.note(id(n), End::Expired);
            ends.note(id(n), End::Delivered);
        }
        assert_eq!(ends.of(id(0)), None);
        assert_eq!(ends.of(id(1)), Some(End::Delivered));
        assert_eq!((ends.by_id.len(), ends.order.len()), (REMEMBERED, REMEMBERED));
    }
}
