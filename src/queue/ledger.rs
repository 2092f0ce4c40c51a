//! The ledger: every entry once, by where it is. What came in and what ended is counted in the steps that change the lane
//! table, under its lock; what is there is summed up from the lanes under the same lock. So the terms add up at every
//! moment, unless something is lost without a trace:
//!
//! `accepted + redriven = delivered + expired + dead + drained + cancelled + lost + ready + delayed + inflight`
//!
//! It begins with the process: what the store owes when it is opened counts as accepted, so that nothing has to be put on
//! record for it and an end of the process, however hard, leaves no difference.
//!
//! Must not know: the store, who asks.

use crate::event::Settlement;

/// All entries at one moment. The first eight terms count since the queue was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ledger {
    /// Made durable, and those that were owed an end when the store was opened.
    pub accepted: u64,
    /// Dead letters that were put back.
    pub redriven: u64,
    /// Their endpoint has them.
    pub delivered: u64,
    /// Outlived their time.
    pub expired: u64,
    /// Parked for a person.
    pub dead: u64,
    /// Dropped with their drained policy.
    pub drained: u64,
    /// Dropped on request.
    pub cancelled: u64,
    /// Damaged, missing, or given up by an operator.
    pub lost: u64,
    /// Wait for their turn.
    pub ready: u64,
    /// Wait for their due time, or became due and were not taken up yet.
    pub delayed: u64,
    /// Taken up by the dispatcher: read ahead, under way, or about to be recorded.
    pub inflight: u64,
}

impl Ledger {
    /// Every term with its name.
    #[must_use]
    pub const fn terms(&self) -> [(&'static str, u64); 11] {
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

    pub(super) fn accept(&mut self, entries: u64) {
        self.accepted += entries;
    }

    pub(super) fn end(&mut self, settlement: &Settlement) {
        let term = match settlement {
            Settlement::Reschedule { .. } => return,
            Settlement::Delivered => &mut self.delivered,
            Settlement::Dead { .. } => &mut self.dead,
            Settlement::Expired | Settlement::ExpiredHeld => &mut self.expired,
            Settlement::Drained => &mut self.drained,
            Settlement::Cancelled => &mut self.cancelled,
            Settlement::Lost => &mut self.lost,
        };
        *term += 1;
    }

    /// With what is there: entries in plain order, with a due time, and of each how many are handed out. One that is
    /// handed out in the instant before it is counted as accepted counts as accepted.
    pub(super) fn with(mut self, plain: i64, plain_out: i64, put_off: i64, put_off_out: i64) -> Self {
        let mut rest = |all: i64, out: i64| {
            self.accepted += u64::try_from(out - all).unwrap_or(0);
            u64::try_from(all - out).unwrap_or(0)
        };
        (self.ready, self.delayed) = (rest(plain, plain_out), rest(put_off, put_off_out));
        self.inflight = u64::try_from(plain_out + put_off_out).unwrap_or(0);
        self
    }
}
