//! The ledger: every entry once, by where it is. Each term is counted where it happens, in the steps that change the
//! lane table and under its lock, and none is derived from the others. So the terms add up at every moment, unless
//! something is lost without a trace:
//!
//! `accepted + redriven = delivered + expired + dead + drained + cancelled + lost + ready + delayed + inflight`
//!
//! It begins with the process: what the store owes when it is opened counts as accepted, so that nothing has to be put
//! on record for it and an end of the process, however hard, leaves no difference. An event whose door could not be
//! told in time whether it is durable counts once the store says that it is; the next start finds it when this one ends
//! before.
//!
//! Must not know: the store, who asks.

use crate::event::Settlement;
use crate::queue::standing::Place;
use crate::telemetry::Defect;

/// All entries at one moment. The first eight terms count since the queue was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ledger {
    /// Made durable, and those that were owed an end when the store was opened.
    pub accepted: u64,
    /// Dead letters whose events were handed in again.
    pub redriven: u64,
    /// Their endpoint has accepted the calls.
    pub delivered: u64,
    /// They outlived their time, held by doubt or not.
    pub expired: u64,
    /// Parked for a person, as dead letters.
    pub dead: u64,
    /// Dropped with their drained policy, whose time to drain was over.
    pub drained: u64,
    /// Dropped on request, by a purge.
    pub cancelled: u64,
    /// Damaged, missing, or given up by an operator.
    pub lost: u64,
    /// They wait for their turn, in the order of their lane, read ahead or not.
    pub ready: u64,
    /// Wait for their due time, or became due and were not taken up yet.
    pub delayed: u64,
    /// Their calls have started, and their ends are not on record yet.
    pub inflight: u64,
}

impl Ledger {
    /// The term of those that stand there.
    pub(super) const fn at(&mut self, place: Place) -> &mut u64 {
        match place {
            Place::Ready => &mut self.ready,
            Place::Delayed => &mut self.delayed,
            Place::InFlight => &mut self.inflight,
        }
    }

    /// Entries that are owed an end.
    pub(crate) const fn owed(&self) -> u64 {
        self.ready + self.delayed + self.inflight
    }

    /// Every term with its name, as metrics and answers call it.
    #[must_use]
    pub(crate) const fn terms(&self) -> [(&'static str, u64); 11] {
        [
            ("accepted", self.accepted),
            ("redriven", self.redriven),
            ("delivered", self.delivered),
            ("expired", self.expired),
            ("dead", self.dead),
            ("drained", self.drained),
            ("cancelled", self.cancelled),
            ("lost", self.lost),
            ("ready", self.ready),
            ("delayed", self.delayed),
            ("inflight", self.inflight),
        ]
    }
}

/// What is counted: an entry that came in or ended, or that came to a place or left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Accepted,
    Delivered,
    Expired,
    Dead,
    Drained,
    Cancelled,
    Lost,
    To(Place),
    From(Place),
}

impl Count {
    /// All of them, for tests that leave one out.
    #[cfg(test)]
    pub(super) const ALL: [Self; 13] = [
        Self::Accepted,
        Self::Delivered,
        Self::Expired,
        Self::Dead,
        Self::Drained,
        Self::Cancelled,
        Self::Lost,
        Self::To(Place::Ready),
        Self::From(Place::Ready),
        Self::To(Place::Delayed),
        Self::From(Place::Delayed),
        Self::To(Place::InFlight),
        Self::From(Place::InFlight),
    ];

    /// The end that a settlement makes, if it makes one.
    pub(super) const fn of_end(settlement: &Settlement) -> Option<Self> {
        match settlement {
            Settlement::Reschedule { .. } => None,
            Settlement::Delivered => Some(Self::Delivered),
            Settlement::Dead { .. } => Some(Self::Dead),
            Settlement::Expired | Settlement::ExpiredHeld => Some(Self::Expired),
            Settlement::Drained => Some(Self::Drained),
            Settlement::Cancelled => Some(Self::Cancelled),
            Settlement::Lost => Some(Self::Lost),
        }
    }
}

/// The ledger while it is kept.
#[derive(Default)]
pub(super) struct Books {
    ledger: Ledger,
    /// Tests leave one count out, to see that it is missed.
    #[cfg(test)]
    pub(super) left_out: Option<Count>,
}

impl Books {
    /// As far as it was kept.
    pub(super) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The last entry that was counted as accepted came back from the dead letters.
    pub(super) fn came_back(&mut self) {
        take(&mut self.ledger.accepted, 1);
        self.ledger.redriven += 1;
    }

    /// Adds `entries` to a term, and to nothing else.
    pub(super) fn count(&mut self, what: Count, entries: u64) {
        #[cfg(test)]
        if self.left_out == Some(what) {
            return;
        }
        let ledger = &mut self.ledger;
        match what {
            Count::Accepted => ledger.accepted += entries,
            Count::Delivered => ledger.delivered += entries,
            Count::Expired => ledger.expired += entries,
            Count::Dead => ledger.dead += entries,
            Count::Drained => ledger.drained += entries,
            Count::Cancelled => ledger.cancelled += entries,
            Count::Lost => ledger.lost += entries,
            Count::To(place) => *ledger.at(place) += entries,
            Count::From(place) => take(ledger.at(place), entries),
        }
    }
}

fn take(sum: &mut u64, entries: u64) {
    // A ledger that stops at zero shows a difference; one that wrapped would hide all others.
    *sum = sum.checked_sub(entries).unwrap_or_else(|| {
        Defect { place: "more entries left a place than were there" }.emit();
        0
    });
}
