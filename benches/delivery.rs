//! Calls per second through the deliverer beside a bare client loop, alternately in one run against a local
//! sink. Prints both rates and their ratio.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::{HeaderMap, Method};
use tidegate::testkit::clock::Clock;
use tidegate::testkit::delivery::{Call, Deliver, DeliveryOptions, EgressGuard, HttpDeliverer};
use tidegate::testkit::event::{CanonicalUrl, EventId, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ROUNDS: usize = 5;
const WORKERS: u32 = 64;
const CALLS_PER_WORKER: u32 = 300;
const BODY: &[u8] = &[b'x'; 512];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = sink().await?;
    let egress = EgressGuard::new(&["127.0.0.0/8".parse()?]);
    let options = DeliveryOptions { egress, ..DeliveryOptions::default() };
    let deliverer = HttpDeliverer::new(options, Clock::system())?;
    let bare = reqwest::Client::builder().no_proxy().build()?;
    let mut ratios = Vec::new();
    for round in 0..=ROUNDS {
        let bare_rate = rate(|| bare_worker(bare.clone(), url.clone())).await?;
        let own_rate = rate(|| own_worker(deliverer.clone(), url.clone())).await?;
        let ratio = own_rate / bare_rate;
        println!("round {round}: bare {bare_rate:.0}/s, deliverer {own_rate:.0}/s, ratio {ratio:.2}");
        // The first round warms up.
        if round > 0 {
            ratios.push(ratio);
        }
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ROUNDS / 2).context("no rounds")?;
    println!("median ratio {median:.2}");
    Ok(())
}

/// Calls per second of all workers together.
async fn rate<F>(worker: impl Fn() -> F) -> anyhow::Result<f64>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let started = Instant::now();
    let tasks: Vec<_> = (0..WORKERS).map(|_| tokio::spawn(worker())).collect();
    for result in try_join_all(tasks).await? {
        result?;
    }
    Ok(f64::from(WORKERS * CALLS_PER_WORKER) / started.elapsed().as_secs_f64())
}

async fn bare_worker(client: reqwest::Client, url: CanonicalUrl) -> anyhow::Result<()> {
    for _ in 0..CALLS_PER_WORKER {
        let request = client.post(url.as_url().clone()).body(Bytes::from_static(BODY));
        let response = request.send().await?;
        ensure!(response.status() == 200, "the sink said {}", response.status());
        response.bytes().await?;
    }
    Ok(())
}

async fn own_worker(deliverer: HttpDeliverer, url: CanonicalUrl) -> anyhow::Result<()> {
    for _ in 0..CALLS_PER_WORKER {
        let call = Call {
            id: EventId::new(1, 1),
            name: EventId::new(1, 1),
            attempt: 1,
            method: Method::POST,
            url: url.clone(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(BODY),
            timeout: Some(Duration::from_secs(30)),
            options: None,
        };
        let outcome = deliverer.attempt(call).await;
        ensure!(outcome == Outcome::Delivered { status: 200 }, "the call ended as {outcome:?}");
    }
    Ok(())
}

async fn sink() -> anyhow::Result<CanonicalUrl> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = CanonicalUrl::parse(&format!("http://{}/sink", listener.local_addr()?))?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    Ok(url)
}

/// Answers each time a head and a whole body have come in; the callers do not pipeline.
async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut seen = Vec::with_capacity(4096);
    loop {
        if stream.read_buf(&mut seen).await? == 0 {
            return Ok(());
        }
        let head = seen.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if head.is_some_and(|end| seen.len() >= end + 4 + BODY.len()) {
            seen.clear();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
        }
    }
}
