//! CloudEvents 1.0 at the events door, by the binding for HTTP: in binary, structured and batched mode. Attributes whose
//! names begin with `tidegate` say what is to be called and when. The call carries the CloudEvent on as it came.
//!
//! Must not know: what happens behind the intake.

mod attributes;
mod rules;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde_json::value::RawValue;

use crate::ingest::cloudevents::attributes::{Attributes, PREFIX};
use crate::ingest::decode::{Decoded, Decoder, MAX_BODY_BYTES, body_too_large};
use crate::ingest::diagnose::not_json;
use crate::problem::Problem;

/// The types of structured and batched mode begin so.
const FAMILY: &str = "application/cloudevents";
const JSON: HeaderValue = HeaderValue::from_static("application/cloudevents+json");

/// How a request carries CloudEvents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// One: its attributes are headers, its data is the body.
    Binary,
    /// One, as a JSON object.
    Structured,
    /// A JSON list of them.
    Batched,
    /// In a format that is not read.
    Unknown,
}

impl Mode {
    /// The mode of a request with this content type; `None` when it carries no CloudEvents.
    pub(super) fn of(headers: &HeaderMap, content_type: Option<&str>) -> Option<Self> {
        match content_type {
            Some("application/cloudevents+json") => Some(Self::Structured),
            Some("application/cloudevents-batch+json") => Some(Self::Batched),
            Some(other) if other.starts_with(FAMILY) => Some(Self::Unknown),
            _ => {
                let is_marked = |name: &str| headers.contains_key(format!("{PREFIX}{name}"));
                rules::REQUIRED.into_iter().any(is_marked).then_some(Self::Binary)
            }
        }
    }
}

/// What the call carries.
struct Sent {
    headers: HeaderMap,
    body: Bytes,
}

/// The event of a request in binary mode.
pub(super) fn binary(
    decoder: &mut Decoder,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Decoded, Box<Problem>> {
    let is_carried = |name: &str| name.starts_with(PREFIX) || name == CONTENT_TYPE.as_str();
    let carried = headers.iter().filter(|(name, _)| is_carried(name.as_str()));
    let carried = carried.map(|(name, value)| (name.clone(), value.clone())).collect();
    decoded(decoder, Attributes::of_headers(headers), Sent { headers: carried, body })
}

/// The event of a request in structured mode, which is sent on with the same content type.
pub(super) fn structured(
    decoder: &mut Decoder,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Decoded, Box<Problem>> {
    let text = text(body)?;
    let kind = headers.get(CONTENT_TYPE).cloned().unwrap_or(JSON);
    one_of_json(decoder, body.clone(), text, kind)
}

/// The texts of a batch.
pub(super) fn batch(body: &Bytes) -> Result<Vec<&RawValue>, Box<Problem>> {
    serde_json::from_str(text(body)?).map_err(|error| Box::new(not_json(&error.to_string())))
}

/// The event of one of a batch, whose text lies in `body`: it is sent on in structured mode.
pub(super) fn batched(decoder: &mut Decoder, body: &Bytes, one: &RawValue) -> Result<Decoded, Box<Problem>> {
    one_of_json(decoder, body.slice_ref(one.get().as_bytes()), one.get(), JSON)
}

fn text(body: &Bytes) -> Result<&str, Box<Problem>> {
    std::str::from_utf8(body).map_err(|error| Box::new(not_json(&format!("not UTF-8: {error}"))))
}

fn one_of_json(
    decoder: &mut Decoder,
    body: Bytes,
    text: &str,
    kind: HeaderValue,
) -> Result<Decoded, Box<Problem>> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind)]);
    decoded(decoder, Attributes::of_json(text)?, Sent { headers, body })
}

fn decoded(
    decoder: &mut Decoder,
    mut attributes: Attributes<'_>,
    sent: Sent,
) -> Result<Decoded, Box<Problem>> {
    if sent.body.len() > MAX_BODY_BYTES {
        return Err(Box::new(body_too_large("", sent.body.len())));
    }
    rules::check(&mut attributes);
    let Attributes { values, mut faults } = attributes;
    if !values.contains_key("tidegateurl") {
        return Err(faults.into_problem());
    }
    match decoder.complete(&rules::call(&values), sent.headers, sent.body, &rules::key(&values)) {
        Ok(decoded) if faults.is_empty() => Ok(decoded),
        Ok(_) => Err(faults.into_problem()),
        Err(problem) => {
            problem
                .errors
                .into_iter()
                .for_each(|error| faults.add_at(rules::attribute(&error.pointer), error.detail));
            Err(faults.into_problem())
        }
    }
}

/// A problem that names members of an event, in the words of CloudEvents.
pub(super) fn in_attributes(mut problem: Box<Problem>) -> Box<Problem> {
    for error in &mut problem.errors {
        error.pointer = rules::attribute(&error.pointer);
    }
    problem
}
