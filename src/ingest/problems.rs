//! The problems by which events are refused.
//!
//! Must not know: how events come in.

use std::time::Duration;

use crate::event::{Event, EventId};
use crate::ingest::prospects::AboutPolicies;
use crate::ingest::route::NoRoute;
use crate::ingest::unmatched::unmatched;
use crate::policy::Runtime;
use crate::problem::{Problem, codes};
use crate::queue::QueueError;
use crate::store::StoreError;

/// When to come back after a write that found no room.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(10);
/// When to come back while the system is short of descriptors or memory.
const SHORT_RETRY_SECONDS: u64 = 5;

/// No more events are taken: the process is ending.
pub(super) fn shutting_down() -> Problem {
    let detail = "tidegate is shutting down; nothing was kept, hand the event in again after its restart";
    Problem::of(codes::SHUTTING_DOWN, detail).retry_after(5)
}

pub(super) fn overloaded() -> Problem {
    let detail = "events arrive faster than they can be made durable; nothing was kept, come back later";
    Problem::of(codes::OVERLOADED, detail).retry_after(1)
}

pub(super) fn internal() -> Problem {
    let detail =
        "an error inside tidegate; whether the event was kept is unknown, use an idempotency key to repeat";
    Problem::of(codes::INTERNAL, detail)
}

/// The event has no lane: its address is denied, no policy matches, or its lane cannot be named.
pub(super) fn no_route(
    refused: &NoRoute,
    event: &Event,
    runtime: &Runtime,
    about: &AboutPolicies,
) -> Problem {
    let code = refused.code();
    match refused {
        NoRoute::Egress(reason) => {
            let rule = format!("names an address that must not be called: {reason}");
            let detail = format!("the url {rule}; list its block under egress.allow if it is meant");
            Problem::of(code, detail).field("/url", rule)
        }
        NoRoute::Label(error) => {
            let detail = format!("{error}: it stands in the call itself; give the label with the event");
            Problem::of(code, detail).field("/labels", error.to_string())
        }
        NoRoute::Lane(error) => Problem::of(code, error.to_string()).field("/url", "cannot be given a lane"),
        NoRoute::Unmatched => unmatched(event, runtime, about),
    }
}

pub(super) fn conflict(id: EventId) -> Problem {
    let detail =
        format!("the key was used for event {id} with other content; take a new key for a new event");
    Problem::of(codes::IDEMPOTENCY_CONFLICT, detail).field("/idempotency_key", "was used with other content")
}

/// The store has not taken the events in time.
pub(super) fn store_slow() -> Problem {
    let detail = "the disk does not answer in time; nothing was kept, hand the event in again later";
    Problem::store_slow(detail)
}

fn outcome_unknown() -> Problem {
    let detail = "the disk has not confirmed the event in time: it may have been kept; repeat it with the same \
                  idempotency key";
    Problem::outcome_unknown(detail)
}

/// Whether the store did not answer in time.
pub(super) fn is_late(problem: &Problem) -> bool {
    matches!(problem.code, "store_slow" | "outcome_unknown")
}

/// States of the store that its health and the answers report; a line for each refusal would only repeat them.
pub(super) fn is_answered(error: &QueueError) -> bool {
    let QueueError::Store(error) = error else { return false };
    error.is_refusal()
        || matches!(
            error,
            StoreError::Held { .. } | StoreError::Closed | StoreError::Slow | StoreError::OutcomeUnknown
        )
}

pub(super) fn queue_problem(error: &QueueError) -> Problem {
    match error {
        QueueError::Store(error) if error.is_full() => {
            // At least a second below: with 0 the producer would come back at once.
            let retry_after = error.retry_after().unwrap_or(FULL_RETRY_AFTER);
            let detail = "too little disk space is left; nothing was kept, waiting events go on being sent";
            Problem::of(codes::STORAGE_FULL, detail).retry_after(retry_after.as_secs().max(1))
        }
        QueueError::Store(StoreError::Shortage { reason, .. }) => {
            let detail = format!(
                "the system is short of what the store needs ({reason}); nothing was kept, waiting events go on being sent"
            );
            Problem::of(codes::STORE_SHORT, detail).retry_after(SHORT_RETRY_SECONDS)
        }
        QueueError::Store(StoreError::Held { reason }) => Problem::store_held(reason),
        QueueError::Store(StoreError::Slow) => store_slow(),
        QueueError::Store(StoreError::OutcomeUnknown) => outcome_unknown(),
        QueueError::Store(StoreError::Closed) => shutting_down(),
        QueueError::Store(StoreError::TooLarge { bytes }) => Problem::of(
            codes::PAYLOAD_TOO_LARGE,
            format!("an event of {bytes} bytes with its headers cannot be stored; make it smaller"),
        ),
        // The caller can mend none of the others; the log and the health of the store name them.
        QueueError::Store(_) | QueueError::Record(_) => {
            let detail =
                "the store cannot take events; nothing is promised for this one, repeat it after a restart";
            Problem::of(codes::STORAGE_ERROR, detail).retry_after(10)
        }
    }
}
