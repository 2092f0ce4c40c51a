//! tidegate as a child process that notes the moment of every start: the real program over the real store and the
//! real delivery, in which each call appends a stamp to a file right before it goes out. The file outlasts every
//! end of the process, so that the stamps of all processes over one data directory can be judged together.
//!
//! The child is this test program, run again for one test alone ([`run`]).

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;
use tidegate::testkit::app::{App, Seams, init_logging};
use tidegate::testkit::clock::{Clock, Timestamp};
use tidegate::testkit::delivery::{Call, Deliver, HttpDeliverer};
use tidegate::testkit::event::{Outcome, PolicyId};
use tidegate::testkit::policy::{
    Book, BookError, Clause, Limits, Origin, Pace, Pause, Period, Policies, Quota, Scope, Spec, UrlPattern,
    Window,
};
use tidegate::testkit::store::DocumentStore;
use tokio::signal::unix::{SignalKind, signal};

use crate::world::stamps::{STAMP_BYTES, Stamps, boot_ns};
use crate::world::{Api, eventually, inside};

/// Names the directory in which the child works; without it there is no child.
const DIR: &str = "TIDEGATE_SENDER_DIR";
/// Lines of one request when a backlog is handed in.
const LINES: usize = 5000;

/// One policy of the child.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) pattern: String,
    pub(crate) pace: Option<f64>,
    /// Calls and milliseconds.
    pub(crate) window: Option<(i64, i64)>,
    /// Calls and the name of the period.
    pub(crate) quota: Option<(i64, String)>,
    pub(crate) slots: Option<u32>,
    pub(crate) scope: Vec<String>,
}

/// What the child finds in its directory.
#[derive(Serialize, Deserialize)]
struct Orders {
    rules: Vec<Rule>,
    /// Nothing starts meanwhile.
    paused: bool,
}

/// The directory in which one child after the other works.
pub(crate) struct Stage {
    dir: TempDir,
    rules: Vec<Rule>,
}

/// A running child. Dropping it kills it.
pub(crate) struct Sender {
    child: Child,
    addr: SocketAddr,
    /// Its end is the child's; waiting for a child would close one that it holds itself.
    _stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Stage {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self { dir: tempfile::tempdir().expect("a directory"), rules }
    }

    /// Starts a child and waits until its doors are open.
    pub(crate) async fn start(&self) -> Sender {
        self.start_with(false).await
    }

    /// Makes a backlog of these events, all there before the first of them starts.
    pub(crate) async fn fill(&self, events: impl Iterator<Item = Value>) {
        let sender = self.start_with(true).await;
        sender.hand_in(events).await;
        sender.stop();
        assert_eq!(self.stamps().len(), 0, "a paused policy lets nothing start");
    }

    /// What all children so far have started.
    pub(crate) fn stamps(&self) -> Stamps {
        Stamps::read(&self.dir.path().join("stamps"))
    }

    async fn start_with(&self, paused: bool) -> Sender {
        let dir = self.dir.path();
        let orders = Orders { rules: self.rules.clone(), paused };
        std::fs::write(dir.join("orders"), serde_json::to_vec(&orders).expect("JSON")).expect("written");
        let log = OpenOptions::new().create(true).append(true).open(dir.join("log")).expect("a log");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "strict::sender_process", "--nocapture", "--test-threads=1"])
            .env(DIR, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("a child");
        let mut addr = None;
        eventually("the sender listens", Duration::from_secs(60), async || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("the sender ended with {status}:\n{}", read(&dir.join("log")));
            }
            let found = read(&dir.join("address"));
            addr = found.strip_prefix(&format!("{} ", child.id())).and_then(|addr| addr.parse().ok());
            addr.is_some()
        })
        .await;
        let stdin = child.stdin.take();
        Sender { child, addr: addr.expect("just found"), _stdin: stdin, log: dir.join("log") }
    }
}

impl Sender {
    pub(crate) fn api(&self) -> Api {
        Api::new(self.addr)
    }

    /// Hands in these events, all of which must be accepted.
    pub(crate) async fn hand_in(&self, events: impl Iterator<Item = Value>) {
        let api = self.api();
        let mut events = events.peekable();
        while events.peek().is_some() {
            let batch: Vec<String> = events.by_ref().take(LINES).map(|event| format!("{event}\n")).collect();
            let answer = api.post("/v1/events", "application/x-ndjson", batch.concat()).await;
            let (status, answer) = answer.expect("an answer");
            assert_eq!(status, 200, "{answer:.300}");
            assert_eq!(answer.matches("\"status\":202").count(), batch.len(), "{answer:.300}");
        }
    }

