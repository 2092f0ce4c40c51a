//! Encryption at rest, on the running program: no file has what events carry, keys are exchanged under load, and what a key
//! is missing for waits until it is back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::world::{Receiver, Server, ServerOptions, eventually, server};

const PATIENCE: Duration = Duration::from_secs(30);
const OLD: &str = "5b0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const NEW: &str = "c40102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const CANARY: &str = "canary-0f-the-b0dy";

/// A data directory with a file of keys beside it.
struct World {
    dir: tempfile::TempDir,
    options: ServerOptions,
    receiver: Receiver,
}

impl World {
    fn new(receiver: Receiver, is_encrypted: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut options = ServerOptions::new(&dir.path().join("data"));
        let config = dir.path().join("tidegate.toml");
        let keys = if is_encrypted { dir.path().join("keys").display().to_string() } else { String::new() };
        let policy = |name: &str| {
            format!(
                "[[policy]]\nname = \"{name}\"\nurl = \"{}\"\npace = 2000\n",
                receiver.url(&format!("/{name}/*"))
            )
        };
        let text = format!(
            "[store]\nkey_file = \"{keys}\"\nsegment_bytes = 1048576\n{}{}",
            policy("go"),
            policy("wait")
        );
        fs::write(&config, text).expect("writes");
        options.args = vec!["--config".to_owned(), config.display().to_string()];
        let world = Self { dir, options, receiver };
        world.keys(&[OLD]);
        world
    }

    fn keys(&self, lines: &[&str]) {
        let path = self.dir.path().join("keys");
        fs::write(&path, lines.join("\n")).expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("sets");
    }

    /// How the program ends that is started with the directory as it is.
    fn refused(&self) -> (Option<i32>, String) {
        let output = server::command(&self.options).output().expect("the program");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn verify(&self) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["store", "verify", "--data-dir"]).arg(&self.options.data_dir).args(&self.options.args);
        let output = command.current_dir(self.dir.path()).output().expect("the program");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn files_with(text: &str, dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("lists").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(text, &path));
        } else {
            let mut bytes = fs::read(&path).unwrap_or_default();
            // What is preallocated, or kept as a reserve, is long and says nothing.
            while bytes.last() == Some(&0) {
                bytes.pop();
            }
            found.extend(bytes.windows(text.len()).any(|window| window == text.as_bytes()).then_some(path));
        }
    }
    found
}

