//! Which ceilings are active for a key: its own, its plan's, its service's or none (contract.md 1, 6).
//!
//! A key's ceiling and its exemption count only as far as the service or plan allows overrides; otherwise they are kept and
//! ignored.

use serde_json::{Value, json};

use crate::manage::mashery::objects::record::{PackageKey, Plan, Service};
use crate::policy::Period;

/// The ceilings of one key; `None` means without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manage::mashery) struct Effective {
    /// Calls per period of the service or plan.
    pub(in crate::manage::mashery) rate: Option<Ceiling>,
    /// Calls per second of this key alone.
    pub(in crate::manage::mashery) qps: Option<Ceiling>,
}

/// A number of calls and who set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manage::mashery) struct Ceiling {
    /// The most calls in the period or second.
    pub(in crate::manage::mashery) calls: u32,
    /// Who set it, as it is shown: `key`, `plan` or `service`.
    source: &'static str,
}

/// What a key says of one of its limits, and what the one says that it belongs to.
#[derive(Clone, Copy)]
struct Said {
    may_override: bool,
    key_is_exempt: bool,
    key: Option<u32>,
    outer_is_exempt: bool,
    outer: Option<u32>,
    /// Who the outer one is.
    source: &'static str,
}

impl Said {
    fn ceiling(self) -> Option<Ceiling> {
        match self.key {
            // First, because a key that is exempt may keep a ceiling, which comes back with the end of its exemption.
            _ if self.may_override && self.key_is_exempt => None,
            Some(calls) if self.may_override => Some(Ceiling { calls, source: "key" }),
            _ if self.outer_is_exempt => None,
            _ => self.outer.map(|calls| Ceiling { calls, source: self.source }),
        }
    }

    /// Whether nobody says anything, not even that there is no limit.
    fn is_open(self) -> bool {
        let key_says = self.may_override && (self.key_is_exempt || self.key.is_some());
        !key_says && !self.outer_is_exempt && self.outer.is_none()
    }
}

impl Effective {
    /// What holds for a key of a service, whatever the key's status.
    pub(in crate::manage::mashery) fn of(key: &PackageKey, service: &Service) -> Self {
        let rate = Said {
            may_override: service.rate_limit_override_allowed,
            key_is_exempt: key.rate_limit_exempt,
            key: key.rate_limit_ceiling,
            outer_is_exempt: false,
            outer: service.rate_limit_ceiling,
            source: "service",
        };
        let qps = Said {
            may_override: service.qps_limit_override_allowed,
            key_is_exempt: key.qps_limit_exempt,
            key: key.qps_limit_ceiling,
            outer: service.qps_limit_ceiling,
            ..rate
        };
        Self { rate: rate.ceiling(), qps: qps.ceiling() }
    }

    /// What holds for a key of a plan over all that is in the plan.
    pub(in crate::manage::mashery) fn in_plan(key: &PackageKey, plan: &Plan) -> Self {
        let (rate, qps) = said_in_plan(key, plan);
        Self { rate: rate.ceiling(), qps: qps.ceiling() }
    }

    /// What holds for a key of a plan within one service, beside that: the service's own limits where key and plan leave
    /// them open.
    pub(in crate::manage::mashery) fn left_to(key: &PackageKey, plan: &Plan, service: &Service) -> Self {
        let (rate, qps) = said_in_plan(key, plan);
        let inherited = |said: Said, outer: Option<u32>| {
            outer.filter(|_| said.is_open()).map(|calls| Ceiling { calls, source: "service" })
        };
        Self {
            rate: inherited(rate, service.rate_limit_ceiling),
            qps: inherited(qps, service.qps_limit_ceiling),
        }
    }

    /// The rows of the member `limits[]` of a key.
    pub(in crate::manage::mashery) fn rows(self, period: Period) -> Vec<Value> {
        let rows = [(period.name(), self.rate), ("second", self.qps)];
        let shown = rows.into_iter().filter_map(|(period, ceiling)| {
            let Ceiling { calls, source } = ceiling?;
            Some(json!({"period": period, "source": source, "ceiling": calls}))
        });
        shown.collect()
    }
}

