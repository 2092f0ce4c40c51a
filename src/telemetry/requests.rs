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

/// Something was found that cannot be.
#[derive(Debug, Clone, Copy)]
pub struct Defect {
    /// What, in a few words, always the same ones.
    pub what: &'static str,
}

impl Defect {
    /// Counts it, loudly.
    pub fn emit(&self) {
        counter!(names::DEFECTS.name).increment(1);
        tracing::error!(what = self.what, "a defect of tidegate: this cannot be");
    }

    /// Shows the counter before anything was found.
    pub fn show() {
        counter!(names::DEFECTS.name).increment(0);
    }
}
