//! Backups while policies change, of dead letters, and of a directory on which a daemon starts meanwhile.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

/// Moves the data directory away, restores and starts; returns the daemon.
fn restored(place: &Place) -> Server {
    std::fs::rename(place.data_dir(), place.at("first")).expect("moves");
    let (code, text) = place.restore(&["--accept-rollback"]);
    assert_eq!(code, Some(0), "{text}");
    Server::start(&place.world.options)
}

/// Every policy that an event in the backup waits under is in the backup.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_while_policies_change_knows_the_policies_of_all_that_waits_in_it() {
    let receiver = Receiver::start().await;
    // One call a second over all: what is handed in waits.
    let slow = format!("[[policy]]\nname = \"slow\"\nurl = \"{}\"\npace = 1\n", receiver.url("/p/*"));
    let place = Place::with(receiver, &slow);
    let server = Server::start(&place.world.options);
    let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = {
        let (api, stop, made) = (server.api(), Arc::clone(&stop), Arc::clone(&made));
        let url = place.world.receiver.url("/p");
        tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let n = made.load(Ordering::SeqCst);
                let policy = json!({"url": format!("{url}/{n}/*"), "pace": 200});
                let (status, answer) = api.json("PUT", &format!("/v1/policies/made{n}"), &policy).await;
                assert_eq!(status, 201, "{answer}");
                let accepted = api.enqueue(&format!("{url}/{n}/x"), n * 10..(n + 1) * 10).await;
                assert_eq!(accepted.len(), 10);
                made.store(n + 1, Ordering::SeqCst);
            }
        })
    };
    eventually("some are there", SOON, async || made.load(Ordering::SeqCst) >= 5).await;
    let before = made.load(Ordering::SeqCst);
    let (code, text) = said(&place.run("backup", &place.backup, place.data_dir(), &["--json"]));
    let after = made.load(Ordering::SeqCst);
    stop.store(true, Ordering::SeqCst);
    load.await.expect("works");
    assert_eq!(code, Some(0), "{text}");
    let answer: Value = serde_json::from_str(&text).expect("JSON on one line");
    assert_eq!(answer["was_running"], true, "{answer}");
    assert!(answer["events"].as_u64().is_some_and(|events| events >= before * 10), "{answer}");
    assert!(after > before, "policies were made meanwhile: {before}, {after}");
    server.kill();

    let server = restored(&place);
    let (status, doubts) = server.api().get("/v1/doubts").await;
    assert!(status == 200 && !doubts.contains("\"kind\""), "{doubts}");
    let (waiting, ended) = (waiting(&server.api()).await, place.world.receiver.count() as u64);
    assert!(waiting + ended >= before * 10, "{waiting} wait, {ended} have ended, of {}", before * 10);
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_in_a_backup() {
    let place = Place::with(Receiver::answering(|_| (404, Duration::ZERO)).await, "");
    let server = Server::start(&place.world.options);
    let api = server.api();
    assert_eq!(api.enqueue(&place.world.receiver.url("/a/x"), 0..20).await.len(), 20);
    let letters = async |api: &Api| api.metric("tidegate_queue_events", "state=\"dead\"").await;
    eventually("all are dead", SOON, async || letters(&api).await == 20.0).await;
    let (code, text) = said(&place.run("backup", &place.backup, place.data_dir(), &["--json"]));
    assert_eq!(code, Some(0), "{text}");
    let answer: Value = serde_json::from_str(&text).expect("JSON on one line");
    assert_eq!(answer["dead_letters"], 20, "{answer}");
    server.kill();
    let server = restored(&place);
    assert_eq!(letters(&server.api()).await, 20.0);
    assert_eq!(server.stop().code(), Some(0));
}

