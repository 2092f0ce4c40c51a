//! Emergency stops and priorities of a real daemon, over kills of it.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Configured, Receiver, Server, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

fn command(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).args(["--listen", &server.addr.to_string()]).current_dir("/").env_clear();
    command.output().expect("the program")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn shown(api: &Api, path: &str) -> Value {
    let (status, text) = api.get(path).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

async fn hand_in(api: &Api, url: &str, number: usize, priority: &str) {
    let event = json!({"url": url, "priority": priority, "body": {"n": number}});
    let (status, receipt) = api.json("POST", "/v1/events", &event).await;
    assert_eq!(status, 202, "{receipt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_holds_over_a_kill_and_a_damaged_record_stops_everything() {
    let world = Configured::new(Receiver::start().await);
    world.write(&world.policy("p", "pace = 1000"));
    let url = world.receiver.url("/p/x");
    let server = Server::start(&world.options);
    let stopped = command(&server, &["dispatch", "pause", "--everything", "--reason", "a test"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", String::from_utf8_lossy(&stopped.stderr));
    assert!(said(&stopped).contains("everything is stopped since"), "{}", said(&stopped));
    for number in 0..5 {
        hand_in(&server.api(), &url, number, "normal").await;
    }
    server.kill();

    let server = Server::start(&world.options);
    let api = server.api();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.receiver.count(), 0);
    let ready = shown(&api, "/readyz?verbose").await;
    let check = ready["checks"].as_array().expect("checks").iter().find(|check| check["name"] == "dispatch");
    let check = check.expect("a check");
    assert!(check["detail"].as_str().is_some_and(|text| text.contains("a test")), "{check}");
    assert_eq!((&ready["ready"], &check["ok"]), (&json!(true), &json!(true)), "events are taken");
    assert_eq!(shown(&api, "/v1/status").await["stops"][0]["reason"], "a test");
    eventually("it is counted", PATIENCE, async || {
        api.metric("tidegate_dispatch_stops", "target=\"everything\"").await == 1.0
            && api.metric("tidegate_priority_events", "priority=\"normal\"").await == 5.0
    })
    .await;
    server.kill();

    let record = world.options.data_dir.join("documents/stops.json");
    let mut bytes = fs::read(&record).expect("a record");
    let last = bytes.len() - 2;
    bytes[last] ^= 0x20;
    fs::write(&record, bytes).expect("written");
    let server = Server::start(&world.options);
    let api = server.api();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.receiver.count(), 0, "what was on record is unknown");
    let dispatch = shown(&api, "/v1/dispatch").await;
    assert!(dispatch["record_unreadable"].is_string(), "{dispatch}");
    assert!(shown(&api, "/v1/doubts").await.to_string().contains("documents/stops.json"));
    let one = command(&server, &["dispatch", "pause", "--host", "h", "--reason", "a test"]);
    assert_eq!(one.status.code(), Some(1), "what is on record is not overwritten");
    let resumed = command(&server, &["dispatch", "resume", "--everything"]);
    assert_eq!(resumed.status.code(), Some(0), "{}", String::from_utf8_lossy(&resumed.stderr));
    eventually("all arrive", PATIENCE, async || world.receiver.count() == 5).await;
    let listed = command(&server, &["dispatch", "list"]);
    assert_eq!((listed.status.code(), said(&listed).as_str()), (Some(0), "nothing is stopped\n"));
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn priorities_share_a_pace_over_a_kill_and_are_listed() {
    let world = Configured::new(Receiver::start().await);
    world.write(&world.policy("p", "pace = 52"));
    let url = world.receiver.url("/p/x");
    let server = Server::start(&world.options);
    let api = server.api();
    let pause = json!({"everything": true, "reason": "a test"});
    assert_eq!(api.json("POST", "/v1/dispatch:pause", &pause).await.0, 200);
    for (nth, priority) in ["low", "normal", "high"].into_iter().enumerate() {
        for number in 0..200 {
            hand_in(&api, &url, nth * 1_000 + number, priority).await;
        }
    }
    let high = shown(&api, "/v1/events?priority=high&limit=1000").await;
    let high = high["events"].as_array().expect("a list");
    assert!(high.len() == 200 && high.iter().all(|event| event["priority"] == "high"), "{}", high.len());
    server.kill();

    let server = Server::start(&world.options);
    let resumed = server.api().json("POST", "/v1/dispatch:resume", &json!({"everything": true})).await;
    assert_eq!(resumed.0, 200);
    eventually("a part of them arrives", PATIENCE, async || world.receiver.count() >= 140).await;
    let numbers: Vec<u64> =
        world.receiver.arrivals().into_iter().take(130).filter_map(|arrival| arrival.number).collect();
    let of = |nth: u64| numbers.iter().filter(|number| **number / 1_000 == nth).count();
    let shares = [of(2), of(1), of(0)];
    assert!(
        shares[0].abs_diff(80) <= 8 && shares[1].abs_diff(40) <= 8 && shares[2].abs_diff(10) <= 5,
        "{shares:?}"
    );
    server.kill();
}
