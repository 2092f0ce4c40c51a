//! Request bodies of the verbs: small, JSON, every member known.
//!
//! Must not know: what is asked for.

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use serde::de::DeserializeOwned;

use crate::event::json_pointer;
use crate::problem::{BodyFault, Problem, check_json, codes, is_encoded, read_whole};

/// Longest body of a verb or a definition, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// Longest event that is explained, in bytes. Less than the door takes: nothing bounds how many are read here at once.
const MAX_EVENT_BYTES: usize = 64 * 1024;

/// A body that must be there.
pub(super) async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Box<Problem>> {
    check_type(headers)?;
    decode(&whole(body, MAX_BYTES).await?)
}

/// A body that may be missing.
pub(super) async fn read_optional<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<Option<T>, Box<Problem>> {
    let body = whole(body, MAX_BYTES).await?;
    // Where there is no body there is no type to check.
    if body.is_empty() {
        return Ok(None);
    }
    check_type(headers)?;
    decode(&body).map(Some)
}

/// The text of an event that is asked about.
pub(super) async fn read_text(headers: &HeaderMap, body: Body) -> Result<Bytes, Box<Problem>> {
    check_type(headers)?;
    whole(body, MAX_EVENT_BYTES).await
}

/// The problem of a member that breaks its rule.
pub(super) fn invalid(member: &str, rule: String) -> Box<Problem> {
    let detail = format!("{member} {rule}");
    let problem = Problem::of(codes::INVALID_REQUEST, detail);
    let names = (!member.is_empty()).then_some(member);
    Box::new(problem.field(json_pointer(names), rule))
}

/// The problem of a member that is not there.
pub(super) fn missing(member: &str, rule: String) -> Box<Problem> {
    invalid(member, format!("is missing; it {rule}"))
}

fn decode<T: DeserializeOwned>(body: &Bytes) -> Result<T, Box<Problem>> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    // Derived readers take a list of the members' values for an object.
    if !is_object && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() {
        return Err(invalid("", "must be a JSON object".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| {
        if !error.is_data() {
            let rule = "must be one JSON object in UTF-8 without byte order mark";
            let detail = format!("{error}; the body {rule}");
            let problem = Problem::of(codes::INVALID_JSON, detail);
            return Box::new(problem.field("", rule));
        }
        // Members are read as they are: what is left is one that is unknown or given twice.
        let reason = error.to_string();
        let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason);
        if let Some((member, known)) = named(reason, "unknown field `") {
            return invalid(member, format!("is unknown{known}"));
        }
        if let Some((member, _)) = named(reason, "duplicate field `") {
            return invalid(member, "is given twice; give it once".to_owned());
        }
        invalid("", format!("must be a JSON object: {reason}"))
    })
}

/// The member that a reason names after `start`, and what it goes on to say. Names are put between back-quotes, which
/// they may hold themselves.
fn named<'r>(reason: &'r str, start: &str) -> Option<(&'r str, &'r str)> {
    let rest = reason.strip_prefix(start)?;
    // The last one: an earlier one may be a part of the name.
    let end = ["`, expected ", "`, there are no fields"].iter().filter_map(|end| rest.rfind(end)).max();
    let (member, known) = rest.split_at_checked(end.or_else(|| rest.rfind('`'))?)?;
    Some((member, known.strip_prefix('`')?))
}

async fn whole(body: Body, most_bytes: usize) -> Result<Bytes, Box<Problem>> {
    read_whole(body, most_bytes).await.map_err(|fault| {
        let detail = match fault {
            BodyFault::TooLarge => format!("at most {most_bytes} bytes are taken here"),
            BodyFault::TooSlow => "the body stopped coming; nothing was changed".to_owned(),
            BodyFault::Incomplete => "the body broke off before its end; nothing was changed".to_owned(),
        };
        Box::new(Problem::of(fault.code(), detail))
    })
}

fn check_type(headers: &HeaderMap) -> Result<(), Box<Problem>> {
    if is_encoded(headers) {
        let rule = "send the body without Content-Encoding";
        return Err(Box::new(Problem::of(codes::UNSUPPORTED_ENCODING, rule)));
    }
    check_json(headers).map_err(|not| Box::new(Problem::of(codes::UNSUPPORTED_MEDIA_TYPE, not.to_string())))
}
