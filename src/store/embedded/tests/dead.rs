//! Dead letters: whole, before their settlement, kept as long as promised.

use std::sync::Mutex;

use super::*;
use crate::store::DeadLetter;
use crate::store::embedded::journal::{Frame, Scan, scan};

fn letters(dir: &Path) -> Vec<DeadLetter> {
    let mut found = Vec::new();
    scan(&dir.join("dead"), Scan::default(), |_, frame| {
        if let Frame::Dead(letter) = frame {
            found.push(letter);
        }
        Ok(())
    })
    .expect("scans");
    found
}

fn park(entry: &StoredEntry, reason: &str) -> SettleRequest {
    let settlement = Settlement::Dead { reason: reason.to_owned(), attempts: 7 };
    SettleRequest { why: None, lane: lane("a"), id: entry.id, due_at: entry.due_at, settlement }
}

async fn first(store: &EmbeddedStore) -> StoredEntry {
    store.read_ready(&lane("a"), None, ALL).await.expect("reads").remove(0)
}

/// Notes what is done to which disk, and fails at one of the things done.
struct Noting {
    name: &'static str,
    done: Arc<Mutex<Vec<String>>>,
    fail: Option<&'static str>,
}

impl Noting {
    fn step(&self, what: &str) -> io::Result<()> {
        let mut done = self.done.lock().expect("not poisoned");
        // The segment's head was written and synced before.
        done.push(format!("{} {what}", self.name));
        let fails = self.fail == Some(what)
            && done.iter().filter(|one| *one == done.last().expect("one")).count() > 1;
        if fails { Err(io::Error::other("made to fail")) } else { Ok(()) }
    }
}

impl Disk for Noting {
    fn write_at(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.step("write")?;
        OsDisk.write_at(file, bytes, offset)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        self.step("sync")?;
        OsDisk.sync(file)
    }
}

pub(super) fn noted(dir: &Path, fail: Option<&'static str>) -> (EmbeddedStore, Arc<Mutex<Vec<String>>>) {
    let done = Arc::new(Mutex::new(Vec::new()));
    let journal = Box::new(Noting { name: "journal", done: Arc::clone(&done), fail: None });
    let dead = Box::new(Noting { name: "dead", done: Arc::clone(&done), fail });
    let store = EmbeddedStore::open_on(dir, options(), clock(), Disks { journal, dead, ..Disks::default() });
    (store.expect("opens"), done)
}

#[test]
fn a_letter_is_whole_and_synced_before_its_settlement_is_written() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let (store, done) = noted(dir.path(), None);
    runtime.block_on(store.append(vec![plain("a", "one"), plain("a", "two")])).expect("appends");
    let entry = runtime.block_on(first(&store));
    assert_eq!(store.health().dead_entries, 0);
    done.lock().expect("not poisoned").clear();
    // A repetition in the same batch is parked once.
    let parked = vec![park(&entry, "http_404"), park(&entry, "http_404")];
    runtime.block_on(store.settle(store.owner(), parked)).expect("settles");
    let steps = std::mem::take(&mut *done.lock().expect("not poisoned"));
    assert_eq!(steps, ["dead write", "dead sync", "journal write", "journal sync"]);
    let expected = DeadLetter {
        id: entry.id,
        lane: lane("a"),
        at: Timestamp::from_millis(1_000),
        attempts: 7,
        reason: "http_404".to_owned(),
        record: entry.record.clone(),
    };
    assert_eq!(letters(dir.path()), std::slice::from_ref(&expected));
    assert_eq!(runtime.block_on(store.lookup(entry.id)).expect("looks up"), Lookup::Settled(None));
    runtime.block_on(store.settle(store.owner(), vec![park(&entry, "again")])).expect("is left alone");
    assert_eq!(store.health().dead_entries, 1);
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.health().dead_entries, 1, "counted when it is opened");
    assert_eq!(letters(dir.path()), [expected]);
    assert_eq!(runtime.block_on(contents(&store, &["a"]))[0].0, ["two"]);
}

#[test]
fn an_entry_whose_letter_fails_is_not_settled() {
    let runtime = runtime();
    for fail in ["write", "sync"] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (store, done) = noted(dir.path(), Some(fail));
        runtime.block_on(store.append(vec![plain("a", "one"), plain("a", "two")])).expect("appends");
        let entry = runtime.block_on(first(&store));
        done.lock().expect("not poisoned").retain(|step| step.starts_with("dead"));
        let settled = runtime.block_on(store.settle(store.owner(), vec![park(&entry, "http_404")]));
        assert!(matches!(settled, Err(StoreError::Poisoned { .. })), "{fail}: {settled:?}");
        assert!(store.health().poisoned.is_some());
        let again = runtime.block_on(store.append(vec![plain("a", "three")]));
        assert!(matches!(again, Err(StoreError::Poisoned { .. })));
        let steps = std::mem::take(&mut *done.lock().expect("not poisoned"));
        assert_eq!(steps.last(), Some(&format!("dead {fail}")), "nothing is written after the failure");
        drop(store);
        assert_eq!(runtime.block_on(contents(&open(dir.path()), &["a"]))[0].0, ["one", "two"], "{fail}");
    }
}

#[test]
fn letters_go_when_all_of_their_segment_have_outlived_their_time() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (runtime, clock) = (runtime(), clock());
    let hour = Duration::from_secs(3600);
    let options = EmbeddedOptions { dead_retention: hour, segment_age: Duration::from_secs(1), ..options() };
    let store = EmbeddedStore::open(dir.path(), options, clock.clone()).expect("opens");
    for record in ["one", "two"] {
        runtime.block_on(store.append(vec![plain("a", record)])).expect("appends");
        let entry = runtime.block_on(first(&store));
        runtime.block_on(store.settle(store.owner(), vec![park(&entry, record)])).expect("settles");
        clock.advance(Duration::from_secs(100));
    }
    // Upkeep follows a commit: the second one comes after that of the first.
    let upkeep = || {
        for _ in 0..2 {
            runtime.block_on(store.append(vec![plain("b", "x")])).expect("appends");
        }
    };
    upkeep();
    assert_eq!((letters(dir.path()).len(), store.health().dead_entries), (2, 2));
    clock.advance(hour - Duration::from_secs(120));
    upkeep();
    let kept: Vec<String> = letters(dir.path()).into_iter().map(|letter| letter.reason).collect();
    assert_eq!((kept, store.health().dead_entries), (vec!["two".to_owned()], 1));
}
