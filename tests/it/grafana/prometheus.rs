//! Debian's `prometheus` and `promtool`: a server that scrapes the program under test, and the checks of the tool.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::files::{self, SCRAPE_INTERVAL};
use crate::world::{Api, eventually};

/// A series of a result: its labels, and its samples as time and value.
pub(super) struct Series {
    pub(super) labels: Value,
    pub(super) samples: Vec<(f64, f64)>,
}

/// A running server. Dropping it ends it.
pub(super) struct Prometheus {
    child: Child,
    api: Api,
}

impl Prometheus {
    /// With the configuration that is shipped, on another address and with a shorter interval.
    pub(super) async fn scraping(target: SocketAddr, dir: &Path) -> Self {
        let rules = files::folder().join("rules/tidegate.rules.yml");
        let config = files::read("prometheus.yml")
            .replace("15s", SCRAPE_INTERVAL)
            .replace("127.0.0.1:7080", &target.to_string())
            .replace("rules/tidegate.rules.yml", &rules.display().to_string());
        let file = dir.join("prometheus.yml");
        std::fs::write(&file, config).expect("written");
        let address =
            TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a free port");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("series").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stderr(Stdio::inherit())
            .spawn()
            .expect("prometheus: see the packages of .ci/run");
        let server = Self { child, api: Api::new(address) };
        eventually("Prometheus is ready", Duration::from_secs(30), async || {
            matches!(server.api.try_json("GET", "/-/ready", &json!(null)).await, Ok((200, _)))
        })
        .await;
        server
    }

    async fn get(&self, path: &str, pairs: &[(&str, &str)]) -> Value {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let (status, text) = self.api.get(&format!("/api/v1/{path}?{query}")).await;
        assert_eq!(status, 200, "{pairs:?}: {text}");
        serde_json::from_str::<Value>(&text).expect("JSON")["data"].clone()
    }

    /// What it takes for the present time, in seconds.
    pub(super) async fn now_s(&self) -> f64 {
        number(&self.get("query", &[("query", "time()")]).await["result"][1])
    }

    /// The series that an expression has at a moment.
    pub(super) async fn at(&self, expr: &str, time_s: f64) -> Vec<Series> {
        let data = self.get("query", &[("query", expr), ("time", &time_s.to_string())]).await;
        series(&data, |entry| vec![entry["value"].clone()])
    }

    /// The series that an expression has over a time, second by second.
    pub(super) async fn over(&self, expr: &str, from_s: f64, to_s: f64) -> Vec<Series> {
        let (from, to) = (from_s.to_string(), to_s.to_string());
        let pairs = [("query", expr), ("start", &*from), ("end", &*to), ("step", "1")];
        let data = self.get("query_range", &pairs).await;
        series(&data, |entry| entry["values"].as_array().cloned().unwrap_or_default())
    }

    /// Every rule as it stands, in order.
    pub(super) async fn rules(&self) -> Vec<Value> {
        let groups = self.get("rules", &[]).await["groups"].take();
        let groups = groups.as_array().expect("groups").clone();
        groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(value: &Value) -> f64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

/// Those that have a number somewhere.
fn series(data: &Value, samples: impl Fn(&Value) -> Vec<Value>) -> Vec<Series> {
    let entries = match &data["result"] {
        // A scalar has no labels.
        Value::Array(pair) if data["resultType"] == "scalar" => vec![json!({"metric": {}, "value": pair})],
        Value::Array(entries) => entries.clone(),
        _ => Vec::new(),
    };
    let one = |entry: &Value| Series {
        labels: entry["metric"].clone(),
        samples: samples(entry)
            .iter()
            .map(|pair| (pair[0].as_f64().unwrap_or(0.0), number(&pair[1])))
            .filter(|(_, value)| value.is_finite())
            .collect(),
    };
    entries.iter().map(one).filter(|series| !series.samples.is_empty()).collect()
}

/// Runs the tool; returns what it says, and whether it is content.
pub(super) fn promtool(args: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new("promtool")
        .args(args)
        .current_dir(files::folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: see the packages of .ci/run");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("taken");
    let output = child.wait_with_output().expect("its status");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
