//! Every sliding window holds at most its limit: measured at the sender, call by call, over edits of the limit and
//! over every way in which a process can end or be stopped. See [`crate::world::sender`] for how.
//!
//! Shares of what a limit allows are printed: how much is used depends on how busy the machine is, what is never
//! exceeded does not.

mod edits;
mod judges;
mod levels;
mod quota;
mod restarts;
mod steady;

use serde_json::{Value, json};

use crate::world::{Allowed, Receiver, Rule, Stamps, sender};

/// Does nothing unless it is a child of one of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sender_process() {
    sender::run().await;
}

/// One limit under proof.
#[derive(Clone, Copy)]
struct Proof {
    name: &'static str,
    /// The keys of its calls, from the first on; each has the limit for itself.
    first_key: u64,
    keys: u64,
    pace: Option<f64>,
    window: Option<(i64, i64)>,
    /// As its sliding window.
    allowed: Allowed,
}

const HALF: Proof = Proof::pace("0.5/s", 1, 0.5, Allowed::per_ms(1, 2000));
const SLOW: Proof = Proof::pace("200/s", 2, 200.0, Allowed::per_ms(200, 1000));
const MEDIUM: Proof = Proof::pace("1000/s", 3, 1000.0, Allowed::per_ms(1000, 1000));
const FAST: Proof = Proof::pace("5000/s", 4, 5000.0, Allowed::per_ms(5000, 1000));
const WINDOW: Proof = Proof {
    name: "100 per 1000 ms",
    first_key: 5,
    keys: 1,
    pace: None,
    window: Some((100, 1000)),
    allowed: Allowed::per_ms(100, 1000),
};
/// Longer than what a restart may be silent for: its starts are on record before they are made.
const LONG: Proof = Proof {
    name: "9 per 3000 ms",
    first_key: 6,
    keys: 1,
    pace: None,
    window: Some((9, 3000)),
    allowed: Allowed::per_ms(9, 3000),
};
const LANES: Proof = Proof {
    name: "20 lanes x 250/s",
    first_key: 100,
    keys: 20,
    pace: Some(250.0),
    window: None,
    allowed: Allowed::per_ms(250, 1000),
};

impl Proof {
    const fn pace(name: &'static str, key: u64, pace: f64, allowed: Allowed) -> Self {
        Self { name, first_key: key, keys: 1, pace: Some(pace), window: None, allowed }
    }

    fn rule(&self, receiver: &Receiver) -> Rule {
        Rule {
            id: format!("proof-{}", self.first_key),
            pattern: receiver.url(&format!("/{}/*", self.first_key)),
            pace: self.pace,
            window: self.window,
            scope: if self.keys > 1 { vec!["key".to_owned()] } else { Vec::new() },
            ..Rule::default()
        }
    }

    fn keys(&self) -> std::ops::Range<u64> {
        self.first_key..self.first_key + self.keys
    }

    /// More events than the limit lets through in so many seconds, the keys in turn.
    fn backlog(&self, receiver: &Receiver, seconds: u64) -> impl Iterator<Item = Value> {
        let each = self.allowed.calls as u64 * seconds * 1_000_000_000 / self.allowed.per_ns;
        let (keys, first_key, base) = (self.keys(), self.first_key, receiver.url(""));
        (0..each + each / 10 + self.allowed.calls as u64).flat_map(move |_| {
            let base = base.clone();
            keys.clone().map(move |key| event(&format!("{base}/{first_key}"), key))
        })
    }

    /// Of each key: most starts in a window, and the share used until a moment.
    fn judge(&self, stamps: &Stamps, until_ns: u64) -> (usize, f64) {
        let starts: Vec<_> = self.keys().map(|key| stamps.of(|of| of == key)).collect();
        let peak = starts.iter().map(|starts| starts.peak(self.allowed)).max().unwrap_or(0);
        let shares = starts.iter().map(|starts| starts.share_used(self.allowed, until_ns));
        (peak, shares.sum::<f64>() / self.keys as f64)
    }

    /// No window of any key holds more than the limit.
    fn is_kept(&self, stamps: &Stamps) -> bool {
        self.judge(stamps, 0).0 <= self.allowed.calls
    }

    fn assert_kept(&self, stamps: &Stamps) {
        let (peak, _) = self.judge(stamps, 0);
        assert!(peak <= self.allowed.calls, "{}: {peak} starts in one window", self.name);
    }
}

/// An event whose start and arrival can be told by its key.
fn event(base: &str, key: u64) -> Value {
    json!({"url": format!("{base}/{key}"), "body": {"n": key}, "labels": {"key": key.to_string()}})
}

/// As the receiver saw them.
fn arrivals(receiver: &Receiver) -> Stamps {
    let arrivals = receiver.arrivals();
    arrivals.iter().map(|arrival| (arrival.at_ns, arrival.number.expect("a number"))).collect()
}

/// A line of a table for the eye.
fn line(proof: &Proof, stamps: &Stamps, arrivals: &Stamps, until_ns: u64) -> String {
    let (peak, share) = proof.judge(stamps, until_ns);
    let (arrived, _) = proof.judge(arrivals, until_ns);
    let starts = stamps.of(|key| proof.keys().contains(&key)).0.len();
    format!(
        "  {:<17} {starts:>7} starts, most in a window {peak:>5} of {:>5}, at the receiver {arrived:>5}, used {share:6.2} %",
        proof.name, proof.allowed.calls
    )
}
