//! Calls that are held because the egress guard denies their address, for the log and for status: one line for many.
//!
//! Must not know: which calls are held, what becomes of them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::warn;

use super::BlockedAddress;
use crate::clock::Timestamp;
use crate::event::Outcome;

/// How often it is logged at most.
const LOGGED_EVERY: Duration = Duration::from_secs(60);
/// Calls that are held are tried again sooner than this: without one in this time none is held any more.
const TRIED_WITHIN: Duration = Duration::from_secs(60);

/// The last call that was held.
#[derive(Debug, Default)]
pub(super) struct Withheld(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    last: Option<(BlockedAddress, Timestamp)>,
    logged_at: Option<Timestamp>,
}

impl Withheld {
    /// Notes what became of a call to a denied address, and logs it unless something was logged a short time before `now`.
    pub(super) fn note(&self, outcome: &Outcome, blocked: &BlockedAddress, now: Timestamp) {
        if *outcome != Outcome::Withheld {
            return;
        }
        // Every change is complete before anything can panic.
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.last = Some((blocked.clone(), now));
        if noted.logged_at.is_none_or(|at| now.since(at) >= LOGGED_EVERY) {
            noted.logged_at = Some(now);
            warn!("calls are held that an earlier egress.allow may have allowed: {blocked}; {WAY_OUT}");
        }
    }

    /// Whether calls are held at `now`, in a sentence.
    pub(super) fn state(&self, now: Timestamp) -> String {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &noted.last {
            Some((blocked, at)) if now.since(*at) < TRIED_WITHIN => {
                format!("calls are held that an earlier egress.allow may have allowed: {blocked}; {WAY_OUT}")
            }
            _ => "no call is held by the guard".to_owned(),
        }
    }
}

const WAY_OUT: &str =
    "list its block under egress.allow and send SIGHUP, or they wait until their time is over";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::EgressGuard;
    use crate::event::Cause;

    #[test]
    fn it_is_told_while_calls_are_tried_again_and_not_longer() {
        let (withheld, start) = (Withheld::default(), Timestamp::from_millis(1_000_000));
        let address = "10.0.0.1".parse().expect("an address");
        let blocked = EgressGuard::new(&[]).check(address).expect_err("denied");
        withheld.note(&Outcome::Reject { cause: Cause::Blocked }, &blocked, start);
        assert_eq!(withheld.state(start), "no call is held by the guard");
        withheld.note(&Outcome::Withheld, &blocked, start);
        let state = withheld.state(start + Duration::from_secs(59));
        assert!(
            state.contains("10.0.0.1") && state.contains("10.0.0.0/8") && state.contains("SIGHUP"),
            "{state}"
        );
        assert_eq!(withheld.state(start + TRIED_WITHIN), "no call is held by the guard");
    }
}
