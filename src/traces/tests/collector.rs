//! A collector of a test: takes exports of OTLP over HTTP and keeps their spans.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// What is answered to an export.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reply {
    Status(u16),
    /// Taken but for this many spans.
    Rejects(i64),
    /// Takes the request and never answers.
    Hangs,
}

/// One export as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Export {
    pub(crate) content_type: String,
    pub(crate) authorization: String,
    pub(crate) body: Bytes,
    pub(crate) service: String,
    pub(crate) spans: Vec<Seen>,
}

/// One span, with its ids in hexadecimal digits.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) kind: i32,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) state: String,
    pub(crate) is_error: bool,
    pub(crate) took_ns: u64,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Seen {
    /// The value of an attribute; empty without it.
    pub(crate) fn says(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

/// Serves until it is dropped.
pub(crate) struct Collector {
    pub(crate) addr: SocketAddr,
    exports: Arc<Mutex<Vec<Export>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Collector {
    /// A collector that takes every export.
    pub(crate) async fn start() -> Self {
        Self::answering(|_| Reply::Status(200)).await
    }

    /// Answers by the number of the export, from 0.
    pub(crate) async fn answering(answer: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let exports = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&exports), Arc::new(answer));
        let take = post(move |headers: HeaderMap, body: Bytes| {
            let export = read(&headers, body);
            let mut exports = seen.lock().expect("no panic");
            let reply = answer(exports.len());
            exports.push(export);
            drop(exports);
            answered(reply)
        });
        let routes = Router::new().route("/v1/traces", take);
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.expect("serves") });
        Self { addr, exports, task }
    }

    pub(crate) fn exports(&self) -> Vec<Export> {
        self.exports.lock().expect("no panic").clone()
    }

    pub(crate) fn spans(&self) -> Vec<Seen> {
        self.exports().into_iter().flat_map(|export| export.spans).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answered(reply: Reply) -> (StatusCode, Vec<u8>) {
    let rejected_spans = match reply {
        Reply::Hangs => std::future::pending().await,
        Reply::Status(status) => return (StatusCode::from_u16(status).expect("a status"), Vec::new()),
        Reply::Rejects(spans) => spans,
    };
    let partial = ExportTracePartialSuccess { rejected_spans, error_message: "a test".to_owned() };
    (StatusCode::OK, ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec())
}

fn read(headers: &HeaderMap, body: Bytes) -> Export {
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let request = ExportTraceServiceRequest::decode(body.clone()).expect("an export");
    let mut services = Vec::new();
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        services.push(texts(of_resource.resource.expect("a resource").attributes)["service.name"].clone());
        spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans).map(seen));
    }
    Export {
        content_type: header("content-type"),
        authorization: header("authorization"),
        body,
        service: services.concat(),
        spans,
    }
}

fn seen(span: Span) -> Seen {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Seen {
        name: span.name,
        kind: span.kind,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        state: span.trace_state,
        is_error: span.status.is_some_and(|status| status.code == 2),
        took_ns: span
            .end_time_unix_nano
            .checked_sub(span.start_time_unix_nano)
            .expect("ends after its start"),
        attributes: texts(span.attributes),
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| {
        let value = match attribute.value.and_then(|value| value.value) {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            Some(Value::DoubleValue(number)) => number.to_string(),
            Some(Value::BoolValue(flag)) => flag.to_string(),
            other => format!("{other:?}"),
        };
        (attribute.key, value)
    };
    attributes.into_iter().map(text).collect()
}
