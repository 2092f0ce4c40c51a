//! What account, index and the small files know of each other: starts that are cut short, and files that are missing,
//! older, or of another directory.

use super::account::{doubted, filled, lose_index, quiet, readable, segments, start_cut_short};
use super::*;
use crate::store::doubts::DoubtKind;
use crate::store::embedded::epoch::{self, Epoch};
use crate::store::embedded::verify::verify;
use crate::store::{DocumentStore, Expect};

#[test]
fn what_a_rebuild_finds_missing_is_counted_once_however_often_the_start_is_cut_short() {
    let runtime = runtime();
    for cuts in 0..3 {
        for by_command in [false, true] {
            let dir = tempfile::tempdir().expect("temporary directory");
            let names = filled(dir.path(), &runtime, 20);
            fs::remove_file(&segments(dir.path())[1].path).expect("deletes");
            lose_index(dir.path());
            (0..cuts).for_each(|_| start_cut_short(dir.path()));
            assert_eq!(dir.path().join(rebuilding::NAME).exists(), cuts > 0, "while it is unfinished");
            if by_command {
                EmbeddedStore::rebuild(dir.path(), &options(), clock().now()).expect("rebuilds");
            }
            let store = quiet(dir.path());
            let lost = (names.len() - readable(&store, &runtime).len()) as u64;
            assert!(lost > 0, "the test proves nothing");
            assert_eq!(doubted(&store, DoubtKind::Lost).0, lost, "{cuts} starts were cut short");
            assert_eq!(store.health().lost_entries, lost, "{cuts} starts were cut short");
            assert!(!dir.path().join(rebuilding::NAME).exists());
            drop(store);
            let store = quiet(dir.path());
            assert_eq!(store.recovery().rebuilt, None, "the control: a finished index is kept");
            assert_eq!(store.health().lost_entries, lost);
        }
    }
}

const ACCOUNT: [&str; 2] = ["account.a", "account.b"];

/// How many doubts of a kind there are.
fn count(store: &EmbeddedStore, kind: DoubtKind) -> usize {
    doubted(store, kind).1
}

fn delete(dir: &Path, names: &[&str]) {
    for path in names.iter().map(|name| dir.join(name)) {
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
}

fn put_back(from: &Path, dir: &Path, names: &[&str]) {
    delete(dir, names);
    for name in names {
        let (from, to) = (from.join(name), dir.join(name));
        if from.is_dir() { copy(&from, &to) } else { fs::copy(from, to).map(drop).expect("copies") }
    }
}

/// A copy of a directory that nobody uses.
fn copied(dir: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("temporary directory");
    copy(dir, to.path());
    to
}

#[test]
fn a_directory_that_has_run_and_lost_account_journal_and_index_is_not_taken_for_a_new_one() {
    let (dir, runtime) = (tempfile::tempdir().expect("temporary directory"), runtime());
    let store = quiet(dir.path());
    assert_eq!(store.doubts().list(), [], "the control: a new directory");
    assert!(dir.path().join("limits/usage.log").exists());
    drop(store);
    filled(dir.path(), &runtime, 10);
    assert_eq!(quiet(dir.path()).doubts().list(), [], "the control: nothing is missing");
    delete(dir.path(), &["journal", "index", "account.a", "account.b", "limits"]);
    for _ in 0..2 {
        let store = quiet(dir.path());
        assert_eq!((count(&store, DoubtKind::Account), count(&store, DoubtKind::Uncertain)), (2, 1));
        assert!(!dir.path().join("limits/usage.log").exists(), "what was consumed is unknown");
    }
}

#[test]
fn an_account_is_missed_only_where_there_was_one() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut names = filled(dir.path(), &runtime, 6);
    names.sort();
    delete(dir.path(), &ACCOUNT);
    let own = epoch::read(dir.path()).expect("reads").epoch.expect("whole");
    assert!(own.started > 0 && own.started == own.number);
    // The first start in this format was cut short before the account was begun.
    let not_yet = Epoch { number: 0, started: 0, ..own };
    for (epoch, expected) in [(not_yet, 0), (own, 2)] {
        let dir = copied(dir.path());
        epoch::write(dir.path(), epoch).expect("writes");
        let store = quiet(dir.path());
        assert_eq!(
            (count(&store, DoubtKind::Account), readable(&store, &runtime)),
            (expected, names.clone())
        );
        assert_eq!(count(&store, DoubtKind::Uncertain), 0, "the index says what waits");
    }
}

