//! Holds: why a lane, whose calls go to one host and port, may not send although its limits have room. A generation
//! that the policy book does not know, an operator's pause, the endpoint's `Retry-After`, its word that it is busy or
//! over a limit of its own, the breaker, a token that is not there, a shortage of tidegate's own, an egress guard that
//! denies what an earlier one may have allowed. The reasons that lie elsewhere (shares, reads, the clock) are named here
//! only.
//!
//! The breaker opens after a number of failures in a row that no success came between. It then holds the lane for a
//! while, lets one call through to see, and holds it twice as long when that fails too. When it succeeds, the lane
//! goes on with few calls at a time, twice as many after each success. Calls that wait keep their place and spend no
//! attempt, and neither does the one that is let through to see when it fails.
//!
//! Must not know: limits, entries, the queue.

use std::time::Duration;

use crate::clock::{Leap, Timestamp};
use crate::dispatch::retry::{WITHHELD_WAIT, next_milli};
use crate::dispatch::shortage_hold::ShortageHold;
use crate::event::{Cause, NameFailure, Outcome, Said, Wait};

/// When the breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it; 0 means never.
    pub failures: u32,
    /// The hold when it opens for the first time in a row.
    pub min_hold: Duration,
    /// The longest hold, however often it opens in a row.
    pub max_hold: Duration,
}

impl Default for BreakerPolicy {
    /// 20 failures, 1 s to 60 s.
    fn default() -> Self {
        Self { failures: 20, min_hold: Duration::from_secs(1), max_hold: Duration::from_secs(60) }
    }
}

/// Why a lane is held although its limits have room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum HoldReason {
    /// The policy book does not know one of its generations.
    Generation,
    /// An operator paused one of its policies.
    Paused,
    /// Its endpoint asked to be left alone.
    RetryAfter,
    /// Its endpoint said that it is busy or over a limit of its own.
    Busy,
    /// Its endpoint has failed too often.
    Breaker,
    /// There is no token for calls to its endpoint.
    Token,
    /// tidegate had no socket, or no room to resolve a name, for a call.
    Shortage,
    /// The egress guard denies its address, which an earlier one may have allowed.
    Egress,
    /// It has its share of all calls in flight, and the others leave no more: see
    /// [`super::PlannerOptions::max_inflight`].
    Share,
    /// Its next entries cannot be read from the disk.
    Unread,
    /// Some of its events have outlived their time, if the clock is right: see [`crate::clock::Clock::is_trusted`].
    Clock,
    /// An operator stopped everything, its host or its organisation, or that of some of its events.
    Stopped,
}

impl HoldReason {
    /// All reasons, in the order of their declaration.
    pub(crate) const ALL: [Self; 12] = [
        Self::Generation,
        Self::Paused,
        Self::RetryAfter,
        Self::Busy,
        Self::Breaker,
        Self::Token,
        Self::Shortage,
        Self::Egress,
        Self::Share,
        Self::Unread,
        Self::Clock,
        Self::Stopped,
    ];

    /// The word that API and metrics use.
    #[must_use]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Generation => "generation",
            Self::Paused => "paused",
            Self::RetryAfter => "retry_after",
            Self::Busy => "busy",
            Self::Breaker => "breaker",
            Self::Token => "token",
            Self::Shortage => "shortage",
            Self::Egress => "egress",
            Self::Share => "share",
            Self::Unread => "unread",
            Self::Clock => "clock",
            Self::Stopped => "stopped",
        }
    }
}

/// A lane that may not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    /// The reason that lasts longest, where several hold the lane.
    pub reason: HoldReason,
    /// Until when; `None` means until somebody ends it.
    pub until: Option<Timestamp>,
    /// What the endpoint said, if that is why.
    pub busy: Option<Said>,
    /// Whether it concerns only some of the events of the lane, while the others may go.
    pub is_partial: bool,
}

impl Hold {
    /// It has its share of the calls in flight.
    pub(super) const SHARE: Self =
        Self { reason: HoldReason::Share, until: None, busy: None, is_partial: false };
}

/// The holds of one lane, each with its own end. Lanes that differ in their priority alone are held alike.
#[derive(Debug, Default, Clone)]
pub(super) struct Holds {
    /// One of its generations is unknown.
    is_unknown: bool,
    /// The end of the operator's pause, if there is a pause.
    paused: Option<Option<Timestamp>>,
    /// The same of an emergency stop.
    stopped: Option<Option<Timestamp>>,
    retry_after: Option<Timestamp>,
    busy: Option<(Timestamp, Said)>,
    /// When it is looked next whether there is a token.
    token: Option<Timestamp>,
    shortage: ShortageHold,
    /// Once this is over one call at a time finds out whether the guard allows it.
    egress: Option<Timestamp>,
    breaker: Breaker,
}

