//! Objects to policies: what services, endpoints, methods and keys mean for calls (contract.md 1, 3, 6).
//!
//! | policy | calls | told apart by | limits | asked |
//! |---|---|---|---|---|
//! | `<service>.overall` | all of the service | – | calls per second over all keys | 1st |
//! | `<method>.method` | of the endpoint and method | – | calls per period and per second over all keys | 2nd |
//! | `<endpoint>.endpoint` | of the endpoint | key | bounds on what `<service>.keys` counts | 3rd |
//! | `<service>.keys` | all of the service | key | of each key, closed to keys that are unknown or not active | 4th, closed first |
//! | `<plan>.plan` | of all that is in the plan | key | of each key of the plan over all of it | 4th |
//! | `<method>.plans` | of the endpoint and method | key | of each key whose plan limits the method | 2nd |
//! | `<endpoint>.rest` | of an endpoint, where it lies inside another | – | none: the methods of the other stay out | – |
//! | `<endpoint>.planrest` | the same | – | the same for methods that plans limit | – |
//!
//! A key belongs to one plan at most, so that of the policies of plans no two govern one call. Policies of one column compete by the longest alias, so that a call belongs to one endpoint in all of them. Those
//! that have nothing to limit are there for that.
//!
//! A limit per second is a sliding window of one second: no second ever holds more, whereas a calendar second would let
//! twice as many pass around its end. Periods are those of the calendar in UTC.

pub(super) mod calls;
pub(super) mod effective;
pub(super) mod plans;

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method as Verb;

use crate::event::PolicyId;
use crate::manage::mashery::derive::effective::{Ceiling, Effective};
use crate::manage::mashery::derive::plans::Plans;
use crate::manage::mashery::objects::catalogue::{Catalogue, Element};
use crate::manage::mashery::objects::record::{Endpoint, Method, PackageKey, Service, Status};
use crate::manage::mashery::says::Code;
use crate::policy::{
    Clause, Family, LabelCondition, Limits, Overlap, Overrides, Period, Quota, RefusalCodes, Scope, Segment,
    Spec, UrlPattern, Window,
};

/// The label by which a call names its key.
pub(super) const API_KEY: &str = "api_key";
/// The label by which a call names its method.
pub(super) const API_METHOD: &str = "api_method";
const SECOND: Duration = Duration::from_secs(1);
/// How the policies are called that count the calls of single keys.
pub(super) const KEYS: &str = "keys";

/// An endpoint with its calls, which all its policies share.
struct Part<'c> {
    endpoint: &'c Element<Endpoint>,
    calls: Vec<Clause>,
}

/// The policies that the objects amount to; of equals that compete the earlier one rules. `None` when an id is none.
pub(super) fn derive(catalogue: &Catalogue) -> Option<Vec<(PolicyId, Spec)>> {
    let with_methods = catalogue.endpoints.iter().filter(|of| catalogue.methods_of(&of.id).next().is_some());
    // A set, because each beginning of each address is looked up in it.
    let outer: BTreeSet<String> = with_methods.flat_map(|endpoint| endpoint.of.prefixes()).collect();
    let plans = Plans::of(catalogue);
    let mut list = Vec::new();
    for service in &catalogue.services {
        let parts: Vec<Part<'_>> = catalogue
            .endpoints_of(&service.id)
            .map(|endpoint| Part { endpoint, calls: calls(&endpoint.of) })
            .collect();
        // Without an address no call is known to be of the service.
        if parts.is_empty() {
            continue;
        }
        list.push(overall(service, &parts)?);
        list.push(keys(catalogue, &plans, service, &parts)?);
        for part in parts {
            list.push(bounds(&plans, service, &part)?);
            let methods: Vec<&Element<Method>> = catalogue.methods_of(&part.endpoint.id).collect();
            let names: Vec<Box<str>> = methods.iter().map(|method| method.of.name.as_str().into()).collect();
            for of in &methods {
                list.push(method(service, &part, of, &names)?);
                list.extend(plans.method(&part, of, &names)?);
            }
            if lies_inside(&part.endpoint.of, &outer) {
                // Behind its own methods in the list, which are as literal.
                list.extend(plans.rest(&part)?);
                list.push(rest(&part.endpoint.id, part.calls)?);
            }
        }
    }
    list.extend(plans.keys()?);
    Some(list)
}

