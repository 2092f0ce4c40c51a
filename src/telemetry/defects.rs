//! Defects of tidegate itself: states that cannot be. A test or a debug build stops at one, so that it is found before
//! it is shipped; the daemon counts it and goes on with what it can answer for.
//!
//! Must not know: what the places do.

use std::sync::atomic::{AtomicBool, Ordering};

use metrics::counter;

use crate::telemetry::names;

/// The program found a state that cannot be, or caught a panic. For what a caller or a disk can bring about even so;
/// where only a mistake in the program can, `defect!` says it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Defect {
    /// Where, in a few words that stand at one place in the source only.
    pub place: &'static str,
}

impl Defect {
    /// Counts it and writes a line at the level `error`. What the place knows besides is logged there.
    pub(crate) fn emit(&self) {
        self.count();
        tracing::error!(place = self.place, "a defect of tidegate was found: please report it");
    }

    /// Shows the counter before anything was found.
    pub(crate) fn show() {
        counter!(names::DEFECTS.name).increment(0);
    }

    /// Counts it; writes the line only when it is the first at its place, which `is_known` remembers.
    fn emit_once(&self, is_known: &AtomicBool) {
        // A place that is met for each event would fill the log; the counter shows how often it is.
        if is_known.swap(true, Ordering::Relaxed) { self.count() } else { self.emit() }
    }

    fn count(&self) {
        counter!(names::DEFECTS.name).increment(1);
    }
}

/// What `defect!` does at a place: counts, logs once, and panics where debug assertions are on.
pub(crate) fn found(place: &'static str, is_known: &AtomicBool) {
    Defect { place }.emit_once(is_known);
    debug_assert!(false, "a state that cannot be: {place}");
}

/// States that a place cannot be reached, or, with `unless`, that a condition holds there:
/// `defect!("a lane without a host")`, `defect!(unless used <= limit, "more used than there is")`.
///
/// Panics in tests and debug builds. A release counts it in `tidegate_defects_total`, logs it once for each place and
/// goes on: what follows must be safe even so. The condition is evaluated in a release too and has to be cheap.
macro_rules! defect {
    (unless $holds:expr, $place:literal) => {{
        let holds: bool = $holds;
        if !holds {
            $crate::telemetry::defect!($place);
        }
    }};
    ($place:literal) => {{
        static IS_KNOWN: ::std::sync::atomic::AtomicBool = ::std::sync::atomic::AtomicBool::new(false);
        $crate::telemetry::defect_found($place, &IS_KNOWN);
    }};
}
pub(crate) use defect;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::testing::Recorded;

    #[test]
    fn defects_begin_at_zero_and_each_counts_once() {
        let recorded = Recorded::new();
        let _local = recorded.set();
        Defect::show();
        assert_eq!(recorded.sum("tidegate_defects_total", ""), 0.0);
        assert!(recorded.text().contains("\ntidegate_defects_total 0\n"), "{}", recorded.text());
        for count in 1..4_u8 {
            Defect { place: "a test" }.emit();
            assert_eq!(recorded.sum("tidegate_defects_total", ""), f64::from(count));
        }
    }

    #[test]
    fn a_place_is_logged_once_and_counts_each_time() {
        let recorded = Recorded::new();
        let _local = recorded.set();
        let is_known = AtomicBool::new(false);
        for count in 1..4_u8 {
            Defect { place: "a test" }.emit_once(&is_known);
            assert!(is_known.load(Ordering::Relaxed));
            assert_eq!(recorded.sum("tidegate_defects_total", ""), f64::from(count));
        }
    }

    #[test]
    fn a_condition_that_holds_is_no_defect() {
        let recorded = Recorded::new();
        let _local = recorded.set();
        defect!(unless 1 < 2, "a test whose condition holds");
        assert_eq!(recorded.sum("tidegate_defects_total", ""), 0.0);
    }

    #[test]
    #[should_panic(expected = "a state that cannot be: a test of a broken condition")]
    fn a_broken_condition_stops_a_test() {
        defect!(unless 2 < 1, "a test of a broken condition");
    }
}
