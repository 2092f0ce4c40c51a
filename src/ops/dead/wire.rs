//! How dead letters are shown. Bodies are shown on demand alone, headers never: producers put credentials there.
//!
//! Must not know: which of them are wanted.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use utoipa::ToSchema;

use crate::event::{AttemptDetail, Event, Lane, Redriven};
use crate::ingest::{AttemptBody, attempts};
use crate::store::{DeadLetter, record};

/// An event that was parked for a person.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(super) struct LetterBody {
    /// The id of the event: its `webhook-id`.
    #[schema(format = "uuid")]
    id: String,
    #[schema(format = DateTime)]
    parked_at: String,
    /// Such as `http_404` or `attempts_exhausted: timeout`.
    reason: String,
    /// The HTTP status that the last attempt was answered with; null when there was none.
    #[schema(required)]
    status: Option<u16>,
    attempts: u16,
    /// The policies that governed it.
    policies: Vec<String>,
    lane: String,
    /// `high`, `normal` or `low`; a redrive keeps it.
    priority: &'static str,
    /// Null, like `url`, when the record does not decode.
    #[schema(required)]
    method: Option<String>,
    /// Without its query.
    #[schema(required)]
    url: Option<String>,
    labels: BTreeMap<String, String>,
    /// The length of the body.
    body_bytes: usize,
    /// The last redrive before it died again; null when there was none.
    #[schema(required)]
    redriven: Option<RedrivenBody>,
    #[serde(flatten)]
    content: Option<ContentBody>,
    /// The last attempts, the newest first, as far as they are kept; of a single letter alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_attempts: Option<Vec<AttemptBody>>,
}

/// The body of an event; in one of the two forms.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetterContent)]
pub(super) struct ContentBody {
    #[schema(required)]
    content_type: Option<String>,
    /// As text, when it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    body: Option<String>,
    /// In Base64, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    body_base64: Option<String>,
}

/// The last redrive of an event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Redriven)]
pub(super) struct RedrivenBody {
    /// How many redrives there were.
    count: u16,
    #[schema(format = DateTime)]
    at: String,
    /// Who asked for it, in words of their own; empty when they did not say.
    by: String,
    /// The URL to which it went before, without its query; null when it is the same.
    #[schema(required)]
    from_url: Option<String>,
    /// The id by which the event went before, when it got a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = "uuid")]
    from_id: Option<String>,
}

/// A page of letters.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetterList)]
pub(super) struct LetterList {
    pub dead_letters: Vec<LetterBody>,
    /// Letters on record that cannot be read because they are damaged; a doubt says where.
    pub unreadable: u64,
    /// A page that has reached a bound may be empty and have a cursor; null on the last one.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Letters with the same reason, or for the same endpoint, or both.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetterGroup)]
pub(super) struct GroupBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
    /// Host and port; empty for records that do not decode.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub endpoint: Option<String>,
    pub count: u64,
    #[schema(format = DateTime)]
    pub oldest: String,
    #[schema(format = DateTime)]
    pub newest: String,
}

/// The groups of the letters that one page has read; those of all pages add up.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetterGroups)]
pub(super) struct GroupList {
    pub groups: Vec<GroupBody>,
    /// Letters that this page has read.
    pub read: u64,
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// An event that was handed in again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RedrivenEvent)]
pub(super) struct RedroveBody {
    /// The id by which it goes from now on.
    #[schema(format = "uuid")]
    pub id: String,
    /// The policies that govern it.
    pub policies: Vec<String>,
    pub lane: String,
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// How many redrives of it there were.
    pub count: u16,
}

/// How many letters were dropped.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLettersPurged)]
pub(super) struct PurgedBody {
    pub purged: u64,
}

impl LetterBody {
    /// With the body of the event when that is asked for.
    pub(super) fn of(letter: &DeadLetter, with_body: bool) -> Self {
        let event = record::decode(&letter.record).ok();
        let policies = Lane::parse(&letter.lane).map_or_else(|_| Vec::new(), |lane| policies(&lane));
        let labels = event.iter().flat_map(|event| event.labels.iter());
        Self {
            id: letter.name().to_string(),
            parked_at: letter.at.to_string(),
            reason: letter.reason.clone(),
            status: letter.status(),
            attempts: letter.attempts,
            policies,
            lane: letter.lane.as_str().to_owned(),
            priority: letter.lane.priority().word(),
            method: event.as_ref().map(|event| event.method.to_string()),
            url: event.as_ref().map(|event| event.url.without_query().to_owned()),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            body_bytes: event.as_ref().map_or(0, |event| event.body.len()),
            redriven: event.as_ref().and_then(|event| event.redriven.as_deref()).map(RedrivenBody::of),
            content: event.filter(|_| with_body).map(|event| ContentBody::of(&event)),
            last_attempts: None,
        }
    }

    /// The same with what is kept of the attempts.
    pub(super) fn with_attempts(self, details: Vec<AttemptDetail>) -> Self {
        Self { last_attempts: attempts(details), ..self }
    }
}

impl ContentBody {
    fn of(event: &Event) -> Self {
        let text = std::str::from_utf8(&event.body).ok().map(str::to_owned);
        let kind = event.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        Self {
            content_type: kind.map(str::to_owned),
            body_base64: text.is_none().then(|| STANDARD.encode(&event.body)),
            body: text,
        }
    }
}

impl RedrivenBody {
    fn of(redriven: &Redriven) -> Self {
        let Redriven { origin, is_renamed, count, at, by, from_url } = redriven;
        Self {
            count: *count,
            at: at.to_string(),
            by: by.clone(),
            from_url: from_url.clone(),
            from_id: is_renamed.then(|| origin.to_string()),
        }
    }
}

/// The ids of the policies of a lane.
pub(super) fn policies(lane: &Lane) -> Vec<String> {
    lane.policies().iter().map(|part| part.policy.to_string()).collect()
}
