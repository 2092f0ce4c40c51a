//! A simulated power cut: an ext4 file system on a loop device is shut down without a flush while events
//! are accepted. Everything that was acknowledged must be found again after the remount; with the sync taken
//! out of the system calls the same procedure must lose events, or it would prove nothing.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::world::{Receiver, Server, ServerOptions, Volume, alone};

const CUTS: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_acknowledged_event_is_found_after_a_power_cut() {
    let _alone = alone().await;
    let mut acknowledged = 0;
    for cut in 0..CUTS {
        let lifetime = Duration::from_millis(400 + 350 * cut);
        let (accepted, missing) = cut_while_accepting(lifetime, &[]).await;
        assert!(accepted > 0, "the load was real");
        assert_eq!(
            missing, 0,
            "cut after {lifetime:?}: {missing} of {accepted} acknowledged events are gone"
        );
        acknowledged += accepted;
    }
    println!("power cut: {CUTS} cuts, {acknowledged} acknowledged, all found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_sync_a_power_cut_loses_events() {
    let _alone = alone().await;
    let no_sync = [
        "strace",
        "-DDD",
        "-f",
        "--seccomp-bpf",
        "-qqq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fsync,fdatasync,syncfs",
        "-e",
        "inject=fsync,fdatasync,syncfs:retval=0",
    ];
    let (accepted, missing) = cut_while_accepting(Duration::from_millis(1500), &no_sync).await;
    println!("power cut without sync: {accepted} acknowledged, {missing} gone");
    assert!(missing > 0, "the procedure cannot tell a lost event from a kept one");
}

/// Runs tidegate on a fresh file system, feeds it, cuts the power after `lifetime`, starts it again; returns
/// how many events were acknowledged and how many of them are unknown afterwards.
async fn cut_while_accepting(lifetime: Duration, wrapper: &[&str]) -> (usize, usize) {
    let disk = Volume::ext4(1 << 30, "rw");
    let receiver = Receiver::start().await;
    let mut options = ServerOptions::new(&disk.path().join("data"));
    options.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
    let server = Server::start(&options);
    let api = server.api();
    api.deploy_throttling(&receiver.url("/*"), 5000).await;
    // The configuration is not what this test cuts: without it nothing could be delivered again.
    Command::new("sync").arg("-f").arg(disk.path()).status().expect("sync");

    let mut ids = Vec::new();
    let feeding = async {
        for batch in 0.. {
            // Half of them wait for a due time, half are sent at once.
            let line = |n: u64| {
                let delay_seconds = if n.is_multiple_of(2) { 3600 } else { 0 };
                format!(
                    "{}\n",
                    json!({"url": receiver.url("/x"), "body": {"n": n}, "delay_seconds": delay_seconds})
                )
            };
            let body: String = (batch * 100..(batch + 1) * 100).map(line).collect();
            let Ok((_, answer)) = api.post("/v1/events", "application/x-ndjson", body).await else { return };
            ids.extend(
                answer
                    .lines()
                    .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                    .filter(|line| line["status"] == 202)
                    .filter_map(|line| Some(line["id"].as_str()?.to_owned())),
            );
        }
    };
    let _ = tokio::time::timeout(lifetime, feeding).await;
    disk.cut_power();
    server.kill();
    disk.remount();

    options.wrapper.clear();
    let server = Server::start(&options);
    let api = server.api();
    let arrived: std::collections::HashSet<String> =
        receiver.arrivals().into_iter().map(|arrival| arrival.id).collect();
    let mut missing = 0;
    for id in &ids {
        if !arrived.contains(id) && api.get(&format!("/v1/events/{id}")).await.0 != 200 {
            // It may have been sent between the look at the receiver and the question.
            missing += usize::from(!receiver.arrivals().iter().any(|arrival| arrival.id == *id));
        }
    }
    server.kill();
    (ids.len(), missing)
}
