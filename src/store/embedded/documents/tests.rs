//! Documents under compare-and-set, and what becomes of a policy book that is not as it was written.

use std::fs;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::clock::Timestamp;
use crate::store::doubts::DoubtKind;

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn body(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn open(root: &Path) -> (Documents, Doubts) {
    let doubts = Doubts::default();
    let docs = Documents::open(
        root,
        doubts.clone(),
        Operations::default(),
        Clock::manual(NOW),
        book::Newest::default(),
    )
    .expect("opens");
    (docs, doubts)
}

fn held(root: &Path) -> bool {
    let (docs, doubts) = open(root);
    assert_eq!(docs.held(), doubts.store_held());
    docs.held().is_some()
}

/// A directory whose book is at version 3.
async fn with_book() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temp");
    let (docs, _) = open(dir.path());
    let mut expect = Expect::Absent;
    for text in ["one", "two", "three"] {
        expect = Expect::At(docs.put(book::NAME, expect, body(text)).await.expect("writes"));
    }
    dir
}

fn book_path(dir: &tempfile::TempDir) -> PathBuf {
    path(dir.path(), book::NAME)
}

#[tokio::test]
async fn a_document_is_replaced_only_by_who_knows_its_version() {
    let dir = tempfile::tempdir().expect("temp");
    let (docs, _) = open(dir.path());
    assert_eq!(docs.get("other").await.expect("reads"), None);
    let first = docs.put("other", Expect::Absent, body("{\"a\":1}\n")).await.expect("writes");
    assert_eq!(first, Version(1));
    let again = docs.put("other", Expect::Absent, body("{}")).await;
    assert!(matches!(again, Err(StoreError::VersionConflict { found: Some(Version(1)) })));
    assert_eq!(docs.put("other", Expect::At(first), body("two")).await.expect("writes"), Version(2));
    let stale = docs.put("other", Expect::At(first), body("three")).await;
    assert!(matches!(stale, Err(StoreError::VersionConflict { found: Some(Version(2)) })));
    let (reopened, _) = open(dir.path());
    assert_eq!(reopened.get("other").await.expect("reads"), Some((Version(2), body("two"))));
}

