//! The harness: the real binary on a real directory and port, a recording receiver, an HTTP client.
//!
//! Every process, directory and mount that a test makes is taken away when it ends; a data directory is kept
//! and named when the test fails.

pub(crate) mod authority;
pub(crate) mod choice;
#[cfg(feature = "otel")]
#[path = "../../../src/traces/tests/collector.rs"]
#[expect(dead_code, reason = "unit tests use more of it")]
pub(crate) mod collector;
pub(crate) mod endpoint;
pub(crate) mod file;
pub(crate) mod inside;
#[path = "../../../src/names/tests/server.rs"]
#[expect(dead_code, reason = "unit tests use more of it")]
pub(crate) mod name_server;
pub(crate) mod namespace;
pub(crate) mod noted;
pub(crate) mod raw;
pub(crate) mod receiver;
pub(crate) mod sender;
pub(crate) mod server;
pub(crate) mod stamps;
pub(crate) mod volume;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

pub(crate) use choice::Choice;
pub(crate) use endpoint::{Act, Endpoint};
pub(crate) use file::{Configured, files_below};
pub(crate) use namespace::Namespace;
pub(crate) use noted::NotedApp;
pub(crate) use raw::Raw;
pub(crate) use receiver::{Receiver, Reply};
pub(crate) use sender::{Rule, Sender, Stage};
pub(crate) use server::{Server, ServerOptions};
pub(crate) use stamps::{Allowed, Stamps, Starts, boot_ns};
pub(crate) use volume::Volume;

/// A client for tidegate's API.
#[derive(Clone)]
pub(crate) struct Api {
    base: String,
    http: reqwest::Client,
}

impl Api {
    pub(crate) fn new(addr: std::net::SocketAddr) -> Self {
        // Every client needs one, also those that speak plain HTTP; a second install changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().expect("client");
        Self { base: format!("http://{addr}"), http }
    }

    /// The same client, for another address: making one reads all certificates of the system.
    pub(crate) fn at(&self, addr: std::net::SocketAddr) -> Self {
        Self { base: format!("http://{addr}"), http: self.http.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let once = || self.http.get(format!("{}{path}", self.base)).send();
        // A connection that was idle may be closed in the moment in which it is used again: clients repeat a GET then.
        let response = match once().await {
            Err(error) if error.is_request() && !error.is_timeout() => once().await,
            response => response,
        };
        let response = response.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("a body"))
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Result<(u16, String)> {
        let request = self.http.post(format!("{}{path}", self.base)).header("content-type", content_type);
        let response = request.body(body).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    pub(crate) async fn json(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.json_with(method, path, &[], body).await
    }

    pub(crate) async fn json_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body.to_string()).send().await.expect("an answer");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The same where the connection may break.
    pub(crate) async fn try_json(
        &self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> reqwest::Result<(u16, Value)> {
        let method: reqwest::Method = method.parse().expect("a method");
        let has_body = method != reqwest::Method::GET;
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if has_body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Hands in one event; returns the status and headers of the answer with its body.
    pub(crate) async fn hand_in(&self, event: &Value) -> (http::response::Parts, String) {
        let request = self.http.post(format!("{}/v1/events", self.base));
        let request = request.header("content-type", "application/json").body(event.to_string());
        let answer = http::Response::from(request.send().await.expect("an answer"));
        let (head, body) = answer.into_parts();
        let body = http_body_util::BodyExt::collect(body).await.expect("a body").to_bytes();
        (head, String::from_utf8_lossy(&body).into_owned())
    }

    /// One request as it is said.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: Option<String>,
    ) -> Answer {
        let mut request =
            self.http.request(method.parse().expect("a method"), format!("{}{path}", self.base));
        if let Some(kind) = content_type {
            request = request.header("content-type", kind);
        }
        let response = request.body(body.unwrap_or_default()).send().await.expect("an answer");
        let content_type = response.headers().get("content-type");
        Answer {
            status: response.status().as_u16(),
            content_type: content_type.map(|kind| kind.to_str().expect("text").to_owned()),
            body: response.bytes().await.expect("a body").to_vec(),
        }
    }

    /// Creates and deploys a throttling configuration through the management API; returns its uid.
    pub(crate) async fn deploy_throttling(&self, pattern: &str, per_second: u32) -> String {
        let config =
            json!({"name": "test", "urlPattern": pattern, "methods": ["POST"], "maxThroughput": per_second});
        let (status, created) = self.json("POST", "/authoring/throttlingConfigs", &config).await;
        assert_eq!(status, 200, "{created}");
        let uid = created["uid"].as_str().expect("a uid").to_owned();
        let (status, answer) =
            self.json("POST", &format!("/authoring/throttlingConfigs/{uid}/deploy"), &json!({})).await;
        assert_eq!(status, 204, "{answer}");
        uid
    }

    /// Enqueues events for `url` whose bodies carry `numbers`, as NDJSON; returns the accepted numbers with
    /// their ids, or what had been answered before the connection broke.
    pub(crate) async fn enqueue(&self, url: &str, numbers: std::ops::Range<u64>) -> Vec<(u64, String)> {
        let start = numbers.start;
        let body: String = numbers.map(|n| format!("{}\n", json!({"url": url, "body": {"n": n}}))).collect();
        let request =
            self.http.post(format!("{}/v1/events", self.base)).header("content-type", "application/x-ndjson");
        let Ok(mut response) = request.body(body).send().await else { return Vec::new() };
        assert_eq!(response.status(), 200);
        let mut text = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            text.extend_from_slice(&chunk);
        }
        text.split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
            .filter(|line| line["status"] == 202)
            .map(|line| {
                let number = start + line["line"].as_u64().expect("a line number") - 1;
                (number, line["id"].as_str().expect("an id").to_owned())
            })
            .collect()
    }

    /// The value of one metric, summed over its label sets that contain `label`.
    pub(crate) async fn metric(&self, name: &str, label: &str) -> f64 {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200, "no figures: {text:.300}");
        figure(&text, name, label)
    }
}

/// The sum of a metric's series whose labels contain `label`.
pub(crate) fn figure(metrics: &str, name: &str, label: &str) -> f64 {
    metrics
        .lines()
        .filter(|line| {
            line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']) && line.contains(label)
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// An answer in full.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// Held by a test that loads the whole machine: such tests run one after the other.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::const_new(());
    MACHINE.lock().await
}

/// Takes a mount away, at the latest after five seconds.
pub(crate) fn unmount(mount_point: &std::path::Path) {
    // The last file of a killed process may be closed a moment after its status is known.
    for _ in 0..100 {
        if std::process::Command::new("umount")
            .arg(mount_point)
            .output()
            .is_ok_and(|output| output.status.success())
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits for `done`, checking every 20 ms; panics with `what` after `limit`.
pub(crate) async fn eventually(what: &str, limit: Duration, mut done: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(limit, async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "not within {limit:?}: {what}");
}

/// The most entries in any half-open window of `window_ns`; `times_ns` need not be sorted.
pub(crate) fn window_peak(times_ns: &[u64], window_ns: u64) -> usize {
    let mut times = times_ns.to_vec();
    times.sort_unstable();
    let mut first = 0;
    let mut peak = 0;
    for (last, at) in times.iter().enumerate() {
        while times[first] + window_ns <= *at {
            first += 1;
        }
        peak = peak.max(last - first + 1);
    }
    peak
}
