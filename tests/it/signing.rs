//! Signatures of calls: verifiers of others accept them, a secret is exchanged without a stop, and none is found anywhere.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clients::{npm_tools, python_tools, run, source};
use crate::world::{Act, Api, Configured, Endpoint, Receiver, Server, eventually, files_below};

const PATIENCE: Duration = Duration::from_secs(20);
/// `signing-canary-number-one!` and `signing-canary-number-two!`.
const FIRST: &str = "whsec_c2lnbmluZy1jYW5hcnktbnVtYmVyLW9uZSE=";
const SECOND: &str = "whsec_c2lnbmluZy1jYW5hcnktbnVtYmVyLXR3byE=";
const CANARIES: [&str; 5] = [
    "header-canary",
    "c2lnbmluZy1jYW5hcnktbnVtYmVyLW9uZSE",
    "c2lnbmluZy1jYW5hcnktbnVtYmVyLXR3byE",
    "signing-canary-number-one",
    "signing-canary-number-two",
];

/// A call as it arrived, for the verifiers.
fn call(head: &str, body: &str) -> Value {
    let header = |name: &str| {
        let line = head.lines().find(|line| line.split(':').next() == Some(name));
        line.and_then(|line| line.split_once(": ")).map_or("", |(_, value)| value).to_owned()
    };
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!(header(name)))).collect();
    json!({"headers": headers, "body": body})
}

fn config(endpoint: &Endpoint, secrets: &[&Path]) -> String {
    let secrets: Vec<String> = secrets.iter().map(|path| path.display().to_string()).collect();
    let url = endpoint.url("/*");
    format!(
        "[queue]\nunmatched = \"pass\"\n[log]\nlevel = \"trace\"\n[retry]\nmax_attempts = 1\n\
         [[endpoint]]\nname = \"crm\"\nurl = \"{url}\"\nsigning = {{ secrets = {secrets:?} }}\n"
    )
}

async fn hand_in(api: &Api, url: &str, body: &str) {
    let event = json!({"url": url, "body_text": body}).to_string();
    assert_eq!(api.post("/v1/events", "application/json", event).await.expect("an answer").0, 202);
}

