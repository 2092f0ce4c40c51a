//! Ends of every kind, and stops in between: all processes together keep the limits.

use std::time::Duration;

use rustix::process::Signal;

use crate::strict::{FAST, HALF, LANES, LONG, MEDIUM, Proof, SLOW, WINDOW, arrivals, line};
use crate::world::{Receiver, Sender, Stage, Stamps, alone, boot_ns};

/// Limits that are tried together: few enough starts that the limits are met, not the machine.
const GROUPS: [&[Proof]; 3] = [&[HALF, SLOW, MEDIUM, WINDOW, LONG], &[FAST], &[LANES]];
/// How long each group is.
const SECONDS: u64 = 12;
const SECOND_NS: u64 = 1_000_000_000;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Orderly,
    Kill,
}

impl End {
    fn of(self, sender: Sender) {
        match self {
            Self::Orderly => sender.stop(),
            Self::Kill => sender.kill(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orderly_restarts_keep_every_limit() {
    let _alone = alone().await;
    for proofs in GROUPS {
        let stamps = over_restarts(proofs, Duration::from_millis(500), End::Orderly).await;
        proofs.iter().for_each(|proof| proof.assert_kept(&stamps));
        // Some starts share a window with starts of the process before, or nothing was tested.
        let over_two_lives = |proof: &Proof| proof.judge(&stamps, 0).0 * 2 > proof.allowed.calls;
        assert!(proofs.iter().any(over_two_lives), "no window reaches over two processes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_every_half_second_let_only_start_what_is_on_record() {
    let _alone = alone().await;
    let stamps = over_restarts(GROUPS[0], Duration::from_millis(500), End::Kill).await;
    GROUPS[0].iter().for_each(|proof| proof.assert_kept(&stamps));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_with_time_between_keep_every_limit() {
    let _alone = alone().await;
    for proofs in GROUPS {
        let stamps = over_restarts(proofs, Duration::from_millis(2500), End::Kill).await;
        proofs.iter().for_each(|proof| proof.assert_kept(&stamps));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_stopped_now_and_then_keeps_every_limit() {
    let _alone = alone().await;
    for proofs in GROUPS {
        let receiver = Receiver::start().await;
        let stage = filled(proofs, &receiver, SECONDS).await;
        let sender = stage.start().await;
        for _ in 0..SECONDS {
            tokio::time::sleep(Duration::from_millis(700)).await;
            sender.signal(Signal::STOP);
            tokio::time::sleep(Duration::from_millis(300)).await;
            sender.signal(Signal::CONT);
        }
        let until_ns = boot_ns();
        sender.stop();
        let stamps = stage.stamps();
        println!("stopped for 300 ms of every second, for {SECONDS} s:");
        show(proofs, &stamps, &receiver, until_ns);
        proofs.iter().for_each(|proof| proof.assert_kept(&stamps));
    }
}

#[expect(clippy::print_stdout, reason = "figures are for the eye")]
fn show(proofs: &[Proof], stamps: &Stamps, receiver: &Receiver, until_ns: u64) {
    let arrivals = arrivals(receiver);
    for proof in proofs {
        println!("{}", line(proof, stamps, &arrivals, until_ns));
    }
}

async fn filled(proofs: &[Proof], receiver: &Receiver, seconds: u64) -> Stage {
    let stage = Stage::new(proofs.iter().map(|proof| proof.rule(receiver)).collect());
    stage.fill(proofs.iter().flat_map(|proof: &Proof| proof.backlog(receiver, seconds))).await;
    stage
}

/// Lets one process after the other live for `life`; returns the starts of all of them.
#[expect(clippy::print_stdout, reason = "figures are for the eye")]
async fn over_restarts(proofs: &[Proof], life: Duration, end: End) -> Stamps {
    let receiver = Receiver::start().await;
    let stage = filled(proofs, &receiver, SECONDS).await;
    let began = boot_ns();
    let (mut processes, mut first_until, mut longest_ns) = (0, 0, 0);
    while boot_ns() < began + SECONDS * SECOND_NS {
        let born = boot_ns();
        let sender = stage.start().await;
        tokio::time::sleep(life).await;
        end.of(sender);
        processes += 1;
        longest_ns = longest_ns.max(boot_ns() - born);
        if first_until == 0 {
            first_until = boot_ns();
        }
    }
    let until_ns = boot_ns();
    let stamps = stage.stamps();
    let later = stamps.between(first_until, until_ns);
    println!(
        "{processes} processes of {life:?} in {SECONDS} s, {end:?} end, {} starts, {} of them after the first process:",
        stamps.len(),
        later.len()
    );
    show(proofs, &stamps, &receiver, until_ns);
    if end == End::Kill && longest_ns < SECOND_NS {
        let unknown = later.of(|key| !LONG.keys().contains(&key)).0.len();
        assert_eq!(unknown, 0, "what a killed process started is unknown for the length of a window");
        let on_record = later.len();
        assert!(
            !proofs.iter().any(|proof| proof.name == LONG.name) || on_record > 0,
            "what is on record goes on"
        );
    }
    stamps
}
