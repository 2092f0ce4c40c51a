//! The limits of the Mashery dialect through the real binary: what is managed over HTTP is what calls meet at the door.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate::testkit::clock::Clock;

use crate::world::{Api, Receiver, Server, ServerOptions, eventually, window_peak};

const PATIENCE: Duration = Duration::from_secs(20);

/// A service on the real binary whose calls arrive at a receiver.
struct Managed {
    _dir: tempfile::TempDir,
    _server: Server,
    api: Api,
    receiver: Receiver,
    service: String,
}

/// What became of a batch: how many were taken in, and the code of each that was not.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    accepted: usize,
    codes: Vec<String>,
}

impl Managed {
    async fn new(service: &Value, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut options = ServerOptions::new(&dir.path().join("data"));
        if !args.is_empty() {
            let file = dir.path().join("tidegate-test.toml");
            std::fs::write(&file, args.join("\n")).expect("written");
            options.args = ["--config", &file.display().to_string()].map(str::to_owned).to_vec();
        }
        let server = Server::start(&options);
        let (api, receiver) = (server.api(), Receiver::start().await);
        let service = create(&api, "/services", service).await;
        Self { _dir: dir, _server: server, api, receiver, service }
    }

    /// An endpoint for all calls below `alias`.
    async fn endpoint(&self, alias: &str, more: Value) -> String {
        let address = self.receiver.url("").replace("http://", "");
        let mut body =
            json!({"name": alias, "requestPathAlias": alias, "publicDomains": [{"address": address}]});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        create(&self.api, &format!("/services/{}/endpoints", self.service), &body).await
    }

    async fn key(&self, apikey: &str, more: Value) -> String {
        let mut body = json!({"apikey": apikey, "service": {"id": self.service}});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        create(&self.api, "/packageKeys", &body).await
    }

    /// Hands in so many calls of one key, all at once.
    async fn call(&self, path: &str, key: Option<&str>, calls: usize) -> Taken {
        let labels = key.map_or_else(|| json!({}), |key| json!({"api_key": key}));
        let event = json!({"url": self.receiver.url(path), "labels": labels, "body": {"n": 0}});
        let batch = format!("{event}\n").repeat(calls);
        let answer = self.api.post("/v1/events", "application/x-ndjson", batch).await;
        let (status, text) = answer.expect("an answer");
        assert_eq!(status, 200, "{text:.300}");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), calls, "one line each");
        let refused = lines.iter().filter(|line| line["status"] != 202);
        let codes = refused.map(|line| line["code"].as_str().unwrap_or_else(|| panic!("{line}")).to_owned());
        let codes: Vec<String> = codes.collect();
        Taken { accepted: calls - codes.len(), codes }
    }

    async fn arrived(&self, calls: usize) {
        let what = format!("{calls} calls arrive");
        eventually(&what, PATIENCE, async || self.receiver.count() == calls).await;
    }
}

impl Taken {
    fn all(calls: usize) -> Self {
        Self { accepted: calls, codes: Vec::new() }
    }

    fn some(accepted: usize, refused: usize, code: &str) -> Self {
        Self { accepted, codes: vec![code.to_owned(); refused] }
    }
}

async fn create(api: &Api, path: &str, body: &Value) -> String {
    let (status, created) = api.json("POST", &format!("/v3/rest{path}"), body).await;
    assert_eq!(status, 200, "{path}: {created}");
    created["id"].as_str().expect("an id").to_owned()
}

async fn put(api: &Api, path: &str, body: &Value) {
    let (status, answer) = api.json("PUT", &format!("/v3/rest{path}"), body).await;
    assert_eq!(status, 200, "{path}: {answer}");
}

/// Waits past the end of the day or minute when it is near: the test needs the same one throughout.
pub(crate) async fn well_within(period: Duration) {
    let period_ms = u64::try_from(period.as_millis()).expect("short");
    let left_ms = period_ms - Clock::system().wall().as_millis() % period_ms;
    if left_ms < 30_000 {
        tokio::time::sleep(Duration::from_millis(left_ms + 50)).await;
    }
}

pub(crate) const DAY: Duration = Duration::from_secs(86_400);
pub(crate) const OVER_RATE: &str = "ERR_403_DEVELOPER_OVER_RATE";
const OVER_QPS: &str = "ERR_403_DEVELOPER_OVER_QPS";
const INACTIVE: &str = "ERR_403_DEVELOPER_INACTIVE";

