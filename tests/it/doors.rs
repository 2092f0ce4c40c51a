//! Bad input over real HTTP: each answer is problem+json that names the code, the field and the way out.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{Api, Receiver, Server, ServerOptions, eventually};

const OK: &str = "http://127.0.0.1:9/ok";

struct World {
    _dir: tempfile::TempDir,
    options: ServerOptions,
    server: Server,
    api: Api,
}

async fn world() -> World {
    let dir = tempfile::tempdir().expect("a directory");
    let options = ServerOptions::new(&dir.path().join("data"));
    let server = Server::start(&options);
    let api = server.api();
    api.deploy_throttling("http://127.0.0.1:9/*", 200).await;
    World { _dir: dir, options, server, api }
}

/// An event for [`OK`] with further members, as written.
fn event(members: &str) -> String {
    format!("{{\"url\":\"{OK}\",{members}}}")
}

/// Checks that a refusal is whole: kind, status, code, a detail, and the field when there is one.
fn check(what: &str, answer: (u16, String), status: u16, code: &str, field: Option<&str>) {
    assert_eq!(answer.0, status, "{what}: {}", answer.1);
    let problem: Value = serde_json::from_str(&answer.1).expect("a problem");
    assert_eq!(problem["code"], code, "{what}: {problem}");
    assert_eq!(problem["status"], status, "{what}: {problem}");
    assert_eq!(problem["type"], format!("urn:tidegate:problem:{code}"), "{what}: {problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 15), "{what}: {problem}");
    if let Some(field) = field {
        let errors = problem["errors"].as_array().expect("fields");
        let named = errors.iter().find(|error| error["pointer"] == field);
        assert!(named.is_some_and(|error| error["detail"].as_str() != Some("")), "{what}: {problem}");
        let detail = problem["detail"].as_str().unwrap_or("");
        assert!(detail.contains(field) || code != "invalid_event", "{what}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_breaks_a_rule_is_told_which() {
    let world = world().await;
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let labels = (0..33).map(|n| format!("\"k{n}\":\"\"")).collect::<Vec<_>>().join(",");
    for (members, field) in [
        (format!("\"url\":\"{OK}\""), "/url"),
        ("\"method\":\"GET\",\"method\":\"GET\"".to_owned(), "/method"),
        ("\"labels\":{\"a\":\"1\",\"a\":\"2\"}".to_owned(), "/labels"),
        (format!("\"labels\":{{{labels}}}"), "/labels"),
        ("\"labels\":{\"a\":1}".to_owned(), "/labels"),
        (format!("\"body\":{nested}"), "/body"),
        (format!("\"method\":{nested}"), "/method"),
        ("\"colour\":1".to_owned(), "/colour"),
        ("\"delay_seconds\":1e308".to_owned(), "/delay_seconds"),
        ("\"delay_seconds\":1e400".to_owned(), "/delay_seconds"),
        ("\"delay_seconds\":-1".to_owned(), "/delay_seconds"),
        ("\"delay_seconds\":21601".to_owned(), "/delay_seconds"),
        ("\"delay_seconds\":30,\"ttl_seconds\":20".to_owned(), "/delay_seconds"),
        ("\"ttl_seconds\":-1".to_owned(), "/ttl_seconds"),
        ("\"ttl_seconds\":0".to_owned(), "/ttl_seconds"),
        ("\"ttl_seconds\":99999999999999999999".to_owned(), "/ttl_seconds"),
        ("\"due_at\":\"tomorrow\"".to_owned(), "/due_at"),
        ("\"due_at\":\"2030-01-01T00:00:00\"".to_owned(), "/due_at"),
        ("\"due_at\":\"9999-01-01T00:00:00Z\"".to_owned(), "/due_at"),
        ("\"due_at\":\"2030-01-01T00:00:00Z\",\"delay_seconds\":1".to_owned(), "/due_at"),
        ("\"body_base64\":\"###\"".to_owned(), "/body_base64"),
        ("\"body_base64\":\"YQ\"".to_owned(), "/body_base64"),
        ("\"body\":1,\"body_text\":\"\"".to_owned(), "/body"),
        ("\"method\":\"GE T\"".to_owned(), "/method"),
        ("\"method\":\"\"".to_owned(), "/method"),
        ("\"method\":\"CONNECT\"".to_owned(), "/method"),
        (format!("\"idempotency_key\":\"{}\"", "k".repeat(257)), "/idempotency_key"),
    ] {
        let answer = post(&world.api, &event(&members)).await;
        check(&members[..members.len().min(60)], answer, 422, "invalid_event", Some(field));
    }
    for (name, value) in [
        ("Connection", "close"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Length", "0"),
        ("Host", "other.test"),
        ("Proxy-Authorization", "x"),
        ("webhook-id", "x"),
        ("tidegate-attempt", "1"),
        ("bad name", "x"),
        ("x-split", "a\r\nb: c"),
        ("x-nul", "a\0"),
    ] {
        let answer = post(&world.api, &event(&format!("\"headers\":{}", json!({name: value})))).await;
        check(name, answer, 422, "invalid_header", Some(&format!("/headers/{name}")));
    }
}

async fn post(api: &Api, body: &str) -> (u16, String) {
    api.post("/v1/events", "application/json", body.to_owned()).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_may_not_be_called_is_refused_in_every_spelling() {
    let world = world().await;
    for url in [
        "",
        "/x",
        "//h/x",
        "http://",
        "http://h:99999/",
        "http://exa mple/",
        "http://[::1",
        "ftp://h/",
        "javascript:alert(1)",
        "http://user:pw@h/",
        "http://user@h/",
    ] {
        check(
            url,
            post(&world.api, &json!({"url": url}).to_string()).await,
            422,
            "invalid_event",
            Some("/url"),
        );
    }
    for host in [
        "10.0.0.1",
        "167772161",
        "0xa000001",
        "012.0.0.1",
        "10.1",
        "10.0.0.1.",
        "１０.0.0.1",
        "0",
        "169.254.169.254",
        "100.64.0.1",
        "192.168.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:a00:1]",
        "[::10.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::]",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
    ] {
        let answer = post(&world.api, &json!({"url": format!("http://{host}/")}).to_string()).await;
        assert!(answer.1.contains("egress.allow"), "{host}: {}", answer.1);
        check(host, answer, 422, "egress_denied", Some("/url"));
    }
    let unmatched = json!({"url": "http://127.0.0.1:9/ok", "method": "BREW"}).to_string();
    check("verb", post(&world.api, &unmatched).await, 422, "unmatched", Some("/url"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_no_event_is_told_what_is_taken() {
    let world = world().await;
    let api = &world.api;
    let good = json!({"url": OK}).to_string();
    for (what, body) in [
        ("empty", String::new()),
        ("blank", "  ".to_owned()),
        ("byte order mark", format!("\u{feff}{good}")),
        ("two", format!("{good}{good}")),
        ("half", good[..9].to_owned()),
    ] {
        check(what, post(api, &body).await, 400, "invalid_json", Some(""));
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let answer = api.post("/v1/events", kind, good.clone()).await.expect("an answer");
        check(kind, answer, 415, "unsupported_media_type", None);
    }
    let list = format!("[{}]", vec![good.clone(); 1001].join(","));
    check("1001", post(api, &list).await, 413, "batch_too_large", None);
    let large = |bytes: usize| json!({"url": OK, "body_text": "x".repeat(bytes)}).to_string();
    check("body", post(api, &large(256 * 1024 + 1)).await, 413, "payload_too_large", Some("/body_text"));
    check("event", post(api, &large(600_000)).await, 413, "payload_too_large", None);
    assert_eq!(post(api, &large(256 * 1024)).await.0, 202);
    check("malformed id", api.get("/v1/events/x").await, 400, "invalid_id", None);
    check("no text", api.get("/v1/events/%ff").await, 400, "invalid_id", None);
    let unknown = api.get("/v1/events/0198c4f0-5f3a-7c00-8000-000000000001").await;
    check("unknown id", unknown, 404, "event_not_found", None);
    check("route", api.get("/v2").await, 404, "not_found", None);
    let (status, answer) = api.json("PUT", "/v1/events", &json!({})).await;
    check("verb", (status, answer.to_string()), 405, "method_not_allowed", None);
    assert!(api.metric("tidegate_events_rejected_total", "batch_too_large").await >= 1.0);
    assert!(api.metric("tidegate_events_rejected_total", "unsupported_media_type").await >= 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_another_page_or_host_is_refused_and_so_is_a_coded_body() {
    let world = world().await;
    for (headers, status, code) in [
        ("Host: evil.test\r\n", 421, "foreign_host"),
        ("", 400, "malformed_request"),
        ("Host: localhost\r\nOrigin: http://evil.test\r\n", 403, "foreign_origin"),
        ("Host: localhost\r\nContent-Encoding: gzip\r\n", 415, "unsupported_encoding"),
        ("Host: localhost\r\nTransfer-Encoding: chunked\r\n", 400, "malformed_request"),
    ] {
        let request = format!(
            "POST /v1/events HTTP/1.1\r\n{headers}Content-Type: application/json\r\nContent-Length: 2\r\n\
             Connection: close\r\n\r\n{{}}"
        );
        let (head, body) = raw(&world.server, &request).await;
        assert!(head.contains("application/problem+json"), "{headers}: {head}");
        let status_line = format!("HTTP/1.1 {status} ");
        assert!(head.starts_with(&status_line), "{headers}: {head}");
        check(headers, (status, body), status, code, None);
    }
}

/// Sends bytes as they are and reads until the connection ends.
async fn raw(server: &Server, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server.addr).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_names_one_event_also_across_a_restart() {
    let world = world().await;
    let call =
        |body: u32| event(&format!("\"idempotency_key\":\"k\",\"body\":{body},\"delay_seconds\":3600"));
    let (status, first) = post(&world.api, &call(1)).await;
    assert_eq!(status, 202, "{first}");
    let first: Value = serde_json::from_str(&first).expect("a receipt");
    let mut server = world.server;
    for _ in 0..2 {
        let api = server.api();
        let (status, again) = post(&api, &call(1)).await;
        let again: Value = serde_json::from_str(&again).expect("a receipt");
        assert_eq!((status, &again["id"], &again["due_at"]), (202, &first["id"], &first["due_at"]));
        assert_eq!(again["duplicate"], true);
        check("other", post(&api, &call(2)).await, 422, "idempotency_conflict", Some("/idempotency_key"));
        server.kill();
        server = Server::start(&world.options);
    }
    eventually("one event waits", Duration::from_secs(5), async || {
        server.api().metric("tidegate_queue_events", "state=\"delayed\"").await == 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_in_the_past_is_now_and_states_can_be_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let receiver = Receiver::answering(|arrival| match arrival.number {
        Some(2) => (204, Duration::from_secs(30)),
        Some(3) => (404, Duration::ZERO),
        _ => (204, Duration::ZERO),
    })
    .await;
    let api = server.api();
    api.deploy_throttling(&receiver.url("/*"), 200).await;
    let send = async |members: Value| {
        let mut event = json!({"url": receiver.url("/x")});
        event.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
        let (status, receipt) = api.json("POST", "/v1/events", &event).await;
        assert_eq!(status, 202, "{receipt}");
        (receipt["due_at"].clone(), format!("/v1/events/{}", receipt["id"].as_str().expect("an id")))
    };
    let (due_at, past) = send(json!({"body": {"n": 1}, "due_at": "2001-01-01T00:00:00Z"})).await;
    assert_eq!(due_at, Value::Null);
    let (_, slow) = send(json!({"body": {"n": 2}})).await;
    let (_, dead) = send(json!({"body": {"n": 3}})).await;
    let (due_at, delayed) = send(json!({"body": {"n": 4}, "delay_seconds": 60})).await;
    assert!(due_at.is_string());
    for (path, state, outcome) in [
        (&past, "settled", json!("delivered")),
        (&slow, "inflight", Value::Null),
        (&dead, "settled", json!("dead")),
        (&delayed, "delayed", Value::Null),
    ] {
        eventually(state, Duration::from_secs(10), async || {
            let (status, event) = api.json("GET", path, &Value::Null).await;
            status == 200 && event["state"] == state && event["outcome"] == outcome
        })
        .await;
    }
}
