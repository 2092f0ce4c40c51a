//! Spans from the door to a collector, and what becomes of them when it does not take them.

mod collector;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use tokio_util::sync::CancellationToken;

use self::collector::{Collector, Reply};
use super::exporter::QUEUE_SPANS;
use super::{Exporter, TraceOptions, Tracer, open};
use crate::clock::{Clock, Timestamp};
use crate::event::{
    CanonicalUrl, Cause, Entry, Event, EventId, Labels, Lane, LaneKey, Outcome, PolicyId, PolicyRef, Tries,
};
use crate::telemetry::EventSource;
use crate::telemetry::testing::Recorded;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SOON: Duration = Duration::from_secs(30);
const SPANS: &str = "tidegate_trace_spans_total";

fn url(text: &str) -> CanonicalUrl {
    CanonicalUrl::parse(text).expect("valid")
}

fn options(endpoint: Option<&str>, sample_ratio: f64) -> TraceOptions {
    TraceOptions {
        endpoint: endpoint.map(url),
        headers_file: None,
        service_name: "gate".to_owned(),
        sample_ratio,
    }
}

fn opened(endpoint: &str, sample_ratio: f64, clock: &Clock) -> (Tracer, Exporter) {
    crate::delivery::install_provider();
    let options = options(Some(endpoint), sample_ratio);
    let (tracer, exporter) = open(&options, clock.clone(), fastrand::Rng::with_seed(1)).expect("opens");
    (tracer, exporter.expect("an exporter"))
}

fn lane() -> Lane {
    let policy = PolicyId::parse("crm").expect("an id");
    Lane::of(vec![PolicyRef { policy, generation: 1 }]).expect("a lane")
}

fn event(traceparent: Option<&str>) -> Event {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static("of the endpoint"));
    if let Some(parent) = traceparent {
        headers.insert("traceparent", HeaderValue::try_from(parent).expect("a value"));
        headers.insert("tracestate", HeaderValue::from_static("a=1"));
    }
    Event {
        method: Method::POST,
        url: url("https://h.org:8443/path?key=of-the-query"),
        headers,
        body: Bytes::from_static(b"of the body"),
        labels: Labels::default(),
        due_at: None,
        is_dated: false,
        expires_at: NOW + Duration::from_secs(3600),
        redriven: None,
    }
}

/// Passes the door, and returns what is kept.
fn accepted(tracer: &Tracer, mut event: Event, id: u128) -> Entry {
    let lane = lane();
    let spans = tracer.accepting(EventSource::Http, NOW, [(&lane, &mut event)].into_iter());
    let id = EventId::new(NOW.as_millis(), id);
    spans.accepted([Some((id, false))].into_iter());
    Entry { id, lane: LaneKey::new("crm@1").expect("short"), tries: Tries::NONE, due_at: None, event }
}

fn parent_of(headers: &HeaderMap) -> &str {
    headers["traceparent"].to_str().expect("text")
}

/// Runs the exporter until the collector has `count` spans, and to its end.
async fn exported(exporter: Exporter, collector: &Collector, count: usize) {
    let ended = CancellationToken::new();
    let running = tokio::spawn(exporter.run(ended.clone()));
    while collector.spans().len() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ended.cancel();
    running.await.expect("no panic");
}