#[test]
fn an_older_account_is_not_believed_and_a_start_that_was_cut_short_leaves_none() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    filled(dir.path(), &runtime, 6);
    let older = copied(dir.path());
    filled(dir.path(), &runtime, 6);
    let own = epoch::read(dir.path()).expect("reads").epoch.expect("whole");
    // The account had its first mark, the epoch was not taken yet.
    let before = Epoch { number: own.number - 1, started: own.started - 1, ..own };
    for epoch in [own, before] {
        let dir = copied(dir.path());
        epoch::write(dir.path(), epoch).expect("writes");
        assert_eq!(quiet(dir.path()).doubts().list(), [], "the control: nothing was put back");
    }
    for (names, account, uncertain) in [(&ACCOUNT[..1], 1, 0), (&ACCOUNT[..], 2, 1)] {
        let dir = copied(dir.path());
        put_back(older.path(), dir.path(), names);
        assert!(!verify(dir.path(), None).expect("checks").is_sound());
        for _ in 0..2 {
            let store = quiet(dir.path());
            assert_eq!(count(&store, DoubtKind::Account), account, "{names:?}");
            assert_eq!(count(&store, DoubtKind::Uncertain), uncertain, "{names:?}");
            assert_eq!((count(&store, DoubtKind::Lost), store.health().lost_entries), (0, 0));
        }
    }
    // Everything that knows of the last run, but the epoch.
    let names = ["journal", "index", "account.a", "account.b", "living"];
    put_back(older.path(), dir.path(), &names);
    assert_eq!(count(&quiet(dir.path()), DoubtKind::Uncertain), 1);
    // The whole directory put back: nothing in it can tell.
    assert_eq!(quiet(older.path()).doubts().list(), []);
}

#[test]
fn an_account_that_is_made_anew_by_a_rebuild_or_while_the_directory_is_held_is_of_this_epoch() {
    let (dir, runtime) = (tempfile::tempdir().expect("temporary directory"), runtime());
    filled(dir.path(), &runtime, 6);
    let outside = tempfile::tempdir().expect("temporary directory");
    let epoch_file = Some(outside.path().join("epoch"));
    let open = |dir: &Path| {
        let options = EmbeddedOptions { epoch_file: epoch_file.clone(), ..options() };
        EmbeddedStore::open(dir, options, clock()).expect("opens")
    };
    for _ in 0..2 {
        let store = open(dir.path());
        assert_eq!(store.doubts().list(), [], "the control: orderly stops, each of which takes an epoch");
        runtime.block_on(store.close()).expect("closes");
    }
    for is_rebuilt in [true, false] {
        let dir = copied(dir.path());
        delete(dir.path(), &ACCOUNT);
        if is_rebuilt {
            EmbeddedStore::rebuild(dir.path(), &options(), clock().now()).expect("rebuilds");
        } else {
            fs::rename(outside.path().join("epoch"), outside.path().join("away")).expect("moves");
            let store = open(dir.path());
            assert_eq!((count(&store, DoubtKind::Rollback), count(&store, DoubtKind::Account)), (1, 2));
        }
        let doubts = Doubts::open(dir.path(), clock().now()).expect("reads");
        for doubt in doubts.list() {
            doubts.clear(doubt.kind, &doubt.subject);
        }
        doubts.save(dir.path()).expect("writes");
        let store = quiet(dir.path());
        assert_eq!(count(&store, DoubtKind::Account), 0, "rebuilt: {is_rebuilt}");
        assert_eq!(count(&store, DoubtKind::Uncertain), 0, "rebuilt: {is_rebuilt}");
    }
}

fn put_book(store: &EmbeddedStore, expect: Expect, runtime: &tokio::runtime::Runtime) -> Expect {
    let documents = store.documents();
    let put = documents.put("policies", expect, bytes::Bytes::from_static(b"{}"));
    Expect::At(runtime.block_on(put).expect("writes"))
}

