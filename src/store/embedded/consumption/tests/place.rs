//! The record in its data directory: which one is new, which one has lost it, who may look.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::store::embedded::EmbeddedStore;
use crate::store::embedded::tests::options;

/// What the next process finds in a data directory.
async fn found_in(data: &Path) -> UsageFound {
    let (data, clock) = (data.to_owned(), Clock::manual(NOW));
    let opening = tokio::task::spawn_blocking(move || EmbeddedStore::open(&data, options(), clock));
    let store = opening.await.expect("runs").expect("opens");
    let found = store.usages().open(NOW).await.expect("opens");
    tokio::task::spawn_blocking(move || drop(store)).await.expect("closes");
    found
}

#[tokio::test]
async fn only_a_directory_that_never_had_a_segment_is_new() {
    let temp = tempfile::tempdir().expect("temp");
    let lost = UsageFound { complete_from: NOW, ..disorderly(&[]) };
    assert_eq!(found_in(temp.path()).await, orderly(&[]));
    assert_eq!(found_in(temp.path()).await, disorderly(&[]), "the control: that was no orderly end");
    fs::remove_file(temp.path().join("limits/usage.log")).expect("deletes");
    assert_eq!(found_in(temp.path()).await, lost);
    fs::remove_dir_all(temp.path().join("limits")).expect("deletes");
    assert_eq!(found_in(temp.path()).await, lost, "as in the directory of an older version");
    fs::remove_dir_all(temp.path().join("limits")).expect("deletes");
    fs::remove_dir_all(temp.path().join("journal")).expect("deletes");
    assert_eq!(found_in(temp.path()).await, lost, "the index knows that there was a journal");
}

#[tokio::test]
async fn a_first_start_that_never_took_up_the_record_leaves_it_new() {
    let temp = tempfile::tempdir().expect("temp");
    let root = temp.path().to_owned();
    let opening = move || EmbeddedStore::open(&root, options(), Clock::manual(NOW)).map(drop);
    tokio::task::spawn_blocking(opening).await.expect("runs").expect("opens");
    assert_eq!(found_in(temp.path()).await, orderly(&[]));
}

#[tokio::test]
async fn the_room_is_private_and_no_link() {
    let temp = tempfile::tempdir().expect("temp");
    let room = temp.path().join("limits");
    found_in(temp.path()).await;
    assert_eq!(fs::metadata(&room).expect("there").permissions().mode() & 0o777, 0o700);
    let elsewhere = temp.path().join("elsewhere");
    fs::rename(&room, &elsewhere).expect("moves");
    symlink(&elsewhere, &room).expect("links");
    let before = fs::read_dir(&elsewhere).expect("lists").count();
    let root = temp.path().to_owned();
    let opening = move || EmbeddedStore::open(&root, options(), Clock::manual(NOW)).map(drop);
    tokio::task::spawn_blocking(opening).await.expect("runs").expect("opens");
    let meta = fs::symlink_metadata(&room).expect("there");
    assert!(meta.is_dir() && temp.path().join("aside/limits-1").is_symlink(), "the link is out of the way");
    assert_eq!(fs::read_dir(&elsewhere).expect("lists").count(), before, "and was not followed");
}
