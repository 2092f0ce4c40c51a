//! The line of time leaps forward because the wall clock was corrected: the limits must not grant again what they have
//! granted, for hardly any time has passed. What was started since the doubt began moves with the line; what a quota
//! granted since counts in the period in which the line arrives.
//!
//! Must not know: what a wall clock is.

use crate::clock::{Leap, Timestamp};
use crate::limit::LimitKind;
use crate::limit::history::record::{self, Consumed};
use crate::limit::stated::Stated;

/// What was remembered of a limit that is not there, after the leap to `now`; `None` when it stays as it is.
///
/// A quota counts what is `own`, or all of it when the doubt was inherited, in the period in which the line arrives:
/// when in its period it was used is not on record.
pub(super) fn remembered(
    name: &str,
    consumed: Consumed,
    leap: &Leap,
    is_own: bool,
    now: Timestamp,
) -> Option<(Box<str>, Consumed)> {
    let Consumed { at, over_at, .. } = consumed;
    let stated = Stated::recognise(name, consumed);
    let limit = stated.as_ref().map_or(name, |(limit, _)| limit);
    if record::kind_of(limit).is_some_and(LimitKind::has_periods) {
        let count = stated.as_ref().map_or(consumed.count, |(_, stated)| stated.used);
        let moved = Consumed { count, at: now, over_at: over_at + leap.by };
        // In the same period nothing changes: it counts there already.
        return (is_own && over_at <= now).then(|| (limit.into(), moved));
    }
    let moved = Consumed { at: leap.moved(at), over_at: over_at + leap.by, ..consumed };
    // What was started before the doubt began stays where it is, and so does its line on record.
    (moved.at > at).then(|| (name.into(), moved))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::{Lane, PolicyRef};
    use crate::limit::meter::calendar::Span;
    use crate::limit::{Decision, Gate, HistoryGap, Rules};
    use crate::policy::testing::{id, spec};
    use crate::policy::{Limits, Period, Quota, Window};

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn rules(limits: Limits) -> Rules {
        let spec = crate::policy::Spec { limits, ..spec("https://h.org/*", 1.0) };
        let mut book = crate::policy::Book::default();
        book.put(&crate::policy::Origin::new("x"), &id("p"), spec).expect("free");
        let runtime = crate::policy::Runtime::build(&book).expect("small");
        Rules::from(runtime.get(&id("p")).expect("deployed"))
    }

    fn lane() -> Lane {
        Lane::of(vec![PolicyRef { policy: id("p"), generation: 1 }]).expect("few")
    }

    fn gate(limits: Limits) -> (Gate, crate::limit::Binding) {
        let mut gate = Gate::new();
        gate.set(&id("p"), rules(limits), START);
        let binding = gate.bind(&lane(), START);
        (gate, binding)
    }

    /// Starts as many calls as the gate allows, of at most 20.
    fn starts(gate: &mut Gate, lane: &crate::limit::Binding, now: Timestamp) -> usize {
        let mut started = 0;
        for _ in 0..60 {
            for reservation in gate.take_reservations() {
                gate.confirmed(&reservation, true, now);
            }
            if started == 20 {
                break;
            }
            if let Decision::Go(mut permit) = gate.decide(lane, false, now) {
                gate.confirm(&mut permit, now).expect("fresh");
                gate.release(permit);
                started += 1;
            }
        }
        started
    }

    fn leap(by: Duration) -> Leap {
        Leap { by, from: START, ..Leap::default() }
    }

    #[test]
    fn a_leap_grants_no_window_again() {
        let window = Window::new(10, 3_600_000).expect("valid");
        let (mut gate, lane) = gate(Limits { window: Some(window), ..Limits::default() });
        assert_eq!(starts(&mut gate, &lane, START), 10);
        let now = START + HOUR * 30;
        gate.leap(&leap(HOUR * 30), now);
        assert_eq!(starts(&mut gate, &lane, now), 0);
        assert_eq!(starts(&mut gate, &lane, now + HOUR * 2), 10, "the control");
    }

    #[test]
    fn a_leap_grants_no_quota_again() {
        let quota = Quota::new(10, Period::Day).expect("valid");
        let (mut gate, lane) = gate(Limits { quota: Some(quota), ..Limits::default() });
        assert_eq!(starts(&mut gate, &lane, START), 10);
        let now = START + HOUR * 30;
        gate.leap(&leap(HOUR * 30), now);
        let noted = gate.take_reservations();
        assert!(
            noted
                .iter()
                .any(|reservation| reservation.consumed.count == 10 && reservation.consumed.over_at > now),
            "{noted:?}"
        );
        assert_eq!(starts(&mut gate, &lane, now), 0);
        assert_eq!(starts(&mut gate, &lane, now + HOUR * 24), 10, "the control");
    }

    /// What is on record of a process before this one, under a quota of 10 per day of which it used all.
    fn used_up(lane: &Lane) -> [(Box<str>, Consumed); 1] {
        let key = lane.scope_key(&[]);
        let over_at = Span::of(Period::Day, START).end;
        [(record::name(&id("p"), &key, LimitKind::Quota), Consumed { count: 10, at: over_at, over_at })]
    }

    #[test]
    fn what_was_used_in_a_doubt_of_an_earlier_process_counts_where_the_line_arrives() {
        let quota = Quota::new(10, Period::Day).expect("valid");
        let limits = || Limits { quota: Some(quota), ..Limits::default() };
        let now = START + HOUR * 30;
        let lane = lane();
        // Bound before the leap or after it; and on record of a process that went down in the doubt, or before it.
        for (is_bound, is_inherited, expected) in
            [(true, true, 0), (false, true, 0), (true, false, 10), (false, false, 10)]
        {
            let mut gate = Gate::after(HistoryGap::default(), START, used_up(&lane), []);
            gate.set(&id("p"), rules(limits()), START);
            let early = is_bound.then(|| gate.bind(&lane, START));
            if let Some(bound) = &early {
                assert_eq!(starts(&mut gate, bound, START), 0, "the control");
            }
            gate.leap(&Leap { is_inherited, ..leap(HOUR * 30) }, now);
            let noted = gate.take_reservations();
            assert_eq!(
                noted.iter().any(|reservation| reservation.consumed.over_at > now),
                is_inherited,
                "{noted:?}"
            );
            let bound = early.unwrap_or_else(|| gate.bind(&lane, now));
            let case = (is_bound, is_inherited);
            assert_eq!(starts(&mut gate, &bound, now), expected, "{case:?}");
            assert_eq!(starts(&mut gate, &bound, now + HOUR * 24), 10, "{case:?}");
        }
    }

    #[test]
    fn a_limiter_that_was_forgotten_in_doubt_grants_nothing_again() {
        let quota = Quota::new(10, Period::Day).expect("valid");
        let (mut gate, bound) = gate(Limits { quota: Some(quota), ..Limits::default() });
        assert_eq!(starts(&mut gate, &bound, START), 10);
        gate.unbind(&bound);
        gate.remove(&id("p"));
        gate.set(&id("p"), rules(Limits { quota: Some(quota), ..Limits::default() }), START);
        let now = START + HOUR * 30;
        gate.leap(&leap(HOUR * 30), now);
        let bound = gate.bind(&lane(), now);
        assert_eq!(starts(&mut gate, &bound, now), 0);
        assert_eq!(starts(&mut gate, &bound, now + HOUR * 24), 10, "the control");
    }
}
