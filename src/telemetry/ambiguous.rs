//! Calls of which nobody knows whether the endpoint has acted on them.

use metrics::counter;

use crate::telemetry::names;

/// A request was sent, at least in part, and no answer that can be read followed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallAmbiguous {
    /// The kind of failure: [`Cause::label`](crate::event::Cause::label) of it.
    pub cause: &'static str,
    /// What becomes of the event: `retried`, or the outcome with which it ends.
    pub then: &'static str,
}

impl CallAmbiguous {
    /// Adds one to the counter of these two.
    pub(crate) fn emit(&self) {
        counter!(names::AMBIGUOUS_CALLS.name, "cause" => self.cause, "then" => self.then).increment(1);
    }

    /// Shows the counter before the first one.
    pub(crate) fn show() {
        for cause in ["timeout", "closed"] {
            counter!(names::AMBIGUOUS_CALLS.name, "cause" => cause, "then" => "retried").increment(0);
        }
    }
}
