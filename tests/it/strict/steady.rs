//! A backlog that lasts: the limit is reached and never exceeded.

use std::time::Duration;

use crate::strict::{FAST, HALF, LANES, MEDIUM, Proof, SLOW, WINDOW, arrivals, line};
use crate::world::{Receiver, Stage, alone, boot_ns};

const SECONDS: u64 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_medium_limits_are_reached_and_kept() {
    steady(&[HALF, SLOW, MEDIUM, WINDOW]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_pace_is_reached_and_kept() {
    steady(&[FAST]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_lanes_reach_and_keep_a_pace_each() {
    steady(&[LANES]).await;
}

#[expect(clippy::print_stdout, reason = "figures are for the eye")]
async fn steady(proofs: &[Proof]) {
    let _alone = alone().await;
    let receiver = Receiver::start().await;
    let stage = Stage::new(proofs.iter().map(|proof| proof.rule(&receiver)).collect());
    let began = boot_ns();
    stage.fill(proofs.iter().flat_map(|proof| proof.backlog(&receiver, SECONDS + 3))).await;
    let filled = boot_ns() - began;
    let sender = stage.start().await;
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let until_ns = boot_ns();
    sender.stop();
    let (stamps, arrivals) = (stage.stamps(), arrivals(&receiver));
    println!("steady for {SECONDS} s (backlog made in {} ms):", filled / 1_000_000);
    for proof in proofs {
        println!("{}", line(proof, &stamps, &arrivals, until_ns));
    }
    // No proof of speed: a limit that is far from used is not tested.
    let least = 25.0;
    for proof in proofs {
        proof.assert_kept(&stamps);
        let (_, share) = proof.judge(&stamps, until_ns);
        assert!(share >= least, "{}: only {share:.1} % used", proof.name);
    }
}
