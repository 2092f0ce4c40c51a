//! Walks over blocks of which little lives: a step is bounded by what it unpacks, not by what it finds.

use super::*;
use crate::store::{LanePick, Scan};

/// One entry of each block lives; the others took most of it.
async fn thinned(store: &EmbeddedStore, blocks: usize, dead_bytes: usize) {
    for block in 0..blocks {
        let big = "x".repeat(dead_bytes);
        store.append(vec![plain("a", &format!("small {block}")), plain("a", &big)]).await.expect("appends");
    }
    let entries = store.read_ready(&lane("a"), None, ALL).await.expect("reads");
    let dead = entries.iter().filter(|entry| entry.record.len() >= dead_bytes);
    let settles = dead.map(|entry| SettleRequest {
        why: None,
        lane: lane("a"),
        id: entry.id,
        due_at: None,
        settlement: Settlement::Delivered,
    });
    store.settle(store.owner(), settles.collect()).await.expect("settles");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_ends_when_it_has_unpacked_enough_and_leads_on() {
    // Few large blocks, or many small ones.
    for (blocks, dead_bytes, steps) in [(30, 500_000, 4), (200, 20, 4)] {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(dir.path());
        thinned(&store, blocks, dead_bytes).await;
        let (mut found, mut taken, mut after) = (0, 0, None);
        loop {
            let limit = ReadLimit { entries: 1_000, bytes: usize::MAX };
            let lanes = LanePick::new(|_| true);
            let step = Scan { after, lanes, accepted_from: Timestamp::ZERO, limit };
            let page = store.scan(step).await.expect("reads");
            assert!(page.entries.len() <= 64 && page.unread == 0, "{}", page.entries.len());
            assert!(page.entries.iter().all(|scanned| scanned.entry.record.starts_with(b"small")));
            found += page.entries.len();
            taken += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, blocks);
        assert!(taken >= steps, "{taken} steps over {blocks} blocks");
    }
}
