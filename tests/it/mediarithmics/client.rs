//! A plugin made with `@mediarithmics/plugins-nodejs-sdk` as the endpoint: the code of the SDK is as it is.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clients::{npm_tools, source};
use crate::world::{Api, Configured, Receiver, Server, eventually};

const PATIENCE: Duration = Duration::from_secs(30);
const ALL: &str = "/v1/plugins/17/versions/1502/throttlings";
/// The version stands in the prefix behind which the plugin is, the datamart in a header.
const CONFIG: &str = r#"
[mediarithmics]
plugin_version_in = "path 2"
datamart_in = "header x-datamart-id"
[retry]
max_attempts = 1
"#;

/// The plugin as a process of its own, which ends with the test.
struct Plugin {
    child: Child,
    address: String,
    _work: tempfile::TempDir,
}

impl Plugin {
    fn start() -> Self {
        let tools = npm_tools("mediarithmics");
        // Packages are found in the directories above.
        let work = tempfile::tempdir_in(&tools).expect("a directory");
        let program = work.path().join("plugin.js");
        fs::copy(source("mediarithmics/plugin.js"), &program).expect("copied");
        let mut child = Command::new("node").arg(&program).stdout(Stdio::piped()).spawn().expect("node");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("port ")?.parse::<u16>().ok());
        let address = format!("127.0.0.1:{}", port.expect("it listens"));
        Self { child, address, _work: work }
    }

    /// What has come, oldest first.
    async fn calls(&self) -> Vec<Value> {
        let api = Api::new(self.address.parse().expect("an address"));
        serde_json::from_str(&api.get("/calls").await.1).expect("JSON")
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn hand_in(api: &Api, plugin: &Plugin, path: &str, session: &str) -> String {
    let event = json!({
        "url": format!("http://{}/plugins/1502{path}", plugin.address),
        "headers": {"x-datamart-id": "1162"},
        "body": {
            "feed_id": "1",
            "session_id": session,
            "datamart_id": "1162",
            "segment_id": "9",
            "user_identifiers": [{"type": "USER_AGENT", "vector_id": "vec:1"}],
            "ts": 1_700_000_000_000_u64,
            "operation": "UPSERT",
        },
    });
    let (status, receipt) = api.json("POST", "/v1/events", &event).await;
    assert_eq!(status, 202, "{receipt}");
    if path == "/v1/user_segment_update" {
        assert_eq!(receipt["policies"], json!(["mics.1001", "mics.1002"]), "{receipt}");
    }
    receipt["id"].as_str().expect("an id").to_owned()
}

async fn end_of(api: &Api, id: &str) -> String {
    let mut outcome = String::new();
    eventually("it has its end", PATIENCE, async || {
        let told: Value = serde_json::from_str(&api.get(&format!("/v1/events/{id}")).await.1).expect("JSON");
        outcome = told["outcome"].as_str().unwrap_or_default().to_owned();
        !outcome.is_empty()
    })
    .await;
    outcome
}

/// The calls of one event: status, attempt, when.
fn of_event(calls: &[Value], id: &str) -> Vec<(u64, String, u64)> {
    let of = |call: &&Value| call["id"] == json!(id);
    let facts = |call: &Value| {
        let number = |name: &str| call[name].as_u64().expect("a number");
        (number("status"), call["attempt"].as_str().unwrap_or_default().to_owned(), number("at_ms"))
    };
    calls.iter().filter(of).map(facts).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_of_the_sdk_is_paced_and_left_alone_as_it_says() {
    const UPDATE: &str = "/v1/user_segment_update";
    let world = Configured::new(Receiver::start().await);
    world.write(CONFIG);
    let server = Server::start(&world.options);
    let (api, plugin) = (server.api(), Plugin::start());
    let version = fs::read_to_string(
        npm_tools("mediarithmics").join("node_modules/@mediarithmics/plugins-nodejs-sdk/package.json"),
    );
    let version: Value = serde_json::from_str(&version.expect("installed")).expect("JSON");
    let step = |name: &str, result: &str| {
        let version = version["version"].as_str().unwrap_or_default();
        println!("| @mediarithmics/plugins-nodejs-sdk | {version} | {name} | {result} |");
    };
    let throttling = |scope: &str, key: Value| json!({"scope": scope, "throttling_key": key, "plugin_version_id": "1502", "plugin_endpoint": UPDATE, "max_qps": 50});
    for body in [throttling("GLOBAL", Value::Null), throttling("DATAMART", json!("1162"))] {
        assert_eq!(api.json("POST", ALL, &body).await.0, 201);
    }
    for endpoint in ["/v1/external_segment_creation", "/v1/external_segment_connection"] {
        let body = json!({"scope": "GLOBAL", "plugin_version_id": "1502", "plugin_endpoint": endpoint, "max_concurrency": 4});
        assert_eq!(api.json("POST", ALL, &body).await.0, 201);
        let id = hand_in(&api, &plugin, endpoint, "x").await;
        assert_eq!(end_of(&api, &id).await, "delivered");
        step(endpoint, "delivered");
    }
    let mut ids = std::collections::BTreeMap::new();
    for (session, outcome, statuses) in [
        ("plain", "delivered", &[200][..]),
        ("none", "dead", &[400]),
        ("retry", "delivered", &[429, 200]),
        ("retry-later", "delivered", &[429, 200]),
        ("pace", "delivered", &[200]),
        ("after", "delivered", &[200]),
        ("block", "delivered", &[200]),
        ("busy", "delivered", &[429, 200]),
    ] {
        let id = hand_in(&api, &plugin, UPDATE, session).await;
        assert_eq!(end_of(&api, &id).await, outcome, "{session}");
        let calls = of_event(&plugin.calls().await, &id);
        let mut found: Vec<u64> = calls.iter().map(|(status, ..)| *status).collect();
        // While it is busy it may say so more than once.
        found.dedup();
        assert_eq!(found, statuses, "{session}");
        assert!(
            calls.iter().all(|(_, attempt, _)| attempt == "1"),
            "{session}: a wait is no attempt that counts"
        );
        step(&format!("user_segment_update: {session}"), outcome);
        ids.insert(session, calls);
    }
    let at_ms = |session: &str, nth: usize| ids[session][nth].2;
    let later_ms = at_ms("retry-later", 1) - at_ms("retry-later", 0);
    assert!((1_500..4_000).contains(&later_ms), "it asked for 1.5 s and got {later_ms} ms");
    let paced_ms = at_ms("after", 0) - at_ms("pace", 0);
    assert!((2_000..5_000).contains(&paced_ms), "it asked for 2 s and got {paced_ms} ms");
    assert!(at_ms("none", 0) - at_ms("plain", 0) < 1_500, "the control: it asked for nothing");
    assert_eq!(server.stop().code(), Some(0));
}
