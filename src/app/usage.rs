//! How far the limits of a call are used, in the headers of the dialect that has such.

use http::HeaderMap;

use crate::limit::{Counter, Kind, LimiterFigures};
use crate::manage::mashery::usage::{Usage, Used, counts_for_a_key};
use crate::policy::Runtime;

/// Those of the key of a call to a Mashery service; none for other calls.
pub(super) fn usage_headers(runtime: &Runtime, limits: &[LimiterFigures]) -> HeaderMap {
    let of_key = limits.iter().find(|figures| {
        runtime.get(&figures.policy).is_some_and(|policy| counts_for_a_key(&policy.origin, &policy.id))
    });
    of_key.map(|figures| usage(&figures.counters).headers()).unwrap_or_default()
}

fn usage(counters: &[Counter]) -> Usage {
    let limit = |kind| counters.iter().find(|limit| limit.kind == kind);
    let used = |limit: &Counter| Used { allotted: limit.calls.into(), current: limit.used.into() };
    let (qps, quota) = (limit(Kind::Window), limit(Kind::Quota));
    Usage {
        qps: qps.map(used),
        quota: quota.map(used),
        quota_resets_at: quota.and_then(|limit| limit.resets_at),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn what_has_no_limit_is_not_told() {
        let counter = |kind, calls| Counter {
            kind,
            calls,
            length: Duration::from_secs(1),
            used: 3,
            window_peak: 3,
            violations: 0,
            resets_at: (kind == Kind::Quota).then_some(Timestamp::from_millis(5)),
        };
        let told = usage(&[counter(Kind::Window, 5), counter(Kind::Quota, 1000)]);
        let quota = Some(Used { allotted: 1000, current: 3 });
        let qps = Some(Used { allotted: 5, current: 3 });
        assert_eq!(told, Usage { qps, quota, quota_resets_at: Some(Timestamp::from_millis(5)) });
        assert_eq!(usage(&[]).headers(), HeaderMap::new());
    }
}
