//! What a config means, or all its faults (contract.md 1, 2).

use std::ops::RangeInclusive;

use http::Method;

use crate::manage::adobe::answers::{CanDeploy, CheckError};
use crate::manage::adobe::methods::read_method;
use crate::manage::throttling::objects::Config;
use crate::policy::{Clause, LabelCondition, Limits, Overlap, Pace, PatternError, Spec, UrlPattern};

/// Every `maxThroughput` that can be a pace.
pub(super) const ANY_THROUGHPUT: RangeInclusive<u32> = 1..=u32::MAX;

/// A semantic fault of a config. It is saved and shown, but cannot be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::manage) enum Fault {
    /// 100: a mandatory member is missing.
    Required(&'static str),
    /// 101: `maxThroughput` missing, not a whole number or out of range.
    Throughput { min: u32, max: u32 },
    /// 104: the pattern does not parse, or has wildcards where none may be.
    MalformedPattern,
    /// 105: the pattern has a wildcard in its host.
    WildcardInHost,
    /// 106: a method that is none.
    Payload,
}

impl Fault {
    fn render(&self) -> CheckError {
        let (error_code, error) = match self {
            Self::Required(member) => {
                ("ERR_THROTTLING_CONFIG_100", format!("throttling config: {member} required"))
            }
            Self::Throughput { min, max } => (
                "ERR_THROTTLING_CONFIG_101",
                format!(
                    "throttling config: maxThroughput is required and must be greater than or equal to {min} \
                     and less than or equal to {max}"
                ),
            ),
            Self::MalformedPattern => {
                ("ERR_THROTTLING_CONFIG_104", "throttling config: malformed url pattern".to_owned())
            }
            Self::WildcardInHost => (
                "ERR_THROTTLING_CONFIG_105",
                "throttling config: wildcards not allowed in host part of the url pattern".to_owned(),
            ),
            Self::Payload => ("ERR_THROTTLING_CONFIG_106", "throttling config: invalid payload".to_owned()),
        };
        CheckError { error_code, error }
    }
}

/// What a config means whose `maxThroughput` lies in the range, or all its faults in the order of their codes.
///
/// It governs the calls of its organisation in every sandbox, and custom actions only: an event without the
/// label `service` is one (contract.md 4).
pub(super) fn check(config: &Config, org: &str, throughput: RangeInclusive<u32>) -> Result<Spec, Vec<Fault>> {
    let mut faults = Vec::new();
    // Kept apart, because faults are listed in the order of their codes and the pattern is read first.
    let mut malformed = Vec::new();
    let pattern = match config.url_pattern.as_deref().map(UrlPattern::parse) {
        Some(Ok(pattern)) => Some(pattern),
        Some(Err(PatternError::WildcardInHost)) => {
            malformed.push(Fault::WildcardInHost);
            None
        }
        Some(Err(
            PatternError::Malformed { .. }
            | PatternError::WildcardInPort
            | PatternError::TooManyWildcards { .. },
        )) => {
            malformed.push(Fault::MalformedPattern);
            None
        }
        None => {
            faults.push(Fault::Required("urlPattern"));
            None
        }
    };
    let methods = config.methods.as_deref().unwrap_or_default();
    if methods.is_empty() {
        faults.push(Fault::Required("methods"));
    }
    let pace = pace(config, &throughput);
    if pace.is_none() {
        faults.push(Fault::Throughput { min: *throughput.start(), max: *throughput.end() });
    }
    faults.append(&mut malformed);
    let methods: Option<Vec<Method>> = methods.iter().map(|method| read_method(method)).collect();
    if methods.is_none() {
        faults.push(Fault::Payload);
    }
    match (pattern, methods, pace) {
        (Some(pattern), Some(methods), Some(pace)) if faults.is_empty() => {
            let labels = vec![
                LabelCondition::equals("org", org),
                LabelCondition::equals_or_absent("service", "action"),
            ];
            let clause = Clause { methods, labels, ..Clause::of(pattern) };
            let limits = Limits { pace: Some(pace), ..Limits::default() };
            let spec = Spec { overlap: Overlap::most_specific(), ..Spec::new(vec![clause], limits) };
            Ok(spec.called(config.name.as_deref().unwrap_or_default()))
        }
        _ => {
            debug_assert!(!faults.is_empty(), "an author learns why a config cannot be deployed");
            Err(faults)
        }
    }
}

fn pace(config: &Config, throughput: &RangeInclusive<u32>) -> Option<Pace> {
    // A decimal or a negative number is no whole number of calls per second.
    let starts = u32::try_from(config.max_throughput.as_ref()?.as_u64()?).ok()?;
    let is_allowed = throughput.contains(&starts);
    is_allowed.then(|| Pace::per_second(f64::from(starts)).ok()).flatten()
}

/// The validation status of a check.
pub(super) fn can_deploy(checked: &Result<Spec, Vec<Fault>>) -> CanDeploy {
    let faults = checked.as_ref().err().map(Vec::as_slice).unwrap_or_default();
    CanDeploy::of(faults.iter().map(Fault::render).collect(), Vec::new())
}
