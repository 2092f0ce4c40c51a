//! Order of first attempts and the sliding second, end to end.

use std::time::Duration;

use crate::world::{Receiver, Server, ServerOptions, eventually, window_peak};

const EVENTS: u64 = 200_000;
const PER_SECOND: u32 = 5000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backlog_leaves_in_order_and_within_the_limit() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let (api, receiver) = (server.api(), Receiver::start().await);
    api.deploy_throttling(&receiver.url("/*"), PER_SECOND).await;
    let accepted = api.enqueue(&receiver.url("/x"), 0..EVENTS).await;
    assert_eq!(accepted.len() as u64, EVENTS);
    assert!(accepted.is_sorted(), "answers come in order");
    assert!(accepted.iter().map(|(_, id)| id).is_sorted(), "ids ascend in order of acceptance");
    eventually("all arrive", Duration::from_secs(120), async || receiver.count() as u64 >= EVENTS).await;

    let peak = api.metric("tidegate_limit_window_peak", "").await;
    assert!(peak <= f64::from(PER_SECOND), "peak at the sender {peak}");
    assert_eq!(api.metric("tidegate_limit_violations_total", "").await, 0.0);
    let arrivals = receiver.arrivals();
    assert_eq!(arrivals.len() as u64, EVENTS, "no duplicates");
    let times: Vec<u64> = arrivals.iter().map(|arrival| arrival.at_ns).collect();
    let arrived_peak = window_peak(&times, 1_000_000_000);
    println!("{EVENTS} events at {PER_SECOND}/s: peak at the sender {peak}, at the receiver {arrived_peak}");
}
