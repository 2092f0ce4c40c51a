//! Raw sockets against the listener: what no router test can see.

mod connections;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

/// More than the buffers between the listener and a client hold.
const LARGE_BYTES: usize = 64 << 20;

struct Server {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    closing: CancellationToken,
    task: JoinHandle<()>,
}

/// `/` counts and answers `hello`; `/echo` gives a body back, or 408 when it is too slow.
async fn server(options: ListenOptions) -> Server {
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    let hello = move || {
        count.fetch_add(1, Ordering::SeqCst);
        async { "hello" }
    };
    let echo = |body: Body| async {
        let whole = axum::body::to_bytes(body, 1 << 20).await;
        whole.map_err(|_| http::StatusCode::REQUEST_TIMEOUT)
    };
    let router = Router::new()
        .route("/", get(hello.clone()).post(hello))
        .route("/echo", post(echo))
        .route("/v1/events", post(echo))
        .route("/v1/events/x", post(echo))
        .route("/late", get(late))
        .route("/large", get(|| async { vec![b'x'; LARGE_BYTES] }));
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("binds");
    let (address, closing) = (listener.address(), CancellationToken::new());
    assert_ne!(address.port(), 0);
    let task = tokio::spawn(listener.serve(router, options, closing.clone()));
    Server { address, served, closing, task }
}

/// Answers when the end of the client's side has been seen for long.
async fn late() -> &'static str {
    tokio::time::sleep(Duration::from_millis(300)).await;
    "hello"
}

impl Server {
    /// Asks again until there is room.
    async fn until_served(&self) {
        let get = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let served = async {
            while !self.raw(get).await.ends_with("hello") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), served).await.expect("room");
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connects")
    }

    /// Sends bytes and reads until the server closes.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.expect("writes");
        to_end(&mut stream).await
    }
}

async fn to_end(stream: &mut TcpStream) -> String {
    let mut out = Vec::new();
    // A reset after the answer is an end as well.
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut out)).await;
    assert!(read.is_ok(), "the server does not close: {}", String::from_utf8_lossy(&out));
    String::from_utf8_lossy(&out).into_owned()
}

fn short() -> ListenOptions {
    ListenOptions {
        head_timeout: Duration::from_millis(200),
        body_pause: Duration::from_millis(200),
        ..ListenOptions::default()
    }
}

#[tokio::test]
async fn only_loopback_addresses_are_bound() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let refused = Listener::bind(address.parse().expect("address"));
        assert!(matches!(refused, Err(ListenError::NotLoopback(_))), "{address}");
    }
}

