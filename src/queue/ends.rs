//! How and why the most recent events ended, for questions about one of them. Of older ends the store knows why.
//!
//! Must not know: the store, lanes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{EventId, LaneKey, Reason, Settlement, Why};
use crate::store::{KeptEnd, SettleRequest};
use crate::telemetry::defect;

/// How many ends are remembered: about 6 MB, and as many last answers in 3 MB.
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

    /// The end that goes with a reason: what none of the others is, parks the event.
    const fn because(reason: Reason) -> Self {
        match reason {
            Reason::Delivered => Self::Delivered,
            Reason::Expired => Self::Expired,
            Reason::Held => Self::ExpiredHeld,
            Reason::Drained => Self::Drained,
            Reason::Cancelled => Self::Cancelled,
            Reason::Lost => Self::Lost,
            _ => Self::Dead,
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

/// An end that is known, with why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownEnd {
    /// The kind of end that it came to.
    pub end: End,
    /// The reason with the facts that were kept of it.
    pub why: Why,
    /// The lane in which it stood, where that is known: it names the policy by which it was turned away.
    pub lane: Option<LaneKey>,
}

impl KnownEnd {
    /// From what a store keeps.
    pub(super) fn of_store(KeptEnd { lane, why }: KeptEnd) -> Self {
        Self { end: End::because(why.reason), why, lane }
    }
}

/// The last ends, shared by those who note them and those who are asked.
#[derive(Clone, Default)]
pub(super) struct RecentEnds(Arc<Mutex<Ends>>);

impl RecentEnds {
    /// Remembers how an entry ends, if it does.
    pub(super) fn note(&self, settle: &SettleRequest) {
        if let (Some(end), Some(why)) = (End::of(&settle.settlement), settle.why) {
            // Most ends name no policy.
            let lane = why.limited.map(|_| settle.lane.clone());
            self.lock().note(settle.id, KnownEnd { end, why, lane });
        }
    }

    /// How an event ended, if that is not too long ago.
    pub(super) fn of(&self, id: EventId) -> Option<KnownEnd> {
        self.lock().of(id)
    }

    /// The endpoint has answered an attempt with this status, and the event lives on.
    pub(super) fn answered(&self, id: EventId, status: Option<u16>) {
        if let Some(status) = status {
            self.lock().answered(id, status);
        }
    }

    /// The status of the last answer to an event that lives on, if that is not too long ago.
    pub(super) fn last_status(&self, id: EventId) -> Option<u16> {
        self.lock().statuses.get(&id).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last ends and the last answers to events that live on, oldest first out.
#[derive(Default)]
struct Ends {
    by_id: HashMap<EventId, KnownEnd>,
    order: VecDeque<EventId>,
    statuses: HashMap<EventId, u16>,
    /// Also of events that have ended since: each is passed over once.
    answered: VecDeque<EventId>,
}

impl Ends {
    fn note(&mut self, id: EventId, end: KnownEnd) {
        if !self.statuses.is_empty() {
            self.statuses.remove(&id);
        }
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

    fn answered(&mut self, id: EventId, status: u16) {
        if self.statuses.insert(id, status).is_some() {
            return;
        }
        self.answered.push_back(id);
        if self.answered.len() > REMEMBERED
            && let Some(oldest) = self.answered.pop_front()
        {
            self.statuses.remove(&oldest);
        }
    }

    fn of(&self, id: EventId) -> Option<KnownEnd> {
        self.by_id.get(&id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(end: End, reason: Reason) -> KnownEnd {
        KnownEnd { end, why: Why { reason, status: None, limited: None }, lane: None }
    }

    #[test]
    fn the_oldest_end_is_forgotten_first_and_memory_is_bounded() {
        let mut ends = Ends::default();
        let id = |n: usize| EventId::new(1, n as u128);
        for n in 0..=REMEMBERED {
            ends.note(id(n), known(End::Expired, Reason::Expired));
            ends.note(id(n), known(End::Delivered, Reason::Delivered));
            ends.answered(id(n), 503);
        }
        assert_eq!(ends.of(id(0)), None);
        assert_eq!(ends.of(id(1)), Some(known(End::Delivered, Reason::Delivered)));
        assert_eq!((ends.by_id.len(), ends.order.len()), (REMEMBERED, REMEMBERED));
        assert_eq!((ends.statuses.len(), ends.answered.len()), (REMEMBERED, REMEMBERED));
        ends.note(id(1), known(End::Expired, Reason::Expired));
        assert_eq!(ends.statuses.len(), REMEMBERED - 1, "what has ended is asked for no more");
    }

    #[test]
    fn a_reason_says_how_an_event_ended() {
        let dead = Settlement::Dead { reason: "http_404".to_owned(), attempts: 1 };
        for settlement in [
            Settlement::Delivered,
            dead,
            Settlement::Expired,
            Settlement::ExpiredHeld,
            Settlement::Drained,
            Settlement::Cancelled,
            Settlement::Lost,
        ] {
            let reason = Reason::of(&settlement).expect("it ends");
            assert_eq!(Some(End::because(reason)), End::of(&settlement), "{settlement:?}");
        }
    }
}
