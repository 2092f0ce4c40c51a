//! Real sockets on loopback: what the client makes of good and bad endpoints.

mod aged;
mod answers;
mod certificates;
mod http2;
mod http2_heads;
mod names;
mod proxies;
mod signed;
mod tokens;
mod unprocessed;
mod urls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use super::{Call, Deadlines, Deliver, DeliveryOptions, EgressGuard, HttpDeliverer};
use crate::clock::{Clock, Timestamp};
use crate::event::testing::{API_BLOCKED, API_LIMIT, CAPACITY, DEVELOPER_OVER_RATE, NEXT_MESSAGE};
use crate::event::{CanonicalUrl, Cause, EventId, NameFailure, Outcome, Said, Wait};

/// What the endpoint does after it has read a request head.
#[derive(Clone)]
enum Act {
    /// Writes this and keeps the connection for the next request.
    Say(String),
    /// Writes this and closes.
    SayAndClose(String),
    /// Writes this and stays silent.
    SayAndHang(String),
    /// Writes the first part, the second after a while, and keeps the connection.
    SayLate(String, Duration, String),
    /// Writes the first part, then the second for as long as it is taken.
    SayForEver(String, String),
    /// Resets the connection.
    Reset,
}

struct Endpoint {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    async fn start(act: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let connections = Arc::new(AtomicUsize::new(0));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (count, log) = (connections.clone(), heads.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, act.clone(), log.clone()));
            }
        });
        Self { address, connections, heads }
    }

    fn url(&self) -> String {
        format!("http://{}/x", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, act: Act, log: Arc<Mutex<Vec<String>>>) {
    while let Some(head) = read_head(&mut stream).await {
        log.lock().await.push(head);
        let written = match &act {
            Act::Say(text) => stream.write_all(text.as_bytes()).await,
            Act::SayAndClose(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
                return;
            }
            Act::SayAndHang(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                std::future::pending::<()>().await;
                return;
            }
            Act::SayLate(first, pause, rest) => {
                let _ = stream.write_all(first.as_bytes()).await;
                tokio::time::sleep(*pause).await;
                stream.write_all(rest.as_bytes()).await
            }
            Act::SayForEver(first, again) => {
                let _ = stream.write_all(first.as_bytes()).await;
                while stream.write_all(again.as_bytes()).await.is_ok() {}
                return;
            }
            Act::Reset => {
                stream.set_zero_linger().expect("linger");
                return;
            }
        };
        if written.is_err() {
            return;
        }
    }
}

/// One request head; the tests' bodies are empty.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

fn deliverer(allow: &[&str]) -> HttpDeliverer {
    let allow: Vec<_> = allow.iter().map(|net| net.parse().expect("net")).collect();
    let options = DeliveryOptions {
        egress: EgressGuard::new(&allow),
        deadlines: Deadlines { head: Duration::from_millis(500), ..Deadlines::default() },
        hears: crate::manage::hears(),
        ..DeliveryOptions::default()
    };
    HttpDeliverer::new(options, Clock::manual(Timestamp::from_millis(784_111_777_000))).expect("client")
}

fn call(url: &str) -> Call {
    Call {
        id: EventId::new(784_111_777_000, 1),
        name: EventId::new(784_111_777_000, 1),
        attempt: 1,
        method: Method::POST,
        url: CanonicalUrl::parse(url).expect("url"),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        timeout: Some(Duration::from_secs(5)),
        options: None,
    }
}

async fn attempt(url: &str) -> Outcome {
    deliverer(&["127.0.0.0/8", "::1/128"]).attempt(call(url)).await
}

async fn against(act: Act) -> Outcome {
    attempt(&Endpoint::start(act).await.url()).await
}

fn retry(cause: Cause) -> Outcome {
    Outcome::Retry { cause, retry_after: None }
}

const fn unprocessed(cause: Cause) -> Outcome {
    Outcome::Unprocessed { cause }
}

const OK: Outcome = Outcome::Delivered { status: 200 };

fn ok_head(more: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{more}\r\n")
}

#[tokio::test]
async fn good_answers_are_delivered_over_one_connection() {
    let endpoint = Endpoint::start(Act::Say("HTTP/1.1 204 No Content\r\n\r\n".to_owned())).await;
    let deliverer = deliverer(&["127.0.0.0/8"]);
    for _ in 0..3 {
        let outcome = deliverer.attempt(call(&endpoint.url())).await;
        assert_eq!(outcome, Outcome::Delivered { status: 204 });
    }
    assert_eq!(endpoint.connections(), 1);
    let heads = endpoint.heads.lock().await;
    let head = heads.first().expect("a request").to_lowercase();
    assert!(head.starts_with("post /x http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nwebhook-timestamp: 784111777\r\n"), "{head}");
    assert!(head.contains(concat!("\r\nuser-agent: tidegate/", env!("CARGO_PKG_VERSION"), "\r\n")), "{head}");
    assert!(head.contains("\r\ncontent-length: 0\r\n"), "{head}");
    assert!(!head.contains("accept-encoding"), "{head}");
}

#[tokio::test]
async fn a_short_body_gives_its_connection_back() {
    let endpoint = Endpoint::start(Act::Say(ok_head("content-length: 5\r\n") + "hello")).await;
    let deliverer = deliverer(&["127.0.0.0/8"]);
    for _ in 0..3 {
        assert_eq!(deliverer.attempt(call(&endpoint.url())).await, OK);
    }
    assert_eq!(endpoint.connections(), 1);
}

#[tokio::test]
async fn a_broken_connection_may_heal() {
    assert_eq!(against(Act::Reset).await, retry(Cause::Closed));
    assert_eq!(against(Act::SayAndClose(String::new())).await, retry(Cause::Closed));
    let half = "HTTP/1.1 200 OK\r\ncontent-le".to_owned();
    assert_eq!(against(Act::SayAndClose(half)).await, retry(Cause::Closed));
}

#[tokio::test]
async fn a_head_that_does_not_end_runs_out_of_time() {
    assert_eq!(against(Act::SayAndHang(String::new())).await, retry(Cause::Timeout));
    assert_eq!(against(Act::SayAndHang("HTTP/1.1 200 OK\r\n".to_owned())).await, retry(Cause::Timeout));
    let flood = Act::SayForEver(String::new(), "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_owned());
    assert_eq!(against(flood).await, retry(Cause::Timeout));
}

#[tokio::test]
async fn what_is_not_http_is_malformed() {
    for text in ["hello\r\n\r\n", "<html>old</html>\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n"] {
        assert_eq!(against(Act::SayAndClose(text.to_owned())).await, retry(Cause::Malformed), "{text}");
    }
    let giant = Act::SayForEver("HTTP/1.1 200 OK\r\n".to_owned(), format!("x: {}\r\n", "y".repeat(60_000)));
    assert_eq!(against(giant).await, retry(Cause::Malformed));
}

#[tokio::test]
async fn the_body_decides_nothing() {
    let cut_short = ok_head("content-length: 100\r\n") + "only this";
    assert_eq!(against(Act::SayAndClose(cut_short)).await, OK);
    let endless = Act::SayForEver(ok_head("transfer-encoding: chunked\r\n"), "4\r\nmore\r\n".repeat(64));
    assert_eq!(against(endless).await, OK);
    let huge = Act::SayForEver(ok_head("content-length: 10000000000\r\n"), "x".repeat(4096));
    assert_eq!(against(huge).await, OK);
    let not_gzip = ok_head("content-encoding: gzip\r\ncontent-length: 4\r\n") + "oops";
    assert_eq!(against(Act::Say(not_gzip)).await, OK);
    let dripping = Act::SayAndHang(ok_head("content-length: 9\r\n") + "x");
    assert_eq!(tokio::time::timeout(Duration::from_secs(4), against(dripping)).await, Ok(OK));
}

const LIMIT: &str =
    r#"{"type":"","title":"t","errorCode":"API_LIMIT_EXCEEDED","detail":"d","errorDetails":[]}"#;
/// The clock of these tests stands 23 s before a full minute.
const TO_MINUTE: Duration = Duration::from_secs(23);

fn wait(said: Said, length: Duration) -> Outcome {
    Outcome::Wait(Wait::new(said, length))
}

fn refused(status: u16) -> Outcome {
    Outcome::Reject { cause: Cause::Status(status) }
}

fn error_head(status: u16, more: &str) -> String {
    format!("HTTP/1.1 {status} No\r\ncontent-type: application/json;charset=UTF-8\r\n{more}\r\n")
}

/// A whole answer in JSON.
fn error(status: u16, body: &str) -> Act {
    Act::Say(error_head(status, &format!("content-length: {}\r\n", body.len())) + body)
}

#[tokio::test]
async fn what_partner_systems_say_of_being_busy_comes_through() {
    let gateway = "HTTP/1.1 403 Forbidden\r\nX-Mashery-Error-Code: ERR_403_DEVELOPER_OVER_RATE\r\n\
                   Retry-After: 40\r\ncontent-type: text/xml\r\ncontent-length: 28\r\n\r\n\
                   <h1>Developer Over Rate</h1>";
    let asked = Duration::from_secs(40);
    assert_eq!(against(Act::Say(gateway.to_owned())).await, wait(DEVELOPER_OVER_RATE, asked));
    let plugin = error_head(429, "x-mics-next-msg-delay: 1500\r\ncontent-length: 18\r\n");
    let plugin = Act::Say(plugin + r#"{"status":"RETRY"}"#);
    assert_eq!(against(plugin).await, wait(NEXT_MESSAGE, Duration::from_millis(1500)));

    assert_eq!(against(error(401, LIMIT)).await, wait(API_LIMIT, TO_MINUTE));
    assert_eq!(against(error(400, LIMIT)).await, wait(API_LIMIT, TO_MINUTE));
    let capacity = LIMIT.replace("API_LIMIT", "INTERNAL_CAPACITY_LIMIT");
    assert_eq!(against(error(500, &capacity)).await, wait(CAPACITY, TO_MINUTE));
    let blocked = LIMIT.replace("API_LIMIT_EXCEEDED", "API_BLOCKED");
    assert_eq!(against(error(400, &blocked)).await, Outcome::Reject { cause: Cause::Denied(API_BLOCKED) });
    let token = LIMIT.replace("API_LIMIT_EXCEEDED", "INVALID_TOKEN");
    assert_eq!(against(error(401, &token)).await, refused(401));
    let chunked = error_head(401, "transfer-encoding: chunked\r\n");
    let (first, rest) = LIMIT.split_at(40);
    let chunked = format!("{chunked}28\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n", rest.len());
    assert_eq!(against(Act::Say(chunked)).await, wait(API_LIMIT, TO_MINUTE));
}

#[tokio::test]
async fn an_error_body_that_was_read_gives_its_connection_back() {
    let endpoint = Endpoint::start(error(401, LIMIT)).await;
    let deliverer = deliverer(&["127.0.0.0/8"]);
    for _ in 0..3 {
        let outcome = deliverer.attempt(call(&endpoint.url())).await;
        assert_eq!(outcome, wait(API_LIMIT, TO_MINUTE));
    }
    assert_eq!(endpoint.connections(), 1);
}

#[tokio::test]
async fn of_an_error_body_that_is_not_whole_the_status_stands() {
    let cut_short = error_head(401, "content-length: 1000\r\n") + LIMIT;
    assert_eq!(against(Act::SayAndClose(cut_short)).await, refused(401));
    let padded = |bytes: usize| LIMIT.to_owned() + &" ".repeat(bytes - LIMIT.len());
    assert_eq!(against(error(401, &padded(64 * 1024))).await, wait(API_LIMIT, TO_MINUTE));
    assert_eq!(against(error(401, &padded(64 * 1024 + 1))).await, refused(401));
    let endless = error_head(401, "transfer-encoding: chunked\r\n");
    let endless = Act::SayForEver(endless, "4\r\n    \r\n".repeat(64));
    assert_eq!(against(endless).await, refused(401));
}

#[tokio::test]
async fn a_late_error_body_is_waited_for_as_long_as_it_may_decide() {
    let head = |status| error_head(status, &format!("content-length: {}\r\n", LIMIT.len()));
    let late = |status| Act::SayLate(head(status), Duration::from_millis(2_300), LIMIT.to_owned());
    // The attempt's own deadline holds for bodies too.
    let never = Endpoint::start(Act::SayAndHang(head(401))).await;
    let short = Call { timeout: Some(Duration::from_millis(400)), ..call(&never.url()) };
    let client = deliverer(&["127.0.0.0/8"]);
    let begun = tokio::time::Instant::now();
    assert_eq!(client.attempt(short).await, refused(401));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());

    let (refusal, failure, success) = tokio::join!(
        against(late(401)),
        against(late(503)),
        against(Act::SayLate(head(200), Duration::from_secs(9), LIMIT.to_owned())),
    );
    assert_eq!(refusal, wait(API_LIMIT, TO_MINUTE));
    assert_eq!(failure, retry(Cause::Status(503)), "it is tried again anyway");
    assert_eq!(success, OK);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let inside = Endpoint::start(Act::Say(ok_head("content-length: 0\r\n"))).await;
    let answer = format!("HTTP/1.1 307 Go\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", inside.url());
    let outcome = against(Act::Say(answer)).await;
    assert_eq!(outcome, Outcome::Reject { cause: Cause::Status(307) });
    assert_eq!(inside.connections(), 0);
    assert_eq!(attempt(&inside.url()).await, OK, "the control: it can be reached");
    assert_eq!(inside.connections(), 1);
}

#[tokio::test]
async fn a_pooled_connection_that_was_closed_is_replaced() {
    let endpoint = Endpoint::start(Act::SayAndClose(ok_head("content-length: 0\r\n"))).await;
    let deliverer = deliverer(&["127.0.0.0/8"]);
    assert_eq!(deliverer.attempt(call(&endpoint.url())).await, OK);
    let second = deliverer.attempt(call(&endpoint.url())).await;
    assert!(second == OK || second == retry(Cause::Closed), "{second:?}");
    assert!(endpoint.heads.lock().await.len() <= 2, "nothing is sent twice");
}

#[tokio::test]
async fn retry_after_comes_through() {
    let answer =
        "HTTP/1.1 503 Busy\r\nretry-after: Sun, 06 Nov 1994 08:51:07 GMT\r\ncontent-length: 0\r\n\r\n";
    let wanted = Outcome::Retry { cause: Cause::Status(503), retry_after: Some(Duration::from_secs(90)) };
    assert_eq!(against(Act::Say(answer.to_owned())).await, wanted);
}

#[tokio::test]
async fn inside_addresses_are_blocked_and_never_connected() {
    let endpoint = Endpoint::start(Act::Say(ok_head("content-length: 0\r\n"))).await;
    let port = endpoint.address.port();
    let hosts = ["127.0.0.1", "0x7f.1", "[::ffff:127.0.0.1]", "localhost", "0"];
    let closed = deliverer(&["10.0.0.0/8"]);
    for host in hosts {
        let outcome = closed.attempt(call(&format!("http://{host}:{port}/"))).await;
        assert_eq!(outcome, Outcome::Reject { cause: Cause::Blocked }, "{host}");
    }
    assert_eq!(endpoint.connections(), 0);
    // The control: behind a guard that lets everything out the same calls arrive.
    let open = deliverer(&["0.0.0.0/0", "::/0"]);
    for host in hosts {
        assert_eq!(open.attempt(call(&format!("http://{host}:{port}/"))).await, OK, "{host}");
    }
}

#[tokio::test]
async fn a_name_is_opened_by_its_range() {
    let endpoint = Endpoint::start(Act::Say(ok_head("content-length: 0\r\n"))).await;
    let url = format!("http://localhost:{}/", endpoint.address.port());
    assert_eq!(attempt(&url).await, OK);
    assert_eq!(attempt("http://name.invalid/").await, unprocessed(Cause::Dns(NameFailure::NoSuchName)));
}

#[tokio::test]
async fn plain_text_behind_https_is_a_tls_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("https://{}/", listener.local_addr().expect("address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            std::future::pending::<()>().await;
        }
    });
    assert_eq!(attempt(&url).await, unprocessed(Cause::Tls));
}

/// Runs itself once more in a process of its own, whose environment names a dead proxy.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the environment is what this test is about")]
async fn proxy_variables_are_ignored() {
    const PROXIES: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    const DEAD_PROXY: &str = "http://127.0.0.1:9";
    if std::env::var_os(PROXIES[0]).is_none_or(|proxy| proxy != DEAD_PROXY) {
        let mut child = std::process::Command::new(std::env::current_exe().expect("test binary"));
        child.args(["--exact", "delivery::tests::proxy_variables_are_ignored"]);
        child.envs(PROXIES.map(|name| (name, DEAD_PROXY))).env_remove("NO_PROXY").env_remove("no_proxy");
        let output = child.output().expect("child");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let endpoint = Endpoint::start(Act::Say(ok_head("content-length: 0\r\n"))).await;
    assert_eq!(attempt(&endpoint.url()).await, OK);
    // The control: a client of the usual kind obeys the variables and fails at the dead proxy.
    assert!(reqwest::Client::new().get(endpoint.url()).send().await.is_err());
    assert_eq!(endpoint.connections(), 1);
}
