//! A million events waiting: how fast they are accepted over HTTP, what they cost in memory and on disk, and
//! how long a restart takes until the daemon is ready again, how long a page of a search through all of them takes, and what that
//! costs dispatch.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench: it prints, and stops at the first surprise"
)]

#[path = "../tests/it/world/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with the tests, which use more of it")]
mod world;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate::testkit::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use world::{Receiver, Server, ServerOptions};

const EVENTS: u64 = 1_000_000;
const LINES: u64 = 1000;
const CONNECTIONS: u64 = 4;
const SINGLE_CONNECTIONS: u64 = 64;
const SINGLES: u64 = 2000;
/// Events that are delivered while others are searched, in windows with and without a search.
const DELIVERED: u64 = 400_000;
const WINDOW: Duration = Duration::from_secs(2);
const WINDOWS: usize = 4;

#[tokio::main]
async fn main() {
    let clock = Clock::system();
    let dir = tempfile::tempdir().expect("a directory");
    let options = ServerOptions::new(&dir.path().join("data"));
    let server = Server::start(&options);
    let api = server.api();
    // An endpoint that never answers: once its slots are taken, every event keeps waiting.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint: Arc<str> = format!("http://{}", silent.local_addr().expect("an address")).into();
    api.deploy_throttling(&format!("{endpoint}/*"), 200).await;

    let idle_rss = rss_bytes(server.pid());
    let next = Arc::new(AtomicU64::new(0));
    let started = clock.now();
    let feeders: Vec<_> =
        (0..CONNECTIONS).map(|_| tokio::spawn(feed(server.addr, endpoint.clone(), next.clone()))).collect();
    for feeder in feeders {
        feeder.await.expect("a feeder");
    }
    let took = clock.now().since(started);
    println!(
        "enqueue: {EVENTS} events in {took:.2?}: {:.0} per second, durable, over {CONNECTIONS} connections",
        EVENTS as f64 / took.as_secs_f64()
    );
    let started = clock.now();
    let singles: Vec<_> =
        (0..SINGLE_CONNECTIONS).map(|_| tokio::spawn(feed_singly(server.addr, endpoint.clone()))).collect();
    for single in singles {
        single.await.expect("a feeder");
    }
    let took = clock.now().since(started);
    let singles = SINGLE_CONNECTIONS * SINGLES;
    println!(
        "enqueue: {singles} single events in {took:.2?}: {:.0} per second, durable, over {SINGLE_CONNECTIONS} connections",
        singles as f64 / took.as_secs_f64()
    );
    println!(
        "memory:  {} MB before, {} MB with {EVENTS} waiting",
        idle_rss >> 20,
        rss_bytes(server.pid()) >> 20
    );
    println!("disk:    {} bytes per event", disk_bytes(&options.data_dir) / EVENTS);

    assert_eq!(server.stop().code(), Some(0));
    for how in ["after an orderly stop", "after kill -9"] {
        let started = clock.now();
        let server = Server::start(&options);
        while server.api().get("/readyz").await.0 != 200 {}
        println!("ready:   {:.2?} {how}, {} MB", clock.now().since(started), rss_bytes(server.pid()) >> 20);
        if how == "after an orderly stop" {
            search(&server.api(), &clock).await;
            dispatch_beside_search(&server, &clock).await;
        }
        server.kill();
    }
    std::fs::remove_dir_all(options.data_dir.join("index")).expect("an index");
    let started = clock.now();
    let server = Server::start(&options);
    while server.api().get("/readyz").await.0 != 200 {}
    println!(
        "ready:   {:.2?} with the index rebuilt, {} MB",
        clock.now().since(started),
        rss_bytes(server.pid()) >> 20
    );
}

