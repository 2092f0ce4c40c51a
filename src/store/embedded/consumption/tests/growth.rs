//! Rewrites while the record is written: the sum stays, the file does not grow without bound, damage is not hidden.

use super::*;

const FLOOR: u64 = 4 * 1024 * 1024;

fn name(number: u32) -> String {
    format!("{number:0>1000}")
}

fn length(subject: &Embedded) -> u64 {
    fs::metadata(subject.path()).expect("there").len()
}

#[tokio::test]
async fn a_rewrite_keeps_the_sum_and_shrinks_the_file() {
    let subject = Embedded::new();
    let clock = Clock::manual(NOW);
    let log = UsageLog::new(subject.dir.path(), clock.clone());
    log.open(NOW).await.expect("opens");
    let (mut longest, mut before) = (0, 0);
    let mut shrunk = 0;
    for round in 0..60_u64 {
        // Ten limits that live, and ninety usages that are over when the next round comes.
        let living = (0..10).map(|number| usage(&name(number), 2, 90_000, 100_000));
        let passing = (10..100).map(|number| usage(&name(number), 1, 1_000 + round, 1_001 + round));
        log.record(log.owner(), living.chain(passing).collect()).await.expect("records");
        // The rewrite follows the answer: the next call comes after it.
        log.record(log.owner(), Vec::new()).await.expect("nothing to do");
        clock.advance(std::time::Duration::from_millis(1));
        let now = length(&subject);
        shrunk += u32::from(now < before);
        longest = longest.max(now);
        before = now;
    }
    assert_eq!(shrunk, 1, "60 rounds of 104 kB");
    assert!(longest <= FLOOR + 110_000, "{longest}");
    let found = super::log(subject.dir.path()).open(clock.now()).await.expect("opens");
    let expected: Vec<Usage> = (0..10).map(|number| usage(&name(number), 120, 90_000, 100_000)).collect();
    assert_eq!(found, disorderly(&expected));
    assert!(length(&subject) < 12_000, "opening leaves what lives");
}

#[tokio::test]
async fn a_hundred_thousand_limits_fit() {
    let mut subject = Embedded::new();
    subject.open().await;
    let all: Vec<Usage> =
        (0..100_000).map(|number| usage(&format!("acme/limit-{number}"), 1, 1_500, 9_000)).collect();
    let mut opened = length(&subject);
    for _ in 0..6 {
        for part in all.chunks(10_000) {
            subject.record(part).await;
        }
        subject.record(&[]).await;
        let rewritten = length(&subject);
        assert!(rewritten < 5 * opened.max(FLOOR * 2), "{rewritten} bytes");
        opened = opened.max(FLOOR);
    }
    subject.crash();
    let found = subject.open().await.usages;
    assert_eq!(found.len(), all.len());
    assert!(found.iter().zip(&all).all(|(found, one)| found.limit == one.limit && found.count == 6));
    subject.log.close(subject.log.owner(), all.clone()).await.expect("closes");
    subject.crash();
    assert!(subject.open().await == orderly(&all));
}

#[tokio::test]
async fn a_rewrite_does_not_hide_damage_from_the_next_start() {
    let mut subject = Embedded::new();
    subject.open().await;
    subject.record(&[usage("lost", 1, 1_500, 9_000)]).await;
    subject.record(&[usage("kept", 1, 1_500, 9_000)]).await;
    let mut bytes = subject.bytes();
    let at = bytes.windows(4).position(|part| part == b"lost").expect("there");
    bytes[at] ^= 1;
    // In place: the record goes on in the same file.
    fs::write(subject.path(), &bytes).expect("writes");
    for _ in 0..50 {
        subject.record(&vec![usage(&name(1), 1, 1_500, 9_000); 100]).await;
    }
    assert_eq!(subject.log.poisoned(), None);
    assert!(length(&subject) > 5_000_000, "left as it is");
    subject.crash();
    let found = subject.open().await;
    assert_eq!((found.damaged, found.orderly, found.complete_from), (1, false, NOW));
    assert_eq!(found.usages, [usage("kept", 1, 1_500, 9_000), usage(&name(1), 5_000, 1_500, 9_000)]);
}
