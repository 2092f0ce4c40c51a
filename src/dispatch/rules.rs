//! What is set for the ends of calls to one endpoint: how they are repeated, and which of its answers are tried again,
//! final or as good as a success.
//!
//! Must not know: which calls these are, when they are made.

use std::time::Duration;

use crate::dispatch::retry::RetryPolicy;
use crate::event::Outcome;

/// How failed calls to an endpoint are repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RetryRules {
    /// How often, and after which waits.
    pub policy: RetryPolicy,
    /// What some of its answers mean, in place of what they mean for all calls.
    pub statuses: StatusRules,
    /// A call of which it is not known whether the endpoint has acted on it is not repeated: its event becomes a dead
    /// letter.
    pub ambiguous_is_dead: bool,
    /// All tries lie within this time from the start of the first one on, or within the timeout of the lane where it has
    /// one; every try counts as an attempt then.
    pub within: Option<Duration>,
}

/// What an answer with a status outside 2xx means for its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusRule {
    /// It is tried again.
    Retried,
    /// It becomes a dead letter.
    Dead,
    /// It counts as delivered.
    Fine,
}

/// Rules for single statuses, which go before those for their classes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StatusRules {
    /// Of 300 to 599, in order; empty where there is none.
    rules: Box<[Option<StatusRule>]>,
}

impl StatusRules {
    /// The statuses that rules can be set for.
    pub(crate) const RANGE: std::ops::RangeInclusive<u16> = 300..=599;

    /// From rules for classes, given by their first digit, and for single statuses. What is outside
    /// [`StatusRules::RANGE`] is passed over.
    pub(crate) fn of(classes: &[(u16, StatusRule)], singles: &[(u16, StatusRule)]) -> Self {
        if classes.is_empty() && singles.is_empty() {
            return Self::default();
        }
        let rule = |status: u16| {
            let single = singles.iter().find(|(known, _)| *known == status);
            single.or_else(|| classes.iter().find(|(class, _)| *class == status / 100)).map(|(_, rule)| *rule)
        };
        Self { rules: Self::RANGE.map(rule).collect() }
    }

    fn get(&self, status: u16) -> Option<StatusRule> {
        let place = status.checked_sub(*Self::RANGE.start())?;
        *self.rules.get(usize::from(place))?
    }
}

impl RetryRules {
    /// The same as for all calls.
    #[must_use]
    pub(crate) fn of(policy: RetryPolicy) -> Self {
        Self { policy, statuses: StatusRules::default(), ambiguous_is_dead: false, within: None }
    }

    /// What an outcome counts as, where that is something else than for all calls.
    pub(crate) fn judged(&self, outcome: &Outcome) -> Option<Outcome> {
        match outcome {
            Outcome::Paced { end, next } => {
                self.judged(end).map(|end| Outcome::Paced { end: Box::new(end), next: *next })
            }
            Outcome::Retry { cause, .. } => {
                let status = cause.status()?;
                match self.statuses.get(status)? {
                    StatusRule::Retried => None,
                    StatusRule::Dead => Some(Outcome::Reject { cause: cause.clone() }),
                    StatusRule::Fine => Some(Outcome::Delivered { status }),
                }
            }
            Outcome::Reject { cause } => {
                let status = cause.status()?;
                match self.statuses.get(status)? {
                    StatusRule::Retried => Some(Outcome::Retry { cause: cause.clone(), retry_after: None }),
                    StatusRule::Dead => None,
                    StatusRule::Fine => Some(Outcome::Delivered { status }),
                }
            }
            _ => None,
        }
    }

    /// Whether an outcome makes a dead letter because nobody knows whether the endpoint has acted on the call.
    pub(crate) fn parks(&self, outcome: &Outcome) -> bool {
        self.ambiguous_is_dead && outcome.is_ambiguous()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::testing::NEXT_MESSAGE;
    use crate::event::{Cause, Wait};

    fn retry(status: u16) -> Outcome {
        Outcome::Retry { cause: Cause::Status(status), retry_after: None }
    }

    fn reject(status: u16) -> Outcome {
        Outcome::Reject { cause: Cause::Status(status) }
    }

    fn rules() -> RetryRules {
        let classes = [(4, StatusRule::Retried), (5, StatusRule::Dead)];
        let singles = [(404, StatusRule::Fine), (410, StatusRule::Dead), (503, StatusRule::Fine)];
        let statuses = StatusRules::of(&classes, &singles);
        RetryRules { statuses, ..RetryRules::of(RetryPolicy::default()) }
    }

    #[test]
    fn a_single_status_goes_before_its_class_and_others_mean_what_they_mean_for_all() {
        for (outcome, counts_as) in [
            (reject(400), Some(retry(400))),
            (reject(404), Some(Outcome::Delivered { status: 404 })),
            (reject(410), None),
            (retry(429), None),
            (retry(500), Some(reject(500))),
            (retry(503), Some(Outcome::Delivered { status: 503 })),
            (reject(301), None),
            (retry(600), None),
            (Outcome::Delivered { status: 200 }, None),
            (Outcome::Retry { cause: Cause::Timeout, retry_after: None }, None),
            (Outcome::Reject { cause: Cause::Blocked }, None),
        ] {
            assert_eq!(rules().judged(&outcome), counts_as, "{outcome:?}");
            // The control: without rules nothing changes.
            assert_eq!(RetryRules::of(RetryPolicy::default()).judged(&outcome), None);
        }
    }

    #[test]
    fn what_the_endpoint_said_of_the_next_call_stays() {
        let next = Wait::new(NEXT_MESSAGE, Duration::from_secs(1));
        let paced = |end| Outcome::Paced { end: Box::new(end), next };
        assert_eq!(rules().judged(&paced(reject(404))), Some(paced(Outcome::Delivered { status: 404 })));
        assert_eq!(rules().judged(&paced(retry(429))), None);
    }

    #[test]
    fn only_what_was_sent_and_not_answered_is_ambiguous() {
        let rules = RetryRules { ambiguous_is_dead: true, ..rules() };
        for cause in [Cause::Timeout, Cause::Closed, Cause::Malformed, Cause::Internal] {
            assert!(rules.parks(&Outcome::Retry { cause: cause.clone(), retry_after: None }), "{cause:?}");
            assert!(!rules.parks(&Outcome::Unprocessed { cause }), "nothing was sent");
        }
        assert!(!rules.parks(&retry(503)), "an answer is an answer");
        assert!(
            !RetryRules::of(RetryPolicy::default())
                .parks(&Outcome::Retry { cause: Cause::Timeout, retry_after: None })
        );
    }
}
