//! Holds: why a lane, whose calls go to one host and port, may not send although its limits have room. A generation
//! that the policy book does not know, an operator's pause, the endpoint's `Retry-After`, its word that it is busy or
//! over a limit of its own, the breaker, a shortage of tidegate's own, an egress guard that denies what an earlier one
//! may have allowed. The reasons that lie elsewhere (shares, reads, the clock) are named here only.
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
}

impl HoldReason {
    /// All reasons, in the order of their declaration.
    pub(crate) const ALL: [Self; 10] = [
        Self::Generation,
        Self::Paused,
        Self::RetryAfter,
        Self::Busy,
        Self::Breaker,
        Self::Shortage,
        Self::Egress,
        Self::Share,
        Self::Unread,
        Self::Clock,
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
            Self::Shortage => "shortage",
            Self::Egress => "egress",
            Self::Share => "share",
            Self::Unread => "unread",
            Self::Clock => "clock",
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
}

impl Hold {
    /// It has its share of the calls in flight.
    pub(super) const SHARE: Self = Self { reason: HoldReason::Share, until: None, busy: None };
}

/// The holds of one lane, each with its own end.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// One of its generations is unknown.
    is_unknown: bool,
    /// The end of the operator's pause, if there is a pause.
    paused: Option<Option<Timestamp>>,
    retry_after: Option<Timestamp>,
    busy: Option<(Timestamp, Said)>,
    shortage: ShortageHold,
    /// Once this is over one call at a time finds out whether the guard allows it.
    egress: Option<Timestamp>,
    breaker: Breaker,
}

