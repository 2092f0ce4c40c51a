//! An endpoint that misbehaves: it is told after each request what to do with the bytes of its answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::testkit::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What follows a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// These bytes; the connection goes on.
    Say(&'static str),
    /// The same after a while.
    SayLate(Duration, &'static str),
    /// These bytes and the end.
    SayAndClose(&'static str),
    /// The first bytes, then the second for as long as they are taken.
    SayForEver(&'static str, &'static [u8]),
    /// The first bytes, then one byte a second.
    Drip(&'static str),
    /// The connection is reset.
    Reset,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at_ns: u64,
    /// Its request line and headers.
    pub(crate) head: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find(|line| line.split(':').next() == Some(name));
        line.and_then(|line| line.split_once(": ")).map_or("", |(_, value)| value)
    }
}

type Choose = dyn Fn(&str) -> Act + Send + Sync;

struct Shared {
    choose: Box<Choose>,
    reads_bodies: bool,
    seen: Mutex<Vec<Seen>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

/// Serves until it is dropped.
pub(crate) struct Endpoint {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Endpoint {
    /// On this address; chooses by the head of each request.
    pub(crate) async fn start(addr: &str, choose: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        Self::reading(addr, true, choose).await
    }

    /// The same, which leaves the bodies of requests unread.
    pub(crate) async fn deaf(addr: &str, choose: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        Self::reading(addr, false, choose).await
    }

    async fn reading(
        addr: &str,
        reads_bodies: bool,
        choose: impl Fn(&str) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(addr).await.expect("the address is free");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            choose: Box::new(choose),
            reads_bodies,
            seen: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
        });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Self { addr, shared, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no panic").clone()
    }

    /// Most requests between their heads and the ends of their answers.
    pub(crate) fn most_under_way(&self) -> usize {
        self.shared.most_under_way.load(Ordering::SeqCst)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let clock = Clock::system();
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, shared.clone(), clock.clone()));
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>, clock: Clock) {
    while let Some(head) = read_head(&mut stream).await {
        let at_ns = clock.now().as_nanos();
        let now = shared.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_under_way.fetch_max(now, Ordering::SeqCst);
        shared.seen.lock().expect("no panic").push(Seen { at_ns, head: head.clone() });
        let act = (shared.choose)(&head);
        let goes_on = answer(&mut stream, &head, act, shared.reads_bodies).await;
        shared.under_way.fetch_sub(1, Ordering::SeqCst);
        if goes_on.is_none() {
            return;
        }
    }
}

/// `None` at the end of the connection.
async fn answer(stream: &mut TcpStream, head: &str, act: Act, reads_bodies: bool) -> Option<()> {
    if reads_bodies && !matches!(act, Act::Reset) {
        let length: usize =
            head.to_ascii_lowercase().split_once("content-length: ")?.1.lines().next()?.parse().ok()?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
    }
    match act {
        Act::Say(text) => stream.write_all(text.as_bytes()).await.ok(),
        Act::SayLate(pause, text) => {
            tokio::time::sleep(pause).await;
            stream.write_all(text.as_bytes()).await.ok()
        }
        Act::SayAndClose(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
            None
        }
        Act::SayForEver(text, again) => {
            stream.write_all(text.as_bytes()).await.ok()?;
            while stream.write_all(again).await.is_ok() {}
            None
        }
        Act::Drip(text) => {
            stream.write_all(text.as_bytes()).await.ok()?;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            None
        }
        Act::Reset => {
            let _ = stream.set_zero_linger();
            None
        }
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}