#[tokio::test]
async fn of_many_writers_at_once_each_version_has_one() {
    let dir = tempfile::tempdir().expect("temp");
    let (docs, _) = open(dir.path());
    let puts = (0..16).map(|_| docs.put("other", Expect::Absent, body("x")));
    let won = futures_util::future::join_all(puts).await.iter().filter(|put| put.is_ok()).count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn a_crash_before_the_rename_leaves_the_old_document() {
    let dir = tempfile::tempdir().expect("temp");
    let (docs, _) = open(dir.path());
    docs.put("other", Expect::Absent, body("old")).await.expect("writes");
    let leftover = directory(dir.path()).join("other.json.tmp");
    fs::write(&leftover, sealed::seal(FORMAT, 2, b"half")).expect("leftover");
    assert_eq!(docs.get("other").await.expect("reads"), Some((Version(1), body("old"))));
    docs.put("other", Expect::At(Version(1)), body("new")).await.expect("writes over the leftover");
    assert_eq!(docs.get("other").await.expect("reads"), Some((Version(2), body("new"))));
    assert!(!leftover.exists());
}

#[tokio::test]
async fn damage_and_newer_formats_name_the_file() {
    let dir = tempfile::tempdir().expect("temp");
    let (docs, _) = open(dir.path());
    let path = path(dir.path(), "other");
    for bad in [
        "",
        "no line",
        "{}\nx",
        "\0\0\n",
        "{\"format\":2,\"version\":1}\n",
        "{\"format\":1,\"version\":1,\"more\":1}\nx",
    ] {
        fs::write(&path, bad).expect("writes");
        let Err(StoreError::Damaged { place: path, .. }) = docs.get("other").await else {
            panic!("{bad:?} was read")
        };
        assert!(path.ends_with("other.json"));
    }
    fs::write(&path, sealed::seal(FORMAT + 1, 1, b"")).expect("writes");
    assert!(matches!(docs.get("other").await, Err(StoreError::Format { found: 3, .. })));
    docs.put("other", Expect::Absent, body("new")).await.expect("in its place");
    assert_eq!(docs.get("other").await.expect("reads"), Some((Version(1), body("new"))));
    fs::write(&path, "{\"format\":1,\"version\":7}\nold").expect("writes");
    assert_eq!(docs.get("other").await.expect("reads"), Some((Version(7), body("old"))), "the control");
}

#[tokio::test]
async fn no_flipped_bit_of_the_book_is_ever_applied() {
    let dir = with_book().await;
    assert!(!held(dir.path()), "the control");
    let path = book_path(&dir);
    let sound = fs::read(&path).expect("reads");
    for (at, bit) in (0..sound.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << bit;
        fs::write(&path, &bytes).expect("writes");
        let (docs, _) = open(dir.path());
        assert!(docs.held().is_some(), "byte {at} bit {bit}");
        assert!(matches!(docs.get(book::NAME).await, Err(StoreError::Damaged { .. })), "byte {at} bit {bit}");
        let put = docs.put(book::NAME, Expect::At(Version(3)), body("next")).await;
        assert!(matches!(put, Err(StoreError::Held { .. })), "byte {at} bit {bit}");
        assert_eq!(fs::read(&path).expect("reads"), bytes, "it stays as it is");
    }
    fs::write(&path, &sound).expect("restores");
    assert!(!held(dir.path()));
}

#[tokio::test]
async fn a_book_that_is_missing_older_or_no_plain_file_holds_the_store_until_it_is_restored() {
    let dir = with_book().await;
    let (path, sound) = (book_path(&dir), fs::read(book_path(&dir)).expect("reads"));
    let previous = fs::read(sealed::beside(&path, ".prev")).expect("kept");
    let target = dir.path().join("target");
    fs::write(&target, &sound).expect("writes");
    let fifo = || mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("makes");
    let ways: [(&str, &dyn Fn()); 5] = [
        ("missing", &|| ()),
        ("older", &|| fs::write(&path, &previous).expect("writes")),
        ("link", &|| std::os::unix::fs::symlink(&target, &path).expect("links")),
        ("directory", &|| fs::create_dir(&path).expect("makes")),
        ("fifo", &fifo),
    ];
    for (way, make) in ways {
        fs::remove_file(&path).expect("deletes");
        make();
        let (docs, doubts) = open(dir.path());
        let reason = docs.held().unwrap_or_else(|| panic!("{way}: not held"));
        assert!(reason.contains("adopt-book") && reason.contains("--previous takes version 2"), "{reason}");
        assert_eq!(doubts.list().iter().map(|doubt| doubt.kind).collect::<Vec<_>>(), [DoubtKind::Book]);
        let put = docs.put(book::NAME, Expect::Absent, body("other")).await;
        assert!(matches!(put, Err(StoreError::Held { .. })), "{way}");
        if path.is_dir() {
            fs::remove_dir(&path).expect("deletes");
        }
        let _ = fs::remove_file(&path);
        fs::write(&path, &sound).expect("restores");
        assert!(!held(dir.path()), "{way}: restored");
    }
}

#[tokio::test]
async fn a_new_directory_and_one_of_format_1_are_not_held() {
    let dir = tempfile::tempdir().expect("temp");
    assert!(!held(dir.path()), "nothing was ever seen");
    let path = book_path(&dir);
    fs::write(&path, "{\"format\":1,\"version\":5}\nold").expect("writes");
    assert!(!held(dir.path()));
    let sealed = fs::read(&path).expect("reads");
    assert_eq!(sealed, sealed::seal(FORMAT, 5, b"old"), "written anew");
    fs::write(&path, sealed::seal(FORMAT, 4, b"older")).expect("writes");
    assert!(held(dir.path()), "its version counts as seen");
}

#[tokio::test]
async fn a_mark_that_is_damaged_or_missing_is_healed_and_reported() {
    let dir = with_book().await;
    let mark = dir.path().join("book-seen");
    let damages: [&dyn Fn(); 3] = [
        &|| fs::write(&mark, "noise").expect("writes"),
        &|| fs::remove_file(&mark).expect("deletes"),
        &|| {
            fs::remove_file(&mark).expect("deletes");
            fs::create_dir(&mark).expect("makes");
        },
    ];
    for damage in damages {
        damage();
        let (docs, doubts) = open(dir.path());
        assert_eq!(docs.held(), None);
        assert_eq!(doubts.list().iter().map(|doubt| doubt.kind).collect::<Vec<_>>(), [DoubtKind::Document]);
        assert!(open(dir.path()).1.list().is_empty(), "healed");
    }
    fs::write(&mark, "noise").expect("writes");
    fs::remove_file(book_path(&dir)).expect("deletes");
    assert!(held(dir.path()), "the mark before it knows of a book");
}

#[tokio::test]
async fn an_adopted_book_is_above_every_version_that_was_seen() {
    for (source, expected) in [(book::BookSource::Previous, "two"), (book::BookSource::Empty, "")] {
        let dir = with_book().await;
        fs::write(book_path(&dir), "noise").expect("writes");
        let (_, doubts) = open(dir.path());
        doubts.save(dir.path()).expect("saves");
        assert!(matches!(
            book::candidate(dir.path(), book::BookSource::Present),
            Err(StoreError::Damaged { .. })
        ));
        let body = book::candidate(dir.path(), source).expect("there");
        assert_eq!(body, expected);
        assert_eq!(book::adopt(dir.path(), &body, NOW).expect("adopts"), Version(4));
        let saved = Doubts::open(dir.path(), NOW).expect("reads");
        assert_eq!(saved.list(), [], "the doubt has ended");
        let (docs, _) = open(dir.path());
        assert_eq!(docs.held(), None);
        assert_eq!(docs.get(book::NAME).await.expect("reads"), Some((Version(4), body)));
        let aside = sealed::beside(&book_path(&dir), ".damaged");
        assert_eq!(fs::read(aside).expect("kept"), b"noise");
    }
    let dir = with_book().await;
    let previous = fs::read(sealed::beside(&book_path(&dir), ".prev")).expect("kept");
    fs::write(book_path(&dir), previous).expect("an older one");
    assert!(held(dir.path()));
    let body = book::candidate(dir.path(), book::BookSource::Present).expect("there");
    assert_eq!(book::adopt(dir.path(), &body, NOW).expect("adopts"), Version(4));
    assert!(!held(dir.path()));
}

#[tokio::test]
async fn a_book_is_adopted_where_the_directory_of_the_documents_is_missing() {
    let dir = with_book().await;
    fs::remove_dir_all(directory(dir.path())).expect("deletes");
    let body = book::candidate(dir.path(), book::BookSource::Empty).expect("none is needed");
    assert_eq!(book::adopt(dir.path(), &body, NOW).expect("adopts"), Version(4));
    assert!(!held(dir.path()));
    fs::remove_dir_all(directory(dir.path())).expect("deletes");
    assert!(held(dir.path()), "the control: it is the adoption that ends the hold");
}

#[tokio::test]
async fn a_book_that_its_reader_rejects_holds_the_store() {
    let dir = with_book().await;
    let (docs, _) = open(dir.path());
    assert_eq!(docs.held(), None);
    docs.reject("other", "is of no importance");
    assert_eq!(docs.held(), None);
    docs.reject(book::NAME, "an unknown member");
    assert!(docs.held().is_some_and(|reason| reason.contains("an unknown member")));
}

#[tokio::test]
async fn what_replaces_a_damaged_document_keeps_its_bytes_and_says_so() {
    let dir = tempfile::tempdir().expect("temp");
    let (docs, doubts) = open(dir.path());
    let place = path(dir.path(), "redrives");
    for number in 0..2 {
        docs.put("redrives", Expect::Absent, body("whole")).await.expect("writes");
        let mut bytes = fs::read(&place).expect("reads");
        *bytes.last_mut().expect("some") ^= 1;
        fs::write(&place, &bytes).expect("writes");
        let known = docs.put("redrives", Expect::At(Version(1)), body("next")).await;
        assert!(matches!(known, Err(StoreError::Damaged { .. })), "the control: {known:?}");
        assert_eq!(docs.put("redrives", Expect::Absent, body("new")).await.expect("writes"), Version(1));
        assert_eq!(docs.get("redrives").await.expect("reads"), Some((Version(1), body("new"))));
        let ending = if number == 0 { ".damaged" } else { ".damaged-1" };
        assert_eq!(fs::read(sealed::beside(&place, ending)).expect("kept"), bytes);
        let kinds: Vec<_> = doubts.list().iter().map(|doubt| (doubt.kind, doubt.subject.clone())).collect();
        assert_eq!(kinds, [(DoubtKind::Document, "documents/redrives.json".to_owned())]);
        fs::remove_file(&place).expect("removes");
    }
    assert_eq!(docs.held(), None);
}
