//! Usage that an operator has stated: how much of a quota or a window is used, whatever the record says or lacks. It
//! replaces what was consumed before, and what is unknown before; what is consumed later counts in addition.
//!
//! On record it is a line of its own, `set REPLACES USED LIMIT`, at the moment of the statement. Lines of one limit are
//! summed up in any order, so a statement about a quota says how many starts on record it replaces.
//!
//! Must not know: how limits count, where the record is.

use std::collections::HashMap;
use std::num::NonZeroU32;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::limit::LimitKind;
use crate::limit::history::record::{Consumed, name};
use crate::limit::history::recording::Recording;
use crate::limit::limiter::Limiter;
use crate::limit::rules::Rules;
use crate::limit::table::LimiterTable;

/// What stands before the limit in the name of a statement.
const SET: &str = "set ";

/// Usage of one limit as an operator has stated it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stated {
    /// The starts on record that this replaces, of a quota.
    pub(super) replaces: u32,
    /// How many starts of the window or period are used.
    pub(super) used: u32,
    /// When it was stated, a whole millisecond.
    pub(super) at: Timestamp,
    /// From when on it does not count any more.
    pub(super) over_at: Timestamp,
}

impl Stated {
    /// As it is on record, for the limit of this name.
    pub(super) fn on_record(self, limit: &str) -> (Box<str>, Consumed) {
        let Self { replaces, used, at, over_at } = self;
        (format!("{SET}{replaces} {used} {limit}").into(), Consumed { count: 1, at, over_at })
    }

    /// Takes a statement back from the record, with the name of its limit; `None` for other records.
    pub(super) fn recognise(name: &str, consumed: Consumed) -> Option<(Box<str>, Self)> {
        let mut parts = name.strip_prefix(SET)?.splitn(3, ' ');
        let (replaces, used) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let Consumed { at, over_at, .. } = consumed;
        Some((parts.next()?.into(), Self { replaces, used, at, over_at }))
    }
}

/// A statement that is to be put on record and then given to [`crate::limit::Gate::state_usage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageToState {
    /// The name under which it is put on record.
    pub name: Box<str>,
    /// What is to be recorded under that name.
    pub consumed: Consumed,
    policy: PolicyId,
    key: Box<str>,
    kind: LimitKind,
    stated: Stated,
    /// What was used when it was asked for.
    used_then: u32,
}

/// Why usage cannot be stated of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateUsageError {
    /// Nothing is limited under this policy.
    #[error("the policy limits nothing at present")]
    NoPolicy,
    /// The policy has no such limit of its own for these label values.
    #[error("the policy has no such limit of its own")]
    NoLimit,
    /// The figure is above what the limit allows, which is given.
    #[error("at most {0} starts can be used")]
    TooMany(NonZeroU32),
}

impl UsageToState {
    /// That `used` starts are used of a limit of this limiter. Changes nothing.
    pub(super) fn prepare(
        limiter: &mut Limiter,
        kind: LimitKind,
        used: u32,
        now: Timestamp,
    ) -> Result<Self, StateUsageError> {
        let at = Timestamp::from_millis(now.ceil_millis());
        let (policy, key) = (limiter.policy.clone(), limiter.key.clone());
        let meter = limiter.meter_mut(kind).ok_or(StateUsageError::NoLimit)?;
        let (used_then, stated) = meter.usage_to_state(used, at, now).ok_or(StateUsageError::NoLimit)?;
        // Above the limit nothing more could follow from it than at the limit: it is taken for a mistake.
        if let Some(most) = meter.limit().filter(|most| used > most.get()) {
            return Err(StateUsageError::TooMany(most));
        }
        let (name, consumed) = stated.on_record(&name(&policy, &key, kind));
        Ok(Self { name, consumed, policy, key, kind, stated, used_then })
    }

    /// The policy of its limit, whose waiting lanes are to be asked for again.
    #[must_use]
    pub const fn policy(&self) -> &PolicyId {
        &self.policy
    }

    /// The policy and the label values of its limit.
    pub(super) fn of(&self) -> (&PolicyId, &str) {
        (&self.policy, &self.key)
    }

    /// Counts from now on, after it was put on record.
    pub(super) fn count(&self, limiter: &mut Limiter, now: Timestamp) {
        let number = limiter.next_number();
        if let Some(meter) = limiter.meter_mut(self.kind) {
            meter.state(&self.stated, self.used_then, number, now);
        }
    }
}

/// Until when limits count as spent because nobody knows what was consumed under them; `None` when none does.
pub(super) fn spent_until(
    policies: &HashMap<PolicyId, Rules>,
    table: &LimiterTable,
    recording: &Recording,
    now: Timestamp,
) -> Option<Timestamp> {
    let unknown_before = recording.lost_before();
    // Nearly always nothing is lost, and the policies need not be looked at.
    if unknown_before == Timestamp::ZERO {
        return None;
    }
    let mut until = None;
    for (policy, rules) in policies {
        // Nobody knows all label values of those that have several.
        let has_one_key = rules.scope.labels().is_empty();
        let living = table.find(policy, "").and_then(|id| table.get(id));
        let is_stated = |kind| match living {
            Some(limiter) => limiter.is_stated(kind, now),
            None => recording.is_stated(policy, kind, now),
        };
        let end = rules.spent_until(unknown_before, now, |kind| has_one_key && is_stated(kind));
        until = until.max(end);
    }
    until
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_comes_back_from_the_record_and_other_lines_do_not() {
        let at = Timestamp::from_millis(5);
        let stated = Stated { replaces: 7, used: 40, at, over_at: Timestamp::from_millis(9) };
        let (name, consumed) = stated.on_record("quota a org=A%20B");
        assert_eq!(&*name, "set 7 40 quota a org=A%20B");
        assert_eq!(Stated::recognise(&name, consumed), Some(("quota a org=A%20B".into(), stated)));
        for other in ["quota a ", "mark a 10", "silence", "set x 1 quota a ", "set 1"] {
            assert_eq!(Stated::recognise(other, consumed), None, "{other}");
        }
    }
}
