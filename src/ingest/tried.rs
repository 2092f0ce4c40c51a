//! The last attempts of an event that had a failure, as answers show them.
//!
//! Must not know: how they are kept.

use serde::Serialize;
use utoipa::ToSchema;

use crate::event::{AnswerExcerpt, AttemptDetail, NamedTime, Noticed};
use crate::queue::{End, Standing};

/// One attempt of an event that had a failure.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(crate) struct AttemptBody {
    /// Which attempt it was, as `tidegate-attempt` said it; one that costs none shares its number with the next.
    number: u16,
    #[schema(format = DateTime)]
    started_at: String,
    duration_seconds: f64,
    /// `delivered`, or why it failed, such as `http_503` or `timeout`.
    result: String,
    /// The status of the answer, where that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<u16>,
    /// What followed: `retried`, or how the event ended.
    then: String,
    /// Why so, such as `backoff` or `endpoint_asked`; of a dead letter its reason.
    why: String,
    /// When it was to be tried again; null where it ended.
    #[schema(required, format = DateTime)]
    next_at: Option<String>,
    /// The time to come back that the answer named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    named_time: Option<NamedTimeBody>,
    /// Lines of the head of the answer that break the grammar of HTTP, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    broken_lines: Option<u32>,
    /// Lines of that head beyond the most that are read, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    surplus_lines: Option<u32>,
    /// The beginning of the answer, where `keep_answers` is set for the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    answer: Option<AnswerBody>,
}

/// A time to come back, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NamedTime)]
struct NamedTimeBody {
    /// The header that named it: `Retry-After` or `RateLimit`.
    by: String,
    /// Null where it cannot be read.
    #[schema(required)]
    asked_seconds: Option<f64>,
    /// For how long it was obeyed; null where it was ignored.
    #[schema(required)]
    obeyed_seconds: Option<f64>,
    /// Why it was cut or ignored; null where it was obeyed as it stood there.
    #[schema(required)]
    why: Option<String>,
}

/// The beginning of an answer, credentials masked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AnswerExcerpt)]
struct AnswerBody {
    status: u16,
    /// The header lines of the answer.
    head: String,
    /// Null where it is empty or no text.
    #[schema(required)]
    body: Option<String>,
    /// Whether there was more of it.
    is_cut: bool,
}

/// The attempts of the event that stands there. What endpoints answered is not shown of one that was cancelled, nor of one of which
/// that is not known any more: an operator may have purged it for what it holds.
pub(crate) fn attempts_at(standing: &Standing, mut details: Vec<AttemptDetail>) -> Option<Vec<AttemptBody>> {
    let is_told = match standing {
        Standing::Settled(known) => known.as_ref().is_some_and(|known| known.end != End::Cancelled),
        _ => true,
    };
    if !is_told {
        for noticed in details.iter_mut().filter_map(|detail| detail.noticed.as_mut()) {
            noticed.answer = None;
        }
    }
    attempts(details)
}

/// The attempts as they are shown, the newest first; `None` of an event without any.
pub(crate) fn attempts(details: Vec<AttemptDetail>) -> Option<Vec<AttemptBody>> {
    (!details.is_empty()).then(|| details.into_iter().map(AttemptBody::of).collect())
}

impl AttemptBody {
    fn of(detail: AttemptDetail) -> Self {
        let AttemptDetail { event: _, number, started_at, took, result, status, then, noticed } = detail;
        let Noticed { named, broken_lines, surplus_lines, answer } =
            noticed.map(|all| *all).unwrap_or_default();
        let some = |lines: u32| (lines > 0).then_some(lines);
        Self {
            number,
            started_at: started_at.to_string(),
            duration_seconds: took.as_secs_f64(),
            result: result.into_owned(),
            status,
            then: then.what.into_owned(),
            why: then.why.into_owned(),
            next_at: then.next_at.map(|at| at.to_string()),
            named_time: named.map(NamedTimeBody::of),
            broken_lines: some(broken_lines),
            surplus_lines: some(surplus_lines),
            answer: answer.map(AnswerBody::of),
        }
    }
}

impl NamedTimeBody {
    fn of(named: NamedTime) -> Self {
        let NamedTime { by, asked, obeyed, why } = named;
        Self {
            by: by.into_owned(),
            asked_seconds: asked.map(|asked| asked.as_secs_f64()),
            obeyed_seconds: obeyed.map(|obeyed| obeyed.as_secs_f64()),
            why: why.map(std::borrow::Cow::into_owned),
        }
    }
}

impl AnswerBody {
    fn of(excerpt: AnswerExcerpt) -> Self {
        let AnswerExcerpt { status, head, body, is_cut } = excerpt;
        Self { status, head, body, is_cut }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::event::{EventId, Follows, Reason, Why};
    use crate::queue::KnownEnd;

    #[test]
    fn answers_are_not_shown_of_what_may_have_been_purged() {
        let excerpt = AnswerExcerpt {
            status: 503,
            head: String::new(),
            body: Some("a name".to_owned()),
            is_cut: false,
        };
        let detail = || AttemptDetail {
            event: EventId::new(1, 1),
            number: 1,
            started_at: Timestamp::ZERO,
            took: Duration::ZERO,
            result: "http_503".into(),
            status: Some(503),
            then: Follows { what: "retried".into(), why: "backoff".into(), next_at: None },
            noticed: Some(Box::new(Noticed { answer: Some(excerpt.clone()), ..Noticed::default() })),
        };
        let known = |end, reason| {
            let why = Why { reason, status: None, limited: None };
            Standing::Settled(Some(KnownEnd { end, why, lane: None }))
        };
        for (standing, is_shown) in [
            (known(End::Cancelled, Reason::Cancelled), false),
            (Standing::Settled(None), false),
            (known(End::Dead, Reason::Status(404)), true),
        ] {
            let shown = attempts_at(&standing, vec![detail()]).expect("an attempt").remove(0);
            assert_eq!((shown.number, shown.answer.is_some()), (1, is_shown), "{standing:?}");
        }
    }
}