async fn reloaded(server: &Server, times: f64) {
    let api = server.api();
    let label = "result=\"applied\"";
    let is_read = async || api.metric("tidegate_config_reloads_total", label).await >= times;
    eventually("the keys are read again", PATIENCE, is_read).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_in_no_file_of_the_directory_nor_of_a_backup() {
    for is_encrypted in [true, false] {
        let world = World::new(Receiver::answering(|_| (404, Duration::ZERO)).await, is_encrypted);
        let server = Server::start(&world.options);
        let api = server.api();
        let hand_in = async |path: &str, more: serde_json::Value| {
            let mut event = json!({
                "url": format!("{}?secret={CANARY}", world.receiver.url(path)),
                "body": {"text": CANARY},
                "headers": {"x-token": CANARY},
                "labels": {"customer": CANARY},
            });
            event.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            let (status, answer) = api.json("POST", "/v1/events", &event).await;
            assert_eq!(status, 202, "{answer}");
        };
        hand_in("/go/dead", json!({})).await;
        hand_in("/wait/later", json!({"delay_seconds": 3600})).await;
        let is_parked = async || api.get("/v1/dead-letters").await.1.contains("http_404");
        eventually("a dead letter", PATIENCE, is_parked).await;
        let backup = world.dir.path().join("backup");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("backup").arg(&backup).args(["--data-dir"]).arg(&world.options.data_dir);
        command.args(&world.options.args).current_dir(world.dir.path());
        let output = command.output().expect("the program");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for place in [&world.options.data_dir, &backup] {
            let found = files_with(CANARY, place);
            // The control: without a key it stands in both logs.
            assert_eq!(found.is_empty(), is_encrypted, "{found:?}");
        }
        let log = server.log().join("\n");
        assert!(!log.contains(CANARY) && !log.contains(OLD), "{log}");
        server.kill();
        assert_eq!(files_with(CANARY, &world.options.data_dir).is_empty(), is_encrypted);
        assert!(files_with(OLD, &world.options.data_dir).is_empty(), "nor is the key");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_its_keys_is_refused_and_says_why() {
    let world = World::new(Receiver::start().await, true);
    let path = world.dir.path().join("keys");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("sets");
    let (code, text) = world.refused();
    assert!(code == Some(77) && text.contains("0640") && text.contains("chmod 600"), "{code:?} {text}");
    fs::write(&path, "no key").expect("writes");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("sets");
    let (code, text) = world.refused();
    assert!(
        code == Some(64) && text.contains("line 1 is no key") && !text.contains("no key\n"),
        "{code:?} {text}"
    );
    fs::remove_file(&path).expect("deletes");
    let (code, text) = world.refused();
    assert!(code == Some(64) && text.contains("store.key_file"), "{code:?} {text}");
    // The control.
    world.keys(&[OLD]);
    assert_eq!(Server::start(&world.options).stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_holds_what_needs_it_and_nothing_else_until_it_is_back() {
    let world = World::new(Receiver::start().await, true);
    let first = Server::start(&world.options);
    let paused = first.api().json("POST", "/v1/policies/wait:pause", &json!({"reason": "a test"})).await;
    assert_eq!(paused.0, 200, "{}", paused.1);
    assert_eq!(first.api().enqueue(&world.receiver.url("/wait/x"), 0..50).await.len(), 50);
    first.kill();

    world.keys(&[NEW]);
    let (code, text) = world.verify();
    assert!(
        code == Some(1) && text.contains("store.key_file: the key") && text.contains("is not there"),
        "{text}"
    );
    let server = Server::start(&world.options);
    let api = server.api();
    assert_eq!(api.enqueue(&world.receiver.url("/go/x"), 100..150).await.len(), 50);
    assert_eq!(api.json("POST", "/v1/policies/wait:resume", &json!({})).await.0, 200);
    eventually("the rest goes on", PATIENCE, async || world.receiver.count() == 50).await;
    let missing = async || api.metric("tidegate_store_records", "key=\"missing\"").await;
    eventually("the key is reported", PATIENCE, async || missing().await > 0.0).await;
    let (_, ready) = api.get("/readyz?verbose").await;
    assert!(ready.contains("MISSING from store.key_file"), "{ready}");
    let is_told = async || {
        let doubts = api.get("/v1/doubts").await.1;
        doubts.contains("unread") && doubts.contains("store.key_file")
    };
    eventually("a doubt says so", PATIENCE, is_told).await;
    assert!(server.log().iter().any(|line| line.contains("a key that records need is missing")));
    assert_eq!(api.metric("tidegate_store_lost_events", "").await, 0.0);

    world.keys(&[NEW, OLD]);
    server.signal("HUP");
    eventually("all arrive", PATIENCE, async || world.receiver.times_seen().len() == 100).await;
    eventually("no key is missing", PATIENCE, async || missing().await == 0.0).await;
    let is_clear = async || api.get("/v1/doubts").await.1.contains("\"doubts\":[]");
    eventually("no doubt is left", PATIENCE, is_clear).await;
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(world.verify().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_exchanged_under_load_and_kills_and_nothing_is_lost() {
    let world = World::new(Receiver::start().await, true);
    let rounds: [&[&str]; 4] = [&[OLD], &[NEW, OLD], &[OLD, NEW], &[NEW, OLD]];
    let mut accepted = 0;
    for (round, keys) in (0_u64..).zip(rounds) {
        let server = Server::start(&world.options);
        let api = server.api();
        let from = round * 1000;
        for part in 0..10 {
            if part == 4 {
                world.keys(keys);
                server.signal("HUP");
                reloaded(&server, 2.0).await;
            }
            let numbers = from + part * 100..from + (part + 1) * 100;
            accepted += api.enqueue(&world.receiver.url("/go/x"), numbers).await.len();
        }
        server.kill();
    }
    assert_eq!(accepted, 4000);
    let server = Server::start(&world.options);
    eventually("all arrive", PATIENCE, async || world.receiver.times_seen().len() == accepted).await;
    let api = server.api();
    let other = async || api.metric("tidegate_store_records", "key=\"other\"").await;
    eventually("the old key is needed no more", PATIENCE, async || other().await == 0.0).await;
    assert_eq!(server.stop().code(), Some(0));
    world.keys(&[NEW]);
    let (code, text) = world.verify();
    assert_eq!(code, Some(0), "{text}");
}
