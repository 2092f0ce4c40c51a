//! A store whose records are encrypted: nothing of them is readable on the disk, and a key that is missing holds what needs
//! it and nothing else.

use super::*;
use crate::store::doubts::DoubtKind;
use crate::store::embedded::keys::{KeyRing, Keys};

const OLD: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const NEW: &str = "fff102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const CANARY: &str = "canary-in-the-body";

fn ring(lines: &[&str]) -> KeyRing {
    KeyRing::parse(&lines.join("\n")).expect("keys")
}

fn encrypted(dir: &Path, keys: &Keys) -> EmbeddedStore {
    // Every read goes to the disk.
    let options = EmbeddedOptions { keys: keys.clone(), block_cache_bytes: 0, ..options() };
    EmbeddedStore::open(dir, options, clock()).expect("opens")
}

fn files_with_canary(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("lists").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with_canary(&path));
        } else {
            let bytes = fs::read(&path).expect("reads");
            let has = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
            found.extend(has.then_some(path));
        }
    }
    found
}

async fn bodies(store: &EmbeddedStore, name: &str, count: u64) {
    for n in 0..count {
        let due_at = (n % 3 == 0).then(|| Timestamp::from_millis(5_000 + n));
        let entry = NewEntry { due_at, ..plain(name, &format!("{n} {CANARY}")) };
        store.append(vec![entry]).await.expect("appends");
    }
}

/// One of a lane becomes a dead letter.
async fn park(store: &EmbeddedStore, name: &str) {
    let entry = store.read_ready(&lane(name), None, ALL).await.expect("reads").remove(0);
    let settlement = Settlement::Dead { reason: "http_404".to_owned(), attempts: 1 };
    let settle = SettleRequest { why: None, lane: lane(name), id: entry.id, due_at: None, settlement };
    store.settle(store.owner(), vec![settle]).await.expect("settles");
}

#[test]
fn no_file_of_the_directory_has_the_body_of_an_event() {
    for is_encrypted in [true, false] {
        let (dir, runtime) = (tempfile::tempdir().expect("temp"), runtime());
        let keys = if is_encrypted { Keys::new(ring(&[OLD])) } else { Keys::default() };
        let store = encrypted(dir.path(), &keys);
        runtime.block_on(async {
            bodies(&store, "a", 20).await;
            park(&store, "a").await;
        });
        let found = files_with_canary(dir.path());
        // The control: without a key it stands in journal and dead letters.
        assert_eq!(found.is_empty(), is_encrypted, "{found:?}");
        assert!(is_encrypted || found.len() >= 2, "{found:?}");
        drop(store);
        assert_eq!(files_with_canary(dir.path()).is_empty(), is_encrypted);
        // Turned off or on: what was there before is read as before.
        let other = if is_encrypted { Keys::new(ring(&[NEW, OLD])) } else { Keys::new(ring(&[NEW])) };
        let store = encrypted(dir.path(), &other);
        let page = runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect("reads");
        assert_eq!(page.len(), 12);
        assert!(page.iter().all(|entry| entry.record.ends_with(CANARY.as_bytes())));
    }
}

