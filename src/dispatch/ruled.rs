//! What policies and operators say about a lane: what becomes of its entries, how long a call may take, whether it is held.
//!
//! Must not know: what the lane holds, when it sends.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::dispatch::stops::Stops;
use crate::event::Lane;
use crate::policy::{GenerationState, Runtime, RuntimePolicy};

/// What becomes of a lane's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// They are sent when their turn comes.
    Live,
    /// They are sent until then, ahead of other generations.
    Draining(Timestamp),
    /// They are dropped as drained: the time of the drain is over.
    Over,
    /// A generation that the book does not know governs them: they are held, which no end of a drain changes.
    Unknown,
}

/// What the policies say about a lane. The fate of several policies is the worst of them; a doubt is worse than an end.
pub(super) struct LanePolicies {
    pub(super) fate: Fate,
    pub(super) timeout: Option<Duration>,
    /// The end of the longest pause, if there is one.
    pub(super) paused: Option<Option<Timestamp>>,
    /// The same of the emergency stops that concern all of it.
    pub(super) stopped: Option<Option<Timestamp>>,
}

impl LanePolicies {
    /// While `now` is in doubt no drain is over and no pause has an end.
    pub(super) fn by(lane: &Lane, runtime: &Runtime, stops: &Stops, now: Option<Timestamp>) -> Self {
        let stopped = stops.of_lane(lane, now);
        let mut ruled = Self { fate: Fate::Live, timeout: None, paused: None, stopped };
        for part in lane.policies() {
            let policy = runtime.get(&part.policy);
            let limit = policy.and_then(|RuntimePolicy { spec, .. }| {
                spec.limits_of(&lane.scope_key(spec.scope.labels())).timeout
            });
            // Every policy has to be content: the shortest timeout applies.
            ruled.timeout = ruled.timeout.into_iter().chain(limit).min();
            if let Some(pause) = policy.and_then(|policy| policy.pause.as_ref()) {
                // No end is the latest end.
                let longest = |until: &Option<Timestamp>| until.unwrap_or(Timestamp::MAX);
                // In doubt about time a pause has no end.
                let until = now.and(pause.until);
                ruled.paused = ruled.paused.into_iter().chain([until]).max_by_key(longest);
            }
            let state = policy.and_then(|policy| policy.generations.get(&part.generation));
            // Doubt about one of them comes before what is certain about the others.
            ruled.fate = match (state, ruled.fate) {
                (_, Fate::Unknown) => Fate::Unknown,
                // One that was never issued is unknown, which is no end: its entries are held, not dropped.
                (None, _) if !runtime.has_ended(part) => Fate::Unknown,
                (None, _) | (_, Fate::Over) => Fate::Over,
                (Some(GenerationState::Draining { until }), _) if now.is_some_and(|now| *until <= now) => {
                    Fate::Over
                }
                (Some(GenerationState::Draining { until }), Fate::Draining(first)) => {
                    Fate::Draining(first.min(*until))
                }
                (Some(GenerationState::Draining { until }), Fate::Live) => Fate::Draining(*until),
                (Some(GenerationState::Active), fate) => fate,
            };
        }
        ruled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PolicyRef;
    use crate::policy::testing::{id, labels, spec};
    use crate::policy::{Book, Limits, Origin, Overrides, Scope, Spec};

    #[test]
    fn the_timeout_of_a_lane_is_that_of_its_label_values() {
        let within = |s| Limits { timeout: Some(Duration::from_secs(s)), ..Limits::default() };
        let scope = Scope::new(&["key"]).expect("valid");
        let overrides = Overrides::new(&scope, [(vec!["slow".into()], within(60))]);
        let limited = Spec { limits: within(5), scope, overrides, ..spec("https://h.org/*", 1.0) };
        let mut book = Book::default();
        book.put(&Origin::new("x"), &id("p"), limited).expect("free");
        let runtime = Runtime::build(&book).expect("small");
        let timeout = |key: &str| {
            let part = PolicyRef { policy: id("p"), generation: 1 };
            let lane = Lane::scoped(vec![part], &labels(&[("key", key)]), &["key"]).expect("short");
            LanePolicies::by(&lane, &runtime, &Stops::default(), None).timeout
        };
        assert_eq!(timeout("slow"), Some(Duration::from_secs(60)));
        assert_eq!(timeout("other"), Some(Duration::from_secs(5)));
    }

    #[test]
    fn an_unknown_generation_is_held_and_an_ended_one_is_over() {
        let now = Timestamp::from_millis(1_000);
        let mut book = Book::default();
        for name in ["p", "q"] {
            book.put(&Origin::new(name), &id(name), spec("https://h.org/*", 1.0)).expect("free");
        }
        book.remove(&id("q"), now, Duration::ZERO).expect("there");
        book.expire(now);
        let fate = |parts: &[(&str, u32)]| {
            let part =
                |(name, generation): &(&str, u32)| PolicyRef { policy: id(name), generation: *generation };
            let lane = Lane::of(parts.iter().map(part).collect()).expect("short");
            LanePolicies::by(&lane, &Runtime::build(&book).expect("small"), &Stops::default(), Some(now)).fate
        };
        assert_eq!(fate(&[("p", 1)]), Fate::Live);
        assert_eq!(fate(&[("p", 2)]), Fate::Unknown, "above what was issued");
        assert_eq!(fate(&[("q", 1)]), Fate::Over, "the book has seen it end");
        assert_eq!(fate(&[("q", 2)]), Fate::Unknown);
        assert_eq!(fate(&[("r", 1)]), Fate::Unknown, "nobody knows the policy");
        assert_eq!(fate(&[("q", 1), ("r", 1)]), Fate::Unknown, "nothing ends on a doubt");
        assert_eq!(fate(&[("r", 1), ("q", 1)]), Fate::Unknown);
        assert_eq!(fate(&[("p", 1), ("q", 1)]), Fate::Over);
    }
}
