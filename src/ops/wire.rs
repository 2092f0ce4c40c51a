//! The shapes of what the desk answers about policies.
//!
//! Must not know: where the figures come from.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::limit::{Counter, LimiterFigures};
use crate::ops::authoring::definition;
use crate::ops::precondition::quoted;
use crate::policy::{Clause, Family, GenerationState, LabelCondition, Limits, Members, Pace, Policy};

/// A page of policies, in the order of their ids.
#[derive(Serialize, ToSchema)]
#[schema(as = PolicyList)]
pub(super) struct List {
    pub(super) policies: Vec<PolicyBody>,
    #[schema(required)]
    pub(super) next_cursor: Option<String>,
}

/// One policy. What an idle one would rule is its origin's business: those members are null.
#[derive(Serialize, ToSchema)]
#[schema(as = Policy)]
pub(super) struct PolicyBody {
    id: String,
    /// What people call it, in the words of its author; null where its id is all, and while it is idle.
    #[schema(required)]
    name: Option<String>,
    origin: String,
    /// The id that its system gave to the config which it comes from; null where configs have none, and while it is idle.
    #[schema(required)]
    config: Option<String>,
    state: &'static str,
    #[serde(flatten)]
    governs: ClauseBody,
    /// Further ways to fall under it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    or: Vec<ClauseBody>,
    #[schema(required)]
    scope: Option<Vec<String>>,
    #[schema(required)]
    family: Option<&'static str>,
    #[schema(required)]
    limits: Option<LimitsBody>,
    generations: Vec<GenerationBody>,
    /// As a `[[policy]]` block of the configuration file says it; null where that cannot be.
    #[schema(required, value_type = Option<Definition>)]
    definition: Option<Members>,
    /// For `If-Match`; null once it is deleted.
    #[schema(required)]
    etag: Option<String>,
    #[schema(required)]
    hold: Option<HoldBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    figures: Option<FiguresBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) keys: Option<Vec<KeyBody>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) next_keys_cursor: Option<String>,
}

/// The members of a `[[policy]]` block. At least one of `pace`, `window`, `quota`, `slots` and `timeout_ms` is needed;
/// `null` is the same as missing.
#[derive(ToSchema)]
#[schema(as = PolicyDefinition)]
#[expect(dead_code, reason = "it is described and never made: it is read and written member by member")]
pub(super) struct Definition {
    /// The id; in a request it may be missing.
    #[schema(required = false, nullable = false, min_length = 1, max_length = 64)]
    name: Option<String>,
    /// A pattern, in which `*` stands for any run of characters after the host.
    url: String,
    /// The verbs that it governs; all of them when missing.
    #[schema(required = false, nullable = false, min_items = 1, max_items = 32)]
    methods: Option<Vec<String>>,
    /// The labels that an event must carry, with these values.
    #[schema(required = false, nullable = false)]
    labels: Option<BTreeMap<String, String>>,
    /// Calls per second, as the definition has it.
    #[schema(required = false, nullable = false, exclusive_minimum = 0, maximum = 1_000_000)]
    pace: Option<f64>,
    #[schema(required = false, nullable = false)]
    window: Option<WindowBody>,
    #[schema(required = false, nullable = false)]
    quota: Option<QuotaBody>,
    /// Calls that may be in flight at once.
    #[schema(required = false, nullable = false, minimum = 1, maximum = 65_536)]
    slots: Option<u32>,
    #[schema(required = false, nullable = false, minimum = 1, maximum = 600_000)]
    timeout_ms: Option<u64>,
    /// `wait` or `refuse`; `wait` when it is missing.
    #[schema(required = false, nullable = false)]
    family: Option<String>,
    /// Labels whose values have counters of their own.
    #[schema(required = false, nullable = false, max_items = 4)]
    scope: Option<Vec<String>>,
}

/// Which calls the policy governs.
#[derive(Serialize, Default, ToSchema)]
#[schema(as = Clause)]
struct ClauseBody {
    #[schema(required)]
    pattern: Option<String>,
    #[schema(required)]
    methods: Option<Vec<String>>,
    #[schema(required)]
    labels: Option<Vec<ConditionBody>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LabelCondition)]
