//! CloudEvents 1.0 at the events door, by the binding for HTTP: in binary, structured and batched mode. Attributes
//! whose names begin with `tidegate` say what is to be called and when; where they do not say what, the source may have
//! a target that is configured. The call carries the CloudEvent on as it came.
//!
//! Must not know: what happens behind the intake.

mod attributes;
mod rules;
mod targets;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde_json::value::RawValue;

use crate::ingest::cloudevents::attributes::{Attributes, Faults, PREFIX};
use crate::ingest::decode::{Decoded, Decoder, MAX_BODY_BYTES, body_too_large};
use crate::ingest::diagnose::not_json;
use crate::ingest::digest::Fingerprint;
use crate::problem::Problem;

pub(crate) use targets::{Target, Targets};

/// The types of structured and batched mode begin so.
const FAMILY: &str = "application/cloudevents";
const JSON: HeaderValue = HeaderValue::from_static("application/cloudevents+json");

/// How a request carries CloudEvents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// One: its attributes are headers, its data is the body.
    Binary,
    /// One CloudEvent: the body is a JSON object with its attributes and its data.
    Structured,
    /// Several CloudEvents: the body is a JSON list of such objects.
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
                // In binary mode the content type is that of the data, so that only attributes mark the request. One of
                // those that are required is enough: a producer that forgets another one is then answered with its
                // name.
                let is_marked = |name: &str| headers.contains_key(format!("{PREFIX}{name}"));
                rules::REQUIRED.into_iter().any(is_marked).then_some(Self::Binary)
            }
        }
    }
}

/// What the call carries: the CloudEvent itself, in headers and body.
struct CarriedEvent {
    headers: HeaderMap,
    body: Bytes,
}

/// Makes events of the CloudEvents of one request.
pub(super) struct CloudEventReader<'r> {
    pub(super) decoder: Decoder,
    pub(super) targets: &'r Targets,
}

/// A CloudEvent that passed the rules, or the ones that it breaks, and which of its attributes says what is called.
pub(super) struct ReadCloudEvent {
    pub(super) decoded: Result<Decoded, Box<Problem>>,
    target: &'static str,
}

impl ReadCloudEvent {
    /// Puts a refusal of the event, which names its members, into the words of CloudEvents.
    pub(super) fn words(&self) -> impl Fn(Box<Problem>) -> Box<Problem> + use<> {
        let (target, is_in_words) = (self.target, self.decoded.is_err());
        move |mut problem| {
            if is_in_words {
                return problem;
            }
            for error in &mut problem.errors {
                error.pointer = match error.pointer.as_str() {
                    "/url" => format!("/{target}"),
                    other => rules::attribute(other),
                };
            }
            problem
        }
    }
}

impl CloudEventReader<'_> {
    /// The event of a request in binary mode.
    pub(super) fn binary(&mut self, headers: &HeaderMap, body: Bytes) -> ReadCloudEvent {
        let is_carried = |name: &str| name.starts_with(PREFIX) || name == CONTENT_TYPE.as_str();
        let carried = headers.iter().filter(|(name, _)| is_carried(name.as_str()));
        let carried = carried.map(|(name, value)| (name.clone(), value.clone())).collect();
        self.read(Ok(Attributes::of_headers(headers)), CarriedEvent { headers: carried, body })
    }

    /// The event of a request in structured mode, which is sent on with the same content type.
    pub(super) fn structured(&mut self, headers: &HeaderMap, body: &Bytes) -> ReadCloudEvent {
        let kind = headers.get(CONTENT_TYPE).cloned().unwrap_or(JSON);
        self.one_of_json(body.clone(), text(body), kind)
    }

    /// The event of one of a batch, whose text lies in `body`: it is sent on in structured mode.
    pub(super) fn batched(&mut self, body: &Bytes, one: &RawValue) -> ReadCloudEvent {
        // The text borrows from `body`, so that to slice at its place cannot panic.
        self.one_of_json(body.slice_ref(one.get().as_bytes()), Ok(one.get()), JSON)
    }

    fn one_of_json(
        &mut self,
        body: Bytes,
        text: Result<&str, Box<Problem>>,
        kind: HeaderValue,
    ) -> ReadCloudEvent {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind)]);
        self.read(text.and_then(Attributes::of_json), CarriedEvent { headers, body })
    }

    fn read(
        &mut self,
        attributes: Result<Attributes<'_>, Box<Problem>>,
        sent: CarriedEvent,
    ) -> ReadCloudEvent {
        let attributes = match attributes {
            Ok(attributes) => attributes,
            Err(problem) => return ReadCloudEvent { decoded: Err(problem), target: rules::URL },
        };
        let (targets, values) = (self.targets, &attributes.values);
        // What a producer names is never called with the headers of a target, which may be credentials.
        let target = match values.get("source") {
            Some(source) if !values.contains_key(rules::URL) => targets.of(source),
            _ => None,
        };
        let said_by = if target.is_some() { "source" } else { rules::URL };
        ReadCloudEvent { decoded: decoded(&mut self.decoder, attributes, target, sent), target: said_by }
    }
}