/// The rate at which another endpoint is called at, in turn without and with a search that begins again at its end.
async fn dispatch_beside_search(server: &Server, clock: &Clock) {
    let (api, receiver) = (server.api(), Receiver::start().await);
    let policy = serde_json::json!({"url": receiver.url("/*"), "slots": 256});
    assert_eq!(api.json("PUT", "/v1/policies/fast", &policy).await.0, 201);
    let pause = serde_json::json!({"reason": "until all wait"});
    assert_eq!(api.json("POST", "/v1/policies/fast:pause", &pause).await.0, 200);
    let next = AtomicU64::new(0);
    while next.load(Ordering::Relaxed) < DELIVERED {
        let first = next.fetch_add(LINES, Ordering::Relaxed);
        let body: String = (first..first + LINES).map(|n| line(&receiver.url(""), n)).collect();
        assert_eq!(api.post("/v1/events", "application/x-ndjson", body).await.expect("an answer").0, 200);
    }
    assert_eq!(api.json("POST", "/v1/policies/fast:resume", &serde_json::json!({})).await.0, 200);
    // Until it runs evenly.
    tokio::time::sleep(WINDOW).await;
    let mut rates = [0.0_f64; 2];
    for nth in 0..2 * WINDOWS {
        let searches = nth % 2 == 1;
        let searcher = searches.then(|| {
            let (api, clock) = (api.clone(), clock.clone());
            tokio::spawn(async move {
                loop {
                    search(&api, &clock).await;
                }
            })
        });
        let (begun, before) = (clock.now(), receiver.count());
        tokio::time::sleep(WINDOW).await;
        let rate = (receiver.count() - before) as f64 / clock.now().since(begun).as_secs_f64();
        rates[usize::from(searches)] += rate / WINDOWS as f64;
        println!("dispatch: {rate:.0} per second, beside a search: {searches}");
        if let Some(searcher) = searcher {
            searcher.abort();
        }
    }
    let [without, with] = rates;
    println!("dispatch: {without:.0} per second, {with:.0} beside a search: {:.1} %", 100.0 * with / without);
}

/// Pages that find nothing, so that each looks at as much as it may.
async fn search(api: &world::Api, clock: &Clock) {
    let (begun, mut worst, mut pages) = (clock.now(), Duration::ZERO, 0_u32);
    let mut path = "/v1/events?label.none=such".to_owned();
    loop {
        let started = clock.now();
        let (status, text) = api.get(&path).await;
        assert_eq!(status, 200, "{text}");
        worst = worst.max(clock.now().since(started));
        pages += 1;
        let page: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/events?label.none=such&cursor={cursor}");
    }
    println!("search:  {pages} pages in {:.2?}, the worst in {worst:.2?}", clock.now().since(begun));
}

async fn feed(addr: std::net::SocketAddr, endpoint: Arc<str>, next: Arc<AtomicU64>) {
    let api = world::Api::new(addr);
    loop {
        let first = next.fetch_add(LINES, Ordering::Relaxed);
        if first >= EVENTS {
            return;
        }
        let body: String = (first..first + LINES).map(|n| line(&endpoint, n)).collect();
        let (status, answer) = api.post("/v1/events", "application/x-ndjson", body).await.expect("an answer");
        assert_eq!(status, 200);
        assert_eq!(answer.matches("\"status\":202").count() as u64, LINES, "{answer:.300}");
    }
}

/// One request per event on one connection, each sent when the answer to the one before is there.
async fn feed_singly(addr: std::net::SocketAddr, endpoint: Arc<str>) {
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    let mut answer = vec![0; 4096];
    for n in 0..SINGLES {
        let event = line(&endpoint, n);
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            event.len()
        );
        stream.write_all(format!("{head}{event}").as_bytes()).await.expect("a living connection");
        let read = stream.read(&mut answer).await.expect("an answer");
        assert!(answer[..read].starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(&answer[..read]));
    }
}

/// An event of about 512 bytes whose body compresses as JSON of this kind does.
fn line(endpoint: &str, n: u64) -> String {
    let id = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        "{{\"url\":\"{endpoint}/hook/{}\",\"body\":{{\"profile\":\"{id:016x}\",\"sequence\":{n},\"kind\":\"cart_updated\",\
         \"items\":[{{\"sku\":\"SKU-{:06}\",\"quantity\":{},\"price\":{}.99}},{{\"sku\":\"SKU-{:06}\",\"quantity\":1,\"price\":{}.49}}],\
         \"consent\":{{\"email\":true,\"sms\":false,\"push\":true}},\"locale\":\"en-GB\",\"source\":\"storefront\",\
         \"note\":\"{:032x}\"}}}}\n",
        n % 97,
        id % 1_000_000,
        n % 5 + 1,
        n % 90,
        id >> 44,
        n % 70,
        u128::from(id) * u128::from(n + 1),
    )
}

fn rss_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a figure");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| {
            let meta = entry.metadata().expect("metadata");
            if meta.is_dir() { disk_bytes(&entry.path()) } else { meta.blocks() * 512 }
        })
        .sum()
}
