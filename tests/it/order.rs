//! Order of first attempts and the sliding second, from the door to the endpoint, measured at the sender.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidegate::app::{App, Seams};
use tidegate::clock::Clock;
use tidegate::delivery::{Call, Deliver, HttpDeliverer};
use tidegate::event::Outcome;

use crate::world::{Api, Receiver, alone, eventually, inside, window_peak};

const EVENTS: u64 = 200_000;
const PER_SECOND: u32 = 5000;

/// The real delivery, with a note of every start.
struct Noted {
    inner: HttpDeliverer,
    clock: Clock,
    starts: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl Deliver for Noted {
    fn attempt(&self, call: Call) -> BoxFuture<'static, Outcome> {
        let body: serde_json::Value = serde_json::from_slice(&call.body).expect("JSON");
        let number = body["n"].as_u64().expect("a number");
        let at_ns = self.clock.now().as_nanos();
        self.starts.lock().expect("no panic").push((at_ns, number));
        self.inner.attempt(call)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backlog_leaves_in_order_and_within_every_sliding_second() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().expect("a directory");
    let starts = Arc::new(Mutex::new(Vec::new()));
    let app = app(dir.path(), starts.clone()).await;
    let running = app.spawn();
    let (api, receiver) = (Api::new(running.addr()), Receiver::start().await);
    api.deploy_throttling(&receiver.url("/*"), PER_SECOND).await;

    let accepted = api.enqueue(&receiver.url("/x"), 0..EVENTS).await;
    assert_eq!(accepted.len() as u64, EVENTS);
    assert!(accepted.is_sorted(), "answers come in order");
    assert!(accepted.iter().map(|(_, id)| id).is_sorted(), "ids ascend in order of acceptance");
    eventually("all arrive", Duration::from_secs(120), async || receiver.count() as u64 >= EVENTS).await;
    let report = running.drain(Duration::from_secs(5)).await.expect("an orderly end");
    assert_eq!((report.delivered, report.waiting), (EVENTS, 0));

    let starts = starts.lock().expect("no panic").clone();
    let numbers: Vec<u64> = starts.iter().map(|(_, number)| *number).collect();
    assert_eq!(
        numbers,
        (0..EVENTS).collect::<Vec<_>>(),
        "first attempts start in order of acceptance, once each"
    );
    let times: Vec<u64> = starts.iter().map(|(at_ns, _)| *at_ns).collect();
    let peak = window_peak(&times, 1_000_000_000);
    let arrivals: Vec<u64> = receiver.arrivals().iter().map(|arrival| arrival.at_ns).collect();
    println!(
        "{EVENTS} events at {PER_SECOND}/s: in order; most starts in a sliding second {peak}, most arrivals {}, share used {:.2} %",
        window_peak(&arrivals, 1_000_000_000),
        share_used(&times)
    );
    assert!(peak <= PER_SECOND as usize, "{peak} starts in one sliding second");
}

async fn app(root: &std::path::Path, starts: Arc<Mutex<Vec<(u64, u64)>>>) -> App {
    let clock = Clock::system();
    let config = inside::config(&[]);
    let store = inside::store(root, &clock);
    let inner = inside::deliverer(&config, &clock);
    let (documents, usages) = (Arc::new(store.documents()), Arc::new(store.usages()));
    let deliver = Arc::new(Noted { inner, clock: clock.clone(), starts });
    App::over(&config, Seams { clock, store: Arc::new(store), documents, usages, deliver })
        .await
        .expect("an app")
}

/// Of what the limit allows between the first start and the last, in per cent.
fn share_used(times_ns: &[u64]) -> f64 {
    let span_ns = times_ns.last().expect("starts") - times_ns[0];
    let allowed = span_ns as f64 / 1e9 * f64::from(PER_SECOND) + 1.0;
    100.0 * times_ns.len() as f64 / allowed
}
