//! Requests of tidegate's own API.
//!
//! Must not know: what the routes answer.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use metrics::{SharedString, counter, histogram};

use crate::telemetry::names;

/// A request of tidegate's own API was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestAnswered<'a> {
    /// The template of its route, from a closed set; `other` where there is none.
    pub route: &'a str,
    /// The verb, from a closed set.
    pub method: &'static str,
    /// The status code of the answer.
    pub code: u16,
    /// From the head of the request to that of the answer.
    pub took: Duration,
}

/// The texts of all codes in order, so that no answer makes its own.
static CODES: LazyLock<Vec<SharedString>> =
    LazyLock::new(|| (FIRST_CODE..=LAST_CODE).map(|code| shared(&code.to_string())).collect());
const FIRST_CODE: u16 = 100;
const LAST_CODE: u16 = 999;

impl RequestAnswered<'_> {
    /// Counts it and records how long it took.
    pub(crate) fn emit(self) {
        // Codes outside three digits cannot be sent; an empty label counts as none.
        let place = self.code.checked_sub(FIRST_CODE).map(usize::from);
        let code = place.and_then(|place| CODES.get(place).cloned()).unwrap_or(SharedString::const_str(""));
        let route = shared(self.route);
        counter!(names::HTTP_REQUESTS.name, "route" => route.clone(), "method" => self.method, "code" => code)
            .increment(1);
        histogram!(names::HTTP_REQUEST_DURATION.name, "route" => route).record(self.took);
    }
}

fn shared(label: &str) -> SharedString {
    SharedString::from_shared(Arc::from(label))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::testing::Recorded;

    #[test]
    fn each_code_counts_under_its_own_text() {
        let recorded = Recorded::new();
        let _local = recorded.set();
        for code in [100, 202, 404, 404, 999] {
            let answered = RequestAnswered { route: "/x", method: "GET", code, took: Duration::ZERO };
            answered.emit();
        }
        for (code, count) in [(100, 1.0), (202, 1.0), (404, 2.0), (999, 1.0)] {
            let label = format!("code=\"{code}\"");
            assert_eq!(recorded.sum("tidegate_http_requests_total", &label), count, "{code}");
        }
    }
}