/// The JSON texts of the members of a batch. A body that is no JSON list is refused.
pub(super) fn batch(body: &Bytes) -> Result<Vec<&RawValue>, Box<Problem>> {
    serde_json::from_str(text(body)?).map_err(|error| {
        if !error.is_data() {
            return Box::new(not_json(&error.to_string()));
        }
        let mut faults = Faults::default();
        faults.add("", "a batch must be a JSON list; send one CloudEvent as application/cloudevents+json");
        faults.into_problem()
    })
}

fn text(body: &Bytes) -> Result<&str, Box<Problem>> {
    std::str::from_utf8(body).map_err(|error| Box::new(not_json(&format!("not UTF-8: {error}"))))
}

fn decoded(
    decoder: &mut Decoder,
    mut attributes: Attributes<'_>,
    target: Option<&Target>,
    mut sent: CarriedEvent,
) -> Result<Decoded, Box<Problem>> {
    if sent.body.len() > MAX_BODY_BYTES {
        return Err(Box::new(body_too_large("", sent.body.len())));
    }
    let has_target = target.is_some() || attributes.values.contains_key(rules::URL);
    rules::check(&mut attributes, has_target);
    let Attributes { values, mut faults } = attributes;
    if !has_target {
        return Err(faults.into_problem());
    }
    // Before the headers of the target are added: a target that is edited between two tries of a producer must not make
    // a conflict of the second one.
    let content = target.map(|_| content(&sent));
    for (name, value) in target.iter().flat_map(|target| &target.headers) {
        sent.headers.append(name, value.clone());
    }
    let call = rules::call(&values, target);
    match decoder.complete(&call, sent.headers, sent.body, &rules::key(&values)) {
        Ok(mut decoded) if faults.is_empty() => {
            if let Some((dedup, content)) = decoded.dedup.as_mut().zip(content) {
                dedup.fingerprint = content;
            }
            Ok(decoded)
        }
        // The call would do, but the CloudEvent breaks rules of its own.
        Ok(_) => Err(faults.into_problem()),
        // Both lists go into one answer, so that a producer can mend everything at once.
        Err(problem) => {
            problem
                .errors
                .into_iter()
                .for_each(|error| faults.add_at(rules::attribute(&error.pointer), error.detail));
            Err(faults.into_problem())
        }
    }
}

/// What makes two CloudEvents of one key the same where a target says what is called: the CloudEvent alone. The target
/// may be another one when a producer repeats itself.
fn content(sent: &CarriedEvent) -> u64 {
    let mut digest = Fingerprint::new();
    for (name, value) in &sent.headers {
        digest.part(name.as_str().as_bytes());
        digest.part(value.as_bytes());
    }
    digest.part(&sent.body);
    digest.finish()
}