#[test]
fn a_missing_key_holds_its_events_over_starts_and_they_are_there_again_with_it() {
    let (dir, runtime) = (tempfile::tempdir().expect("temp"), runtime());
    let keys = Keys::new(ring(&[OLD]));
    let store = encrypted(dir.path(), &keys);
    runtime.block_on(async {
        bodies(&store, "a", 9).await;
        park(&store, "a").await;
        store.close().await.expect("closes");
    });
    drop(store);
    // A wrong key, then none at all, with and without the index.
    for (round, wrong) in
        [Keys::new(ring(&[NEW])), Keys::default(), Keys::new(ring(&[NEW]))].iter().enumerate()
    {
        if round == 2 {
            fs::remove_dir_all(dir.path().join("index")).expect("deletes");
        }
        let store = encrypted(dir.path(), wrong);
        runtime.block_on(async {
            let lanes = store.lanes().await.expect("reads");
            assert!(lanes.iter().any(|of| of.lane == lane("a") && of.ready == 5), "{lanes:?}");
            let refused = store.read_ready(&lane("a"), None, ALL).await.expect_err("no key").to_string();
            assert!(refused.contains("store.key_file"), "{refused}");
            let other = format!("b{round}");
            bodies(&store, &other, 2).await;
            assert_eq!(store.read_ready(&lane(&other), None, ALL).await.expect("goes on").len(), 1);
            let health = store.health();
            // Eight of the lane and the letter.
            let is_missing = health.keys.iter().any(|of| !of.present && of.records == 9);
            assert!(is_missing, "{:?}", health.keys);
            assert_eq!((health.lost_entries, health.damaged), (0, 0));
            let doubts = store.doubts().list();
            assert!(doubts.iter().all(|doubt| doubt.kind == DoubtKind::Unread), "{doubts:?}");
            assert!(doubts.iter().any(|doubt| doubt.subject.starts_with("dead/")), "{doubts:?}");
            let page = Arc::new(store);
            let letters =
                Arc::clone(&page).letters().list(crate::store::LetterOrder::OldestFirst, None, ALL).await;
            assert_eq!(letters.expect("reads").unreadable, 1);
        });
    }
    let keys = Keys::new(ring(&[NEW]));
    let store = encrypted(dir.path(), &keys);
    runtime.block_on(async {
        store.read_ready(&lane("a"), None, ALL).await.expect_err("no key");
        keys.replace(ring(&[NEW, OLD]));
        let page = store.read_ready(&lane("a"), None, ALL).await.expect("reads");
        assert_eq!(page.len(), 5);
        let due = store.read_due(&lane("a"), Timestamp::MAX, &HashSet::new(), ALL).await.expect("reads");
        assert_eq!(due.entries.len(), 3);
        for _ in 0..100 {
            if store.doubts().list().is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(store.doubts().list(), [], "all doubts have ended by themselves");
    });
}

#[test]
fn a_rewritten_directory_reports_what_each_key_is_needed_for_until_nothing_is() {
    let (dir, runtime) = (tempfile::tempdir().expect("temp"), runtime());
    let keys = Keys::new(ring(&[OLD]));
    let store = encrypted(dir.path(), &keys);
    let standing = |store: &EmbeddedStore| -> Vec<(bool, u64, u64)> {
        store.health().keys.iter().map(|of| (of.encrypts, of.files, of.records)).collect()
    };
    let until = |expected: &[(bool, u64, u64)]| {
        for _ in 0..100 {
            if standing(&store) == expected {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(standing(&store), expected);
    };
    runtime.block_on(async {
        store.append(vec![plain("a", "one"), plain("a", "two")]).await.expect("appends");
        keys.replace(ring(&[NEW, OLD]));
        store.append(vec![plain("a", "three")]).await.expect("appends");
        until(&[(true, 1, 1), (false, 1, 2)]);
        let entries = store.read_ready(&lane("a"), None, ALL).await.expect("reads");
        let delivered = entries.iter().take(2).map(|entry| SettleRequest {
            why: None,
            lane: lane("a"),
            id: entry.id,
            due_at: None,
            settlement: Settlement::Delivered,
        });
        store.settle(store.owner(), delivered.collect()).await.expect("settles");
        until(&[(true, 1, 1), (false, 0, 0)]);
    });
    drop(store);
    let verify = |keys: &Keys| verify::verify_with(dir.path(), None, Some(keys)).expect("reads");
    assert!(verify(&Keys::new(ring(&[NEW]))).is_sound(), "the old key is needed no more");
    let found = verify(&Keys::new(ring(&[OLD]))).findings;
    assert!(found.len() == 1 && found[0].place == "store.key_file", "{found:?}");
}
