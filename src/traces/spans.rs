//! Spans in the messages of OTLP, with the names of OpenTelemetry's semantic conventions where they have one.
//!
//! Must not know: how spans are begun, kept and sent.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
pub(super) use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Status};
use prost::Message;

use super::context::Context;
use crate::clock::Timestamp;
use crate::event::{CanonicalUrl, Cause, EventId, Lane, Outcome};
use crate::telemetry::{EventSource, policy_list};

const NAME: &str = env!("CARGO_PKG_NAME");
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The bits of a span's flags that say that its parent is known to be another process's.
const PARENT_IS_REMOTE: u32 = 0x300;

/// When a span was, on the wall clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    pub(super) ended_at: Timestamp,
    pub(super) took: Duration,
}

/// The acceptance of an event, from its request to its receipt.
pub(super) struct AcceptanceSpan<'a> {
    pub(super) context: Context,
    /// The span of the producer that handed it in.
    pub(super) parent: Option<u64>,
    pub(super) state: String,
    pub(super) source: EventSource,
    pub(super) event_id: EventId,
    pub(super) lane: &'a Lane,
    /// It had come before: nothing was added.
    pub(super) is_duplicate: bool,
}

impl AcceptanceSpan<'_> {
    pub(super) fn span(self, when: When) -> Span {
        let kind = match self.source {
            EventSource::Http => SpanKind::Server,
            EventSource::Stdin | EventSource::Redrive => SpanKind::Internal,
        };
        // It came with the event: it is always another process's.
        let is_remote = if self.parent.is_some() { PARENT_IS_REMOTE } else { 0 };
        let mut attributes = vec![
            text("tidegate.event.id", self.event_id.to_string()),
            text("tidegate.policy", policy_list(self.lane)),
            text("tidegate.source", self.source.label()),
        ];
        if self.is_duplicate {
            attributes.push(attribute("tidegate.event.duplicate", any_value::Value::BoolValue(true)));
        }
        Span {
            parent_span_id: self.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
            trace_state: self.state,
            flags: u32::from(self.context.flags) | is_remote,
            name: "accept".to_owned(),
            kind: kind.into(),
            attributes,
            ..begun(self.context, when)
        }
    }
}

/// One attempt to deliver an event.
pub(super) struct AttemptMade<'a> {
    pub(super) context: Context,
    pub(super) parent: u64,
    pub(super) state: String,
    pub(super) method: &'a str,
    pub(super) url: &'a CanonicalUrl,
    pub(super) event_id: EventId,
    pub(super) lane: &'a Lane,
    /// From 1; one that costs no attempt has the number of the next that does.
    pub(super) attempt: u16,
    /// From the moment at which it might go to its start.
    pub(super) waited: Duration,
    /// `None` when it was given up at the end of the process.
    pub(super) outcome: Option<&'a Outcome>,
}

impl AttemptMade<'_> {
    pub(super) fn span(self, when: When) -> Span {
        let url = self.url.as_url();
        let mut attributes = vec![
            text("http.request.method", self.method),
            text("url.scheme", url.scheme()),
            // Addresses of IPv6 stand without brackets there.
            text("server.address", url.host_str().unwrap_or_default().trim_matches(['[', ']'])),
            whole("server.port", url.port_or_known_default().unwrap_or_default()),
            text("tidegate.event.id", self.event_id.to_string()),
            text("tidegate.policy", policy_list(self.lane)),
            whole("tidegate.attempt", self.attempt),
            attribute("tidegate.wait.seconds", any_value::Value::DoubleValue(self.waited.as_secs_f64())),
        ];
        // The convention leaves the count out for the first attempt.
        if self.attempt > 1 {
            attributes.push(whole("http.request.resend_count", self.attempt - 1));
        }
        attributes.extend(self.outcome.and_then(status_code).map(|status| whole(STATUS_CODE, status)));
        let failure = failure(self.outcome);
        if let Some((label, _)) = &failure {
            attributes.push(text("error.type", label.as_str()));
        }
        Span {
            parent_span_id: self.parent.to_be_bytes().to_vec(),
            trace_state: self.state,
            flags: u32::from(self.context.flags),
            name: self.method.to_owned(),
            kind: SpanKind::Client.into(),
            attributes,
            status: failure.map(|(_, message)| Status { message, code: StatusCode::Error.into() }),
            ..begun(self.context, when)
        }
    }
}

const STATUS_CODE: &str = "http.response.status_code";

/// The status of the answer, where the outcome has kept it.
fn status_code(outcome: &Outcome) -> Option<u16> {
    match (outcome.end(), outcome.cause()) {
        (Outcome::Delivered { status }, _) => Some(*status),
        (_, Some(Cause::Status(status))) => Some(status),
        _ => None,
    }
}

/// A word for the kind of failure, from a bounded set, and a short fact; `None` for a success.
fn failure(outcome: Option<&Outcome>) -> Option<(String, String)> {
    let Some(outcome) = outcome else {
        // Without an outcome the attempt was given up, as when the process stops.
        let word = "abandoned".to_owned();
        return Some((word.clone(), word));
    };
    let cause = outcome.cause()?;
    let label = match cause {
        Cause::Status(status) => status.to_string(),
        _ => cause.label().to_owned(),
    };
    Some((label, cause.to_string()))
}

/// The part that all spans have in common: ids and times.
fn begun(context: Context, When { ended_at, took }: When) -> Span {
    Span {
        trace_id: context.trace.to_be_bytes().to_vec(),
        span_id: context.span.to_be_bytes().to_vec(),
        // The end is read from the wall clock and the length from the steady one, so that no step of the wall clock
        // gives a span a negative length.
        start_time_unix_nano: (ended_at - took).as_nanos(),
        end_time_unix_nano: ended_at.as_nanos(),
        ..Span::default()
    }
}

/// One export of these spans, in bytes.
pub(super) fn encoded(spans: Vec<Span>, service_name: &str) -> Vec<u8> {
    let attributes = vec![text("service.name", service_name), text("service.version", VERSION)];
    let scope = InstrumentationScope {
        name: NAME.to_owned(),
        version: VERSION.to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_spans = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
    let resource = Resource { attributes, ..Resource::default() };
    let of_resource = ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![of_resource] }.encode_to_vec()
}

/// How many spans of an export the collector says that it did not take; what cannot be read says nothing.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
    // A negative number of rejected spans says nothing.
    answer.partial_success.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.into()))
}

fn whole(key: &str, value: u16) -> KeyValue {
    attribute(key, any_value::Value::IntValue(i64::from(value)))
}
