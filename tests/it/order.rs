//! Order of first attempts and the sliding second, from the door to the endpoint, measured at the sender.

use std::time::Duration;

use crate::world::{NotedApp, Receiver, alone, eventually, window_peak};

const EVENTS: u64 = 200_000;
const PER_SECOND: u32 = 5000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backlog_leaves_in_order_and_within_every_sliding_second() {
    let _alone = alone().await;
    let app = NotedApp::start(&[]).await;
    let (api, receiver) = (app.api(), Receiver::start().await);
    api.deploy_throttling(&receiver.url("/*"), PER_SECOND).await;

    let accepted = api.enqueue(&receiver.url("/x"), 0..EVENTS).await;
    assert_eq!(accepted.len() as u64, EVENTS);
    assert!(accepted.is_sorted(), "answers come in order");
    assert!(accepted.iter().map(|(_, id)| id).is_sorted(), "ids ascend in order of acceptance");
    eventually("all arrive", Duration::from_secs(120), async || receiver.count() as u64 >= EVENTS).await;
    let (numbers, times) = (app.numbers(), app.times());
    let report = app.running.drain(Duration::from_secs(5)).await.expect("an orderly end");
    assert_eq!((report.delivered, report.waiting), (EVENTS, 0));
    assert_eq!(
        numbers,
        (0..EVENTS).collect::<Vec<_>>(),
        "first attempts start in order of acceptance, once each"
    );
    let peak = window_peak(&times, 1_000_000_000);
    let arrivals: Vec<u64> = receiver.arrivals().iter().map(|arrival| arrival.at_ns).collect();
    println!(
        "{EVENTS} events at {PER_SECOND}/s: in order; most starts in a sliding second {peak}, most arrivals {}, share used {:.2} %",
        window_peak(&arrivals, 1_000_000_000),
        share_used(&times)
    );
    assert!(peak <= PER_SECOND as usize, "{peak} starts in one sliding second");
}

/// Of what the limit allows between the first start and the last, in per cent.
fn share_used(times_ns: &[u64]) -> f64 {
    let span_ns = times_ns.last().expect("starts") - times_ns[0];
    let allowed = span_ns as f64 / 1e9 * f64::from(PER_SECOND) + 1.0;
    100.0 * times_ns.len() as f64 / allowed
}