#[derive(Debug, Default)]
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

    /// The hold that lasts longest at `now`.
    pub(super) fn current(&self, now: Timestamp) -> Option<Hold> {
        // Before all others: no time ends it.
        if self.is_unknown {
            return Some(Hold { reason: HoldReason::Generation, until: None, busy: None });
        }
        let live = |until: &Timestamp| *until > now;
        let paused = self.paused.filter(|until| until.is_none_or(|until| until > now));
        let paused = paused.map(|until| Hold { reason: HoldReason::Paused, until, busy: None });
        let timed = |reason, until: Option<Timestamp>, busy| {
            until.filter(live).map(|until| Hold { reason, until: Some(until), busy })
        };
        let (busy_until, busy) = self.busy.unzip();
        let holds = [
            paused,
            timed(HoldReason::RetryAfter, self.retry_after, None),
            timed(HoldReason::Busy, busy_until, busy),
            timed(HoldReason::Breaker, self.breaker.until, None),
            timed(HoldReason::Shortage, self.shortage.until(), None),
            timed(HoldReason::Egress, self.egress, None),
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
        // Pauses and unknown generations are in the policies: a lane that comes again learns of them anew.
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
            Outcome::Delivered { .. } | Outcome::Reject { .. } => self.breaker.succeeded(),
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
        Outcome::Delivered { .. } | Outcome::Wait(_) | Outcome::Retry { .. } | Outcome::Paced { .. } => true,
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
mod tests {
    use super::*;
    use crate::event::Shortage;
    use crate::event::testing::{API_LIMIT, CAPACITY, NEXT_MESSAGE, SERVICE_OVER_QPS};

    const POLICY: BreakerPolicy =
        BreakerPolicy { failures: 3, min_hold: Duration::from_secs(1), max_hold: Duration::from_secs(4) };
    const FINE: Outcome = Outcome::Delivered { status: 200 };

    fn ms(ms: u64) -> Timestamp {
        Timestamp::from_millis(100_000 + ms)
    }

    fn down() -> Outcome {
        Outcome::Retry { cause: Cause::Connect, retry_after: None }
    }

    fn held_until(holds: &Holds, now: Timestamp) -> Option<Timestamp> {
        holds.current(now).and_then(|hold| hold.until)
    }

    #[test]
    fn the_breaker_opens_after_failures_in_a_row_only() {
        let mut holds = Holds::default();
        for outcome in [down(), down(), FINE, down(), down()] {
            holds.ended(&outcome, &POLICY, 1.0, ms(0));
            assert!(holds.allow(500, ms(0)));
        }
        holds.ended(&down(), &POLICY, 1.0, ms(0));
        let open = Hold { reason: HoldReason::Breaker, until: Some(ms(1000)), busy: None };
        assert_eq!(holds.current(ms(0)), Some(open));
        assert!(!holds.allow(0, ms(999)));
    }

    #[test]
    fn one_call_tries_the_endpoint_and_its_success_ramps_up() {
        let mut holds = Holds::default();
        (0..9).for_each(|_| holds.ended(&down(), &POLICY, 1.0, ms(0)));
        assert_eq!(held_until(&holds, ms(0)), Some(ms(1000)), "what comes back late changes nothing");
        assert!(holds.allow(0, ms(1000)) && !holds.allow(1, ms(1000)));
        for (end, until) in [(1000, 3000), (3000, 7000), (7000, 11_000)] {
            holds.ended(&down(), &POLICY, 1.0, ms(end));
            assert_eq!(held_until(&holds, ms(end)), Some(ms(until)));
        }
        holds.ended(&FINE, &POLICY, 1.0, ms(11_000));
        assert!(holds.allow(1, ms(11_000)) && !holds.allow(2, ms(11_000)));
        (0..20).for_each(|_| holds.ended(&FINE, &POLICY, 1.0, ms(11_000)));
        assert!(holds.allow(100_000, ms(11_000)));
    }

    #[test]
    fn the_endpoint_s_wish_holds_and_does_not_count_as_a_failure() {
        let mut holds = Holds::default();
        let wish = Outcome::Retry { cause: Cause::Status(503), retry_after: Some(Duration::from_secs(30)) };
        (0..9).for_each(|_| holds.ended(&wish, &POLICY, 1.0, ms(0)));
        assert_eq!(
            holds.current(ms(0)),
            Some(Hold { reason: HoldReason::RetryAfter, until: Some(ms(30_000)), busy: None })
        );
        assert!(holds.allow(99, ms(30_000)));
        assert_eq!((holds.outlasts(ms(0)), holds.outlasts(ms(30_000))), (Some(ms(30_000)), None));
    }

    #[test]
    fn a_busy_endpoint_is_left_alone_and_neither_fails_nor_recovers() {
        let mut holds = Holds::default();
        let busy = |busy, seconds| Outcome::Wait(Wait::new(busy, Duration::from_secs(seconds)));
        (0..2).for_each(|_| holds.ended(&down(), &POLICY, 1.0, ms(0)));
        (0..9).for_each(|_| holds.ended(&busy(API_LIMIT, 30), &POLICY, 1.0, ms(0)));
        holds.ended(&busy(SERVICE_OVER_QPS, 1), &POLICY, 1.0, ms(1));
        let hold = Hold { reason: HoldReason::Busy, until: Some(ms(30_000)), busy: Some(API_LIMIT) };
        assert_eq!(holds.current(ms(1)), Some(hold), "the longest wait holds");
        assert!(!holds.allow(0, ms(29_999)) && holds.allow(99, ms(30_000)));
        assert_eq!((holds.outlasts(ms(0)), holds.outlasts(ms(30_000))), (Some(ms(30_000)), None));

        holds.ended(&down(), &POLICY, 1.0, ms(30_000));
        assert_eq!(holds.current(ms(30_000)).map(|hold| hold.reason), Some(HoldReason::Breaker));
        holds.ended(&busy(CAPACITY, 1), &POLICY, 1.0, ms(31_000));
        assert!(holds.allow(0, ms(32_000)) && !holds.allow(1, ms(32_000)), "single calls go on trying it");
    }

    #[test]
    fn an_answer_that_paces_the_next_call_holds_the_lane_and_counts_as_what_it_is() {
        let next = Wait::new(NEXT_MESSAGE, Duration::from_secs(2));
        let paced = |end: Outcome| Outcome::Paced { end: Box::new(end), next };
        let mut holds = Holds::default();
        holds.ended(&FINE, &POLICY, 1.0, ms(0));
        assert_eq!(holds.current(ms(0)), None, "the control");
        holds.ended(&paced(FINE), &POLICY, 1.0, ms(0));
        let hold = Hold { reason: HoldReason::Busy, until: Some(ms(2_000)), busy: Some(NEXT_MESSAGE) };
        assert_eq!((holds.current(ms(0)), holds.outlasts(ms(0))), (Some(hold), Some(ms(2_000))));
        assert!(!holds.allow(0, ms(1_999)) && holds.allow(99, ms(2_000)));
        (0..3).for_each(|_| holds.ended(&paced(down()), &POLICY, 1.0, ms(10_000)));
        assert!(holds.allow(0, ms(12_000)) && !holds.allow(1, ms(12_000)), "three failures in a row");
    }

    #[test]
    fn what_was_not_processed_counts_for_the_breaker_and_a_shortage_of_ours_holds_without_counting() {
        let mut holds = Holds::default();
        let short = Outcome::Shortage { cause: Cause::Shortage(Shortage::Ports) };
        (0..9).for_each(|_| holds.ended(&short, &POLICY, 0.0, ms(0)));
        let hold = Hold { reason: HoldReason::Shortage, until: Some(ms(500)), busy: None };
        assert_eq!((holds.current(ms(0)), holds.outlasts(ms(0))), (Some(hold), Some(ms(500))));
        assert!(holds.allow(99, ms(500)) && !holds.is_probing());
        for cause in [Cause::Connect, Cause::Refused, Cause::Tls] {
            assert!(!holds.is_probing());
            holds.ended(&Outcome::Unprocessed { cause }, &POLICY, 1.0, ms(500));
        }
        assert_eq!(holds.current(ms(500)).map(|hold| hold.reason), Some(HoldReason::Breaker));
        assert!(holds.is_probing());
        // A shortage tells the probe nothing.
        holds.ended(&short, &POLICY, 0.0, ms(1_500));
        assert!(holds.is_probing() && holds.allow(0, ms(2_000)));
        holds.ended(&FINE, &POLICY, 1.0, ms(2_000));
        assert!(!holds.is_probing(), "calls while it ramps up count again");
    }

    #[test]
    fn a_pause_without_an_end_outlasts_the_others() {
        let mut holds = Holds::default();
        (0..9).for_each(|_| holds.ended(&down(), &POLICY, 1.0, ms(0)));
        holds.pause(Some(None));
        assert_eq!(holds.current(ms(0)), Some(Hold { reason: HoldReason::Paused, until: None, busy: None }));
        holds.pause(Some(Some(ms(500))));
        assert_eq!(holds.current(ms(0)).map(|hold| hold.reason), Some(HoldReason::Breaker));
        holds.pause(None);
        assert!(holds.allow(0, ms(1000)));
    }

    #[test]
    fn a_breaker_of_no_failures_never_opens() {
        let mut holds = Holds::default();
        let never = BreakerPolicy { failures: 0, ..POLICY };
        (0..99).for_each(|_| holds.ended(&down(), &never, 1.0, ms(0)));
        assert!(holds.allow(99, ms(0)));
    }
}
