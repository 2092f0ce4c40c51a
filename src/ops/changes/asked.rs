//! Counts what a request means, or begins to change it when that is confirmed.
//!
//! Must not know: what is changed.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::Value;
use tracing::info;
use utoipa::ToSchema;

use crate::clock::{Clock, Timestamp};
use crate::ops::changes::confirmation::{CONFIRMED_WITHIN, Confirmation};
use crate::ops::changes::progress::ChangeBody;
use crate::ops::changes::runs::{Begun, Runs};
use crate::ops::changes::work::{ChangeVerb, Work};
use crate::ops::desk::{OpsAnswer, json, late, shutting_down};
use crate::problem::{Problem, codes};
use crate::queue::QueueError;
use crate::store::StoreError;

/// How long a request counts; what is left is not counted then.
const COUNT_WITHIN: Duration = Duration::from_secs(30);

/// What a request asks for.
pub(in crate::ops) struct Asked {
    pub verb: ChangeVerb,
    /// Which are meant, in words for people; the labels and the rest of the filter.
    pub about: String,
    /// What else a confirmation is about: the members of the request as they came.
    pub more: String,
    /// The confirmation, when the request has one.
    pub confirm: Option<Value>,
}

/// How many are meant.
#[derive(Serialize, ToSchema)]
#[schema(as = Counted)]
pub(in crate::ops) struct CountBody {
    pub matched: u64,
    /// Counting took too long: there may be more.
    pub at_least: bool,
    /// Passed over: whether they are meant cannot be read at present.
    pub unread: u64,
    /// What came later is not meant.
    #[schema(format = DateTime)]
    pub counted_at: String,
    /// To be sent as `confirm` with the same members.
    pub confirm: String,
    /// Until when the confirmation holds.
    #[schema(format = DateTime)]
    pub confirm_until: String,
}

/// Counts or begins what `work` makes of the moment of the count.
pub(in crate::ops) async fn count_or_begin<W: Work>(
    runs: &Runs,
    clock: &Clock,
    asked: Asked,
    work: impl FnOnce(Timestamp) -> W,
) -> OpsAnswer {
    let what = format!("{} {} {} {}", asked.verb.word(), asked.verb.of(), asked.about, asked.more);
    let Some(confirm) = &asked.confirm else {
        // To the millisecond, as the confirmation names it.
        let counted_at = Timestamp::from_millis(clock.now().as_millis());
        return count(clock, &work(counted_at), counted_at, &what).await;
    };
    let confirmed = confirm.as_str().and_then(|text| Confirmation::read(text, &what));
    let confirmed = confirmed.filter(|confirmed| confirmed.holds(clock)).ok_or_else(|| {
        let detail =
            "confirm is no confirmation of these members, or older than ten minutes; count again without it";
        Problem::of(codes::CHANGE_NOT_CONFIRMED, detail)
    })?;
    let work = work(confirmed.counted_at);
    let begun = Begun {
        verb: asked.verb,
        about: asked.about,
        matched: confirmed.matched,
        is_at_least: confirmed.is_at_least,
    };
    let run = runs.begin(clock, begun, work).ok_or_else(|| {
        let detail = "another change of many goes on; wait for its end or stop it: GET /v1/changes";
        Problem::of(codes::CHANGE_UNDER_WAY, detail)
    })?;
    info!(
        run = run.number,
        verb = asked.verb.word(),
        of = asked.verb.of(),
        matched = run.matched,
        "change of many begun"
    );
    let mut response: Response = (StatusCode::ACCEPTED, json(&ChangeBody::of(&run), None)).into_response();
    // Digits and letters: always a header.
    if let Ok(location) = HeaderValue::try_from(format!("/v1/changes/{}", run.number)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn count(clock: &Clock, work: &impl Work, counted_at: Timestamp, what: &str) -> OpsAnswer {
    let begun = clock.now();
    let (mut matched, mut unread, mut after, mut at_least) = (0, 0, None, false);
    loop {
        let step_begun = clock.now();
        let looked = work.look(after).await.map_err(|error| not_counted(&error))?;
        matched += looked.matched;
        unread += looked.unread;
        after = looked.next;
        let now = clock.now();
        if after.is_none() {
            break;
        }
        if now.since(begun) >= COUNT_WITHIN {
            at_least = true;
            break;
        }
        // As long as it has looked: a count of very much leaves half of the time to others.
        tokio::time::sleep(now.since(step_begun)).await;
    }
    let confirmation = Confirmation { counted_at, matched, is_at_least: at_least };
    let body = CountBody {
        matched,
        at_least,
        unread,
        counted_at: counted_at.to_string(),
        confirm: confirmation.text(what),
        confirm_until: (counted_at + CONFIRMED_WITHIN).to_string(),
    };
    Ok(json(&body, None))
}

/// Why the store does not say how many are meant.
fn not_counted(error: &QueueError) -> Box<Problem> {
    match error {
        QueueError::Store(StoreError::Closed) => return shutting_down(),
        QueueError::Store(StoreError::Held { reason }) => return Box::new(Problem::store_held(reason)),
        QueueError::Store(store) => {
            if let Some(problem) = late(store) {
                return problem;
            }
        }
        QueueError::Record(_) => {}
    }
    tracing::warn!(%error, "what a change of many means could not be counted");
    let detail = "the store cannot be asked at present; nothing was changed";
    Box::new(Problem::of(codes::STORAGE_ERROR, detail).retry_after(10))
}