fn said_in_plan(key: &PackageKey, plan: &Plan) -> (Said, Said) {
    let rate = Said {
        may_override: plan.rate_limit_key_override_allowed,
        key_is_exempt: key.rate_limit_exempt,
        key: key.rate_limit_ceiling,
        outer_is_exempt: plan.rate_limit_exempt,
        outer: plan.rate_limit_ceiling,
        source: "plan",
    };
    let qps = Said {
        may_override: plan.qps_limit_key_override_allowed,
        key_is_exempt: key.qps_limit_exempt,
        key: key.qps_limit_ceiling,
        outer_is_exempt: plan.qps_limit_exempt,
        outer: plan.qps_limit_ceiling,
        ..rate
    };
    (rate, qps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manage::mashery::objects::record::{PlanStatus, Reference, Status};

    fn service(rate: Option<u32>, qps: Option<u32>, allowed: bool) -> Service {
        Service {
            name: "s".to_owned(),
            qps_limit_overall: None,
            rate_limit_ceiling: rate,
            rate_limit_period: Period::Hour,
            qps_limit_ceiling: qps,
            rate_limit_override_allowed: allowed,
            qps_limit_override_allowed: allowed,
        }
    }

    fn key(own: Option<u32>, exempt: bool) -> PackageKey {
        PackageKey {
            apikey: "k".to_owned(),
            rate_limit_ceiling: own,
            rate_limit_exempt: exempt,
            qps_limit_ceiling: own,
            qps_limit_exempt: exempt,
            status: Status::Active,
            service: Some(Reference { id: "1".to_owned() }),
            package: None,
            plan: None,
        }
    }

    #[test]
    fn the_service_allows_or_not_what_a_key_says_of_its_own() {
        let calls = |own, exempt, allowed| {
            let effective = Effective::of(&key(own, exempt), &service(Some(100), Some(100), allowed));
            assert_eq!(effective.rate, effective.qps);
            effective.rate.map(|ceiling| (ceiling.calls, ceiling.source))
        };
        assert_eq!(calls(None, false, true), Some((100, "service")));
        assert_eq!(calls(Some(7), false, true), Some((7, "key")));
        assert_eq!(calls(Some(700), false, true), Some((700, "key")), "raised");
        assert_eq!(calls(Some(7), true, true), None, "exempt");
        assert_eq!(calls(Some(0), true, true), None);
        for (own, exempt) in [(None, false), (Some(7), false), (Some(7), true), (Some(0), true)] {
            assert_eq!(calls(own, exempt, false), Some((100, "service")), "{own:?} {exempt}");
        }
    }

    #[test]
    fn limits_show_what_is_active_and_whose_it_is() {
        let allowed = Service { qps_limit_override_allowed: false, ..service(Some(100), Some(5), true) };
        let shown = Effective::of(&key(Some(7), false), &allowed).rows(Period::Hour);
        let expected = [
            json!({"period": "hour", "source": "key", "ceiling": 7}),
            json!({"period": "second", "source": "service", "ceiling": 5}),
        ];
        assert_eq!(shown, expected);
        let free = service(None, None, false);
        assert_eq!(Effective::of(&key(None, false), &free).rows(Period::Hour), [Value::Null; 0]);
    }

    #[test]
    fn a_plan_goes_before_the_service_unless_it_leaves_a_limit_open() {
        let plan = |outer: Option<u32>, exempt, allowed| Plan {
            name: "p".to_owned(),
            rate_limit_ceiling: outer,
            rate_limit_exempt: exempt,
            rate_limit_key_override_allowed: allowed,
            rate_limit_period: Period::Day,
            qps_limit_ceiling: outer,
            qps_limit_exempt: exempt,
            qps_limit_key_override_allowed: allowed,
            status: PlanStatus::Active,
        };
        let calls = |own, key_exempt, plan: &Plan| {
            let key = key(own, key_exempt);
            let here = Effective::in_plan(&key, plan);
            let left = Effective::left_to(&key, plan, &service(Some(100), Some(100), false));
            assert_eq!((here.rate, left.rate), (here.qps, left.qps));
            let calls = |ceiling: Option<Ceiling>| ceiling.map(|ceiling| (ceiling.calls, ceiling.source));
            (calls(here.rate), calls(left.rate))
        };
        let of_plan = plan(Some(50), false, true);
        assert_eq!(calls(None, false, &of_plan), (Some((50, "plan")), None));
        assert_eq!(calls(Some(7), false, &of_plan), (Some((7, "key")), None));
        assert_eq!(calls(Some(7), true, &of_plan), (None, None), "the key is exempt");
        assert_eq!(calls(Some(7), true, &plan(Some(50), false, false)), (Some((50, "plan")), None));
        assert_eq!(calls(None, false, &plan(Some(0), true, true)), (None, None), "the plan is exempt");
        assert_eq!(calls(None, false, &plan(None, false, true)), (None, Some((100, "service"))));
        assert_eq!(calls(Some(7), false, &plan(None, false, true)), (Some((7, "key")), None));
        assert_eq!(calls(Some(7), true, &plan(None, false, false)), (None, Some((100, "service"))));
    }
}
