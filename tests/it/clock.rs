//! Clocks that are wrong: at the start, while it runs, and in a time namespace. What was accepted is neither aged nor
//! dropped by them; a real outage ages it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate::testkit::app::{App, Running, Seams};
use tidegate::testkit::clock::{Clock, Script, Timestamp};

use crate::world::{Api, Receiver, Server, ServerOptions, eventually, inside};

const SOON: Duration = Duration::from_secs(20);
/// Longer than it takes until everything that is over has ended.
const A_WHILE: Duration = Duration::from_secs(3);
const HOUR: Duration = Duration::from_secs(3600);
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A machine with one data directory, over its boots.
struct Machine {
    dir: tempfile::TempDir,
    receiver: Receiver,
    script: Script,
    policy: String,
}

/// One process on it.
struct Process {
    running: Running,
    api: Api,
    clock: Clock,
}

/// Time passes on the machine for as long as the test runs, at about the pace of the real one.
fn run(script: &Script) {
    const TICK: Duration = Duration::from_millis(5);
    let script = script.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(TICK).await;
            script.advance(TICK);
        }
    });
}

async fn start(root: &Path, script: &Script) -> Process {
    let clock = Clock::scripted(script);
    let config = inside::config(&[]);
    let mut store = None;
    // The last tasks of the process before let go of it a moment after its end.
    eventually("the directory is free", SOON, async || {
        store = inside::try_store(root, &clock).ok();
        store.is_some()
    })
    .await;
    let store = store.expect("opened");
    let deliver = Arc::new(inside::deliverer(&config, &clock));
    let (documents, usages) = (Arc::new(store.documents()), Arc::new(store.usages()));
    let seams = Seams { clock: clock.clone(), store: Arc::new(store), documents, usages, deliver };
    let running = App::over(&config, seams).await.expect("an app").spawn();
    let api = Api::new(running.addr());
    Process { running, api, clock }
}

impl Process {
    async fn stop(self) {
        self.running.drain(Duration::from_secs(1)).await.expect("drains");
    }

    fn expired_and_waiting(&self) -> (u64, u64) {
        let report = self.running.report();
        (report.expired, report.waiting)
    }

    /// What is over in the end, after a while in which everything that is over ends.
    async fn after_a_while(&self) -> (u64, u64) {
        tokio::time::sleep(A_WHILE).await;
        self.expired_and_waiting()
    }
}

