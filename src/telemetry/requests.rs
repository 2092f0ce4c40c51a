//! Requests of tidegate's own API, and defects.

use std::time::Duration;

use metrics::{counter, histogram};

use crate::telemetry::names;

/// A request was answered.
#[derive(Debug, Clone)]
pub struct RequestAnswered {
    /// The template of its route, from a closed set; `other` where there is none.
    pub route: String,
    /// The verb, from a closed set.
    pub method: &'static str,
    /// The status code of the answer.
    pub code: u16,
    /// From the head of the request to that of the answer.
    pub took: Duration,
}

impl RequestAnswered {
    /// Counts it and records how long it took.
    pub fn emit(self) {
        let code = self.code.to_string();
        counter!(names::HTTP_REQUESTS.name, "route" => self.route.clone(), "method" => self.method, "code" => code)
            .increment(1);
        histogram!(names::HTTP_REQUEST_DURATION.name, "route" => self.route).record(self.took);
    }
}

/// The program found a state that cannot be.
#[derive(Debug, Clone, Copy)]
pub struct Defect {
    /// Where, in a few words that stand at one place in the source only.
    pub place: &'static str,
}

impl Defect {
    /// Counts it and writes a line at the level `error`. What the place knows besides is logged there.
    pub fn emit(&self) {
        counter!(names::DEFECTS.name).increment(1);
        tracing::error!(place = self.place, "a defect of tidegate was found: please report it");
    }

    /// Shows the counter before anything was found.
    pub fn show() {
        counter!(names::DEFECTS.name).increment(0);
    }
}

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
}
