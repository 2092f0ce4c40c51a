//! Events that are tried again because the token of their call was refused: each once, without an attempt, for with the next
//! token a refusal is the endpoint's answer to the call itself.
//!
//! They are in memory alone: after a restart, and of the oldest beyond a bound, an event may be tried so once more.
//!
//! Must not know: tokens.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};

use crate::dispatch::rules::RetryRules;
use crate::event::{Cause, EventId, Outcome};

/// Events that are remembered at most.
const MOST: usize = 65_536;

/// The events that have had their free try, until an attempt of theirs has ended otherwise.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    known: HashSet<EventId>,
    /// The oldest goes first when there are too many.
    in_order: VecDeque<EventId>,
}

impl Renewals {
    /// What the end of a call of this event means: a token that is refused again, or by an endpoint for which that answer is
    /// fine, makes what its status means.
    pub(super) fn judge<'o>(
        &mut self,
        id: EventId,
        outcome: &'o Outcome,
        rules: Option<&RetryRules>,
    ) -> Cow<'o, Outcome> {
        if !matches!(outcome.end(), Outcome::TokenRefused { .. }) {
            self.forget(id);
            return Cow::Borrowed(outcome);
        }
        let answer = as_answered(outcome);
        let is_fine = rules
            .and_then(|rules| rules.judged(&answer))
            .is_some_and(|judged| matches!(judged.end(), Outcome::Delivered { .. }));
        if is_fine || self.known.contains(&id) {
            self.forget(id);
            return Cow::Owned(answer);
        }
        self.known.insert(id);
        self.in_order.push_back(id);
        while self.in_order.len() > MOST {
            if let Some(first) = self.in_order.pop_front() {
                self.known.remove(&first);
            }
        }
        Cow::Borrowed(outcome)
    }

    /// The event may be tried so once more.
    pub(super) fn forget(&mut self, id: EventId) {
        // Most installations have no tokens.
        if !self.known.is_empty() && self.known.remove(&id) && self.known.is_empty() {
            self.in_order.clear();
        }
    }
}

/// The same answer, whatever went with the call.
fn as_answered(outcome: &Outcome) -> Outcome {
    let refused = Outcome::Reject { cause: Cause::Status(401) };
    match outcome {
        Outcome::Paced { next, .. } => Outcome::Paced { end: Box::new(refused), next: *next },
        _ => refused,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dispatch::{RetryPolicy, StatusRule, StatusRules};
    use crate::event::Wait;
    use crate::event::testing::NEXT_MESSAGE;

    const REFUSED: Outcome = Outcome::TokenRefused { wait: Duration::from_millis(50) };
    const ANSWER: Outcome = Outcome::Reject { cause: Cause::Status(401) };

    #[test]
    fn an_event_is_tried_once_more_for_a_token_until_something_else_comes_of_it() {
        let (mut renewals, id) = (Renewals::default(), EventId::new(1, 1));
        assert_eq!(*renewals.judge(id, &REFUSED, None), REFUSED);
        assert_eq!(*renewals.judge(id, &REFUSED, None), ANSWER);
        assert_eq!(*renewals.judge(id, &REFUSED, None), REFUSED, "after a redrive");
        let failed = Outcome::Retry { cause: Cause::Status(503), retry_after: None };
        assert_eq!(*renewals.judge(id, &failed, None), failed);
        assert_eq!(*renewals.judge(id, &REFUSED, None), REFUSED);
        renewals.forget(id);
        assert_eq!((renewals.known.len(), renewals.in_order.len()), (0, 0));
        let next = Wait::new(NEXT_MESSAGE, Duration::from_secs(1));
        let paced = |end| Outcome::Paced { end: Box::new(end), next };
        assert_eq!(*renewals.judge(id, &paced(REFUSED), None), paced(REFUSED));
        assert_eq!(*renewals.judge(id, &paced(REFUSED), None), paced(ANSWER));
    }

    #[test]
    fn where_the_status_is_fine_nothing_is_tried_again() {
        let statuses = StatusRules::of(&[], &[(401, StatusRule::Fine)]);
        let rules = RetryRules { statuses, ..RetryRules::of(RetryPolicy::default()) };
        let mut renewals = Renewals::default();
        assert_eq!(*renewals.judge(EventId::new(1, 1), &REFUSED, Some(&rules)), ANSWER);
        let others = RetryRules::of(RetryPolicy::default());
        assert_eq!(*renewals.judge(EventId::new(1, 1), &REFUSED, Some(&others)), REFUSED, "the control");
    }

    #[test]
    fn of_too_many_the_oldest_are_forgotten() {
        let mut renewals = Renewals::default();
        for n in 0..=MOST as u128 {
            renewals.judge(EventId::new(1, n), &REFUSED, None);
        }
        assert_eq!((renewals.known.len(), renewals.in_order.len()), (MOST, MOST));
        assert_eq!(*renewals.judge(EventId::new(1, 0), &REFUSED, None), REFUSED);
    }
}