#[tokio::test]
async fn each_attempt_is_a_child_of_the_door_and_says_nothing_of_what_events_hold() {
    let collector = Collector::start().await;
    let clock = Clock::manual(NOW);
    let (tracer, exporter) = opened(&format!("http://{}", collector.addr), 0.0, &clock);
    clock.advance(Duration::from_millis(3));
    let mut entry = accepted(&tracer, event(Some(PARENT)), 1);
    let kept = parent_of(&entry.event.headers).to_owned();
    let mut sent = Vec::new();
    let outcomes = [
        Outcome::Retry { cause: Cause::Status(503), retry_after: None },
        Outcome::Retry { cause: Cause::Timeout, retry_after: None },
        Outcome::Delivered { status: 204 },
    ];
    for outcome in &outcomes {
        let mut headers = entry.event.headers.clone();
        let mut attempt = tracer.attempt(&entry, &lane(), Duration::from_millis(1500), &mut headers);
        sent.push(parent_of(&headers).to_owned());
        assert_eq!(headers["tracestate"], "a=1");
        attempt.end(Some(outcome), Duration::from_millis(7));
        attempt.end(Some(outcome), Duration::from_millis(7));
        entry.tries = entry.tries.and_attempt();
    }
    let mut given_up = tracer.attempt(&entry, &lane(), Duration::ZERO, &mut entry.event.headers.clone());
    given_up.end(None, Duration::ZERO);
    tokio::time::timeout(SOON, exported(exporter, &collector, 5)).await.expect("in time");

    let [door, attempts @ ..] = &collector.spans()[..] else { panic!("no spans") };
    assert_eq!((door.name.as_str(), door.kind, door.parent.as_str()), ("accept", 2, "00f067aa0ba902b7"));
    assert_eq!(kept, format!("00-{TRACE}-{}-01", door.id));
    assert_eq!((door.says("tidegate.policy"), door.says("tidegate.source")), ("crm", "http"));
    assert_eq!((door.took_ns, door.state.as_str()), (3_000_000, "a=1"));
    assert_eq!(attempts.len(), 4, "each ends once");
    for (nth, attempt) in attempts.iter().enumerate() {
        assert_eq!((attempt.name.as_str(), attempt.kind), ("POST", 3));
        assert_eq!((attempt.trace.as_str(), &attempt.parent), (TRACE, &door.id));
        assert_eq!(attempt.says("tidegate.attempt"), (nth + 1).to_string());
        assert_eq!((attempt.says("server.address"), attempt.says("server.port")), ("h.org", "8443"));
        assert_eq!(attempt.says("tidegate.event.id"), entry.id.to_string());
    }
    for (attempt, sent) in attempts.iter().zip(&sent) {
        assert_eq!(*sent, format!("00-{TRACE}-{}-01", attempt.id));
        assert_eq!((attempt.took_ns, attempt.says("tidegate.wait.seconds")), (7_000_000, "1.5"));
    }
    let said = |key: &str| attempts.iter().map(|attempt| attempt.says(key)).collect::<Vec<_>>();
    assert_eq!(said("http.response.status_code"), ["503", "", "204", ""]);
    assert_eq!(said("error.type"), ["503", "timeout", "", "abandoned"]);
    assert_eq!(said("http.request.resend_count"), ["", "1", "2", "3"]);
    assert_eq!(attempts.iter().map(|span| span.is_error).collect::<Vec<_>>(), [true, true, false, true]);
    for export in collector.exports() {
        assert_eq!(
            (export.service.as_str(), export.content_type.as_str()),
            ("gate", "application/x-protobuf")
        );
        assert_eq!(export.authorization, "", "nobody gave any");
        let text = String::from_utf8_lossy(&export.body).into_owned();
        for secret in ["of-the-query", "of the endpoint", "of the body", "/path"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test]
async fn a_trace_is_begun_only_where_the_producer_has_said_nothing() {
    let clock = Clock::manual(NOW);
    let unsampled = PARENT.replace("-01", "-00");
    for (ratio, given, is_kept) in [
        (1.0, Some(unsampled.as_str()), true),
        (0.0, None, true),
        (0.0, Some(PARENT), false),
        (1.0, None, false),
    ] {
        let (tracer, exporter) = opened("http://127.0.0.1:9", ratio, &clock);
        let before = event(given);
        let entry = accepted(&tracer, before.clone(), 1);
        assert_eq!(entry.event.headers == before.headers, is_kept, "{ratio} {given:?}");
        let mut headers = entry.event.headers.clone();
        tracer.attempt(&entry, &lane(), Duration::ZERO, &mut headers).end(None, Duration::ZERO);
        assert_eq!(headers == before.headers, is_kept);
        assert_eq!(exporter.left(), if is_kept { 0 } else { 2 });
    }
    let (tracer, none) = open(&options(None, 1.0), clock, fastrand::Rng::with_seed(1)).expect("opens");
    assert!(none.is_none());
    let before = event(Some(PARENT));
    assert_eq!(accepted(&tracer, before.clone(), 1).event.headers, before.headers);
}

#[tokio::test]
async fn what_is_not_durable_has_no_span() {
    let (tracer, exporter) = opened("http://127.0.0.1:9", 1.0, &Clock::manual(NOW));
    let (lane, mut refused, mut again) = (lane(), event(None), event(None));
    let events = [(&lane, &mut refused), (&lane, &mut again)];
    let spans = tracer.accepting(EventSource::Stdin, NOW, events.into_iter());
    spans.accepted([None, Some((EventId::new(0, 1), true))].into_iter());
    assert_eq!(exporter.left(), 1);
    drop(tracer.accepting(EventSource::Http, NOW, [(&lane, &mut refused)].into_iter()));
    assert_eq!(exporter.left(), 1, "a batch that was refused as a whole");
}

#[tokio::test]
async fn a_full_queue_drops_what_comes_and_counts_it() {
    let recorded = Recorded::new();
    let _local = recorded.set();
    let (tracer, exporter) = opened("http://127.0.0.1:9", 1.0, &Clock::manual(NOW));
    for id in 0..QUEUE_SPANS as u128 {
        accepted(&tracer, event(None), id);
    }
    assert_eq!(recorded.sum(SPANS, "queue_full"), 0.0);
    for id in 0..3 {
        accepted(&tracer, event(None), id);
    }
    assert_eq!(recorded.sum(SPANS, "queue_full"), 3.0);
    assert_eq!(exporter.left(), QUEUE_SPANS);
}

#[tokio::test]
async fn an_export_is_sent_again_where_that_may_heal_and_dropped_where_not() {
    for (first, sent, exported, failed, rejected) in [
        (Reply::Status(200), 1, 2.0, 0.0, 0.0),
        (Reply::Status(503), 2, 2.0, 0.0, 0.0),
        (Reply::Status(401), 1, 0.0, 2.0, 0.0),
        (Reply::Rejects(1), 1, 1.0, 0.0, 1.0),
    ] {
        let recorded = Recorded::new();
        let _local = recorded.set();
        let collector =
            Collector::answering(move |nth| if nth == 0 { first } else { Reply::Status(200) }).await;
        let (tracer, exporter) = opened(&format!("http://{}", collector.addr), 1.0, &Clock::manual(NOW));
        accepted(&tracer, event(None), 1);
        accepted(&tracer, event(None), 2);
        let running = tokio::spawn(exporter.run(CancellationToken::new()));
        let in_time = tokio::time::timeout(SOON, async {
            while recorded.sum(SPANS, "") < 2.0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        in_time.await.expect("in time");
        let counted = ["exported", "failed", "rejected"].map(|result| recorded.sum(SPANS, result));
        assert_eq!((collector.exports().len(), counted), (sent, [exported, failed, rejected]), "{first:?}");
        running.abort();
    }
}

#[tokio::test]
async fn the_end_waits_for_a_collector_that_hangs_but_not_for_long() {
    let recorded = Recorded::new();
    let _local = recorded.set();
    let collector = Collector::answering(|_| Reply::Hangs).await;
    let (tracer, exporter) = opened(&format!("http://{}", collector.addr), 1.0, &Clock::manual(NOW));
    accepted(&tracer, event(None), 1);
    let ended = CancellationToken::new();
    ended.cancel();
    tokio::time::timeout(SOON, exporter.run(ended)).await.expect("it ends");
    assert_eq!(collector.exports().len(), 1, "it was tried");
    assert_eq!(recorded.sum(SPANS, "failed"), 1.0);
}
