//! A quota over kills and restarts: never more than it allows in its calendar period.

use std::time::Duration;

use tidegate::testkit::clock::Clock;

use crate::strict::event;
use crate::world::{Receiver, Rule, Stage, alone};

const CALLS: usize = 1000;
const HOUR_MS: u64 = 3_600_000;
const MOST_PROCESSES: usize = 100;

/// A period that does not turn during the test.
fn period() -> &'static str {
    let now_ms = Clock::system().wall().as_millis();
    let is_far_from_the_end = |length_ms: u64| now_ms % length_ms < length_ms - 120_000;
    match (is_far_from_the_end(HOUR_MS), is_far_from_the_end(24 * HOUR_MS)) {
        (true, _) => "hour",
        (false, true) => "day",
        (false, false) => "month",
    }
}

/// Lets one process after the other live for 200 ms until three in a row have started nothing; returns how many
/// there were and the starts of all of them.
async fn exhaust(orderly: bool) -> (usize, usize) {
    // Few calls at once to a slow endpoint: so the quota lasts for many processes.
    let receiver = Receiver::answering(|_| (204, Duration::from_millis(10))).await;
    let rule = Rule {
        id: "quota".to_owned(),
        pattern: receiver.url("/7/*"),
        quota: Some((CALLS as i64, period().to_owned())),
        slots: Some(4),
        ..Rule::default()
    };
    let stage = Stage::new(vec![rule]);
    let base = receiver.url("/7");
    stage.fill((0..2 * CALLS).map(|_| event(&base, 7))).await;
    let (mut processes, mut idle, mut started) = (0, 0, 0);
    while idle < 3 && processes < MOST_PROCESSES {
        let sender = stage.start().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        if orderly {
            sender.stop()
        } else {
            sender.kill()
        }
        processes += 1;
        let now_started = stage.stamps().len();
        idle = if now_started == started { idle + 1 } else { 0 };
        started = now_started;
    }
    (processes - idle, started)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_never_give_any_of_a_quota_back() {
    let _alone = alone().await;
    let (processes, started) = exhaust(false).await;
    println!(
        "quota of {CALLS}: {started} starts in {processes} processes, each killed after 200 ms, {} forfeited",
        CALLS.saturating_sub(started)
    );
    assert!(started <= CALLS, "{started}");
    assert!(processes > 3, "it lasts for several processes");
    assert!(started > CALLS / 2, "forfeits are few");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orderly_restarts_neither_forfeit_nor_exceed_a_quota() {
    let _alone = alone().await;
    let (processes, started) = exhaust(true).await;
    println!("quota of {CALLS}: {started} starts in {processes} processes, each ended in good order");
    assert!(processes > 3, "it lasts for several processes");
    // One more would be seen: all of it is used.
    assert_eq!(started, CALLS);
}
