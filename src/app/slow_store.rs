//! Says in the log when the store stops answering in time, and when it answers again: once each, and at most once per
//! minute however often that changes.
//!
//! Must not know: what callers are answered meanwhile.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::{Clock, Timestamp};
use crate::queue::Queue;
use crate::store::StoreHealth;
use crate::telemetry::defect;

/// How often the store is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The shortest time between two warnings.
const QUIET: Duration = Duration::from_secs(60);

/// What has changed and is worth a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// The store is slow: by which operation, its age, and how many times it was slow since the last line without one.
    Slow { operation: Option<&'static str>, age: Duration, unreported: u32 },
    /// It answers again, this long after it became slow.
    Answers { after: Duration },
}

#[derive(Default)]
struct SlowStore {
    /// Since when the store is slow; `None` while it answers.
    since: Option<Timestamp>,
    /// That it is slow was reported.
    is_reported: bool,
    reported_at: Option<Timestamp>,
    unreported: u32,
}

/// Looks at the store until cancelled.
pub(super) async fn watch(queue: Queue, clock: Clock, cancelled: CancellationToken) {
    let mut slow = SlowStore::default();
    while cancelled.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        match slow.look(&queue.store_health(), clock.now()) {
            Some(News::Slow { operation, age, unreported }) => {
                let age_ms = age.as_millis();
                warn!(operation, age_ms, unreported, "the store does not answer in time");
            }
            Some(News::Answers { after }) => {
                info!(slow_for_ms = after.as_millis(), "the store answers again");
            }
            None => {}
        }
    }
}

impl SlowStore {
    fn look(&mut self, health: &StoreHealth, now: Timestamp) -> Option<News> {
        defect!(unless self.since.is_some() || !self.is_reported, "a slow store without a beginning");
        if !health.slow {
            let since = self.since.take()?;
            // An end is reported only where the beginning was.
            if std::mem::take(&mut self.is_reported) {
                return Some(News::Answers { after: now.since(since) });
            }
            self.unreported += 1;
            return None;
        }
        self.since.get_or_insert(now);
        if self.is_reported || self.reported_at.is_some_and(|at| now.since(at) < QUIET) {
            return None;
        }
        self.is_reported = true;
        self.reported_at = Some(now);
        let (operation, age) = (health.operation, health.operation_age);
        Some(News::Slow { operation, age, unreported: std::mem::take(&mut self.unreported) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(age_s: u64) -> StoreHealth {
        let operation = (age_s > 0).then_some("journal");
        let operation_age = Duration::from_secs(age_s);
        StoreHealth { operation, operation_age, slow: age_s >= 5, ..StoreHealth::default() }
    }

    #[test]
    fn it_is_said_once_that_the_store_is_slow_and_once_that_it_answers() {
        let (mut slow, at) = (SlowStore::default(), |s: u64| Timestamp::from_millis(s * 1_000));
        assert_eq!(slow.look(&health(4), at(4)), None, "the control: not slow");
        let (operation, age) = (Some("journal"), Duration::from_secs(5));
        assert_eq!(slow.look(&health(5), at(5)), Some(News::Slow { operation, age, unreported: 0 }));
        assert_eq!(slow.look(&health(6), at(6)), None);
        assert_eq!(slow.look(&health(70), at(70)), None, "however long it lasts");
        assert_eq!(slow.look(&health(0), at(71)), Some(News::Answers { after: Duration::from_secs(66) }));
        assert_eq!(slow.look(&health(0), at(72)), None);
    }

    #[test]
    fn a_store_that_is_slow_now_and_then_is_reported_once_per_minute() {
        let (mut slow, at) = (SlowStore::default(), |s: u64| Timestamp::from_millis(s * 1_000));
        assert!(slow.look(&health(5), at(5)).is_some());
        assert!(slow.look(&health(0), at(6)).is_some());
        for n in 0..5 {
            assert_eq!(slow.look(&health(5), at(10 + n * 2)), None);
            assert_eq!(slow.look(&health(0), at(11 + n * 2)), None, "no end without its beginning");
        }
        assert_eq!(slow.look(&health(5), at(64)), None);
        let (operation, age) = (Some("journal"), Duration::from_secs(6));
        assert_eq!(slow.look(&health(6), at(65)), Some(News::Slow { operation, age, unreported: 5 }));
    }
}
