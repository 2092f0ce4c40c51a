//! Three levels of limits at once: one for all, one for each organisation, one for each of its datamarts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Allowed, Receiver, Rule, Stage, Stamps, alone, boot_ns};

const ALL: Allowed = Allowed::per_ms(1000, 1000);
const ORGANISATION: Allowed = Allowed::per_ms(300, 1000);
const DATAMART: Allowed = Allowed::per_ms(50, 1000);

/// Datamarts with their backlogs; keys are organisation x 1000 + datamart.
type Backlogs = BTreeMap<u64, usize>;

fn rules(receiver: &Receiver) -> Vec<Rule> {
    let rule = |id: &str, allowed: Allowed, scope: &[&str]| Rule {
        id: id.to_owned(),
        pattern: receiver.url("/l/*"),
        pace: Some(allowed.calls as f64),
        scope: scope.iter().map(|label| (*label).to_owned()).collect(),
        ..Rule::default()
    };
    vec![
        rule("all", ALL, &[]),
        rule("organisation", ORGANISATION, &["organisation"]),
        rule("datamart", DATAMART, &["organisation", "datamart"]),
    ]
}

fn event(base: &str, key: u64) -> Value {
    let labels = json!({"organisation": format!("o{}", key / 1000), "datamart": format!("d{}", key % 1000)});
    json!({"url": format!("{base}/l/{key}"), "body": {"n": key}, "labels": labels})
}

/// The highest peak of each level.
fn peaks(stamps: &Stamps) -> [usize; 3] {
    let most = |of_key: fn(u64) -> u64, allowed| {
        stamps.by(of_key).values().map(|starts| starts.peak(allowed)).max().unwrap_or(0)
    };
    [most(|_| 0, ALL), most(|key| key / 1000, ORGANISATION), most(|key| key, DATAMART)]
}

fn is_kept(peaks: [usize; 3]) -> bool {
    peaks.iter().zip([ALL, ORGANISATION, DATAMART]).all(|(peak, allowed)| *peak <= allowed.calls)
}

/// The smallest count of starts of any datamart as a part of the largest.
fn evenness(stamps: &Stamps, backlogs: &Backlogs) -> f64 {
    let starts = stamps.by(|key| key);
    let counts = backlogs.keys().map(|key| starts.get(key).map_or(0, |starts| starts.0.len()));
    let (least, most) = counts.fold((usize::MAX, 0), |(least, most), n| (least.min(n), most.max(n)));
    least as f64 / most.max(1) as f64
}

/// The time in which every datamart competes: from the moment at which the last of them has had its first start, since until
/// then the lanes that are read share the limit, to that at which the first has no backlog any more. Empty when one never
/// starts.
fn contest(stamps: &Stamps, backlogs: &Backlogs, until_ns: u64) -> (u64, u64) {
    let starts = stamps.by(|key| key);
    let first = |key| starts.get(key).and_then(|starts| starts.0.first().copied());
    let last = |(key, backlog): (&u64, &usize)| {
        starts.get(key).and_then(|starts| starts.0.get(backlog - 1).copied())
    };
    let from_ns = backlogs.keys().map(|key| first(key).unwrap_or(until_ns)).max().unwrap_or(until_ns);
    (from_ns, backlogs.iter().filter_map(last).min().unwrap_or(until_ns))
}

