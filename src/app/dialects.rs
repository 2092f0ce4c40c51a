//! The dialects over the configuration: their routes, the words of their endpoints, what is shown of the use of their
//! limits.
//!
//! Must not know: any one dialect.

use std::sync::Arc;

use axum::Router;
use http::HeaderMap;

use crate::clock::Clock;
use crate::config::Config;
use crate::ingest::UsageHeaders;
use crate::limit::{Counter, LimitKind, LimiterFigures};
use crate::manage::{self, Parts, Usage, Used};
use crate::policy::{Policies, Runtime};
use crate::telemetry::{EndpointWords, endpoints_may_say};

/// The routes of all dialects, each with random numbers of its own.
pub(super) fn routes(
    config: &Config,
    policies: &Policies,
    clock: &Clock,
    random: &mut fastrand::Rng,
) -> Router {
    let policies = policies.bounded(config.manage.bounds);
    manage::all().iter().fold(Router::new(), |router, dialect| {
        let parts = Parts { policies: policies.clone(), clock: clock.clone(), random: random.fork() };
        router.merge(dialect.routes(&config.dialects, parts))
    })
}

/// The words of endpoints that the dialects understand become series.
pub(super) fn show_words() {
    let labels = |said: &[crate::event::Said]| said.iter().map(|said| said.label).collect::<Vec<_>>();
    let mut all = EndpointWords::default();
    for words in manage::hears().iter().map(|one| one.words()) {
        all.waits.extend(labels(words.waits));
        all.denials.extend(labels(words.denials));
    }
    endpoints_may_say(all);
}

/// The headers that show how far the limits of a call are used; `None` when no dialect is to show them.
pub(super) fn usage_headers(config: &Config) -> Option<UsageHeaders> {
    let shown: Vec<_> = manage::all().iter().filter_map(|dialect| dialect.usage(&config.dialects)).collect();
    (!shown.is_empty()).then(|| -> UsageHeaders {
        Arc::new(move |runtime: &Runtime, limits: &[LimiterFigures]| {
            let mut headers = HeaderMap::new();
            for shows in &shown {
                let counts = limits.iter().filter(|figures| {
                    let policy = runtime.get(&figures.policy);
                    policy.is_some_and(|policy| (shows.counts)(&policy.origin, &policy.id))
                });
                let counters = counts
                    .flat_map(|figures| figures.counters.iter().map(|counter| (*counter, figures.promised)));
                headers.extend((shows.headers)(&usage(counters)));
            }
            headers
        })
    })
}

/// Of several counters of one kind the first one, each with the starts that were promised beside those that it counts: the
/// call that is answered has not started yet, and is one of them.
fn usage(counters: impl Iterator<Item = (Counter, u32)>) -> Usage {
    let mut usage = Usage::default();
    for (counter, promised) in counters {
        let current = u64::from(counter.used) + u64::from(promised);
        let used = Used { allotted: counter.calls.into(), current };
        match counter.kind {
            LimitKind::Window if usage.window.is_none() => usage.window = Some(used),
            LimitKind::Quota if usage.quota.is_none() => {
                (usage.quota, usage.quota_resets_at) = (Some(used), counter.resets_at);
            }
            _ => {}
        }
    }
    usage
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
            resets_at: (kind == LimitKind::Quota).then_some(Timestamp::from_millis(5)),
        };
        let counters =
            [counter(LimitKind::Window, 5), counter(LimitKind::Quota, 1000), counter(LimitKind::Quota, 7)];
        let told = usage(counters.into_iter().zip([1, 2, 9]));
        let quota = Some(Used { allotted: 1000, current: 5 });
        let window = Some(Used { allotted: 5, current: 4 });
        assert_eq!(told, Usage { window, quota, quota_resets_at: Some(Timestamp::from_millis(5)) });
        assert_eq!(usage(std::iter::empty()), Usage::default());
    }
}