#[test]
fn the_account_knows_the_newest_policy_book_where_its_record_is_gone_or_older() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = quiet(dir.path());
    let expect = put_book(&store, Expect::Absent, &runtime);
    drop(store);
    let older = copied(dir.path());
    let store = quiet(dir.path());
    let expect = put_book(&store, expect, &runtime);
    put_book(&store, expect, &runtime);
    drop(store);
    let seen = ["book-seen", "book-seen.prev"];
    for (case, gone, back, record, held) in [
        ("untouched", &[][..], &[][..], 0, false),
        ("no record", &seen[..], &[][..], 1, false),
        ("older record", &[][..], &seen[..1], 1, false),
        ("older book", &seen[..], &["documents"][..], 1, true),
        ("no book", &["documents", seen[0], seen[1]][..], &[][..], 1, true),
    ] {
        let dir = copied(dir.path());
        delete(dir.path(), gone);
        put_back(older.path(), dir.path(), back);
        assert_eq!(verify(dir.path(), None).expect("checks").is_sound(), case == "untouched", "{case}");
        let store = quiet(dir.path());
        assert_eq!(count(&store, DoubtKind::Document), record, "{case}");
        assert_eq!(store.doubts().store_held().is_some(), held, "{case}");
        drop(store);
        if held {
            documents::book::adopt(dir.path(), b"{}", clock().now()).expect("adopts");
        }
        let store = quiet(dir.path());
        assert_eq!(store.doubts().store_held(), None, "{case}: restored or adopted");
        assert!(dir.path().join("book-seen").exists(), "{case}: made anew");
    }
}

/// A directory with a salt of its own.
fn of_salt(salt: u64, entries: usize, runtime: &tokio::runtime::Runtime) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    let store =
        EmbeddedStore::open(dir.path(), EmbeddedOptions { salt, ..options() }, clock()).expect("opens");
    let batch = (0..entries).map(|n| plain("a", &format!("{salt}-{n}"))).collect();
    runtime.block_on(store.append(batch)).expect("appends");
    drop(store);
    dir
}

#[test]
fn an_index_or_an_account_of_another_directory_counts_as_missing() {
    let runtime = runtime();
    let (own, other) = (of_salt(11, 40, &runtime), of_salt(12, 90, &runtime));
    for (names, index, account, uncertain) in [
        (&[][..], 0, 0, 0),
        (&["index"][..], 1, 0, 0),
        (&ACCOUNT[..], 0, 2, 0),
        (&ACCOUNT[..1], 0, 1, 0),
        (&["index", "account.a", "account.b"][..], 1, 2, 1),
    ] {
        let dir = copied(own.path());
        put_back(other.path(), dir.path(), names);
        assert_eq!(verify(dir.path(), None).expect("checks").is_sound(), names.is_empty(), "{names:?}");
        let store = quiet(dir.path());
        assert_eq!(count(&store, DoubtKind::Files), index, "{names:?}");
        assert_eq!(store.recovery().rebuilt.is_some(), index > 0, "{names:?}");
        assert_eq!(count(&store, DoubtKind::Account), account, "{names:?}");
        assert_eq!(count(&store, DoubtKind::Uncertain), uncertain, "{names:?}");
        assert_eq!((count(&store, DoubtKind::Lost), store.health().lost_entries), (0, 0), "{names:?}");
        assert_eq!(readable(&store, &runtime).len(), 40, "{names:?}");
    }
}

#[test]
fn a_list_of_doubts_that_is_missing_is_reported_where_events_are_on_record_as_lost() {
    let runtime = runtime();
    for loses in [true, false] {
        let dir = tempfile::tempdir().expect("temporary directory");
        filled(dir.path(), &runtime, 20);
        if loses {
            fs::remove_file(&segments(dir.path())[1].path).expect("deletes");
        }
        let lost = quiet(dir.path()).health().lost_entries;
        assert_eq!(lost > 0, loses);
        delete(dir.path(), &["doubts", "doubts.prev"]);
        let findings = verify(dir.path(), None).expect("checks").findings;
        assert_eq!(findings.iter().any(|finding| finding.place == "doubts"), loses, "{findings:?}");
        let list = quiet(dir.path()).doubts().list();
        let told: Vec<_> = list.iter().map(|doubt| (doubt.kind, doubt.subject.as_str())).collect();
        let expected = if loses { vec![(DoubtKind::Document, "doubts")] } else { Vec::new() };
        assert_eq!(told, expected);
        assert!(!loses || list[0].detail.contains(&format!("{lost} events")), "{list:?}");
    }
}
