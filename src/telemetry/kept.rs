//! The series in which events and calls of a policy count, kept with its label, so that counting costs neither an
//! allocation nor a look-up by name and labels.
//!
//! They belong to the recorder that was in place when they were made. Where another one is, as in a test that records
//! by itself, and where none are kept, the series are looked up.
//!
//! Must not know: which policies there are, who counts.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Histogram, SharedString, counter, histogram};

use crate::telemetry::names;

/// The series of one label, and the recorder in which they count.
#[derive(Debug)]
pub(super) struct KeptSeries {
    pub(super) recorder: RecorderId,
    /// One for each source that events came from.
    pub(super) enqueued: Box<[(&'static str, Counter)]>,
    /// One for each outcome with its cause.
    pub(super) completed: Box<[((&'static str, &'static str), Counter)]>,
    /// One for each result of an attempt.
    pub(super) attempts: Box<[(&'static str, Counter)]>,
    /// One for each cause of a retry.
    pub(super) retries: Box<[(&'static str, Counter)]>,
    pub(super) call_duration: Histogram,
    pub(super) queue_wait: Histogram,
}

/// Which recorder was present: what was kept under another one counts nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecorderId(usize);

impl RecorderId {
    /// The one in which this thread counts.
    pub(super) fn present() -> Self {
        // By address: a recorder has no name, and the one of the process stays where it is.
        metrics::with_recorder(|recorder| Self(std::ptr::from_ref(recorder).cast::<()>().addr()))
    }
}

/// Where what happens under one policy counts.
pub(super) struct LabelTarget<'k> {
    label: &'k SharedString,
    kept: Option<&'k KeptSeries>,
}

impl<'k> LabelTarget<'k> {
    /// The series of a label, of which `kept` are those that are kept; counted in the present recorder.
    pub(super) fn new(label: &'k SharedString, kept: Option<&'k KeptSeries>, present: RecorderId) -> Self {
        Self { label, kept: kept.filter(|kept| kept.recorder == present) }
    }

    fn kept(&self) -> Option<&KeptSeries> {
        self.kept
    }

    pub(super) fn enqueued(&self, source: &'static str, count: u64) {
        match self.kept().and_then(|kept| find(&kept.enqueued, source)) {
            Some(counter) => counter.increment(count),
            None => {
                counter!(names::EVENTS_ENQUEUED.name, "policy" => self.label.clone(), "source" => source)
                    .increment(count);
            }
        }
    }

    pub(super) fn completed(&self, outcome: &'static str, cause: &'static str) {
        match self.kept().and_then(|kept| find(&kept.completed, (outcome, cause))) {
            Some(counter) => counter.increment(1),
            None => {
                let label = self.label.clone();
                counter!(names::EVENTS_COMPLETED.name, "policy" => label, "outcome" => outcome, "cause" => cause)
                    .increment(1);
            }
        }
    }

    pub(super) fn attempted(&self, result: &'static str, took: Duration) {
        match self.kept().and_then(|kept| find(&kept.attempts, result)) {
            Some(counter) => counter.increment(1),
            None => {
                counter!(names::CALL_ATTEMPTS.name, "policy" => self.label.clone(), "result" => result)
                    .increment(1);
            }
        }
        match self.kept() {
            Some(kept) => kept.call_duration.record(took),
            None => histogram!(names::CALL_DURATION.name, "policy" => self.label.clone()).record(took),
        }
    }

    pub(super) fn put_off(&self, cause: &'static str) {
        match self.kept().and_then(|kept| find(&kept.retries, cause)) {
            Some(counter) => counter.increment(1),
            None => {
                counter!(names::RETRIES_SCHEDULED.name, "policy" => self.label.clone(), "cause" => cause)
                    .increment(1);
            }
        }
    }

    pub(super) fn waited(&self, waited: Duration) {
        match self.kept() {
            Some(kept) => kept.queue_wait.record(waited),
            None => histogram!(names::QUEUE_WAIT.name, "policy" => self.label.clone()).record(waited),
        }
    }
}

/// One for each outcome of an event.
type Lifetimes = Box<[(&'static str, Histogram)]>;

/// The lifetimes, and the recorder that was there when they were begun.
static LIFETIMES: OnceLock<(RecorderId, Lifetimes)> = OnceLock::new();

/// Keeps the lifetimes of these outcomes.
pub(super) fn begin_lifetimes(outcomes: impl Iterator<Item = &'static str>) {
    let lifetimes =
        outcomes.map(|outcome| (outcome, histogram!(names::EVENT_LIFETIME.name, "outcome" => outcome)));
    let lifetimes = lifetimes.collect();
    LIFETIMES.get_or_init(|| (RecorderId::present(), lifetimes));
}

/// An event with this outcome has lived for so long.
pub(super) fn lived(outcome: &'static str, lived: Duration) {
    let kept = LIFETIMES.get().filter(|(recorder, _)| *recorder == RecorderId::present());
    match kept.and_then(|(_, lifetimes)| find(lifetimes, outcome)) {
        Some(lifetime) => lifetime.record(lived),
        None => histogram!(names::EVENT_LIFETIME.name, "outcome" => outcome).record(lived),
    }
}

/// Looks at all: there are too few for a map to be faster.
fn find<K: PartialEq, V>(all: &[(K, V)], key: K) -> Option<&V> {
    all.iter().find(|(other, _)| *other == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::testing::Recorded;
    use crate::telemetry::zero;

    /// Counts once in every series that is kept.
    fn count_all(target: &LabelTarget<'_>, kept: &KeptSeries) {
        kept.enqueued.iter().for_each(|(source, _)| target.enqueued(source, 3));
        kept.completed.iter().for_each(|((outcome, cause), _)| target.completed(outcome, cause));
        kept.attempts.iter().for_each(|(result, _)| target.attempted(result, Duration::from_secs(1)));
        kept.retries.iter().for_each(|(cause, _)| target.put_off(cause));
        target.waited(Duration::from_secs(2));
    }

    #[test]
    fn what_is_kept_counts_as_what_is_looked_up_and_only_in_its_own_recorder() {
        let (first, second) = (Recorded::new(), Recorded::new());
        let label = SharedString::const_str("p");
        let kept = {
            let _local = first.set();
            zero::begin(&label)
        };
        let with_kept = || LabelTarget::new(&label, Some(&kept), RecorderId::present());
        {
            let _local = second.set();
            assert!(with_kept().kept().is_none(), "it is of another recorder");
            count_all(&with_kept(), &kept);
        }
        assert_eq!(first.sum("tidegate_events_enqueued_total", ""), 0.0);
        {
            let _local = first.set();
            assert!(with_kept().kept().is_some());
            count_all(&with_kept(), &kept);
            // What has no series from the start is made.
            with_kept().attempted("a new result", Duration::from_secs(1));
        }
        let sum = |name| (first.sum(name, "p"), second.sum(name, "p"));
        assert_eq!(sum("tidegate_events_enqueued_total"), (9.0, 9.0));
        // As many as there are words, which depends on what endpoints may say.
        let attempts = kept.attempts.iter().map(|_| 1.0).sum::<f64>();
        assert!(attempts >= 15.0, "{attempts}");
        assert_eq!(sum("tidegate_call_attempts_total"), (attempts + 1.0, attempts));
        assert_eq!(first.sum("tidegate_call_attempts_total", "a new result"), 1.0);
        let without = |text: String| {
            let lines = text.lines().filter(|line| !line.contains("tidegate_call_")).map(str::to_owned);
            let mut lines: Vec<String> = lines.collect();
            lines.sort();
            lines
        };
        assert_eq!(without(first.text()), without(second.text()), "each in its own series");
    }
}