#[derive(Debug, Default, Clone)]
struct Breaker {
    failures: u32,
    /// How often it has opened in a row.
    opened: u32,
    until: Option<Timestamp>,
    /// Calls in flight that it allows while it is not closed.
    trial: Option<usize>,
}

/// Most calls at a time while the caution after an outage lasts: a success at this number ends it.
const TRIALS_MAX: usize = 1024;

impl Holds {
    /// Learns whether the book knows all of its generations.
    pub(super) fn doubt(&mut self, is_unknown: bool) {
        self.is_unknown = is_unknown;
    }

    /// Whether the book does not know one of its generations.
    pub(super) fn is_unknown(&self) -> bool {
        self.is_unknown
    }

    /// Learns whether an operator holds the lane.
    pub(super) fn pause(&mut self, paused: Option<Option<Timestamp>>) {
        self.paused = paused;
    }

    /// Learns whether an emergency stop holds the lane as a whole.
    pub(super) fn stop(&mut self, stopped: Option<Option<Timestamp>>) {
        self.stopped = stopped;
    }

    /// The hold that lasts longest at `now`.
    pub(super) fn current(&self, now: Timestamp) -> Option<Hold> {
        // Before all others: no time ends it.
        if self.is_unknown {
            return Some(Hold { reason: HoldReason::Generation, until: None, busy: None, is_partial: false });
        }
        let live = |until: &Timestamp| *until > now;
        let by_hand = |reason, until: Option<Option<Timestamp>>| {
            let until = until.filter(|until| until.is_none_or(|until| until > now));
            until.map(|until| Hold { reason, until, busy: None, is_partial: false })
        };
        let timed = |reason, until: Option<Timestamp>, busy| {
            until.filter(live).map(|until| Hold { reason, until: Some(until), busy, is_partial: false })
        };
        let (busy_until, busy) = self.busy.unzip();
        let holds = [
            by_hand(HoldReason::Paused, self.paused),
            timed(HoldReason::RetryAfter, self.retry_after, None),
            timed(HoldReason::Busy, busy_until, busy),
            timed(HoldReason::Breaker, self.breaker.until, None),
            timed(HoldReason::Token, self.token, None),
            timed(HoldReason::Shortage, self.shortage.until(), None),
            timed(HoldReason::Egress, self.egress, None),
            // The last of those that last equally long counts.
            by_hand(HoldReason::Stopped, self.stopped),
        ];
        holds.into_iter().flatten().max_by_key(|hold| hold.until.unwrap_or(Timestamp::MAX))
    }

    /// Whether it may send at `now` with this many calls in flight.
    pub(super) fn allow(&self, inflight: usize, now: Timestamp) -> bool {
        // After a call that the guard has withheld the next one is a trial as well, until one has certainly been let
        // through.
        let most = self.breaker.trial.into_iter().chain(self.egress.map(|_| 1)).min();
        self.current(now).is_none() && most.is_none_or(|most| inflight < most)
    }

    /// There is no token for the call that would go next: it is looked again then.
    pub(super) fn lacks_token(&mut self, until: Timestamp) {
        self.token = self.token.max(Some(until));
    }

    /// For how long the lane is held at `now` for want of a token.
    pub(super) fn token_wait(&self, now: Timestamp) -> Option<Duration> {
        self.token.filter(|until| *until > now).map(|until| until.since(now))
    }

    /// Whether a call that starts now is to find out whether the endpoint takes calls again.
    pub(super) fn is_probing(&self) -> bool {
        self.breaker.trial == Some(1)
    }

    /// Whether few calls at a time try its endpoint, which has failed.
    pub(super) fn is_cautious(&self) -> bool {
        self.breaker.trial.is_some()
    }

    /// Until when the lane has to be kept although it has nothing to do: what holds it is not known elsewhere.
    pub(super) fn outlasts(&self, now: Timestamp) -> Option<Timestamp> {
        // Pauses, stops and unknown generations are known elsewhere: a lane that comes again learns of them anew.
        let busy = self.busy.map(|(until, _)| until);
        let ours = self.shortage.until().into_iter().chain(self.egress);
        let all = self.retry_after.into_iter().chain(busy).chain(self.breaker.until).chain(ours);
        all.filter(|until| *until > now).max()
    }

    /// The line of time has leapt: what an endpoint asked for lasts as long as before.
    pub(super) fn leap(&mut self, leap: &Leap) {
        self.retry_after = self.retry_after.map(|until| leap.moved(until));
        self.busy = self.busy.map(|(until, busy)| (leap.moved(until), busy));
        self.breaker.until = self.breaker.until.map(|until| leap.moved(until));
        self.shortage.leap(leap);
        self.token = self.token.map(|until| leap.moved(until));
        self.egress = self.egress.map(|until| leap.moved(until));
    }

