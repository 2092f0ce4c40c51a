//! A limit that is edited under load: from the answer to an edit on its limit holds, and no edit grants a fresh burst.

use std::time::Duration;

use serde_json::json;

use crate::strict::{FAST, event};
use crate::world::{Allowed, Api, Receiver, Stage, Stamps, alone, boot_ns};

const LOW: u32 = 200;
const HIGH: u32 = 5000;
/// How long each limit holds: a second, then long enough for whole windows.
const PHASES_MS: [u64; 15] =
    [1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 2500, 2500, 2500, 2500];

/// One edit, from the request to the answer.
struct Edit {
    limit: u32,
    requested_ns: u64,
    answered_ns: u64,
}

/// Most starts in one second between the answer to each edit and the request of the next.
fn peaks(edits: &[Edit], stamps: &Stamps, until_ns: u64) -> Vec<(u32, usize)> {
    let ends = edits.iter().skip(1).map(|edit| edit.requested_ns).chain([until_ns]);
    edits
        .iter()
        .zip(ends)
        .map(|(edit, end_ns)| {
            let starts = stamps.between(edit.answered_ns, end_ns).of(|_| true);
            (edit.limit, starts.peak(Allowed::per_ms(edit.limit as usize, 1000)))
        })
        .collect()
}

fn is_kept(peaks: &[(u32, usize)]) -> bool {
    peaks.iter().all(|(limit, peak)| *peak <= *limit as usize)
}

async fn edit(api: &Api, uid: &str, pattern: &str, limit: u32) -> Edit {
    let config = json!({"name": "test", "urlPattern": pattern, "methods": ["POST"], "maxThroughput": limit});
    let requested_ns = boot_ns();
    let (status, answer) = api.json("PUT", &format!("/authoring/throttlingConfigs/{uid}"), &config).await;
    assert_eq!(status, 200, "{answer}");
    Edit { limit, requested_ns, answered_ns: boot_ns() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_limit_holds_from_its_answer_on() {
    let _alone = alone().await;
    let receiver = Receiver::start().await;
    let (pattern, base) = (receiver.url("/4/*"), receiver.url("/4"));
    let stage = Stage::new(Vec::new());
    let sender = stage.start().await;
    let api = sender.api();
    let uid = api.deploy_throttling(&pattern, 1).await;
    sender.hand_in((0..80_000).map(|_| event(&base, FAST.first_key))).await;
    let mut edits = Vec::new();
    for (nth, phase_ms) in PHASES_MS.into_iter().enumerate() {
        let limit = if nth % 2 == 0 { HIGH } else { LOW };
        edits.push(edit(&api, &uid, &pattern, limit).await);
        tokio::time::sleep(Duration::from_millis(phase_ms)).await;
    }
    let until_ns = boot_ns();
    sender.stop();
    let stamps = stage.stamps();
    let peaks = peaks(&edits, &stamps, until_ns);
    let overall = stamps.of(|_| true).peak(FAST.allowed);
    println!("edits ({} starts, most in any second {overall}), most starts under each:", stamps.len());
    println!("  {peaks:?}");
    assert!(overall <= HIGH as usize, "{overall}");
    assert!(is_kept(&peaks), "{peaks:?}");
    assert!(peaks.contains(&(LOW, LOW as usize)), "the lower limit is reached");
}

#[test]
fn an_edit_that_comes_late_or_grants_a_burst_is_found() {
    let second_ns = 1_000_000_000;
    let edits = [(HIGH, 1), (LOW, 3), (HIGH, 5)].map(|(limit, at)| Edit {
        limit,
        requested_ns: at * second_ns - 1,
        answered_ns: at * second_ns,
    });
    let every = |per_second: u64, from: u64, until: u64| {
        (from * per_second..until * per_second).map(move |n| (n * second_ns / per_second, 4))
    };
    let good: Stamps = every(5000, 1, 3).chain(every(200, 4, 5)).chain(every(5000, 6, 7)).collect();
    assert!(is_kept(&peaks(&edits, &good, 7 * second_ns)));
    let late: Stamps = every(5000, 1, 4).collect();
    assert!(!is_kept(&peaks(&edits, &late, 7 * second_ns)));
    let burst: Stamps = every(200, 3, 5).chain((0..201).map(|n| (4 * second_ns + n, 4))).collect();
    assert!(!is_kept(&peaks(&edits, &burst, 7 * second_ns)));
}
