//! The proofs can fail: what judges them finds one start too many, and a sender without a limit.

use std::time::Duration;

use crate::strict::{MEDIUM, Proof, SLOW, event};
use crate::world::{Allowed, Receiver, Rule, Stage, Stamps, Starts, alone};

const SECOND_NS: u64 = 1_000_000_000;

#[test]
fn one_start_too_many_in_any_window_is_found() {
    let allowed = Allowed::per_ms(10, 1000);
    let even: Vec<u64> = (0..1000).map(|n| n * SECOND_NS / 10).collect();
    assert_eq!(Starts(even.clone()).peak(allowed), 10, "a window is open at its end");
    for at in [0, 1, 550_000_000, 99 * SECOND_NS] {
        let mut doctored = even.clone();
        doctored.push(at);
        assert_eq!(Starts(doctored).peak(allowed), 11, "one more at {at}");
    }
    let mut early = even;
    early[500] -= 1;
    assert_eq!(Starts(early).peak(allowed), 11, "one a nanosecond early");
}

#[test]
fn keys_are_judged_apart() {
    let stamps: Stamps = (0..250).flat_map(|n| [(n * 4_000_000, 2), (n * 4_000_000, 3)]).collect();
    assert_eq!(SLOW.judge(&stamps, 0).0, 250);
    assert!(!SLOW.is_kept(&stamps) && MEDIUM.is_kept(&stamps));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_without_a_limit_is_found_and_a_full_window_is_seen() {
    let _alone = alone().await;
    let receiver = Receiver::start().await;
    let free =
        Rule { id: "free".to_owned(), pattern: receiver.url("/9/*"), slots: Some(64), ..Rule::default() };
    let stage = Stage::new(vec![SLOW.rule(&receiver), free]);
    let unlimited = Proof { name: "without a limit", first_key: 9, ..SLOW };
    let base = receiver.url("/9");
    stage.fill(SLOW.backlog(&receiver, 3).chain((0..3000).map(|_| event(&base, 9)))).await;
    let sender = stage.start().await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    sender.stop();
    let stamps = stage.stamps();
    let (limited, free) = (SLOW.judge(&stamps, 0).0, unlimited.judge(&stamps, 0).0);
    println!("judged by 200/s: {limited} starts in a window with the limit, {free} without");
    assert!((190..=200).contains(&limited), "met, so that a few more would be seen: {limited}");
    assert!(SLOW.is_kept(&stamps) && !unlimited.is_kept(&stamps));
}
