//! The egress guards that this process has gone by, one after the other, and what becomes of a call that the present one
//! denies.
//!
//! A call is refused for good only where it is certain that the guard under which its event was accepted denied the
//! address as well. What an operator has denied since is held: the next reading of the configuration may allow it again.
//!
//! Must not know: how addresses are found, what else becomes of events.

use std::net::IpAddr;
use std::time::Duration;

use super::EgressGuard;
use crate::clock::Timestamp;
use crate::event::{Cause, Outcome};

/// Guards that are remembered. An event of before the first of them was accepted under an unknown one.
const MOST: usize = 64;
/// An event that the doors have judged by the guard before gets its id at most this much later.
const JUDGED_BEFORE: Duration = Duration::from_secs(60);

/// The guards, the present one last. Cheap enough to be copied at each change.
#[derive(Debug, Clone)]
pub(super) struct Guards {
    earlier: Vec<KnownGuard>,
    present: KnownGuard,
}

#[derive(Debug, Clone)]
struct KnownGuard {
    guard: EgressGuard,
    /// To the millisecond, as the ids of events.
    since: Timestamp,
}

impl KnownGuard {
    fn new(guard: EgressGuard, now: Timestamp) -> Self {
        Self { guard, since: Timestamp::from_millis(now.as_millis()) }
    }
}

impl Guards {
    /// The first guard of a process that begins `now`.
    pub(super) fn first(guard: EgressGuard, now: Timestamp) -> Self {
        Self { earlier: Vec::new(), present: KnownGuard::new(guard, now) }
    }

    /// The same, and this guard from `now` on.
    pub(super) fn then(&self, guard: EgressGuard, now: Timestamp) -> Self {
        // With the present guard and the new one `MOST` remain.
        let before = self.earlier.len().saturating_sub(MOST - 2);
        let earlier: Vec<KnownGuard> =
            self.earlier.iter().skip(before).chain([&self.present]).cloned().collect();
        debug_assert!(earlier.len() < MOST, "guards beyond those that are remembered");
        Self { earlier, present: KnownGuard::new(guard, now) }
    }

    /// The guard by which calls go.
    pub(super) const fn present(&self) -> &EgressGuard {
        &self.present.guard
    }

    /// What becomes of a call to an address that the present guard denies, of an event that was accepted then.
    pub(super) fn denied(&self, address: IpAddr, accepted_at: Timestamp) -> Outcome {
        let all = || self.earlier.iter().chain([&self.present]);
        // An earlier process, or a guard that is forgotten, let the event in: it may have allowed the address.
        let is_unknown = all().next().is_some_and(|first| accepted_at < first.since);
        // The lives of two guards overlap: a door may have judged by the older one just before the change, and the id
        // is made later.
        let ends = all().skip(1).map(|next| next.since + JUDGED_BEFORE);
        let lives = all().zip(ends.chain([Timestamp::MAX]));
        let mut judges = lives
            .filter(|(known, end)| known.since <= accepted_at && accepted_at < *end)
            .map(|(known, _)| known);
        if is_unknown || judges.any(|known| known.guard.check(address).is_ok()) {
            Outcome::Withheld
        } else {
            Outcome::Reject { cause: Cause::Blocked }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKED: Outcome = Outcome::Reject { cause: Cause::Blocked };

    fn guard(allow: &[&str]) -> EgressGuard {
        EgressGuard::new(&allow.iter().map(|net| net.parse().expect("net")).collect::<Vec<_>>())
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1_000)
    }

    #[test]
    fn what_the_guard_of_its_acceptance_allowed_is_withheld_and_what_it_denied_is_refused() {
        let address = |text: &str| text.parse().expect("an address");
        let guards = Guards::first(guard(&["127.0.0.0/8", "10.0.0.0/8"]), at(0));
        let guards = guards.then(guard(&["10.0.0.0/8"]), at(1_000)).then(guard(&[]), at(2_000));
        for (to, accepted_at, outcome) in [
            ("127.0.0.1", at(0), Outcome::Withheld),
            ("127.0.0.1", at(999), Outcome::Withheld),
            // The doors may have judged it by the one before.
            ("127.0.0.1", at(1_059), Outcome::Withheld),
            ("127.0.0.1", at(1_060), BLOCKED),
            ("10.0.0.1", at(1_060), Outcome::Withheld),
            ("10.0.0.1", at(2_059), Outcome::Withheld),
            ("10.0.0.1", at(2_060), BLOCKED),
            // A name that leads elsewhere than it did: no guard ever allowed that.
            ("192.168.0.1", at(0), BLOCKED),
            ("192.168.0.1", at(5_000), BLOCKED),
            // Of another process: nobody knows its guard.
            ("192.168.0.1", at(0) - Duration::from_millis(1), Outcome::Withheld),
        ] {
            assert_eq!(guards.denied(address(to), accepted_at), outcome, "{to} {accepted_at}");
        }
        assert_eq!(guards.present(), &guard(&[]));
    }

    #[test]
    fn what_is_forgotten_is_unknown() {
        let address = "127.0.0.1".parse().expect("an address");
        let mut guards = Guards::first(guard(&[]), at(0));
        assert_eq!(guards.denied(address, at(100)), BLOCKED);
        for number in 1..=100 {
            guards = guards.then(guard(&[]), at(number * 1_000));
        }
        assert_eq!(guards.earlier.len(), MOST - 1);
        assert_eq!(guards.denied(address, at(100)), Outcome::Withheld);
        assert_eq!(guards.denied(address, at(99_500)), BLOCKED);
    }

    #[test]
    fn an_id_of_the_first_millisecond_is_of_this_process() {
        let start = Timestamp::from_nanos(5_000_900_000);
        let guards = Guards::first(guard(&[]), start);
        let address = "127.0.0.1".parse().expect("an address");
        assert_eq!(guards.denied(address, Timestamp::from_millis(5_000)), BLOCKED);
    }
}