#[tokio::test(flavor = "multi_thread")]
async fn calls_to_one_endpoint_shut_another_for_the_same_key() {
    well_within(DAY).await;
    let managed = Managed::new(&json!({"name": "s", "rateLimitCeiling": 1000}), &[]).await;
    managed.endpoint("/a", json!({})).await;
    managed.endpoint("/b", json!({"rateLimitCeiling": 500})).await;
    managed.key("k", json!({})).await;
    managed.key("other", json!({})).await;
    assert_eq!(managed.call("/a/x", Some("k"), 499).await, Taken::all(499));
    assert_eq!(managed.call("/b/x", Some("k"), 2).await, Taken::some(1, 1, OVER_RATE));
    managed.arrived(500).await;
    assert_eq!(
        managed.call("/b/x", Some("k"), 3).await,
        Taken::some(0, 3, OVER_RATE),
        "500 hits on the service"
    );
    assert_eq!(managed.call("/b/x", Some("other"), 1).await, Taken::all(1), "the hits of one key alone");
    assert_eq!(managed.call("/a/x", Some("k"), 600).await, Taken::some(500, 100, OVER_RATE));
    managed.arrived(1001).await;
    assert_eq!(managed.call("/a/x", Some("k"), 5).await, Taken::some(0, 5, OVER_RATE));
    assert_eq!(
        managed.call("/b/x", Some("other"), 499).await,
        Taken::all(499),
        "a refused call counts nowhere"
    );
    managed.arrived(1500).await;
    let dead = managed.api.metric("tidegate_events_completed_total", "dead").await;
    assert_eq!(dead, 0.0, "what was promised was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_raised_freed_and_shut() {
    well_within(DAY).await;
    let service = json!({"name": "s", "rateLimitCeiling": 20, "rateLimitOverrideAllowed": true});
    let managed = Managed::new(&service, &[]).await;
    managed.endpoint("/a", json!({})).await;
    let plain = managed.key("plain", json!({"rateLimitExempt": false})).await;
    managed.key("raised", json!({"rateLimitCeiling": 50})).await;
    managed.key("exempt", json!({"rateLimitExempt": true, "rateLimitCeiling": 0})).await;
    let gone = managed.key("gone", json!({"status": "disabled", "rateLimitExempt": true})).await;
    assert_eq!(managed.call("/a/x", Some("plain"), 30).await, Taken::some(20, 10, OVER_RATE));
    assert_eq!(managed.call("/a/x", Some("raised"), 60).await, Taken::some(50, 10, OVER_RATE));
    assert_eq!(managed.call("/a/x", Some("exempt"), 200).await, Taken::all(200));
    assert_eq!(managed.call("/a/x", Some("gone"), 2).await, Taken::some(0, 2, INACTIVE));
    assert_eq!(managed.call("/a/x", Some("unknown"), 2).await, Taken::some(0, 2, INACTIVE));
    assert_eq!(managed.call("/a/x", None, 40).await, Taken::all(40), "without a key no limit of keys");
    managed.arrived(310).await;

    put(&managed.api, &format!("/packageKeys/{gone}"), &json!({"status": "active"})).await;
    put(&managed.api, &format!("/packageKeys/{plain}"), &json!({"rateLimitCeiling": 25})).await;
    assert_eq!(managed.call("/a/x", Some("gone"), 10).await, Taken::all(10));
    let raised = managed.call("/a/x", Some("plain"), 10).await;
    assert_eq!(raised, Taken::some(5, 5, OVER_RATE), "what was used stays used");
    // What is under way when a limit shrinks would be tried against the new one.
    managed.arrived(325).await;
    put(&managed.api, &format!("/services/{}", managed.service), &json!({"rateLimitOverrideAllowed": false}))
        .await;
    assert_eq!(
        managed.call("/a/x", Some("exempt"), 1).await,
        Taken::some(0, 1, OVER_RATE),
        "no overrides any more"
    );
    managed.arrived(325).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_per_second_hold_for_the_service_and_for_each_key() {
    let service = json!({"name": "s", "qpsLimitOverall": 30, "qpsLimitCeiling": 10});
    let managed = Managed::new(&service, &[]).await;
    managed.endpoint("/a", json!({})).await;
    for key in ["k", "l", "m", "n"] {
        managed.key(key, json!({})).await;
    }
    // A window that has just come cannot know what started before it, and stays shut for its length.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(managed.call("/a/x", Some("k"), 15).await, Taken::some(10, 5, OVER_QPS));
    assert_eq!(managed.call("/a/x", Some("l"), 10).await, Taken::all(10));
    assert_eq!(managed.call("/a/x", Some("m"), 10).await, Taken::all(10));
    let over = managed.call("/a/x", Some("n"), 4).await;
    assert_eq!(over, Taken::some(0, 4, "ERR_403_SERVICE_OVER_QPS"), "the service is asked before the key");
    managed.arrived(30).await;
    eventually("there is room a second later", PATIENCE, async || {
        managed.call("/a/x", Some("n"), 1).await.accepted == 1
    })
    .await;
    managed.arrived(31).await;
    let times: Vec<u64> = managed.receiver.arrivals().iter().map(|arrival| arrival.at_ns).collect();
    // Starts are limited; on their way calls may come a little closer.
    assert!(window_peak(&times, 950_000_000) <= 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_is_limited_for_all_developers_together() {
    well_within(Duration::from_secs(60)).await;
    let managed = Managed::new(&json!({"name": "s", "rateLimitCeiling": 100}), &[]).await;
    let endpoint = managed.endpoint("/a", json!({})).await;
    let methods = format!("/services/{}/endpoints/{endpoint}/methods", managed.service);
    let report = json!({"name": "report", "rateLimitCeiling": 1, "rateLimitPeriod": "minute"});
    create(&managed.api, &methods, &report).await;
    managed.key("k", json!({})).await;
    managed.key("l", json!({})).await;
    assert_eq!(managed.call("/a/report", Some("k"), 2).await, Taken::some(1, 1, OVER_RATE));
    assert_eq!(managed.call("/a/v2/report", Some("l"), 1).await, Taken::some(0, 1, OVER_RATE));
    assert_eq!(managed.call("/a/other", Some("l"), 5).await, Taken::all(5));
    managed.arrived(6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_in_the_words_of_the_system() {
    well_within(DAY).await;
    let service = json!({"name": "s", "rateLimitCeiling": 2});
    let uniform = Managed::new(&service, &[]).await;
    let exact =
        Managed::new(&service, &["[manage]", "refusals = \"dialect\"", "[mashery]", "usage_headers = true"])
            .await;
    for managed in [&uniform, &exact] {
        managed.endpoint("/a", json!({})).await;
        managed.key("k", json!({})).await;
        assert_eq!(managed.call("/a/x", Some("k"), 1).await, Taken::all(1));
        managed.arrived(1).await;
    }
    let hand_in = async |managed: &Managed, key: &str| {
        let event =
            json!({"url": managed.receiver.url("/a/x"), "labels": {"api_key": key}, "body": {"n": 0}});
        managed.api.hand_in(&event).await
    };
    let retry_after = |headers: &http::HeaderMap| {
        let seconds = headers["retry-after"].to_str().expect("digits").parse::<u64>().expect("a number");
        assert!((1..=86_400).contains(&seconds), "{seconds}");
    };

    assert_eq!(hand_in(&uniform, "k").await.0.status, 202);
    let (head, body) = hand_in(&uniform, "k").await;
    let problem: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((head.status.as_u16(), &problem["code"]), (429, &json!(OVER_RATE)));
    assert_eq!(problem["detail"], "Account Over Rate Limit");
    assert_eq!(head.headers["x-mashery-error-code"], OVER_RATE);
    assert!(!head.headers.contains_key("x-packagekey-quota-allotted"), "only where it is asked for");
    retry_after(&head.headers);

    let (head, _) = hand_in(&exact, "k").await;
    assert_eq!(head.status, 202);
    assert_eq!(head.headers["x-packagekey-quota-allotted"], "2");
    exact.arrived(2).await;
    let (head, body) = hand_in(&exact, "k").await;
    assert_eq!((head.status.as_u16(), body.as_str()), (403, "<h1>Developer Over Rate</h1>"));
    assert_eq!(head.headers["content-type"], "text/xml");
    assert_eq!(head.headers["x-mashery-error-code"], OVER_RATE);
    assert_eq!(head.headers["x-error-detail-header"], "Account Over Rate Limit");
    assert_eq!(head.headers["x-packagekey-quota-current"], "2");
    let reset = head.headers["x-plan-quota-reset"].to_str().expect("text");
    assert!(reset.ends_with("12:00:00 AM GMT"), "{reset}");
    retry_after(&head.headers);

    let (head, body) = hand_in(&exact, "nobody").await;
    assert_eq!((head.status.as_u16(), body.as_str()), (403, "<h1>Developer Inactive</h1>"));
    assert!(!head.headers.contains_key("retry-after"));
    assert!(!head.headers.contains_key("x-packagekey-quota-allotted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_headers_count_the_call_that_they_accompany() {
    well_within(DAY).await;
    let service = json!({"name": "s", "rateLimitCeiling": 3});
    let managed = Managed::new(&service, &["[mashery]", "usage_headers = true"]).await;
    managed.endpoint("/a", json!({})).await;
    managed.key("k", json!({})).await;
    for current in ["1", "2", "3"] {
        let event =
            json!({"url": managed.receiver.url("/a/x"), "labels": {"api_key": "k"}, "body": {"n": 0}});
        let (head, _) = managed.api.hand_in(&event).await;
        assert_eq!(head.status, 202);
        assert_eq!(head.headers["x-packagekey-quota-current"], current);
        assert_eq!(head.headers["x-packagekey-quota-allotted"], "3");
    }
    let event = json!({"url": managed.receiver.url("/a/x"), "labels": {"api_key": "k"}, "body": {"n": 0}});
    let (head, _) = managed.api.hand_in(&event).await;
    assert_eq!(
        (head.status.as_u16(), &head.headers["x-packagekey-quota-current"]),
        (429, &"3".parse().expect("text"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_labels_meets_its_limit_in_every_spelling() {
    well_within(DAY).await;
    let managed = Managed::new(&json!({"name": "s", "rateLimitCeiling": 5}), &[]).await;
    let places = json!({"apiKeyValueLocations": ["request-parameters", "request-header", "request-body"],
        "apiKeyValueLocationKey": "key"});
    managed.endpoint("/maps", places).await;
    for key in ["k", "other"] {
        managed.key(key, json!({})).await;
    }
    let base = managed.receiver.url("");
    let hand_in = async |mut event: Value| {
        let url = event["url"].as_str().expect("a url").to_owned();
        event["url"] = json!(format!("{base}{url}"));
        let (head, body) = managed.api.hand_in(&event).await;
        let code = serde_json::from_str::<Value>(&body).expect("JSON")["code"].clone();
        (head.status.as_u16(), code)
    };
    let plain = json!({"url": "/maps/x?key=k"});
    for spelled in [
        plain.clone(),
        json!({"url": "/m%61ps/x?a=1&k%65y=%6B&key=other"}),
        json!({"url": "/maps", "method": "PUT", "headers": {"KEY": " k "}}),
        json!({"url": "/mapsx", "body": {"a": {"key": "other"}, "key": "k"}}),
        json!({"url": "/maps/", "headers": {"content-type": "application/x-www-form-urlencoded"}, "body_text": "a=1&key=%6b"}),
    ] {
        assert_eq!(hand_in(spelled.clone()).await.0, 202, "{spelled}");
    }
    assert_eq!(hand_in(plain).await, (429, json!(OVER_RATE)), "each of the five has counted");
    assert_eq!(hand_in(json!({"url": "/maps/x?key=other"})).await.0, 202, "the control");
    assert_eq!(hand_in(json!({"url": "/maps/x"})).await.1, json!(INACTIVE), "a key is wanted");
    assert_eq!(hand_in(json!({"url": "/maps/x?key=a%20b"})).await.1, json!(INACTIVE), "an unknown key");
    let labelled = json!({"url": "/maps/x?key=other", "labels": {"api_key": "k"}});
    assert_eq!(hand_in(labelled).await.1, json!(OVER_RATE), "labels go before");
    managed.arrived(6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_is_found_where_the_endpoint_says_that_it_stands() {
    well_within(Duration::from_secs(60)).await;
    let managed = Managed::new(&json!({"name": "s"}), &[]).await;
    let places = json!({"apiMethodDetectionLocations": ["request-header"], "apiMethodDetectionKey": "SOAPAction",
        "methods": [{"name": "report", "rateLimitCeiling": 1, "rateLimitPeriod": "minute"}]});
    managed.endpoint("/soap", places).await;
    let hand_in = async |action: &str| {
        let url = managed.receiver.url("/soap");
        let event = json!({"url": url, "headers": {"soapaction": action}, "body": {"n": 0}});
        managed.api.hand_in(&event).await.0.status.as_u16()
    };
    assert_eq!([hand_in("report").await, hand_in("report").await, hand_in("list").await], [202, 429, 202]);
    managed.arrived(2).await;
}
