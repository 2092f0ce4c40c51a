//! Which ceilings are active for a key: its own, its service's or none (contract.md 1, 5).
//!
//! A key's ceiling and its exemption count only as far as the service allows overrides; otherwise they are kept and
//! ignored.

use serde_json::{Value, json};

use crate::manage::mashery::objects::record::{PackageKey, Service};

/// The ceilings of one key; `None` means without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manage::mashery) struct Effective {
    /// Calls per period of the service.
    pub(in crate::manage::mashery) rate: Option<Ceiling>,
    /// Calls per second of this key alone.
    pub(in crate::manage::mashery) qps: Option<Ceiling>,
}

/// A number of calls and who set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manage::mashery) struct Ceiling {
    /// The most calls in the period or second.
    pub(in crate::manage::mashery) calls: u32,
    /// Who set it, as it is shown: `key` or `service`.
    source: &'static str,
}

impl Effective {
    /// What holds for a key of a service, whatever the key's status.
    pub(in crate::manage::mashery) fn of(key: &PackageKey, service: &Service) -> Self {
        let one = |allowed, exempt, own: Option<u32>, default: Option<u32>| match own {
            // First, because a key that is exempt may keep a ceiling, which comes back with the end of its exemption.
            _ if allowed && exempt => None,
            Some(calls) if allowed => Some(Ceiling { calls, source: "key" }),
            _ => default.map(|calls| Ceiling { calls, source: "service" }),
        };
        Self {
            rate: one(
                service.rate_limit_override_allowed,
                key.rate_limit_exempt,
                key.rate_limit_ceiling,
                service.rate_limit_ceiling,
            ),
            qps: one(
                service.qps_limit_override_allowed,
                key.qps_limit_exempt,
                key.qps_limit_ceiling,
                service.qps_limit_ceiling,
            ),
        }
    }

    /// The member `limits[]` of a key.
    pub(in crate::manage::mashery) fn show(self, service: &Service) -> Value {
        let period = service.rate_limit_period.name();
        let rows = [(period, self.rate), ("second", self.qps)];
        let shown = rows.into_iter().filter_map(|(period, ceiling)| {
            let Ceiling { calls, source } = ceiling?;
            Some(json!({"period": period, "source": source, "ceiling": calls}))
        });
        shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manage::mashery::objects::record::{Reference, Status};
    use crate::policy::Period;

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
            service: Reference { id: "1".to_owned() },
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
        let shown = Effective::of(&key(Some(7), false), &allowed).show(&allowed);
        let expected = json!([
            {"period": "hour", "source": "key", "ceiling": 7},
            {"period": "second", "source": "service", "ceiling": 5},
        ]);
        assert_eq!(shown, expected);
        let free = service(None, None, false);
        assert_eq!(Effective::of(&key(None, false), &free).show(&free), json!([]));
    }
}