struct ConditionBody {
    key: String,
    value: String,
    or_absent: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Limits)]
struct LimitsBody {
    #[schema(required)]
    pace: Option<f64>,
    #[schema(required)]
    window: Option<WindowBody>,
    #[schema(required)]
    quota: Option<QuotaBody>,
    #[schema(required)]
    slots: Option<u32>,
    #[schema(required)]
    timeout_ms: Option<u64>,
    /// Whether nothing may start at all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    closed: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Window)]
struct WindowBody {
    calls: u32,
    per_ms: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Quota)]
struct QuotaBody {
    calls: u32,
    per: &'static str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Generation)]
struct GenerationBody {
    number: u32,
    state: &'static str,
    #[schema(required)]
    draining_until: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Pause)]
pub(super) struct HoldBody {
    reason: String,
    since: String,
    #[schema(required)]
    until: Option<String>,
}

impl HoldBody {
    /// The pause of a policy, while it holds.
    pub(super) fn of(policy: &Policy, now: Timestamp) -> Option<Self> {
        policy.pause().filter(|pause| pause.holds(now)).map(|pause| Self {
            reason: pause.reason.clone(),
            since: pause.since.to_string(),
            until: date(pause.until),
        })
    }
}

/// What a policy does at the moment, over all its keys.
#[derive(Serialize, ToSchema)]
#[schema(as = Figures)]
pub(super) struct FiguresBody {
    pub(super) keys: u64,
    pub(super) inflight: u64,
    pub(super) waiting: u64,
    pub(super) delayed: u64,
    #[schema(required)]
    pub(super) oldest: Option<String>,
    pub(super) limits: BTreeMap<&'static str, UsedBody>,
    pub(super) held: Vec<HeldBody>,
    #[schema(required)]
    pub(super) drains_in_seconds: Option<f64>,
}

/// The fullest counters of one kind of limit.
#[derive(Serialize, Default, ToSchema)]
#[schema(as = Used)]
pub(super) struct UsedBody {
    pub(super) used: u32,
    pub(super) window_peak: u32,
    pub(super) violations: u64,
}

/// Lanes that may not send although their limits have room.
#[derive(Serialize, ToSchema)]
#[schema(as = HeldLanes)]
pub(super) struct HeldBody {
    pub(super) reason: &'static str,
    pub(super) lanes: u64,
    /// When the first of them may go on.
    #[schema(required)]
    pub(super) until: Option<String>,
}

/// One set of counters of a policy.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
pub(super) struct KeyBody {
    key: String,
    limits: BTreeMap<&'static str, CounterBody>,
    inflight: u32,
    #[schema(required)]
    slots: Option<u32>,
    waiting: u64,
    delayed: u64,
    #[schema(required)]
    oldest: Option<String>,
    #[schema(required)]
    drains_in_seconds: Option<f64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Counter)]
struct CounterBody {
    used: u32,
    limit: u32,
    per_ms: u64,
    peak: u32,
    #[schema(required)]
    resets_at: Option<String>,
}

/// What waits under one key of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct WaitingCounts {
    /// Not put off and not ended.
    pub(super) ready: u64,
    pub(super) delayed: u64,
    pub(super) oldest: Option<Timestamp>,
}

