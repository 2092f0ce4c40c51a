//! Failing and slow disks, callers that come at once or go away.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::disks::Watched;
use super::*;
use crate::store::embedded::journal::OsDisk;

fn numbered(number: u32) -> Usage {
    usage(&format!("limit {number}"), 1, 1_500, 9_000)
}

/// An open record on a disk that can be held.
async fn opened() -> (Embedded, Watched, UsageLog) {
    let subject = Embedded::new();
    let disk = Watched::default();
    let log = log_on(subject.dir.path(), disk.clone());
    log.open(NOW).await.expect("opens");
    (subject, disk, log)
}

#[tokio::test]
async fn calls_that_arrive_while_a_sync_runs_share_the_next_one() {
    let (subject, disk, log) = opened().await;
    let before = disk.calls();
    disk.held.store(true, Ordering::SeqCst);
    let record = |number| {
        let log = log.clone();
        tokio::spawn(async move { log.record(log.owner(), vec![numbered(number)]).await })
    };
    let mut calls = vec![record(0)];
    while disk.calls().0 == before.0 {
        tokio::task::yield_now().await;
    }
    calls.extend((1..50).map(record));
    // The runtime of this test has one thread: each call is in the queue after its first turn.
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    assert!(calls.iter().all(|call| !call.is_finished()), "nobody is answered before a sync");
    disk.held.store(false, Ordering::SeqCst);
    for call in join_all(calls).await {
        call.expect("runs").expect("records");
    }
    assert_eq!(disk.calls(), (before.0 + 2, before.1 + 2));
    let found = super::log(subject.dir.path()).open(NOW).await.expect("opens").usages;
    assert_eq!(found, (0..50).map(numbered).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_caller_that_goes_away_changes_nothing() {
    let (subject, disk, log) = opened().await;
    disk.held.store(true, Ordering::SeqCst);
    assert!(log.record(log.owner(), vec![numbered(1)]).now_or_never().is_none(), "waits");
    assert!(log.record(log.owner(), vec![numbered(2)]).now_or_never().is_none(), "waits");
    disk.held.store(false, Ordering::SeqCst);
    log.record(log.owner(), vec![numbered(3)]).await.expect("records");
    let found = super::log(subject.dir.path()).open(NOW).await.expect("opens").usages;
    assert_eq!(found, [numbered(1), numbered(2), numbered(3)]);
}

#[tokio::test]
async fn calls_that_wait_when_the_record_is_closed_are_told() {
    let (subject, disk, log) = opened().await;
    let before = disk.calls();
    disk.held.store(true, Ordering::SeqCst);
    let mut first = log.record(log.owner(), vec![numbered(1)]);
    assert!((&mut first).now_or_never().is_none());
    while disk.calls().0 == before.0 {
        tokio::task::yield_now().await;
    }
    let (second, closing) =
        (log.record(log.owner(), vec![numbered(2)]), log.close(log.owner(), vec![numbered(3)]));
    let release = async { disk.held.store(false, Ordering::SeqCst) };
    let (first, second, closed, ()) = futures_util::join!(first, second, closing, release);
    first.expect("was being written");
    closed.expect("closes");
    assert!(matches!(second, Ok(()) | Err(StoreError::Closed)), "whichever came first: {second:?}");
    let found = super::log(subject.dir.path()).open(NOW).await.expect("opens");
    assert_eq!(found, orderly(&[numbered(3)]));
}

struct Panicking;

impl Disk for Panicking {
    fn write_at(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        assert_eq!(offset, 0, "appended");
        OsDisk.write_at(file, bytes, offset)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        OsDisk.sync(file)
    }
}

#[tokio::test]
async fn a_panic_while_writing_leaves_nobody_waiting_and_poisons() {
    let subject = Embedded::new();
    let log = log_on(subject.dir.path(), Panicking);
    log.open(NOW).await.expect("opens");
    let calls = (0..3).map(|number| log.record(log.owner(), vec![numbered(number)]));
    for done in join_all(calls).await {
        assert!(matches!(done, Err(StoreError::Poisoned { .. })), "{done:?}");
    }
    assert!(log.poisoned().is_some());
    assert!(matches!(log.close(log.owner(), Vec::new()).await, Err(StoreError::Poisoned { .. })));
    assert_eq!(super::log(subject.dir.path()).open(NOW).await.expect("opens"), disorderly(&[]));
}

/// What became of each call on a record that fails at some point.
async fn until_it_fails(log: &UsageLog, disk: &Watched) -> (Vec<Usage>, bool, bool) {
    let mut acknowledged = Vec::new();
    let opened = log.open(NOW).await.is_ok();
    let mut calls_at_failure = (!opened).then(|| disk.calls());
    for number in 0..4 {
        match log.record(log.owner(), vec![numbered(number)]).await {
            Ok(()) => {
                assert!(calls_at_failure.is_none(), "acknowledged after a failure");
                acknowledged.push(numbered(number));
            }
            Err(StoreError::Poisoned { .. }) if opened => {
                let calls = disk.calls();
                assert_eq!(*calls_at_failure.get_or_insert(calls), calls, "touched the disk after a failure");
            }
            Err(StoreError::Closed) if !opened => {}
            Err(other) => panic!("{other}"),
        }
    }
    let closed = log.close(log.owner(), vec![numbered(9)]).await.is_ok();
    assert_eq!(calls_at_failure.unwrap_or_else(|| disk.calls()), disk.calls());
    (acknowledged, opened, closed)
}

#[tokio::test]
async fn after_any_failing_call_nothing_more_is_written_and_what_was_acknowledged_stays() {
    // Opening is one write and one sync, each record one, closing one.
    for nth in 0..=6 {
        for fail_sync in [false, true] {
            let mut disk = Watched::default();
            *(if fail_sync { &mut disk.fail_sync } else { &mut disk.fail_write }) = Some(nth);
            let subject = Embedded::new();
            let log = log_on(subject.dir.path(), disk.clone());
            let (acknowledged, opened, closed) = until_it_fails(&log, &disk).await;
            assert_eq!(
                (acknowledged.len(), opened, closed),
                (nth.saturating_sub(1).min(4), nth > 0, nth > 5)
            );
            assert_eq!(log.poisoned().is_some(), nth < 6);
            assert!(matches!(log.open(NOW).await, Err(StoreError::Poisoned { .. } | StoreError::Closed)));

            let found = super::log(subject.dir.path()).open(NOW).await.expect("opens");
            // A record whose opening failed was never taken up.
            assert_eq!((found.orderly, found.damaged), (!opened || closed, 0), "{nth}");
            if closed {
                assert_eq!(found.usages, [numbered(9)], "the control: nothing failed");
            } else {
                assert_eq!(found.usages[..acknowledged.len()], acknowledged, "{nth}");
            }
        }
    }
}

#[tokio::test]
async fn a_write_without_room_takes_ballast_or_is_refused_and_leaves_nothing() {
    for has_ballast in [true, false] {
        let subject = Embedded::new();
        let limits = subject.dir.path().join("limits");
        fs::create_dir(&limits).expect("makes");
        // Opening is the first write.
        let mut disk = Watched::default();
        (disk.fail_write, disk.write_errno) = (Some(2), Some(28));
        if has_ballast {
            fs::write(subject.dir.path().join("ballast.23"), [0; 4096]).expect("writes");
        }
        let log = log_on(&limits, disk);
        log.open(NOW).await.expect("opens");
        log.record(log.owner(), vec![numbered(0)]).await.expect("records");
        let long = (1..9).map(numbered).collect();
        let refused = log.record(log.owner(), long).await;
        assert_eq!(refused.is_ok(), has_ballast, "{refused:?}");
        assert!(refused.is_ok() || refused.is_err_and(|error| error.is_full()));
        assert_eq!(log.poisoned(), None);
        log.record(log.owner(), vec![numbered(9)]).await.expect("there is room again");
        let found = super::log(&limits).open(NOW).await.expect("opens");
        assert_eq!((found.usages.len(), found.damaged), (if has_ballast { 10 } else { 2 }, 0));
    }
}

/// ENOMEM and ENOBUFS; the control is EIO.
#[tokio::test]
async fn a_shortage_refuses_what_was_not_written_and_poisons_nothing() {
    for (errno, is_refusal) in [(12, true), (105, true), (5, false)] {
        let subject = Embedded::new();
        let mut disk = Watched::default();
        (disk.fail_write, disk.write_errno) = (Some(2), Some(errno));
        let log = log_on(subject.dir.path(), disk);
        log.open(NOW).await.expect("opens");
        log.record(log.owner(), vec![numbered(0)]).await.expect("records");
        let refused = log.record(log.owner(), vec![numbered(1)]).await.expect_err("fails");
        assert_eq!((refused.is_refusal(), refused.is_full()), (is_refusal, false), "{refused:?}");
        assert_eq!(log.poisoned().is_none(), is_refusal, "{errno}");
        assert_eq!(log.record(log.owner(), vec![numbered(2)]).await.is_ok(), is_refusal, "{errno}");
        if is_refusal {
            let found = super::log(subject.dir.path()).open(NOW).await.expect("opens");
            assert_eq!((found.usages, found.damaged), (vec![numbered(0), numbered(2)], 0), "{errno}");
        }
    }
}

#[tokio::test]
async fn a_directory_that_is_gone_poisons_the_close() {
    let subject = Embedded::new();
    let dir = subject.dir.path().join("limits");
    fs::create_dir(&dir).expect("makes");
    let log = log(&dir);
    assert_eq!(log.open(NOW).await.expect("opens").complete_from, NOW, "nobody laid a record here");
    fs::remove_dir_all(&dir).expect("deletes");
    assert!(matches!(log.close(log.owner(), vec![numbered(1)]).await, Err(StoreError::Poisoned { .. })));
    assert!(log.poisoned().is_some_and(|reason| reason.contains("usage.log.tmp")));
    assert!(matches!(super::log(&dir).open(NOW).await, Err(StoreError::Io { .. })), "nor can it be opened");
}

#[tokio::test]
async fn the_files_are_private() {
    let mut subject = Embedded::new();
    subject.crash_with(b"damage\n");
    subject.open().await;
    for name in ["usage.log", "usage.damaged-1"] {
        let meta = fs::metadata(subject.dir.path().join(name)).expect("there");
        assert_eq!(meta.permissions().mode() & 0o077, 0, "{name}");
    }
    assert!(!subject.dir.path().join("usage.log.tmp").exists());
}

#[tokio::test]
async fn the_model_fails_and_waits_as_told() {
    let store = MemoryUsages::new();
    store.open(NOW).await.expect("opens");
    store.hold(true);
    let held = store.record(store.owner(), vec![numbered(0)]);
    tokio::pin!(held);
    assert!(held.as_mut().now_or_never().is_none());
    store.hold(false);
    held.await.expect("records");
    for (how, kept) in [(RecordFails::Lost, 1), (RecordFails::Kept, 2)] {
        let store = store.crash();
        store.open(NOW).await.expect("opens");
        store.fail_next(how);
        for _ in 0..2 {
            assert!(matches!(
                store.record(store.owner(), vec![numbered(1)]).await,
                Err(StoreError::Poisoned { .. })
            ));
        }
        assert!(store.poisoned().is_some());
        assert_eq!(store.crash().open(NOW).await.expect("opens").usages.len(), kept);
    }
}