    /// Sends a signal to it.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a living process");
    }

    /// Asks it to end and waits until it has, in good order.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.child.wait().expect("its status");
        assert!(status.success(), "the sender ended with {status}:\n{}", read(&self.log));
    }

    /// Ends it without a chance to tidy up; it must not have ended by itself.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a living process");
        let status = self.child.wait().expect("its status");
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        assert!(killed, "the sender ended with {status}:\n{}", read(&self.log));
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file that may not be there yet.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The child: serves until it is asked to end. Returns at once in the process that the tests run in.
#[expect(clippy::disallowed_methods, reason = "a child is told by its environment that it is one")]
pub(crate) async fn run() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    end_with_the_parent();
    let mut asked_to_end = signal(SignalKind::terminate()).expect("a handler");
    let orders = std::fs::read(dir.join("orders")).expect("orders");
    let running = app(&dir, &serde_json::from_slice(&orders).expect("JSON")).await.spawn();
    std::fs::write(dir.join("address.new"), format!("{} {}", std::process::id(), running.addr()))
        .expect("written");
    std::fs::rename(dir.join("address.new"), dir.join("address")).expect("renamed");
    tokio::select! {
        _ = asked_to_end.recv() => {}
        failure = running.failed() => panic!("{failure}"),
    }
    running.drain(Duration::from_secs(5)).await.expect("an orderly end");
}

/// The parent holds the other end of the standard input for as long as it lives.
fn end_with_the_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(3);
    });
}

async fn app(dir: &Path, orders: &Orders) -> App {
    let clock = Clock::system();
    let config = inside::config(&[
        ("throttling.min", "1"),
        ("throttling.max", "1000000"),
        ("throttling.max_configs_per_org", "1000"),
    ]);
    init_logging(&config).expect("a log");
    let store = inside::store(dir, &clock);
    let (documents, usages) = (Arc::new(store.documents()), Arc::new(store.usages()));
    activate(documents.clone(), orders, &clock).await;
    let inner = inside::deliverer(&config, &clock);
    let stamps = OpenOptions::new().create(true).append(true).open(dir.join("stamps")).expect("a file");
    let deliver = Arc::new(Stamping { inner, stamps });
    App::over(&config, Seams { clock, store: Arc::new(store), documents, usages, deliver })
        .await
        .expect("an app")
}

/// The real delivery, with a note of every start.
struct Stamping {
    inner: HttpDeliverer,
    stamps: File,
}

impl Deliver for Stamping {
    fn attempt(&self, call: Call) -> BoxFuture<'static, Outcome> {
        let key = call.url.as_url().path().rsplit('/').next().and_then(|key| key.parse().ok());
        let mut stamp = [0; STAMP_BYTES];
        let (at, of) = stamp.split_at_mut(STAMP_BYTES / 2);
        of.copy_from_slice(&u64::to_le_bytes(key.expect("a path that ends in a number")));
        at.copy_from_slice(&boot_ns().to_le_bytes());
        (&self.stamps).write_all(&stamp).expect("a stamp");
        self.inner.attempt(call)
    }
}

async fn activate(documents: Arc<dyn DocumentStore>, orders: &Orders, clock: &Clock) {
    let policies = Policies::open(documents, clock.clone()).await.expect("a book");
    let edit = |book: &mut Book| {
        for rule in &orders.rules {
            let id = PolicyId::parse(&rule.id).expect("an id");
            if book.get(&id).is_none() {
                book.put(&Origin::new("proof"), &id, spec(rule))?;
            }
            if orders.paused {
                let pause = Pause { reason: "fills".to_owned(), since: Timestamp::ZERO, until: None };
                book.pause(&id, pause)?;
            } else {
                book.resume(&id)?;
            }
        }
        Ok::<(), BookError>(())
    };
    policies.change(edit).await.expect("active");
}

fn spec(rule: &Rule) -> Spec {
    let period = |name: &str| Period::parse(name).expect("a period");
    let limits = Limits {
        pace: rule.pace.map(|pace| Pace::per_second(pace).expect("a pace")),
        window: rule.window.map(|(calls, per_ms)| Window::new(calls, per_ms).expect("a window")),
        quota: rule.quota.as_ref().map(|(calls, per)| Quota::new(*calls, period(per)).expect("a quota")),
        slots: rule.slots.and_then(std::num::NonZeroU32::new),
        ..Limits::default()
    };
    let clause = Clause::of(UrlPattern::parse(&rule.pattern).expect("a pattern"));
    Spec { scope: Scope::new(&rule.scope).expect("a scope"), ..Spec::new(vec![clause], limits) }
}