impl PolicyBody {
    pub(super) fn of(id: &PolicyId, policy: &Policy, now: Timestamp) -> Self {
        let spec = policy.ruling();
        let life = policy.lifecycle();
        // A policy may have an active generation and older ones that drain: the active one decides.
        let state = match (life.active(), life.generations().is_empty()) {
            (Some(_), _) => "deployed",
            (None, false) => "draining",
            (None, true) => "idle",
        };
        let hold = HoldBody::of(policy, now);
        let mut clauses = spec.into_iter().flat_map(|spec| &spec.clauses).map(clause);
        Self {
            id: id.to_string(),
            name: spec.and_then(|spec| spec.title.as_deref()).map(str::to_owned),
            config: spec.and_then(|spec| spec.config.as_deref()).map(str::to_owned),
            origin: policy.origin().as_str().to_owned(),
            state,
            // Most policies have one clause, which stands among their own members; further ones stand beside.
            governs: clauses.next().unwrap_or_default(),
            or: clauses.collect(),
            scope: spec.map(|spec| spec.scope.labels().iter().map(ToString::to_string).collect()),
            family: spec.map(|spec| match spec.family {
                Family::Wait => "wait",
                Family::Refuse => "refuse",
            }),
            limits: spec.map(|spec| limits(&spec.limits)),
            generations: life.generations().iter().map(generation).collect(),
            definition: definition(id, policy),
            etag: policy.edition().as_deref().map(quoted),
            hold,
            figures: None,
            keys: None,
            next_keys_cursor: None,
        }
    }

    pub(super) fn with(self, figures: FiguresBody) -> Self {
        Self { figures: Some(figures), ..self }
    }
}

impl KeyBody {
    pub(super) fn of(figures: &LimiterFigures, wait: &WaitingCounts, drains_in_seconds: Option<f64>) -> Self {
        let counter = |counter: &Counter| {
            let body = CounterBody {
                used: counter.used,
                limit: counter.calls,
                // Every length that a limit may have fits.
                per_ms: u64::try_from(counter.length.as_millis()).unwrap_or(u64::MAX),
                peak: counter.window_peak,
                resets_at: date(counter.resets_at),
            };
            (counter.kind.word(), body)
        };
        Self {
            key: figures.key.to_string(),
            limits: figures.counters.iter().map(counter).collect(),
            inflight: figures.inflight,
            slots: figures.slots.map(std::num::NonZeroU32::get),
            waiting: wait.ready,
            delayed: wait.delayed,
            oldest: date(wait.oldest),
            drains_in_seconds,
        }
    }
}

fn clause(clause: &Clause) -> ClauseBody {
    ClauseBody {
        pattern: Some(clause.pattern.as_str().to_owned()),
        methods: Some(clause.methods.iter().map(ToString::to_string).collect()),
        labels: Some(clause.labels.iter().map(condition).collect()),
    }
}

fn condition(condition: &LabelCondition) -> ConditionBody {
    // Taken apart, so that a member that is added cannot be left out here.
    let LabelCondition { key, value, or_absent } = condition.clone();
    ConditionBody { key, value, or_absent }
}

fn limits(limits: &Limits) -> LimitsBody {
    let millis = |length: std::time::Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    // Taken apart as well: a new kind of limit cannot be left out.
    let Limits { pace, window, quota, slots, timeout, closed } = limits;
    LimitsBody {
        pace: pace.map(Pace::starts_per_second),
        window: window.and_then(|window| {
            Some(WindowBody { calls: window.calls()?.get(), per_ms: millis(window.length()) })
        }),
        quota: quota.and_then(|quota| Some(QuotaBody { calls: quota.calls?.get(), per: quota.per.name() })),
        slots: slots.map(std::num::NonZeroU32::get),
        timeout_ms: timeout.map(millis),
        closed: *closed,
    }
}

fn generation((number, state): (&u32, &GenerationState)) -> GenerationBody {
    let (state, until) = match state {
        GenerationState::Active => ("active", None),
        GenerationState::Draining { until } => ("draining", Some(*until)),
    };
    GenerationBody { number: *number, state, draining_until: date(until) }
}

/// A time as the API writes it.
pub(super) fn date(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use utoipa::PartialSchema;

    use super::*;
    use crate::policy::MEMBERS;

    /// It is described here and read and written elsewhere, member by member.
    #[test]
    fn the_described_definition_has_the_members_that_are_read() {
        let schema = serde_json::to_value(Definition::schema()).expect("a schema");
        let described = schema["properties"].as_object().expect("members").keys().map(String::as_str);
        assert_eq!(described.collect::<BTreeSet<_>>(), MEMBERS.iter().copied().collect());
    }
}
