//! A purge by label of the real program: what waits, what is put off, what is under way, what is dead; and when the bytes have
//! left the disk.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Configured, Receiver, Server, eventually};

const PATIENCE: Duration = Duration::from_secs(30);
/// Segments whose events have all ended go within about a minute.
const GONE_WITHIN: Duration = Duration::from_secs(150);
const CANARY: &str = "q7Zt-canary-4711-Vb2x-of-a-person";

/// The files below a directory that hold the canary.
fn files_with_it(dir: &Path) -> Vec<String> {
    // Segments are long, and this program is not optimised. One that goes meanwhile is no matter.
    let output = Command::new("grep").args(["-rlaF", CANARY]).arg(dir).output().expect("grep");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn tidegate(server: &Server, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).args(["--listen", &server.addr.to_string()]).current_dir("/").env_clear();
    let output = command.output().expect("the program");
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

async fn hand_in(api: &Api, url: &str, customer: &str, delay_s: u64, number: u64) -> String {
    let event = json!({
        "url": url, "delay_seconds": delay_s, "labels": {"customer": customer},
        "body": {"n": number, "text": if customer == "4711" { CANARY } else { "of others" }},
    });
    let (status, receipt) = api.json("POST", "/v1/events", &event).await;
    assert_eq!(status, 202, "{receipt}");
    receipt["id"].as_str().expect("an id").to_owned()
}

async fn show(api: &Api, id: &str) -> Value {
    let (status, text) = api.get(&format!("/v1/events/{id}")).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

async fn dead(api: &Api) -> f64 {
    api.metric("tidegate_queue_events", "state=\"dead\"").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_has_is_purged_everywhere_and_its_bytes_leave_the_disk() {
    // Even numbers die; number 101 takes eight seconds and fails.
    let receiver = Receiver::answering(|arrival| match arrival.number {
        Some(101) => (503, Duration::from_secs(8)),
        Some(number) if number % 2 == 0 => (404, Duration::ZERO),
        _ => (204, Duration::ZERO),
    });
    let world = Configured::new(receiver.await);
    world.write(&world.policy("p", "pace = 1000"));
    let server = Server::start(&world.options);
    let api = server.api();
    let url = world.receiver.url("/p/x");
    let mut mine = Vec::new();
    for number in [0, 2, 4] {
        mine.push(hand_in(&api, &url, "4711", 0, number).await);
    }
    let other_letter = hand_in(&api, &url, "4712", 0, 6).await;
    eventually("four die", PATIENCE, async || dead(&api).await == 4.0).await;
    for number in 20..40 {
        mine.push(hand_in(&api, &url, "4711", 3600, number).await);
    }
    let other_later = hand_in(&api, &url, "4712", 3600, 99).await;
    let data = &world.options.data_dir;
    assert!(files_with_it(data).len() >= 2, "the control: {:?}", files_with_it(data));
    let slow = hand_in(&api, &url, "4711", 0, 101).await;
    eventually("it is called", PATIENCE, async || show(&api, &slow).await["state"] == "inflight").await;

    let said = tidegate(&server, &["events", "purge", "--label", "customer=4711", "--yes", "--json"]);
    let run: Value = serde_json::from_str(&said).expect("JSON");
    let ends = ["matched", "changed", "under_way", "left", "unread"].map(|member| run[member].as_u64());
    assert_eq!(ends, [Some(24), Some(24), Some(0), Some(0), Some(0)], "{run}");
    for id in mine[3..].iter().chain([&slow]) {
        assert_eq!(show(&api, id).await["reason"], "cancelled", "{id}");
    }
    let calls = |number| world.receiver.arrivals().iter().filter(|call| call.number == Some(number)).count();
    assert_eq!(calls(101), 1, "its call was not torn, and is not repeated");
    assert_eq!(dead(&api).await, 1.0);
    // The control: those of others are where they were.
    assert_eq!(show(&api, &other_later).await["state"], "delayed");
    assert_eq!(api.get(&format!("/v1/dead-letters/{other_letter}")).await.0, 200);

    // As the manual says: bytes share files with what stays, until that has ended, or is moved.
    let (status, _) = api.json("DELETE", &format!("/v1/events/{other_later}"), &Value::Null).await;
    assert_eq!(status, 200);
    let exported = tidegate(&server, &["dead-letters", "export"]);
    assert!(exported.lines().count() == 1 && exported.contains(&other_letter), "{exported}");
    let file = world.file.with_file_name("letters.ndjson");
    std::fs::write(&file, exported).expect("written");
    tidegate(&server, &["dead-letters", "purge", "--all", "--yes"]);
    assert!(!files_with_it(data).is_empty(), "the control: nothing was closed yet");
    assert_eq!(server.stop().code(), Some(0));
    let server = Server::start(&world.options);
    let api = server.api();
    tidegate(&server, &["dead-letters", "import", &file.display().to_string()]);
    eventually("the bytes have left the disk", GONE_WITHIN, async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        files_with_it(data).is_empty()
    })
    .await;
    assert_eq!(api.get(&format!("/v1/dead-letters/{other_letter}")).await.0, 200, "that of another is there");
    assert_eq!(server.stop().code(), Some(0));
    assert!(files_with_it(data).is_empty());
}
