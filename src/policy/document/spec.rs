//! The stored form of a spec, apart from the inner types so that either can change.
//!
//! ```text
//! { "clauses": [{ "pattern", "methods", "labels": [{ "key", "value", "or_absent" }],
//!                 "segment": { "label", "after", "names" } | absent }],
//!   limits, "family": "wait" | "refuse", "overlap": "most_specific" | "all", "among": word | absent,
//!   "scope": [label], "host": label | absent, "overrides": [{ "key", limits }] | absent,
//!   "counts_on": policy | absent, "rank": n | absent, "title": text | absent,
//!   "config": text | absent,
//!   "wording": { "per_window", "per_quota", "closed", "subject" } | absent }
//!
//! limits: "pace", "window": { "calls", "length_ms" } | null, "quota": { "calls", "per" } | null, "slots", "timeout_ms",
//!         "closed": bool | absent
//! ```
//!
//! A window or quota of 4294967295 calls counts and limits nothing. Formats 1 and 2 had the members of one clause in place of `clauses`.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};

use crate::event::PolicyId;
use crate::policy::document::malformed;
use crate::policy::{
    Clause, Family, LabelCondition, LimitError, Limits, Overlap, Overrides, Pace, Period, PolicyError, Quota,
    RefusalCodes, Scope, Segment, Spec, UrlPattern, Window,
};

