//! What is kept of attempts, and of events that end the process.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Act, Api, Configured, Endpoint, Receiver, Server, eventually};

const PATIENCE: Duration = Duration::from_secs(30);
const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";
/// With a folded line, a time beyond the life of any event, a cookie and what looks like a token.
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 90000\r\nX-Folded: a\r\n b\r\nSet-Cookie: sid=canary-cookie\r\n\
    X-Echo: canary-credential\r\nContent-Length: 62\r\n\r\n{\"error\": \"busy with orders\", \"token\": \"canary-token-of-body\"}";
const OFF: &str = "HTTP/1.1 500 Internal Server Error\r\nServer: canary-off-head\r\nContent-Length: 15\r\n\r\ncanary-off-body";

async fn hand_in(api: &Api, url: &str) -> String {
    let (head, receipt) = api.hand_in(&json!({"url": url, "body": "x"})).await;
    assert_eq!(head.status, 202, "{receipt}");
    let receipt: Value = serde_json::from_str(&receipt).expect("JSON");
    receipt["id"].as_str().expect("an id").to_owned()
}

async fn show(api: &Api, path: &str) -> Value {
    let (status, shown) = api.json("GET", path, &Value::Null).await;
    assert_eq!(status, 200, "{shown}");
    shown
}

/// Whether some file below the directory holds this.
fn holds(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).expect("lists").flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return holds(&path, text);
        }
        // Room that is kept, and nothing else.
        if entry.file_name().to_string_lossy().starts_with("ballast") {
            return false;
        }
        let bytes = std::fs::read(&path).expect("reads");
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_shown_over_a_kill_and_answers_are_kept_only_where_that_is_set() {
    let endpoint = Endpoint::start("127.0.0.1:0", |head| match head.split(' ').nth(1) {
        Some("/kept") => Act::Say(BUSY),
        _ => Act::Say(NO_CONTENT),
    })
    .await;
    // On a port of its own: a time to come back holds the lane of the other one.
    let failing = Endpoint::start("127.0.0.1:0", |_| Act::Say(OFF)).await;
    let world = Configured::new(Receiver::start().await);
    let secret = world.file.with_file_name("secret");
    std::fs::write(&secret, "canary-credential\n").expect("writes");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("sets");
    world.write(&format!(
        "[store]\nsegment_bytes = 1048576\n[retry]\nmin_delay_ms = 50\nmax_delay_ms = 200\n[queue]\nunmatched = \"pass\"\n\
         [[endpoint]]\nname = \"kept\"\nurl = \"{}\"\nkeep_answers = true\nsecret_headers = {{ x-credential = \"{}\" }}\n",
        endpoint.url("/kept"),
        secret.display()
    ));
    let server = Server::start(&world.options);
    let api = server.api();
    let fine = hand_in(&api, &endpoint.url("/fine")).await;
    let path = |id: &str| format!("/v1/events/{id}");
    eventually("it is delivered", PATIENCE, async || {
        show(&api, &path(&fine)).await["outcome"] == "delivered"
    })
    .await;
    assert_eq!(show(&api, &path(&fine)).await.get("last_attempts"), None);
    assert!(!world.options.data_dir.join("attempts").exists(), "a success at the first try costs nothing");

    let (off, kept) =
        (hand_in(&api, &failing.url("/off")).await, hand_in(&api, &endpoint.url("/kept")).await);
    let tries = async |id: &str| {
        let shown = show(&api, &path(id)).await;
        shown["last_attempts"].as_array().map_or(0, Vec::len)
    };
    eventually("it fails some times", PATIENCE, async || tries(&off).await == 5).await;
    eventually("it has failed once", PATIENCE, async || tries(&kept).await == 1).await;
    let shown = show(&api, &path(&kept)).await;
    let first = &shown["last_attempts"][0];
    assert_eq!(
        (&first["result"], &first["status"], &first["number"]),
        (&json!("http_503"), &json!(503), &json!(1))
    );
    assert_eq!((&first["then"], &first["why"]), (&json!("retried"), &json!("endpoint_asked")), "{first}");
    assert_eq!(first["next_at"].as_str(), shown["due_at"].as_str());
    assert_eq!(first["broken_lines"], 1);
    let named = &first["named_time"];
    assert_eq!((&named["by"], &named["asked_seconds"]), (&json!("Retry-After"), &json!(90000.0)), "{named}");
    assert_eq!(named["why"], "beyond_life");
    let answer = first["answer"].to_string();
    assert!(answer.contains("busy with orders") && answer.contains("set-cookie: ***"), "{answer}");
    assert!(!answer.contains("canary"), "{answer}");
    let explained = show(&api, &format!("/v1/explain?id={kept}")).await;
    assert_eq!(explained["last_attempts"][0]["result"], "http_503");
    let without = show(&api, &path(&off)).await["last_attempts"].to_string();
    assert!(without.contains("http_500") && !without.contains("answer"), "{without}");

    let before = show(&api, &path(&kept)).await["last_attempts"].clone();
    let (_, metrics) = api.get("/metrics").await;
    let log = server.log().join("\n");
    server.kill();
    let server = Server::start(&world.options);
    assert_eq!(show(&server.api(), &path(&kept)).await["last_attempts"], before, "the same after a kill");
    for canary in ["canary-cookie", "canary-credential", "canary-token", "canary-off-head", "canary-off-body"]
    {
        assert!(!holds(&world.options.data_dir, canary), "{canary} is on the disk");
        assert!(!metrics.contains(canary) && !log.contains(canary), "{canary} is told");
    }
    assert!(holds(&world.options.data_dir, "busy with orders"), "the control: what is kept is found");
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_ends_the_process_three_times_is_set_aside_and_no_other() {
    let world = Configured::new(Receiver::start().await);
    let (poison, mut called) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Endpoint::start("127.0.0.1:0", move |head| {
        if head.starts_with("POST /poison") {
            // The process is to end during this call.
            let _nobody_waits = poison.send(());
            return Act::SayLate(Duration::from_secs(20), NO_CONTENT);
        }
        Act::SayLate(Duration::from_millis(100), NO_CONTENT)
    })
    .await;
    world.write(&format!("[[policy]]\nname = \"all\"\nurl = \"{}\"\npace = 1000\n", endpoint.url("/*")));
    let mut server = Server::start(&world.options);
    let mut others = Vec::new();
    // So many that they are few: with more of them it would take one end more.
    for number in 0..8 {
        others.push(format!("/fine/{number}"));
        hand_in(&server.api(), &endpoint.url(&format!("/fine/{number}"))).await;
    }
    let poisonous = hand_in(&server.api(), &endpoint.url("/poison")).await;
    for round in 0..3 {
        tokio::time::timeout(PATIENCE, called.recv()).await.expect("in time").expect("it is called");
        server.kill();
        server = Server::start(&world.options);
        for number in 0..3 {
            others.push(format!("/more/{round}/{number}"));
            hand_in(&server.api(), &endpoint.url(&format!("/more/{round}/{number}"))).await;
        }
    }
    let api = server.api();
    let at = format!("/v1/events/{poisonous}");
    eventually("it is set aside", PATIENCE, async || show(&api, &at).await["state"] == "settled").await;
    let shown = show(&api, &at).await;
    assert_eq!((&shown["outcome"], &shown["reason"]), (&json!("dead"), &json!("ended_process")), "{shown}");
    let letter = show(&api, &format!("/v1/dead-letters/{poisonous}")).await;
    assert_eq!(letter["reason"], "ended_process");
    eventually("the queue drains", PATIENCE, async || {
        let all = api.metric("tidegate_queue_events", "").await;
        all - api.metric("tidegate_queue_events", "state=\"dead\"").await == 0.0
    })
    .await;
    let seen = endpoint.seen();
    for path in &others {
        let begins = format!("POST {path} ");
        assert!(seen.iter().any(|seen| seen.head.starts_with(&begins)), "{path} was not called");
    }
    let dead = show(&api, "/v1/dead-letters").await["dead_letters"].as_array().map_or(0, Vec::len);
    assert_eq!(dead, 1, "no other event is blamed");
    assert!(called.try_recv().is_err(), "it was not called a fourth time");
    let ended = api.metric("tidegate_events_ended_total", "reason=\"ended_process\"").await;
    assert!((ended - 1.0).abs() < f64::EPSILON, "{ended}");
    // A person may have it tried again.
    let (status, answer) =
        api.json("POST", &format!("/v1/dead-letters/{poisonous}:redrive"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    tokio::time::timeout(PATIENCE, called.recv()).await.expect("in time").expect("it is called");
    server.kill();
}