impl Machine {
    /// It has accepted forty events, which wait under a pause, and was switched off in good order.
    async fn with_forty_events() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (receiver, script) = (Receiver::start().await, Script::new("one", START));
        run(&script);
        let process = start(dir.path(), &script).await;
        let policy = process.api.deploy_throttling(&receiver.url("/*"), 200).await;
        let machine = Self { dir, receiver, script, policy };
        machine.hold(&process, "pause").await;
        machine.accept(&process, 0..40).await;
        // Nothing is accepted in the moment in which a doubt begins.
        machine.script.advance(Duration::from_secs(1));
        process.stop().await;
        machine
    }

    async fn hold(&self, process: &Process, verb: &str) {
        let path = format!("/v1/policies/{}:{verb}", self.policy);
        let request = if verb == "pause" { json!({"reason": "test"}) } else { json!({}) };
        let (status, answer) = process.api.json("POST", &path, &request).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn accept(&self, process: &Process, numbers: std::ops::Range<u64>) {
        let count = numbers.clone().count();
        assert_eq!(process.api.enqueue(&self.receiver.url("/x"), numbers).await.len(), count);
    }

    /// It is switched on again, with its wall clock at `wall`.
    async fn boot(&mut self, wall: Timestamp) -> Process {
        self.script = Script::new("two", wall);
        run(&self.script);
        start(self.dir.path(), &self.script).await
    }

    /// The time daemon synchronises the clock, which then runs for a minute: from when the process has seen it first,
    /// which nobody else knows. So it runs until the process trusts it.
    async fn synchronise(&self, process: &Process) {
        self.script.set_synchronised(true);
        eventually("the clock is trusted", SOON, async || {
            self.script.advance(Duration::from_secs(1));
            process.clock.is_trusted()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_seven_hours_ahead_keeps_all_forty_events_until_the_clock_is_confirmed() {
    let mut machine = Machine::with_forty_events().await;
    let process = machine.boot(START + HOUR).await;
    assert!(process.clock.is_trusted(), "the control");
    assert_eq!(process.after_a_while().await, (0, 40));
    process.stop().await;

    machine.script = Script::new("three", START + HOUR * 8);
    run(&machine.script);
    let process = start(machine.dir.path(), &machine.script).await;
    assert!(!process.clock.is_trusted());
    assert_eq!(process.after_a_while().await, (0, 40));
    assert!(process.clock.now() < START + HOUR * 2, "nothing is dated ahead");
    assert!(process.api.metric("tidegate_clock_anomalies_total", "start").await >= 1.0);

    process.clock.confirm();
    eventually("what is over expires", SOON, async || process.expired_and_waiting() == (40, 0)).await;
    assert!(process.clock.now() >= START + HOUR * 8, "dates are right");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_outlived_its_time_for_certain_is_sent_while_the_clock_is_in_doubt() {
    let mut machine = Machine::with_forty_events().await;
    let process = machine.boot(START + HOUR * 7).await;
    machine.hold(&process, "resume").await;
    eventually("all arrive", SOON, async || machine.receiver.count() == 40).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_outage_expires_what_is_too_old_once_the_clock_has_run_synchronised_for_a_minute() {
    let mut machine = Machine::with_forty_events().await;
    let process = machine.boot(START + HOUR * 7).await;
    machine.script.advance(Duration::from_secs(600));
    assert_eq!(process.after_a_while().await, (0, 40), "not synchronised");
    machine.script.set_synchronised(true);
    assert_eq!(process.after_a_while().await, (0, 40), "not for a minute");
    machine.synchronise(&process).await;
    eventually("what is over expires", SOON, async || process.expired_and_waiting() == (40, 0)).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_outage_expires_what_is_too_old_when_the_clock_is_synchronised_before_the_start() {
    let mut machine = Machine::with_forty_events().await;
    machine.script = Script::new("two", START + HOUR * 7);
    machine.script.set_synchronised(true);
    run(&machine.script);
    let process = start(machine.dir.path(), &machine.script).await;
    assert_eq!(process.after_a_while().await, (0, 40), "it has not run for a minute");
    machine.synchronise(&process).await;
    eventually("what is over expires", SOON, async || process.expired_and_waiting() == (40, 0)).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_that_is_given_in_doubt_is_neither_judged_by_that_clock_nor_moved_by_its_correction() {
    let mut machine = Machine::with_forty_events().await;
    let process = machine.boot(Timestamp::from_millis(1_000)).await;
    machine.hold(&process, "resume").await;
    eventually("what has no date arrives", SOON, async || machine.receiver.count() == 40).await;
    let mut ids = Vec::new();
    for due_at in [START, START + HOUR * 21] {
        let event = json!({"url": machine.receiver.url("/x"), "due_at": due_at.to_string()});
        let (status, receipt) = process.api.json("POST", "/v1/events", &event).await;
        assert_eq!((status, &receipt["due_at"]), (202, &json!(due_at.to_string())), "{receipt}");
        ids.push(receipt["id"].as_str().expect("an id").to_owned());
    }
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(machine.receiver.count(), 40, "nobody knows whether they are due");
    for id in &ids {
        let (status, why) = process.api.json("GET", &format!("/v1/explain?id={id}"), &json!(null)).await;
        assert_eq!((status, &why["held"]["doubt_kind"]), (200, &json!("clock")), "{why}");
    }
    machine.script.set_wall(START + HOUR * 20);
    machine.synchronise(&process).await;
    eventually("the one that is due arrives", SOON, async || machine.receiver.count() == 41).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(machine.receiver.count(), 41);
    machine.script.advance(HOUR);
    eventually("the other one arrives in time", SOON, async || machine.receiver.count() == 42).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_in_1970_holds_and_its_correction_does_not_age_what_was_accepted_meanwhile() {
    let mut machine = Machine::with_forty_events().await;
    let process = machine.boot(Timestamp::from_millis(1_000)).await;
    assert!(!process.clock.is_trusted());
    machine.accept(&process, 40..45).await;
    assert_eq!(process.after_a_while().await, (0, 45));
    machine.script.set_wall(START + HOUR * 20);
    machine.synchronise(&process).await;
    eventually("the others expire", SOON, async || process.expired_and_waiting() == (40, 5)).await;
    assert_eq!(process.after_a_while().await, (40, 5));
    assert!(process.clock.now() >= START + HOUR * 20);
    process.stop().await;

    let process = start(machine.dir.path(), &machine.script).await;
    assert!(process.clock.is_trusted());
    assert_eq!(process.after_a_while().await.1, 5, "also after a restart");
    machine.hold(&process, "resume").await;
    eventually("they arrive", SOON, async || machine.receiver.count() == 5).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_steps_within_one_boot_changes_nothing() {
    let machine = Machine::with_forty_events().await;
    machine.script.set_wall(START + HOUR * 7);
    let process = start(machine.dir.path(), &machine.script).await;
    assert!(process.clock.is_trusted());
    assert_eq!(process.after_a_while().await, (0, 40));
    for (kind, wall) in [("backward", START), ("forward", START + HOUR * 7)] {
        let before = process.api.metric("tidegate_clock_anomalies_total", kind).await;
        machine.script.set_wall(wall);
        assert_eq!(process.after_a_while().await, (0, 40), "{kind}");
        assert!(process.api.metric("tidegate_clock_anomalies_total", kind).await > before, "{kind}");
    }
    // Suspended time is real time.
    machine.script.suspend(HOUR * 7);
    eventually("what is over expires", SOON, async || process.expired_and_waiting() == (40, 0)).await;
    process.stop().await;
}

/// Forty events on the real program, started in a time namespace or not; how many expire after a kill and another start.
async fn expired_after(first: &[&str], then: &[&str]) -> f64 {
    let wrapper = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    let mut options =
        ServerOptions { wrapper: wrapper(first), ..ServerOptions::new(&dir.path().join("data")) };
    let server = Server::start(&options);
    let api = server.api();
    let policy = api.deploy_throttling(&receiver.url("/*"), 200).await;
    let pause = json!({"reason": "test"});
    assert_eq!(api.json("POST", &format!("/v1/policies/{policy}:pause"), &pause).await.0, 200);
    assert_eq!(api.enqueue(&receiver.url("/x"), 0..40).await.len(), 40);
    server.kill();
    options.wrapper = wrapper(then);
    let server = Server::start(&options);
    tokio::time::sleep(A_WHILE).await;
    let expired = server.api().metric("tidegate_events_completed_total", "expired").await;
    assert_eq!(server.stop().code(), Some(0));
    expired
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_time_namespace_suspended_time_counts_and_a_boot_clock_that_goes_back_does_not() {
    let suspended = ["unshare", "-T", "--boottime", "25200"];
    assert_eq!(expired_after(&[], &suspended).await, 40.0, "seven hours of the boot clock have passed");
    assert_eq!(expired_after(&suspended, &[]).await, 0.0, "another boot, by the wall clock moments later");
    assert_eq!(expired_after(&[], &[]).await, 0.0, "the control");
}