fn overall(service: &Element<Service>, parts: &[Part<'_>]) -> Option<(PolicyId, Spec)> {
    // Nothing, 0 and -1 mean without limit: the policy is there all the same, so that each column has one winner.
    let ceiling = service.of.qps_limit_overall.filter(|ceiling| *ceiling > 0);
    let window = ceiling.and_then(|calls| Window::new(calls, 1000).ok());
    let spec = Spec {
        rank: 1,
        wording: Some(wording(Code::ServiceOverQps, Code::ServiceOverQps, &service.of.name)),
        ..refusing("overall", all_calls(parts), Limits { window, ..Limits::default() })
    };
    policy(&service.id, "overall", spec.called(&service.of.name))
}

fn keys(
    catalogue: &Catalogue,
    plans: &Plans<'_>,
    service: &Element<Service>,
    parts: &[Part<'_>],
) -> Option<(PolicyId, Spec)> {
    // Without a counter there would be nothing for the endpoints to bound, and a key that is exempt no longer would begin
    // in the middle of a period as if it had made no calls.
    let counted = |default: Option<u32>, ceiling: fn(&Endpoint) -> Option<u32>| {
        default.is_some() || parts.iter().any(|part| ceiling(&part.endpoint.of).is_some())
    };
    let rate = counted(service.of.rate_limit_ceiling, |of| of.rate_limit_ceiling);
    let qps = counted(None, |of| of.qps_limit_ceiling);
    let scope = Scope::new(&[API_KEY]).ok()?;
    let period = service.of.rate_limit_period;
    let allowed = |is_let_through: bool, effective: Effective| {
        if !is_let_through {
            // A key that is unknown is closed by the limits of the policy itself, below.
            return Limits::closed();
        }
        let own = effective.limits(period);
        Limits {
            // A key without a limit of its own is still counted, for the bounds of endpoints.
            quota: own.quota.or(rate.then_some(Quota::counting(period))),
            window: own.window.or(qps.then_some(Window::counting(SECOND))),
            ..own
        }
    };
    let alone = catalogue
        .keys_of(&service.id)
        .map(|key| (row(key), allowed(key.of.status == Status::Active, Effective::of(&key.of, &service.of))));
    let in_plans = plans.keys_with(&service.id).map(|(plan, key)| {
        let effective = Effective::left_to(&key.of, &plan.of, &service.of);
        (row(key), allowed(plans::lets_through(&plan.of, &key.of), effective))
    });
    let rows = alone.chain(in_plans);
    let spec = Spec {
        overrides: Overrides::new(&scope, rows),
        scope,
        rank: 4,
        wording: Some(of_developer(&service.of.name)),
        // Closed: a key that has no row is unknown, and the gateway turns its calls away.
        ..refusing(KEYS, all_calls(parts), Limits::closed())
    };
    policy(&service.id, KEYS, spec.called(&service.of.name))
}

fn bounds(plans: &Plans<'_>, service: &Element<Service>, part: &Part<'_>) -> Option<(PolicyId, Spec)> {
    let Endpoint { rate_limit_ceiling, qps_limit_ceiling, name, .. } = &part.endpoint.of;
    let bounds = limits(*rate_limit_ceiling, service.of.rate_limit_period, *qps_limit_ceiling);
    let scope = Scope::new(&[API_KEY]).ok()?;
    // The service lets them through, and their plan not to this endpoint of it.
    let shut = plans.keys_without(&service.id, &part.endpoint.id);
    let shut: Vec<_> = shut.map(|key| (row(key), Limits::closed())).collect();
    let overrides = if shut.is_empty() { Overrides::default() } else { Overrides::new(&scope, shut) };
    let spec = Spec {
        overrides,
        scope,
        bounds_on: Some(id(&service.id, KEYS)?),
        rank: 3,
        wording: Some(of_developer(name)),
        ..refusing("endpoint", part.calls.clone(), bounds)
    };
    policy(&part.endpoint.id, "endpoint", spec.called(&title(&part.endpoint.of)))
}

fn method(
    service: &Element<Service>,
    part: &Part<'_>,
    method: &Element<Method>,
    names: &[Box<str>],
) -> Option<(PolicyId, Spec)> {
    let Method { name, rate_limit_ceiling, rate_limit_period, qps_limit_ceiling } = &method.of;
    let period = rate_limit_period.unwrap_or(service.of.rate_limit_period);
    let limits = limits(*rate_limit_ceiling, period, *qps_limit_ceiling);
    let spec = Spec {
        rank: 2,
        wording: Some(of_developer(name)),
        ..refusing("method", calls_of_method(part, name, names), limits)
    };
    let title = format!("{} {name}", title(&part.endpoint.of));
    policy(&method.id, "method", spec.called(&title))
}

fn calls_of_method(part: &Part<'_>, name: &str, names: &[Box<str>]) -> Vec<Clause> {
    // As canonical urls spell it, with which it is compared.
    let after: Box<str> = part.endpoint.of.canonical_alias().into();
    let mut clauses = part.calls.clone();
    for clause in &mut clauses {
        clause.labels = vec![LabelCondition::equals(API_METHOD, name)];
        // All names of the endpoint in each clause: the first segment that is a method decides, whichever method it
        // is.
        clause.segment =
            Some(Segment { label: API_METHOD.into(), after: after.clone(), names: names.to_vec() });
    }
    clauses
}

/// What people call an endpoint: its name, and its alias, by which they know it in urls.
fn title(endpoint: &Endpoint) -> String {
    format!("{} {}", endpoint.name, endpoint.request_path_alias)
}

/// The label values by which a key is told apart.
fn row(key: &Element<PackageKey>) -> Vec<Box<str>> {
    vec![key.of.apikey.as_str().into()]
}

impl Effective {
    fn limits(self, period: Period) -> Limits {
        let calls = |ceiling: Option<Ceiling>| ceiling.map(|ceiling| ceiling.calls);
        limits(calls(self.rate), period, calls(self.qps))
    }
}

/// Whether an address of the endpoint goes on where that of another one with methods ends.
fn lies_inside(endpoint: &Endpoint, outer: &BTreeSet<String>) -> bool {
    // A set look-up for each cut, because comparing all pairs of addresses would be quadratic.
    let goes_on = |prefix: &String| {
        (1..prefix.len()).any(|end| prefix.get(..end).is_some_and(|start| outer.contains(start)))
    };
    !outer.is_empty() && endpoint.prefixes().iter().any(goes_on)
}

/// For calls of the endpoint that are of none of its methods: without it they could fall to the methods of an endpoint
/// with a shorter alias.
fn rest(endpoint: &str, calls: Vec<Clause>) -> Option<(PolicyId, Spec)> {
    policy(endpoint, "rest", refusing("method", calls, Limits::default()))
}

fn refusing(among: &str, clauses: Vec<Clause>, limits: Limits) -> Spec {
    // Within a column the longest alias wins; policies of different columns apply together.
    let overlap = Overlap::MostSpecific { among: among.into() };
    Spec { family: Family::Refuse, overlap, ..Spec::new(clauses, limits) }
}

fn all_calls(parts: &[Part<'_>]) -> Vec<Clause> {
    parts.iter().flat_map(|part| part.calls.iter().cloned()).collect()
}

/// One clause for each beginning of its addresses.
fn calls(endpoint: &Endpoint) -> Vec<Clause> {
    let verbs: Vec<Verb> = endpoint.verbs();
    let patterns = endpoint.prefixes().into_iter().filter_map(|prefix| {
        // A canonical address that has no wildcard yet.
        UrlPattern::parse(&format!("{prefix}*")).ok()
    });
    patterns.map(|pattern| Clause { methods: verbs.clone(), ..Clause::of(pattern) }).collect()
}

fn limits(rate: Option<u32>, period: Period, qps: Option<u32>) -> Limits {
    Limits {
        // Ceilings were checked when they were taken.
        quota: rate.and_then(|calls| Quota::new(i64::from(calls), period).ok()),
        window: qps.and_then(|calls| Window::new(i64::from(calls), 1000).ok()),
        ..Limits::default()
    }
}

fn of_developer(subject: &str) -> RefusalCodes {
    wording(Code::DeveloperOverQps, Code::DeveloperOverRate, subject)
}

fn wording(per_window: Code, per_quota: Code, subject: &str) -> RefusalCodes {
    RefusalCodes {
        per_window: per_window.as_str().into(),
        per_quota: per_quota.as_str().into(),
        closed: Code::DeveloperInactive.as_str().into(),
        subject: subject.into(),
    }
}

/// The policy that an object amounts to; the object is the config behind it.
fn policy(of: &str, suffix: &str, spec: Spec) -> Option<(PolicyId, Spec)> {
    Some((id(of, suffix)?, Spec { config: Some(of.into()), ..spec }))
}

fn id(of: &str, suffix: &str) -> Option<PolicyId> {
    PolicyId::parse(&format!("{of}.{suffix}")).ok()
}