#[tokio::test]
async fn shapes_that_parsers_read_differently_are_refused_and_closed() {
    let server = server(ListenOptions::default()).await;
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nA: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "A: b\r\n".repeat(100));
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    for (request, statuses) in [
        (
            format!(
                "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
            ),
            &["400"][..],
        ),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n{chunks}"
            ),
            &["400"],
        ),
        (
            format!("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, x\r\n\r\n{chunks}"),
            &["400"],
        ),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx".into(),
            &["400"],
        ),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy".into(),
            &["400"],
        ),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\nx".into(), &["400"]),
        ("GET / HTTP/1.1\r\n\r\n".into(), &["400"]),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n".into(), &["400"]),
        ("GET / HTTP/1.1\nHost: localhost\n\n".into(), &["400"]),
        ("GET http://evil.test/ HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), &["400"]),
        ("GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n".into(), &["421"]),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nContent-Length: 0\r\n\r\n".into(), &["403"]),
        ("GET / HTTP/1.1\r\nHost : localhost\r\n\r\n".into(), &["400"]),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n".into(), &["400"]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), &["400", ""]),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03".into(), &["400", ""]),
        (long, &["431", "400"]),
        (many, &["431"]),
    ] {
        let answer = server.raw(request.as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or("");
        assert!(statuses.contains(&status), "{request:.120}\n-> {answer}");
        assert!(!answer.contains("access-control"), "{answer}");
    }
    assert_eq!(server.served.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_second_request_may_follow_a_counted_body_but_not_a_chunked_one() {
    let server = server(ListenOptions::default()).await;
    let get = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let counted = format!("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi{get}");
    let answer = server.raw(counted.as_bytes()).await;
    assert!(answer.contains("hi") && answer.ends_with("hello"), "{answer}");
    let chunked =
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    let answer = server.raw(format!("{chunked}{get}").as_bytes()).await;
    assert!(answer.contains("connection: close") && answer.ends_with("hi"), "{answer}");
    assert_eq!(server.served.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn slow_heads_are_cut_while_others_are_served() {
    let server = server(short()).await;
    let mut slow = Vec::new();
    for head in ["", "G", "GET / HTTP/1.1\r\nHost: local"] {
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.expect("writes");
        slow.push(stream);
    }
    let get = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert!(server.raw(get).await.ends_with("hello"));
    for mut stream in slow {
        assert!(!to_end(&mut stream).await.contains("200"));
    }
    assert_eq!(server.served.load(Ordering::SeqCst), 1);
}

/// Negative control: without the guard the same slow head is still served after the time that cuts it above.
#[tokio::test]
async fn without_the_head_deadline_a_slow_head_lives_on() {
    let options = ListenOptions { head_timeout: Duration::from_secs(60), ..short() };
    let server = server(options).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\n").await.expect("writes");
    tokio::time::sleep(Duration::from_millis(600)).await;
    stream.write_all(b"Host: localhost\r\nConnection: close\r\n\r\n").await.expect("writes");
    assert!(to_end(&mut stream).await.ends_with("hello"));
}

#[tokio::test]
async fn a_body_that_does_not_come_ends_the_request() {
    let server = server(short()).await;
    let answer = server.raw(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

/// Only the door that keeps the time itself is left alone.
#[tokio::test]
async fn a_claim_to_be_streamed_buys_no_time() {
    let server = server(short()).await;
    for (path, kind) in [
        ("/echo", "application/x-ndjson"),
        ("/v1/events", "application/json; a=ndjson"),
        ("/v1/events/x", "application/ndjson"),
        ("/v1/events", "application/x-ndjson\r\nContent-Type: text/plain"),
        ("/v1/events", "application/x-ndjson\r\nce-id: 1"),
    ] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n");
        let answer = server.raw(format!("{head}Content-Length: 10\r\n\r\nabc").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{path} {kind}: {answer}");
    }
}

/// Each pause is within its bound; the average is not.
#[tokio::test]
async fn a_body_that_drips_ends_the_request() {
    let server = server(ListenOptions { pace_allowance: Duration::from_millis(400), ..short() }).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        .await
        .expect("writes");
    let (mut reading, mut writing) = stream.into_split();
    let drip = tokio::spawn(async move {
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut status = [0; 12];
    let answered = tokio::time::timeout(Duration::from_secs(10), reading.read_exact(&mut status)).await;
    answered.expect("is cut").expect("answers");
    assert_eq!(&status, b"HTTP/1.1 408");
    drip.abort();
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let server =
        server(ListenOptions { idle_timeout: Duration::from_millis(300), ..ListenOptions::default() }).await;
    let answer = server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn closing_lets_a_request_end_and_accepts_no_other() {
    let server = server(ListenOptions::default()).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nh")
        .await
        .expect("writes");
    // Served once: so the one above, sent before, has been read as well.
    server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    server.closing.cancel();
    stream.write_all(b"i").await.expect("writes");
    assert!(to_end(&mut stream).await.ends_with("hi"));
    server.task.await.expect("ends");
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn repeated_slashes_find_the_route_of_one() {
    let server = server(ListenOptions::default()).await;
    for (path, status) in [("//", "200"), ("///?a=//", "200"), ("/%2F", "404"), ("//x", "404")] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = server.raw(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn unknown_routes_and_verbs_are_problems() {
    let server = server(ListenOptions::default()).await;
    for (line, status) in [("GET /x", "404"), ("DELETE /", "405"), ("TRACE /", "405")] {
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = server.raw(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(status != "405" || answer.to_lowercase().contains("allow: "), "{answer}");
    }
}