/// How many of the calls each library verifies by this secret.
fn verified(calls: &[Value], secret: &str) -> [String; 2] {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("calls.json");
    fs::write(&file, json!(calls).to_string()).expect("written");
    let mut node = Command::new("node");
    node.arg(source("signatures/verify.js")).env("NODE_PATH", npm_tools("signatures").join("node_modules"));
    let mut python = Command::new(python_tools("signatures-python"));
    python.arg(source("signatures-python/verify.py"));
    [node, python].map(|mut command| run(command.arg(&file).arg(secret)).trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn verifiers_of_others_accept_signatures_and_a_secret_is_exchanged_without_a_stop() {
    const BODIES: [&str; 3] = [r#"{"order": 17}"#, r#"{"text": "ü \u2028"}"#, r#"[]"#];
    let endpoint = Endpoint::start("127.0.0.1:0", |_| Act::Say("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let world = Configured::new(Receiver::start().await);
    let dir = tempfile::tempdir().expect("a directory");
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    fs::write(&first, FIRST).expect("written");
    fs::write(&second, SECOND).expect("written");
    let server = {
        world.write(&config(&endpoint, &[&first]));
        Server::start(&world.options)
    };
    let api = server.api();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let deliver = async || {
        let before = endpoint.seen().len();
        for (nth, body) in BODIES.iter().enumerate() {
            hand_in(&api, &endpoint.url(&format!("/{nth}")), body).await;
            eventually("it is called", PATIENCE, async || endpoint.seen().len() > before + nth).await;
        }
        let seen = endpoint.seen();
        let mut calls = calls.lock().expect("no panic");
        calls.clear();
        calls.extend(seen[before..].iter().zip(BODIES).map(|(seen, body)| call(&seen.head, body)));
    };
    let count = || calls.lock().expect("no panic").clone();
    deliver().await;
    assert_eq!(verified(&count(), FIRST), ["3", "3"]);
    assert_eq!(verified(&count(), SECOND), ["0", "0"], "the control");

    let reloads = async || api.metric("tidegate_config_reloads_total", "result=\"applied\"").await;
    let reload = async || {
        let before = reloads().await;
        server.signal("HUP");
        eventually("it is applied", PATIENCE, async || reloads().await > before).await;
    };
    world.write(&config(&endpoint, &[&first, &second]));
    reload().await;
    deliver().await;
    assert_eq!([verified(&count(), FIRST), verified(&count(), SECOND)], [["3", "3"], ["3", "3"]]);
    // The same configuration file: what has changed is the file of a secret.
    fs::write(&first, SECOND).expect("written");
    reload().await;
    deliver().await;
    assert_eq!([verified(&count(), FIRST), verified(&count(), SECOND)], [["0", "0"], ["3", "3"]]);
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_found_in_no_log_metric_answer_or_file() {
    // One event ends well, one as a dead letter, one waits.
    let endpoint = Endpoint::start("127.0.0.1:0", |head| match head.starts_with("POST /bad") {
        true => Act::Say("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"),
        false => Act::Say("HTTP/1.1 204 No Content\r\n\r\n"),
    })
    .await;
    let mut world = Configured::new(Receiver::start().await);
    let dir = tempfile::tempdir().expect("a directory");
    let secret = dir.path().join("secret");
    fs::write(&secret, format!("{FIRST}\n{SECOND}\n")).expect("written");
    let token = dir.path().join("token");
    fs::write(&token, "Bearer header-canary").expect("written");
    let headers = format!("secret_headers = {{ authorization = {:?} }}\n", token.display().to_string());
    world.write(&(config(&endpoint, &[&secret]) + &headers));
    world.options.args.extend(["--log-level", "trace"].map(str::to_owned));
    let server = Server::start(&world.options);
    let api = server.api();
    for path in ["/good", "/bad"] {
        hand_in(&api, &endpoint.url(path), "{}").await;
    }
    let later = json!({"url": endpoint.url("/later"), "delay_seconds": 3600, "body": {}}).to_string();
    assert_eq!(api.post("/v1/events", "application/json", later).await.expect("an answer").0, 202);
    eventually("both have ended", PATIENCE, async || {
        api.metric("tidegate_events_completed_total", "").await == 2.0
    })
    .await;
    assert!(endpoint.seen().iter().all(|seen| seen.header("webhook-signature").starts_with("v1,")));

    assert!(endpoint.seen().iter().all(|seen| seen.header("authorization") == "Bearer header-canary"));

    let mut texts = Vec::new();
    for path in
        ["/metrics", "/v1/status", "/readyz?verbose", &format!("/v1/explain?url={}", endpoint.url("/x"))]
    {
        texts.push((path.to_owned(), api.get(path).await.1));
    }
    // A file that is wrong is told without what stands there.
    fs::write(&secret, FIRST.replace('=', "!")).expect("written");
    server.signal("HUP");
    let refused = async || api.metric("tidegate_config_reloads_total", "result=\"refused\"").await > 0.0;
    eventually("it is refused", PATIENCE, async || refused().await).await;
    for verb in ["print-config", "check-config"] {
        let told =
            Command::new(env!("CARGO_BIN_EXE_tidegate")).arg(verb).arg("--config").arg(&world.file).output();
        let told = told.expect("it runs");
        let text =
            format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
        assert!(text.contains("secret"), "it is about the file: {text}");
        texts.push((verb.to_owned(), text));
    }
    texts.push(("log".to_owned(), server.log().join("\n")));
    assert_eq!(server.stop().code(), Some(0));
    for file in files_below(world.file.parent().expect("a directory")) {
        let bytes = fs::read(&file).unwrap_or_default();
        texts.push((file.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
    }
    let found = |text: &str| CANARIES.iter().any(|canary| text.contains(canary));
    for (place, text) in &texts {
        assert!(!found(text), "in {place}");
    }
    // The control: it would be found.
    assert!(found(&fs::read_to_string(&secret).expect("a file")));
}