/// The calls of a limit that counts and limits nothing; more than any limit may allow.
const COUNTING: i64 = u32::MAX as i64;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct SpecV3 {
    #[serde(default)]
    clauses: Vec<ClauseV3>,
    // The one clause of formats 1 and 2. Member by member: a flattened option would read a faulty clause as none.
    #[serde(default, skip_serializing)]
    pattern: Option<String>,
    #[serde(default, skip_serializing)]
    methods: Option<Vec<String>>,
    #[serde(default, skip_serializing)]
    labels: Option<Vec<LabelV1>>,
    // The limits, member by member: beside a flattened struct unknown members cannot be refused.
    pace: Option<f64>,
    #[serde(default)]
    window: Option<WindowV2>,
    #[serde(default)]
    quota: Option<QuotaV2>,
    slots: Option<NonZeroU32>,
    timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    closed: bool,
    family: FamilyV1,
    #[serde(default)]
    overlap: OverlapV2,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    among: Box<str>,
    #[serde(default)]
    scope: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    overrides: Vec<OverrideV3>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    counts_on: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    rank: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wording: Option<WordingV3>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    title: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<Box<str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClauseV3 {
    pattern: String,
    methods: Vec<String>,
    labels: Vec<LabelV1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    segment: Option<SegmentV3>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelV1 {
    key: String,
    value: String,
    or_absent: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentV3 {
    label: Box<str>,
    after: Box<str>,
    names: Vec<Box<str>>,
}

/// The limits of a spec or of one key.
struct LimitsV3 {
    pace: Option<f64>,
    window: Option<WindowV2>,
    quota: Option<QuotaV2>,
    slots: Option<NonZeroU32>,
    timeout_ms: Option<u64>,
    closed: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowV2 {
    calls: i64,
    length_ms: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaV2 {
    calls: i64,
    per: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideV3 {
    key: Box<str>,
    pace: Option<f64>,
    #[serde(default)]
    window: Option<WindowV2>,
    #[serde(default)]
    quota: Option<QuotaV2>,
    slots: Option<NonZeroU32>,
    timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    closed: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WordingV3 {
    per_window: Box<str>,
    per_quota: Box<str>,
    closed: Box<str>,
    subject: Box<str>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FamilyV1 {
    Wait,
    Refuse,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum OverlapV2 {
    #[default]
    MostSpecific,
    All,
}

pub(in crate::policy) fn encode_spec(spec: &Spec) -> SpecV3 {
    let Spec { clauses, limits, family, overlap, scope, overrides, bounds_on, rank, wording, title, config } =
        spec;
    let (overlap, among) = match overlap {
        Overlap::MostSpecific { among } => (OverlapV2::MostSpecific, among.clone()),
        Overlap::All => (OverlapV2::All, Box::default()),
    };
    let overrides = overrides.iter().map(|(key, limits)| {
        let LimitsV3 { pace, window, quota, slots, timeout_ms, closed } = encode_limits(limits);
        OverrideV3 { key: key.into(), pace, window, quota, slots, timeout_ms, closed }
    });
    let LimitsV3 { pace, window, quota, slots, timeout_ms, closed } = encode_limits(limits);
    SpecV3 {
        clauses: clauses.iter().map(encode_clause).collect(),
        pattern: None,
        methods: None,
        labels: None,
        pace,
        window,
        quota,
        slots,
        timeout_ms,
        closed,
        family: match family {
            Family::Wait => FamilyV1::Wait,
            Family::Refuse => FamilyV1::Refuse,
        },
        overlap,
        among,
        scope: scope.labels().iter().map(ToString::to_string).collect(),
        host: scope.host().map(str::to_owned),
        overrides: overrides.collect(),
        counts_on: bounds_on.as_ref().map(PolicyId::to_string),
        rank: *rank,
        wording: wording.clone().map(|RefusalCodes { per_window, per_quota, closed, subject }| WordingV3 {
            per_window,
            per_quota,
            closed,
            subject,
        }),
        title: title.clone(),
        config: config.clone(),
    }
}

pub(super) fn decode_spec(spec: SpecV3) -> Result<Spec, PolicyError> {
    // All three or none: a clause that lost its methods or labels would govern more calls than it did.
    let only = match (spec.pattern, spec.methods, spec.labels) {
        (None, None, None) => None,
        (Some(pattern), Some(methods), Some(labels)) => {
            Some(ClauseV3 { pattern, methods, labels, segment: None })
        }
        _ => return Err(malformed("a clause without pattern, methods or labels")),
    };
    let clauses = spec.clauses.into_iter().chain(only).map(decode_clause);
    let clauses: Vec<Clause> = clauses.collect::<Result<_, _>>()?;
    // No version wrote one: it is taken for damage, not for a policy that governs nothing.
    if clauses.is_empty() {
        return Err(malformed("a policy that governs no call"));
    }
    let scope = Scope::new(&spec.scope).map_err(malformed)?;
    let SpecV3 { pace, window, quota, slots, timeout_ms, closed, .. } = spec;
    Ok(Spec {
        clauses,
        limits: decode_limits(LimitsV3 { pace, window, quota, slots, timeout_ms, closed })?,
        family: match spec.family {
            FamilyV1::Wait => Family::Wait,
            FamilyV1::Refuse => Family::Refuse,
        },
        overlap: match spec.overlap {
            OverlapV2::MostSpecific => Overlap::MostSpecific { among: spec.among },
            OverlapV2::All => Overlap::All,
        },
        scope: match spec.host {
            Some(label) => scope.with_host(&label),
            None => scope,
        },
        overrides: decode_overrides(spec.overrides)?,
        bounds_on: spec.counts_on.as_deref().map(PolicyId::parse).transpose()?,
        rank: spec.rank,
        wording: spec.wording.map(|WordingV3 { per_window, per_quota, closed, subject }| RefusalCodes {
            per_window,
            per_quota,
            closed,
            subject,
        }),
        title: spec.title,
        config: spec.config,
    })
}

fn decode_overrides(rows: Vec<OverrideV3>) -> Result<Overrides, PolicyError> {
    let mut overrides = BTreeMap::new();
    for OverrideV3 { key, pace, window, quota, slots, timeout_ms, closed } in rows {
        let limits = LimitsV3 { pace, window, quota, slots, timeout_ms, closed };
        // Which of them was meant cannot be known.
        if overrides.insert(key, decode_limits(limits)?).is_some() {
            return Err(malformed("the limits of one key stand twice"));
        }
    }
    Ok(Overrides::by_key(overrides))
}

fn encode_clause(clause: &Clause) -> ClauseV3 {
    let label = |LabelCondition { key, value, or_absent }: &LabelCondition| LabelV1 {
        key: key.clone(),
        value: value.clone(),
        or_absent: *or_absent,
    };
    ClauseV3 {
        pattern: clause.pattern.as_str().to_owned(),
        methods: clause.methods.iter().map(Method::to_string).collect(),
        labels: clause.labels.iter().map(label).collect(),
        segment: clause.segment.clone().map(|Segment { label, after, names }| SegmentV3 {
            label,
            after,
            names,
        }),
    }
}

fn decode_clause(clause: ClauseV3) -> Result<Clause, PolicyError> {
    let methods = clause.methods.iter().map(|method| Method::from_bytes(method.as_bytes()));
    let label = |LabelV1 { key, value, or_absent }| LabelCondition { key, value, or_absent };
    Ok(Clause {
        pattern: UrlPattern::from_canonical(&clause.pattern).map_err(malformed)?,
        methods: methods.collect::<Result<_, _>>().map_err(malformed)?,
        labels: clause.labels.into_iter().map(label).collect(),
        segment: clause.segment.map(|SegmentV3 { label, after, names }| Segment { label, after, names }),
    })
}

fn encode_limits(limits: &Limits) -> LimitsV3 {
    let Limits { pace, window, quota, slots, timeout, closed } = limits;
    // Lengths are far below 64 bits of milliseconds.
    let millis = |length: &Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    LimitsV3 {
        pace: pace.map(Pace::starts_per_second),
        window: window.map(|window| WindowV2 {
            calls: encode_calls(window.calls()),
            length_ms: i64::try_from(window.length().as_millis()).unwrap_or(i64::MAX),
        }),
        quota: quota
            .map(|Quota { calls, per }| QuotaV2 { calls: encode_calls(calls), per: per.name().to_owned() }),
        slots: *slots,
        timeout_ms: timeout.as_ref().map(millis),
        closed: *closed,
    }
}

fn encode_calls(calls: Option<NonZeroU32>) -> i64 {
    calls.map_or(COUNTING, |calls| calls.get().into())
}

fn decode_limits(limits: LimitsV3) -> Result<Limits, PolicyError> {
    let window = limits.window.map(decode_window).transpose();
    Ok(Limits {
        pace: limits.pace.map(Pace::per_second).transpose().map_err(malformed)?,
        window: window.map_err(malformed)?,
        quota: limits.quota.map(decode_quota).transpose()?,
        slots: limits.slots,
        timeout: limits.timeout_ms.map(Duration::from_millis),
        closed: limits.closed,
    })
}

fn decode_window(window: WindowV2) -> Result<Window, LimitError> {
    // One call stands for any number: only its length is of interest.
    let is_counting = window.calls == COUNTING;
    let checked = Window::new(if is_counting { 1 } else { window.calls }, window.length_ms)?;
    Ok(if is_counting { Window::counting(checked.length()) } else { checked })
}

fn decode_quota(quota: QuotaV2) -> Result<Quota, PolicyError> {
    let per = Period::parse(&quota.per).ok_or_else(|| malformed("a quota of an unknown period"))?;
    if quota.calls == COUNTING {
        return Ok(Quota::counting(per));
    }
    Quota::new(quota.calls, per).map_err(malformed)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(number: &u8) -> bool {
    *number == 0
}
