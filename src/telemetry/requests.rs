//! Requests of tidegate's own API.
//!
//! Must not know: what the routes answer.

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