/// Each sync of the copy takes a while, as on a slow disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_starts_while_its_directory_is_backed_up_and_the_copy_is_sound() {
    let place = Place::new().await;
    place.with_waiting(10).await;
    let slow = ["-e", "trace=fsync", "-e", "inject=fsync:delay_enter=150000"];
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null"].into_iter().chain(slow);
    let wrapper: Vec<String> = strace.map(str::to_owned).collect();
    let output = std::thread::scope(|scope| {
        let backup = scope.spawn(|| place.run_in(&wrapper, "backup", &place.backup, place.data_dir(), &[]));
        while !place.at("backup.partial/data/FORMAT").exists() {
            std::thread::yield_now();
        }
        let server = Server::start(&place.world.options);
        assert!(!backup.is_finished(), "the control: the backup is under way");
        let (status, answer) = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(place.world.event(&server.api(), "a"))
        });
        assert_eq!(status, 202, "{answer}");
        let output = backup.join().expect("the program");
        assert_eq!(server.stop().code(), Some(0));
        output
    });
    let (code, text) = said(&output);
    assert!(code == Some(0) && text.contains("of a running daemon"), "{text}");
    let server = restored(&place);
    let waiting = waiting(&server.api()).await;
    assert!((10..=11).contains(&waiting), "{waiting}");
    assert_eq!(server.stop().code(), Some(0));
}

/// A restore has the directory for as long as it takes; a daemon that is started meanwhile is told so and can come again.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_starts_during_a_restore_ends_with_75() {
    let place = Place::new().await;
    place.with_waiting(10).await;
    assert_eq!(said(&place.run("backup", &place.backup, place.data_dir(), &[])).0, Some(0));
    std::fs::rename(place.data_dir(), place.at("first")).expect("moves");
    let slow = ["-e", "trace=fsync", "-e", "inject=fsync:delay_enter=150000"];
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null"].into_iter().chain(slow);
    let wrapper: Vec<String> = strace.map(str::to_owned).collect();
    std::thread::scope(|scope| {
        let restore = scope.spawn(|| place.run_in(&wrapper, "restore", &place.backup, place.data_dir(), &[]));
        while !place.data_dir().join("restoring.data").exists() {
            std::thread::yield_now();
        }
        let Err((Some(status), log)) = Server::start_within(&place.world.options, SOON) else {
            panic!("it serves from a half")
        };
        assert_eq!(status.code(), Some(75), "{log:?}");
        assert!(log.join("\n").contains("(tidegate restore)"), "{log:?}");
        let (code, text) = said(&restore.join().expect("the program"));
        assert_eq!(code, Some(0), "{text}");
    });
    let server = Server::start(&place.world.options);
    assert_eq!(waiting(&server.api()).await, 10);
    assert_eq!(server.stop().code(), Some(0));
}

/// What is handed in again under its key; `Api::enqueue` has none.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_keeps_the_keys_that_the_backup_has_and_forgets_later_ones() {
    let place = Place::new().await;
    let server = Server::start(&place.world.options);
    let event = |n: u64| {
        json!({"url": place.world.receiver.url("/a/x"), "body": {"n": n}, "delay_seconds": 3600,
               "idempotency_key": format!("key-{n}")})
    };
    let mut ids = Vec::new();
    for n in 0..3 {
        let (status, answer) = server.api().json("POST", "/v1/events", &event(n)).await;
        assert_eq!(status, 202, "{answer}");
        ids.push(answer["id"].clone());
        if n == 1 {
            assert_eq!(said(&place.run("backup", &place.backup, place.data_dir(), &[])).0, Some(0));
        }
    }
    server.kill();
    let server = restored(&place);
    for (n, is_known) in [(0, true), (1, true), (2, false)] {
        let (status, answer) = server.api().json("POST", "/v1/events", &event(n)).await;
        assert_eq!(status, 202, "{answer}");
        assert_eq!(answer["id"] == ids[usize::try_from(n).expect("small")], is_known, "{n}: {answer}");
    }
    assert_eq!(server.stop().code(), Some(0));
}
