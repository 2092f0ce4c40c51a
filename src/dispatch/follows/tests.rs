//! What is said of attempts, by outcome and decision.

use super::*;
use crate::event::{Said, Tries, Wait};

const NOW: Timestamp = Timestamp::from_millis(10_000);
const BUSY: Said = Said { code: "BUSY", label: "busy" };

fn put_off(wait_ms: u64) -> Settlement {
    let due_at = NOW + Duration::from_millis(wait_ms);
    Settlement::Reschedule { due_at, tries: Tries::NONE, doubted_at: None }
}

#[test]
fn why_an_event_comes_back_is_told_by_what_was_obeyed() {
    let retry = |asked_ms: Option<u64>| Outcome::Retry {
        cause: Cause::Status(503),
        retry_after: asked_ms.map(Duration::from_millis),
    };
    for (outcome, wait_ms, why, obeyed_ms) in [
        (retry(None), 700, "backoff", None),
        (retry(Some(700)), 701, "endpoint_asked", Some(700)),
        // The wait of its own is longer.
        (retry(Some(700)), 900, "backoff", Some(700)),
        (Outcome::Wait(Wait::new(BUSY, Duration::from_secs(2))), 2_000, "endpoint_busy", Some(2_000)),
        (Outcome::Withheld, 30_000, "egress_denied", None),
        (Outcome::Unprocessed { cause: Cause::Connect }, 5, "backoff", None),
    ] {
        let facts = AttemptFacts::of(&outcome, &outcome, &put_off(wait_ms), NOW);
        assert_eq!((facts.why, facts.obeyed), (why, obeyed_ms.map(Duration::from_millis)), "{outcome:?}");
        let is_status = matches!(outcome, Outcome::Retry { .. });
        assert_eq!(facts.status, is_status.then_some(503));
    }
    let paced = Outcome::Paced {
        end: Box::new(Outcome::Delivered { status: 201 }),
        next: Wait::new(BUSY, Duration::from_secs(3)),
    };
    let facts = AttemptFacts::of(&paced, &paced, &Settlement::Delivered, NOW);
    assert_eq!((facts.status, facts.obeyed), (Some(201), Some(Duration::from_secs(3))));
}

#[test]
fn what_follows_names_the_next_try_or_the_end() {
    let cause = Cause::Status(404);
    let dead = Settlement::Dead { reason: "http_404".to_owned(), attempts: 1 };
    for (settlement, cause, what, why, next) in [
        (put_off(5), Some(&cause), "retried", "backoff", true),
        (dead, Some(&cause), "dead", "http_404", false),
        (Settlement::Expired, Some(&cause), "expired", "no_time_left", false),
        (Settlement::Delivered, Some(&cause), "delivered", "status_is_fine", false),
        (Settlement::Delivered, None, "delivered", "delivered", false),
    ] {
        let told = follows(&settlement, "backoff", cause);
        assert_eq!((&*told.what, &*told.why, told.next_at.is_some()), (what, why, next));
    }
}
