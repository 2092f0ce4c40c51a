//! The series in which a lane counts: handles that whoever keeps a lane keeps with it, so that counting costs neither a
//! look-up nor an allocation.
//!
//! Must not know: what happens in a lane, which policies have series of their own.

use std::sync::Arc;

use crate::event::{Lane, LaneKey};
use crate::telemetry::events::policy_names;
use crate::telemetry::kept::{LabelTarget, RecorderId};
use crate::telemetry::policies::{self, Label};

/// The series of each policy of a lane. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LaneSeries(Arc<[Arc<Label>]>);

impl LaneSeries {
    /// The series in which this lane counts now.
    #[must_use]
    pub fn of(lane: &Lane) -> Self {
        Self(policies::labels(policy_names(lane)))
    }

    /// Those of the lane of this key; those of no policy where the key does not say which.
    pub(crate) fn named(key: &LaneKey) -> Self {
        Lane::parse(key)
            .map_or_else(|_| Self(policies::labels(std::iter::once(policies::NONE))), |lane| Self::of(&lane))
    }

    /// Whether it still counts in these. Otherwise whoever keeps them looks for them anew.
    pub(crate) fn are_current(&self) -> bool {
        self.0.iter().all(|label| label.is_current())
    }

    /// Counts under each of the policies.
    pub(super) fn each(&self, count: impl Fn(&LabelTarget<'_>)) {
        let present = RecorderId::present();
        for label in &*self.0 {
            count(&LabelTarget::new(label.name(), label.kept(), present));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

    use super::*;
    use crate::telemetry::recorder::{self, Router};
    use crate::telemetry::{
        AttemptFinished, EntryCompleted, EventSource, EventsEnqueued, QueueWaited, RetryScheduled, names,
    };

    /// Notes which metrics are looked up.
    struct LookUps {
        router: Router,
        names: Mutex<Vec<String>>,
    }

    impl LookUps {
        fn note(&self, key: &Key) {
            self.names.lock().expect("no panic").push(key.name().to_owned());
        }

        /// Those since the last call, without the one that is kept for the whole process in its own recorder.
        fn take(&self) -> Vec<String> {
            let mut names = std::mem::take(&mut *self.names.lock().expect("no panic"));
            names.retain(|name| name != names::EVENT_LIFETIME.name);
            names
        }
    }

    impl metrics::Recorder for LookUps {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
            self.note(key);
            self.router.register_counter(key, metadata)
        }

        fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
            self.note(key);
            self.router.register_gauge(key, metadata)
        }

        fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
            self.note(key);
            self.router.register_histogram(key, metadata)
        }
    }

    /// All that an event counts from its acceptance to its end, with a retry between.
    fn a_life(lane: &LaneKey, series: &LaneSeries) {
        let took = Duration::from_millis(3);
        EventsEnqueued { lane, series, source: EventSource::Http, count: 1 }.emit();
        QueueWaited { series, waited: took }.emit();
        AttemptFinished { lane, series, result: "5xx", took }.emit();
        RetryScheduled { lane, series, cause: "5xx" }.emit();
        AttemptFinished { lane, series, result: "2xx", took }.emit();
        EntryCompleted { lane, series, outcome: "delivered", cause: None, lived: took }.emit();
    }

    #[test]
    fn what_a_lane_keeps_is_not_looked_up_again() {
        let (router, _) = recorder::router().expect("bounds are not empty");
        let look_ups = LookUps { router, names: Mutex::default() };
        metrics::with_local_recorder(&look_ups, || {
            let lane = LaneKey::new("p@1+q@1").expect("short");
            let labels = ["p", "q"].map(|name| Label::new(SharedString::const_str(name)));
            labels.iter().for_each(|label| label.begin());
            assert!(look_ups.take().len() > 2 * 20, "they begin");
            let kept = LaneSeries(labels.into());
            a_life(&lane, &kept);
            assert_eq!(look_ups.take(), [""; 0]);
            // The control: of what is not kept each is.
            let begins = LaneSeries(["p", "q"].map(|name| Label::new(SharedString::const_str(name))).into());
            a_life(&lane, &begins);
            assert_eq!(look_ups.take().len(), 2 * 8);
        });
    }

    #[test]
    fn a_key_that_says_no_policy_counts_under_none() {
        let names = |key: &str| {
            let series = LaneSeries::named(&LaneKey::new(key).expect("short"));
            series.0.iter().map(|label| label.name().to_string()).collect::<Vec<_>>()
        };
        assert_eq!((names("-"), names("no lane")), (vec!["-".to_owned()], vec!["-".to_owned()]));
        // Some test may say which policies there are: their names are then not shown.
        assert_eq!(names("p@1+q@2;key=v").len(), 2);
    }
}
