//! tidegate in this process over the real store and the real delivery, with a note of every start: what a limit
//! promises is judged where the calls leave.

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use tidegate::testkit::app::{App, Running, Seams};
use tidegate::testkit::clock::Clock;
use tidegate::testkit::delivery::{Call, Deliver, HttpDeliverer};
use tidegate::testkit::event::Outcome;

use crate::world::{Api, inside};

/// The moment in nanoseconds and the number of each start, in order.
pub(crate) type Notes = Arc<Mutex<Vec<(u64, u64)>>>;

/// The real delivery, with a note of every start.
struct Noted {
    inner: HttpDeliverer,
    clock: Clock,
    notes: Notes,
}

impl Deliver for Noted {
    fn attempt(&self, call: Call) -> BoxFuture<'static, Outcome> {
        let body: serde_json::Value = serde_json::from_slice(&call.body).expect("JSON");
        let number = body["n"].as_u64().expect("a number");
        let at_ns = self.clock.now().as_nanos();
        self.notes.lock().expect("no panic").push((at_ns, number));
        self.inner.attempt(call)
    }
}

/// A running app on a directory of its own.
pub(crate) struct NotedApp {
    _dir: tempfile::TempDir,
    pub(crate) running: Running,
    notes: Notes,
}

impl NotedApp {
    /// Starts it with these settings beside the usual ones of a test.
    pub(crate) async fn start(settings: &[(&'static str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Clock::system();
        let config = inside::config(settings);
        let store = inside::store(dir.path(), &clock);
        let inner = inside::deliverer(&config, &clock);
        let (documents, usages) = (Arc::new(store.documents()), Arc::new(store.usages()));
        let notes = Notes::default();
        let deliver = Arc::new(Noted { inner, clock: clock.clone(), notes: notes.clone() });
        let seams = Seams { clock, store: Arc::new(store), documents, usages, deliver };
        let app = App::over(&config, seams).await.expect("an app");
        Self { _dir: dir, running: app.spawn(), notes }
    }

    pub(crate) fn api(&self) -> Api {
        Api::new(self.running.addr())
    }

    /// What has started so far.
    pub(crate) fn notes(&self) -> Vec<(u64, u64)> {
        self.notes.lock().expect("no panic").clone()
    }

    /// The numbers of what has started so far, in order.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.notes().iter().map(|(_, number)| *number).collect()
    }

    /// The moments of it.
    pub(crate) fn times(&self) -> Vec<u64> {
        self.notes().iter().map(|(at_ns, _)| *at_ns).collect()
    }
}