async fn run(backlogs: &Backlogs, seconds: u64) -> (Stamps, u64) {
    let receiver = Receiver::start().await;
    let stage = Stage::new(rules(&receiver));
    let base = receiver.url("");
    let longest = backlogs.values().copied().max().unwrap_or(0);
    let rounds = (0..longest)
        .flat_map(|round| backlogs.iter().filter(move |(_, backlog)| **backlog > round).map(|(key, _)| *key));
    stage.fill(rounds.map(|key| event(&base, key))).await;
    let sender = stage.start().await;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let until_ns = boot_ns();
    sender.stop();
    (stage.stamps(), until_ns)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_datamarts_share_the_limit_for_all_evenly() {
    let _alone = alone().await;
    let backlogs: Backlogs =
        (1..=8).flat_map(|org| (0..125).map(move |mart| (org * 1000 + mart, 40))).collect();
    let (stamps, until_ns) = run(&backlogs, 30).await;
    let (from_ns, to_ns) = contest(&stamps, &backlogs, until_ns);
    let (peaks, even) = (peaks(&stamps), evenness(&stamps.between(from_ns, to_ns), &backlogs));
    let contest_ms = to_ns.saturating_sub(from_ns) / 1_000_000;
    let from_the_first = evenness(&stamps, &backlogs);
    let share = stamps.of(|_| true).share_used(ALL, until_ns);
    println!(
        "1000 datamarts of 8 organisations: most in a second {peaks:?} of [1000, 300, 50], used {share:.2} % of the \
         limit for all, smallest share of a datamart {even:.2} of the largest within the {contest_ms} ms in which all of them \
         compete ({from_the_first:.2} over the whole run)"
    );
    assert!(is_kept(peaks), "{peaks:?}");
    assert!(even >= 0.8, "{even}, {contest_ms} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_level_is_reached_and_kept() {
    let _alone = alone().await;
    // The first organisation is stopped by its own limit, the second by those of its two datamarts.
    let first = (0..40).map(|mart| (1000 + mart, 120));
    let second = (0..2).map(|mart| (2000 + mart, 700));
    let backlogs: Backlogs = first.chain(second).collect();
    let (stamps, until_ns) = run(&backlogs, 10).await;
    let peaks = peaks(&stamps);
    let of = |org: u64, allowed| stamps.of(|key| key / 1000 == org).share_used(allowed, until_ns);
    let (first, second) = (of(1, ORGANISATION), of(2, Allowed::per_ms(100, 1000)));
    println!(
        "levels below the limit for all: most in a second {peaks:?} of [400, 300, 50], used {first:.2} % of an \
         organisation's limit, {second:.2} % of those of two datamarts"
    );
    assert!(is_kept(peaks), "{peaks:?}");
    assert_eq!(peaks[1..], [300, 50], "both are reached");
}

#[test]
fn a_level_that_is_exceeded_and_a_datamart_that_starves_are_found() {
    let every = |key: u64, per_second: u64| {
        (0..per_second * 2).map(move |n| (n * 1_000_000_000 / per_second + key, key))
    };
    assert!(is_kept(peaks(&every(1001, 50).collect())));
    assert!(!is_kept(peaks(&every(1001, 51).collect())), "a datamart");
    let seven = |org: u64, each: u64| (0..7).flat_map(move |mart| every(org * 1000 + mart, each));
    assert!(is_kept(peaks(&seven(1, 42).collect())));
    assert!(!is_kept(peaks(&seven(1, 43).collect())), "an organisation");
    let four = |each| (1..=4).flat_map(move |org| seven(org, each));
    assert!(is_kept(peaks(&four(35).collect())));
    assert!(!is_kept(peaks(&four(36).collect())), "all of them");
    let backlogs = Backlogs::from([(1001, 9), (1002, 9), (1003, 9)]);
    let uneven: Stamps = every(1001, 50).chain(every(1002, 30)).chain(every(1003, 50)).collect();
    assert!((evenness(&uneven, &backlogs) - 0.6).abs() < 0.01);
    assert!(evenness(&every(1001, 50).collect(), &backlogs) < 0.01);
    let late: Stamps =
        [(10, 1001), (20, 1002), (30, 1001), (40, 1003), (50, 1003), (60, 1002)].into_iter().collect();
    assert_eq!(contest(&late, &backlogs, 99), (40, 99));
    assert_eq!(contest(&late, &Backlogs::from([(1001, 9), (1002, 2), (1003, 9)]), 99), (40, 60));
    let lone: Stamps = [(10, 1001), (20, 1001)].into_iter().collect();
    assert_eq!(contest(&lone, &backlogs, 99).0, 99, "a datamart that never starts");
}