    /// Learns from the end of a call at `now`; `share` in `0.0..=1.0` spreads the holds of several lanes.
    pub(super) fn ended(&mut self, outcome: &Outcome, policy: &BreakerPolicy, share: f64, now: Timestamp) {
        // The guard has let it through, whatever came of it.
        if has_connected(outcome) {
            self.egress = None;
        }
        if !matches!(outcome.end(), Outcome::Shortage { .. }) {
            self.shortage.passed();
        }
        outcome.next().into_iter().for_each(|next| self.leave_alone(next, now));
        match outcome.end() {
            // Until the very moment at which the call is due again, which goes first then.
            Outcome::Withheld => self.egress = Some(next_milli(now, WITHHELD_WAIT)),
            // It was denied before it could be sent, by the guard and not by its endpoint.
            Outcome::Reject { cause: Cause::Blocked } => {}
            // Until the very moment at which the call is due again that was told to wait: it goes first then.
            Outcome::Retry { retry_after: Some(wait), .. } => {
                // Never shorter: another call may have been told to wait for longer.
                self.retry_after = self.retry_after.max(Some(next_milli(now, *wait)));
            }
            Outcome::Retry { cause, retry_after: None } | Outcome::Unprocessed { cause }
                if speaks_against_endpoint(cause) =>
            {
                self.breaker.failed(policy, share, now);
            }
            Outcome::Retry { .. } | Outcome::Unprocessed { .. } => {}
            // It says nothing about the endpoint; whatever is tried meanwhile would most likely fail as well.
            Outcome::Shortage { .. } => self.shortage.begin(share, now),
            // Neither a failure nor a sign that it takes calls again.
            Outcome::Wait(wait) => self.leave_alone(*wait, now),
            // No end is one.
            Outcome::Paced { .. } => {}
            // Any answer proves that the endpoint is up.
            Outcome::Delivered { .. } | Outcome::Reject { .. } | Outcome::TokenRefused { .. } => {
                self.breaker.succeeded();
            }
        }
    }

    /// The endpoint has said so. The longest wait holds.
    fn leave_alone(&mut self, wait: Wait, now: Timestamp) {
        self.busy = self.busy.max(Some((next_milli(now, wait.length()), wait.said())));
    }
}

impl Breaker {
    fn failed(&mut self, policy: &BreakerPolicy, share: f64, now: Timestamp) {
        if policy.failures == 0 {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let is_open = self.until.is_some_and(|until| until > now);
        // While it holds, calls of before it opened come back; they tell nothing new.
        if is_open || (self.trial.is_none() && self.failures < policy.failures) {
            return;
        }
        // Kept in the range of the shift: 65 536 times the first hold is the most, if that is below the longest.
        let longest = policy.min_hold.saturating_mul(1 << self.opened.min(16)).min(policy.max_hold);
        // Spread, so that the lanes of an endpoint that is down do not all try it in the same moment.
        self.until = Some(now + longest.mul_f64(0.8 + 0.2 * share));
        self.opened = self.opened.saturating_add(1);
        self.trial = Some(1);
    }

    fn succeeded(&mut self) {
        self.failures = 0;
        self.trial = self.trial.map(|most| most * 2).filter(|most| *most <= TRIALS_MAX);
        // The caution is over: the next outage begins with the first hold again.
        if self.trial.is_none() {
            self.opened = 0;
            self.until = None;
        }
    }
}

/// Whether the egress guard has let the call through for certain.
fn has_connected(outcome: &Outcome) -> bool {
    match outcome.end() {
        Outcome::Delivered { .. }
        | Outcome::Wait(_)
        | Outcome::Retry { .. }
        | Outcome::Paced { .. }
        | Outcome::TokenRefused { .. } => true,
        Outcome::Reject { cause } => *cause != Cause::Blocked,
        Outcome::Unprocessed { .. } | Outcome::Shortage { .. } | Outcome::Withheld => false,
    }
}

/// Whether a failure means that the endpoint is down, and not that it refuses this call or has asked for time.
fn speaks_against_endpoint(cause: &Cause) -> bool {
    match cause {
        Cause::Status(status) => *status >= 500,
        Cause::Dns(failure) => *failure != NameFailure::Shortage,
        Cause::Timeout | Cause::Connect | Cause::Tls | Cause::Closed | Cause::Refused | Cause::Malformed => {
            true
        }
        Cause::Blocked | Cause::Busy(_) | Cause::Denied(_) | Cause::Shortage(_) | Cause::Internal => false,
    }
}

#[cfg(test)]
mod tests;
