//! Clients that end their side of the connection after the request: each gets its whole answer, and no event is kept
//! without one.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::raw::{request, status};
use crate::world::{Api, Raw, Server, ServerOptions, eventually};

struct World {
    _dir: tempfile::TempDir,
    server: Server,
    api: Api,
}

async fn world() -> World {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let api = server.api();
    api.deploy_throttling("http://127.0.0.1:9/*", 200).await;
    World { _dir: dir, server, api }
}

impl World {
    /// Sends it, ends this side at once and reads to the end.
    async fn half_closed(&self, request: &str) -> String {
        let mut raw = Raw::connect(self.server.addr).await;
        raw.send(request).await;
        raw.end().await;
        raw.rest().await
    }

    /// Events that wait, once that is so many.
    async fn kept(&self, number: usize) {
        let number = f64::from(u32::try_from(number).expect("few"));
        eventually("as many events are kept as were answered", Duration::from_secs(10), async || {
            self.api.metric("tidegate_queue_events", "state=\"delayed\"").await == number
        })
        .await;
    }
}

fn event() -> String {
    json!({"url": "http://127.0.0.1:9/x", "delay_seconds": 3600}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_forty_clients_gets_the_answer_to_its_event() {
    let world = world().await;
    let request = request("POST", "/v1/events", "application/json", &event());
    let answers = futures_util::future::join_all((0..40).map(|_| world.half_closed(&request))).await;
    let answered = answers.iter().filter(|answer| status(answer) == 202 && answer.contains("\"id\"")).count();
    assert_eq!(answered, 40, "{answers:#?}");
    world.kept(40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_of_a_list_or_stream_is_answered() {
    let world = world().await;
    let list = format!("[{}]", vec![event(); 50].join(","));
    let answer = world.half_closed(&request("POST", "/v1/events", "application/json", &list)).await;
    assert_eq!((status(&answer), answer.matches("\"status\":202").count()), (200, 50), "{answer}");
    let lines = format!("{}\n", event()).repeat(3_000);
    let answer = world.half_closed(&request("POST", "/v1/events", "application/x-ndjson", &lines)).await;
    assert_eq!((status(&answer), answer.matches("\"status\":202").count()), (200, 3_000));
    let chunked = format!(
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{lines}\r\n0\r\n\r\n",
        lines.len()
    );
    let answer = world.half_closed(&chunked).await;
    assert_eq!((status(&answer), answer.matches("\"status\":202").count()), (200, 3_000));
    world.kept(6_050).await;
}

/// The control: what broke off is not taken for whole. Its lines are answered, and a last one says where it ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_answered_as_far_as_it_came() {
    let world = world().await;
    let lines = format!("{}\n", event()).repeat(20);
    let whole = request("POST", "/v1/events", "application/x-ndjson", &lines);
    let answer = world.half_closed(&whole[..whole.len() - 10]).await;
    assert_eq!((status(&answer), answer.matches("\"status\":202").count()), (200, 19), "{answer}");
    let last = answer.lines().rfind(|line| line.starts_with('{')).expect("lines");
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(
        (&last["line"], &last["status"], &last["code"]),
        (&json!(20), &json!(400), &json!("incomplete_body"))
    );
    let whole = request("POST", "/v1/events", "application/json", &event());
    let answer = world.half_closed(&whole[..whole.len() - 10]).await;
    assert!(status(&answer) == 400 && answer.contains("incomplete_body"), "{answer}");
    world.kept(19).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers() {
    let world = world().await;
    let (_, list) = world.api.get("/v1/policies").await;
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let uid = list["policies"][0]["id"].as_str().expect("a policy").to_owned();
    let config =
        json!({"name": "b", "urlPattern": "http://127.0.0.2:9/*", "methods": ["GET"], "maxThroughput": 300});
    let capping = json!({"url": "http://127.0.0.3:9/*", "methods": ["GET"],
        "services": {"action": {"maxCallsCount": 5, "periodInMs": 1000}}});
    let throttling =
        json!({"plugin_version_id": "2", "plugin_endpoint": "/a", "scope": "GLOBAL", "max_qps": 5});
    let pause = json!({"action": "pause"});
    for (method, path, body, expected) in [
        ("GET", "/livez", None, 200),
        ("GET", "/readyz?verbose", None, 200),
        ("GET", "/metrics", None, 200),
        ("GET", "/v1/policies", None, 200),
        ("GET", "/v1/doubts", None, 200),
        ("GET", "/v1/explain?url=http://127.0.0.1:9/x", None, 200),
        ("POST", &format!("/v1/policies/{uid}:pause"), Some(&pause), 0),
        ("GET", "/authoring/throttlingConfigs/none", None, 404),
        ("PUT", &format!("/authoring/throttlingConfigs/{uid}"), Some(&config), 200),
        ("POST", "/authoring/endpointConfigs", Some(&capping), 200),
        ("POST", "/v3/rest/services", Some(&json!({"name": "s"})), 200),
        ("POST", "/v1/plugins/1/versions/2/throttlings", Some(&throttling), 201),
        ("PUT", "/v1/responsys/accounts/acme", Some(&json!({"limits": {"login": 4}})), 201),
        ("GET", "/rest/api/ratelimit", None, 0),
        ("GET", "/nowhere", None, 404),
    ] {
        let asked = match body {
            Some(body) => request(method, path, "application/json", &body.to_string()),
            None => format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        };
        let answer = world.half_closed(&asked).await;
        let found = status(&answer);
        let is_right = if expected == 0 { found != 0 && found < 500 } else { found == expected };
        assert!(is_right, "{method} {path}: {answer}");
    }
}
