//! The account: what is reported as lost is what is lost, and what is in its place under another name is not.

use super::*;
use crate::store::doubts::DoubtKind;
use crate::store::embedded::journal::{HEAD_BYTES, list, segment_name};

/// No round but those that are asked for.
pub(super) fn quiet(dir: &Path) -> EmbeddedStore {
    let options = EmbeddedOptions { sweep_every: Duration::from_secs(3600), ..options() };
    EmbeddedStore::open(dir, options, clock()).expect("opens")
}

/// Events that the doubts of a kind concern, and how many doubts there are.
pub(super) fn doubted(store: &EmbeddedStore, kind: DoubtKind) -> (u64, usize) {
    let of_kind = store.doubts().list().into_iter().filter(|doubt| doubt.kind == kind);
    let events: Vec<u64> = of_kind.map(|doubt| doubt.events).collect();
    (events.iter().sum(), events.len())
}

pub(super) fn readable(store: &EmbeddedStore, runtime: &tokio::runtime::Runtime) -> Vec<String> {
    let mut found = Vec::new();
    for (plain, due) in runtime.block_on(contents(store, &["a"])) {
        found.extend(plain);
        found.extend(due.into_iter().map(|entry| entry.0));
    }
    found.sort();
    found
}

/// Groups of five entries, in several segments; the names of the entries.
pub(super) fn filled(dir: &Path, runtime: &tokio::runtime::Runtime, groups: usize) -> Vec<String> {
    let store = quiet(dir);
    let mut names = Vec::new();
    for group in 0..groups {
        let noise = || (0..600).map(|_| fastrand::alphanumeric()).collect::<String>();
        let records: Vec<String> = (0..5).map(|n| format!("{group:03}-{n} {}", noise())).collect();
        let batch = records.iter().map(|record| plain("a", record)).collect();
        runtime.block_on(store.append(batch)).expect("appends");
        names.extend(records);
    }
    names
}

pub(super) fn lose_index(dir: &Path) {
    fs::remove_dir_all(dir.join("index")).expect("deletes");
}

/// The segments that hold entries, oldest first.
pub(super) fn segments(dir: &Path) -> Vec<journal::SegmentFile> {
    list(&dir.join("journal")).expect("lists")
}

#[test]
fn a_flipped_bit_in_the_last_group_and_a_lost_index_after_an_orderly_stop_are_reported_as_lost() {
    let runtime = runtime();
    for flip in [false, true] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = quiet(dir.path());
        let batch = |from: usize| (from..from + 20).map(|n| plain("a", &format!("{n}"))).collect();
        runtime.block_on(store.append(batch(0))).expect("appends");
        let answers = runtime.block_on(store.append(batch(20))).expect("appends");
        drop(store);
        let path = segments(dir.path()).remove(0).path;
        let mut bytes = fs::read(&path).expect("reads");
        let end = bytes.iter().rposition(|byte| *byte != 0).expect("something");
        bytes[end - 3] ^= u8::from(flip);
        fs::write(&path, bytes).expect("writes");
        lose_index(dir.path());
        let store = quiet(dir.path());
        let expected = if flip { 20 } else { 0 };
        assert_eq!(doubted(&store, DoubtKind::Lost).0, expected);
        assert_eq!(doubted(&store, DoubtKind::Uncertain), (0, 0));
        assert_eq!(store.health().lost_entries, expected);
        assert_eq!(readable(&store, &runtime).len() as u64, 40 - expected);
        let Appended::New(id) = answers[3] else { panic!("{answers:?}") };
        let looked_up = runtime.block_on(store.lookup(id)).expect("looks up");
        assert_eq!(looked_up == Lookup::Lost, flip, "{looked_up:?}");
        drop(store);
        let store = quiet(dir.path());
        assert_eq!(doubted(&store, DoubtKind::Lost).0, expected, "still reported");
        assert_eq!(store.health().lost_entries, expected, "and not counted twice");
        drop(store);
        lose_index(dir.path());
        assert_eq!(quiet(dir.path()).health().lost_entries, expected, "nor by another rebuild");
    }
}

#[test]
fn what_stood_behind_the_mark_in_a_damage_that_reaches_over_it_is_uncertain() {
    let runtime = runtime();
    // From the head of the segment, and from within what the mark knows, to the end.
    for from in [0, HEAD_BYTES + 1_500] {
        let (dir, killed) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let store = quiet(dir.path());
        let noise = || (0..200).map(|_| fastrand::alphanumeric()).collect::<String>();
        let batch = |entries: usize| (0..entries).map(|_| plain("a", &noise())).collect();
        runtime.block_on(store.append(batch(5))).expect("appends");
        runtime.block_on(store.append(batch(10))).expect("appends");
        store.threads.sweep();
        runtime.block_on(store.append(batch(5))).expect("appends");
        copy(dir.path(), killed.path());
        drop(store);
        let path = segments(killed.path()).remove(0).path;
        let mut bytes = fs::read(&path).expect("reads");
        bytes[from..].fill_with(|| fastrand::u8(1..));
        fs::write(&path, bytes).expect("writes");
        lose_index(killed.path());
        let store = quiet(killed.path());
        let kept = readable(&store, &runtime).len() as u64;
        assert_eq!(
            doubted(&store, DoubtKind::Lost).0,
            15 - kept,
            "as far as the mark knows\n{}",
            store.recovery()
        );
        assert!(doubted(&store, DoubtKind::Uncertain).0 >= 5, "{}", store.recovery());
        assert_eq!(kept > 0, from > 0, "{kept}");
    }
}

#[test]
fn what_stood_behind_the_mark_in_a_full_segment_that_was_cut_is_uncertain() {
    let runtime = runtime();
    // Below the mark, and behind it.
    for length in [0, 1, HEAD_BYTES + 1_500, HEAD_BYTES + 9_000] {
        let (dir, killed) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let store = quiet(dir.path());
        let noise = || (0..200).map(|_| fastrand::alphanumeric()).collect::<String>();
        let append = |entries: u64| {
            let batch = (0..entries).map(|_| plain("a", &noise())).collect();
            runtime.block_on(store.append(batch)).expect("appends");
            entries
        };
        let before = append(5) + append(10);
        store.threads.sweep();
        let mut behind = append(5);
        while segments(dir.path()).len() == 1 {
            behind += append(5);
        }
        copy(dir.path(), killed.path());
        drop(store);
        let path = segments(killed.path()).remove(0).path;
        File::options().write(true).open(&path).expect("opens").set_len(length as u64).expect("cuts");
        lose_index(killed.path());
        let store = quiet(killed.path());
        let gone = before + behind - readable(&store, &runtime).len() as u64;
        let lost = doubted(&store, DoubtKind::Lost).0;
        assert!(lost <= before && gone > lost, "{length}: {gone} gone, {lost} lost");
        let uncertain = doubted(&store, DoubtKind::Uncertain).0;
        assert!(gone - lost <= uncertain, "{length}: {gone} gone, {lost} lost, {uncertain} uncertain");
    }
}

#[test]
fn two_swapped_segments_lose_nothing_and_are_reported() {
    let runtime = runtime();
    for index_lost in [false, true] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut names = filled(dir.path(), &runtime, 20);
        let files = segments(dir.path());
        assert!(files.len() > 3);
        let middle = dir.path().join("middle");
        for (from, to) in
            [(&files[0].path, &middle), (&files[2].path, &files[0].path), (&middle, &files[2].path)]
        {
            fs::rename(from, to).expect("renames");
        }
        if index_lost {
            lose_index(dir.path());
        }
        let store = quiet(dir.path());
        names.sort();
        assert_eq!(readable(&store, &runtime), names);
        assert_eq!((store.health().lost_entries, doubted(&store, DoubtKind::Lost)), (0, (0, 0)));
        assert_eq!(doubted(&store, DoubtKind::Files), (0, 1), "they are reported");
    }
}

#[test]
fn a_journal_and_an_index_that_are_deleted_are_reported_and_stay_reported() {
    let (dir, runtime) = (tempfile::tempdir().expect("temporary directory"), runtime());
    let names = filled(dir.path(), &runtime, 20);
    let store = quiet(dir.path());
    assert_eq!(doubted(&store, DoubtKind::Lost), (0, 0), "the control");
    drop(store);
    fs::remove_dir_all(dir.path().join("journal")).expect("deletes");
    lose_index(dir.path());
    for _ in 0..2 {
        let store = quiet(dir.path());
        assert_eq!(doubted(&store, DoubtKind::Lost).0, names.len() as u64);
        assert_eq!(store.health().lost_entries, names.len() as u64);
        assert_eq!(readable(&store, &runtime), Vec::<String>::new());
    }
}

#[test]
fn a_destroyed_head_costs_nothing() {
    let runtime = runtime();
    for index_lost in [false, true] {
        for at in 0..3 {
            let dir = tempfile::tempdir().expect("temporary directory");
            let mut names = filled(dir.path(), &runtime, 20);
            let path = segments(dir.path()).remove(at).path;
            let mut bytes = fs::read(&path).expect("reads");
            bytes[..HEAD_BYTES].fill(0);
            fs::write(&path, bytes).expect("writes");
            if index_lost {
                lose_index(dir.path());
            }
            let store = quiet(dir.path());
            names.sort();
            assert_eq!(readable(&store, &runtime), names, "segment {at}, index lost {index_lost}");
            assert_eq!((store.health().lost_entries, doubted(&store, DoubtKind::Files).1), (0, 1));
        }
    }
}

#[test]
fn a_name_that_says_settled_hides_no_living_entry() {
    let (dir, runtime) = (tempfile::tempdir().expect("temporary directory"), runtime());
    let mut names = filled(dir.path(), &runtime, 20);
    let file = segments(dir.path()).remove(0);
    fs::rename(&file.path, dir.path().join("journal").join(segment_name(file.number, true)))
        .expect("renames");
    lose_index(dir.path());
    let store = quiet(dir.path());
    names.sort();
    assert_eq!((readable(&store, &runtime), store.health().lost_entries), (names, 0));
}

#[test]
fn what_is_no_segment_of_this_directory_is_passed_over_and_reported() {
    let runtime = runtime();
    for index_lost in [false, true] {
        let (dir, other) =
            (tempfile::tempdir().expect("temporary directory"), tempfile::tempdir().expect("another"));
        let mut names = filled(dir.path(), &runtime, 20);
        let foreign = EmbeddedOptions { salt: 0xf0_4e16, ..options() };
        drop(EmbeddedStore::open(other.path(), foreign, clock()).expect("opens"));
        let journal = dir.path().join("journal");
        let name = |number| journal.join(segment_name(number, false));
        let files = segments(dir.path());
        let theirs = segments(other.path()).remove(0).path;
        fs::copy(theirs, name(900)).expect("copies");
        fs::copy(&files[1].path, name(901)).expect("copies");
        fs::write(name(902), [7; 5000]).expect("writes");
        std::os::unix::fs::symlink(&files[0].path, name(903)).expect("links");
        fs::create_dir(name(904)).expect("makes");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, name(905), rustix::fs::FileType::Fifo, mode, 0).expect("makes");
        if index_lost {
            lose_index(dir.path());
        }
        let store = quiet(dir.path());
        names.sort();
        assert_eq!((readable(&store, &runtime), store.health().lost_entries), (names, 0));
        assert_eq!(doubted(&store, DoubtKind::Files).1, 6);
        let kept = fs::read_dir(journal.join("quarantine")).expect("lists").count();
        assert_eq!(kept, 3, "nothing is deleted");
    }
}

#[test]
fn a_copy_of_the_account_that_is_damaged_missing_or_swapped_costs_nothing() {
    let runtime = runtime();
    for (case, reported) in [("none", 0), ("flipped", 1), ("deleted", 1), ("emptied", 1), ("swapped", 0)] {
        for name in ["account.a", "account.b"] {
            let dir = tempfile::tempdir().expect("temporary directory");
            let mut names = filled(dir.path(), &runtime, 20);
            let path = dir.path().join(name);
            let middle = dir.path().join("middle");
            match case {
                "flipped" => {
                    let mut bytes = fs::read(&path).expect("reads");
                    bytes[100] ^= 4;
                    fs::write(&path, bytes).expect("writes");
                }
                "deleted" => fs::remove_file(&path).expect("deletes"),
                "emptied" => fs::write(&path, []).expect("empties"),
                "swapped" => {
                    fs::rename(dir.path().join("account.a"), &middle).expect("renames");
                    fs::rename(dir.path().join("account.b"), dir.path().join("account.a")).expect("renames");
                    fs::rename(&middle, dir.path().join("account.b")).expect("renames");
                }
                _ => {}
            }
            lose_index(dir.path());
            let store = quiet(dir.path());
            names.sort();
            assert_eq!(readable(&store, &runtime), names, "{case} {name}");
            assert_eq!(store.health().lost_entries, 0, "{case} {name}");
            assert_eq!(doubted(&store, DoubtKind::Account).1, reported, "{case} {name}");
            assert_eq!(doubted(&store, DoubtKind::Uncertain), (0, 0), "{case} {name}");
            drop(store);
            let path = segments(dir.path()).remove(0).path;
            fs::remove_file(path).expect("deletes");
            let store = quiet(dir.path());
            let lost = 100 - readable(&store, &runtime).len() as u64;
            assert!(lost > 0 && store.health().lost_entries == lost, "the account is whole again");
        }
    }
}

#[test]
fn dead_letters_that_are_gone_are_reported() {
    let runtime = runtime();
    for delete in [false, true] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = quiet(dir.path());
        runtime
            .block_on(store.append((0..7).map(|n| plain("a", &n.to_string())).collect()))
            .expect("appends");
        let entries = runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect("reads");
        let dead = |entry: &StoredEntry| {
            let settlement = Settlement::Dead { reason: "http_404".to_owned(), attempts: 1 };
            SettleRequest { why: None, lane: lane("a"), id: entry.id, due_at: None, settlement }
        };
        runtime.block_on(store.settle(store.owner(), entries.iter().map(dead).collect())).expect("settles");
        drop(store);
        let letters = list(&dir.path().join("dead")).expect("lists");
        if delete {
            fs::remove_file(&letters[0].path).expect("deletes");
        }
        for _ in 0..2 {
            let store = quiet(dir.path());
            assert_eq!(doubted(&store, DoubtKind::Lost).0, if delete { 7 } else { 0 });
            assert_eq!(store.health().lost_entries, 0, "their events have ended: they were dead already");
        }
    }
}

#[test]
fn a_directory_without_its_account_loses_nothing_and_says_so() {
    let (dir, runtime) = (tempfile::tempdir().expect("temporary directory"), runtime());
    let mut names = filled(dir.path(), &runtime, 20);
    for name in ["account.a", "account.b"] {
        fs::remove_file(dir.path().join(name)).expect("deletes");
    }
    lose_index(dir.path());
    let store = quiet(dir.path());
    names.sort();
    assert_eq!((readable(&store, &runtime), store.health().lost_entries), (names, 0));
    assert_eq!(doubted(&store, DoubtKind::Account).1, 2);
    drop(store);
    let (dir, control) = (tempfile::tempdir().expect("temporary directory"), DoubtKind::Account);
    assert_eq!(doubted(&quiet(dir.path()), control).1, 0, "a new directory has none to lose");
}

/// A store that was killed: ten entries before the last mark, seven behind it, and no index.
fn killed(runtime: &tokio::runtime::Runtime) -> tempfile::TempDir {
    let (dir, killed) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
    let store = quiet(dir.path());
    let batch = |from: usize, to| (from..to).map(|n| plain("a", &n.to_string())).collect();
    runtime.block_on(store.append(batch(0, 5))).expect("appends");
    runtime.block_on(store.append(batch(5, 10))).expect("appends");
    store.threads.sweep();
    runtime.block_on(store.append(batch(10, 17))).expect("appends");
    copy(dir.path(), killed.path());
    lose_index(killed.path());
    killed
}

/// A start that is killed after it has put on record what it found, before the account goes on from there.
pub(super) fn start_cut_short(root: &Path) {
    use super::super::{missing, recover};
    let dir = directory::DataDir::open(root).expect("opens");
    let doubts = Doubts::open(root, clock().now()).expect("opens");
    let found = crate::store::embedded::account::read(root).expect("reads");
    doubts.found_against(found.version);
    let (options, salt) = (options(), found.salt().expect("whole"));
    let ends = ends::Ends::open(&dir.ends(), salt, 1 << 20, Timestamp::ZERO).expect("opens");
    let given = recover::RecoverFrom {
        ends: &ends,
        dir: &dir,
        options: &options,
        salt,
        found: &found,
        rebuild: None,
        restored: &Default::default(),
    };
    let recovered = recover::recover(&given).expect("recovers");
    missing::raise(&doubts, &recovered, clock().now());
    doubts.save(root).expect("writes");
}

#[test]
fn a_start_that_is_cut_short_reports_nothing_twice_and_nothing_that_is_not() {
    let runtime = runtime();
    for is_damaged in [false, true] {
        for starts in 0..3 {
            let dir = killed(&runtime);
            let path = segments(dir.path()).remove(0).path;
            let mut bytes = fs::read(&path).expect("reads");
            let end = bytes.iter().rposition(|byte| *byte != 0).expect("something");
            bytes[end - 2] ^= u8::from(is_damaged);
            fs::write(&path, bytes).expect("writes");
            (0..starts).for_each(|_| start_cut_short(dir.path()));
            let store = quiet(dir.path());
            let told = (doubted(&store, DoubtKind::Lost).0, doubted(&store, DoubtKind::Uncertain).0);
            let hidden = if is_damaged { 7 } else { 0 };
            assert_eq!(told, (0, hidden), "{starts} starts were cut short");
            assert_eq!(store.health().lost_entries, 0);
        }
    }
}

#[test]
fn a_kill_is_exact_up_to_the_mark_and_bounded_behind_it() {
    let runtime = runtime();
    use crate::store::embedded::account::LEAST_REACH;
    let noisy = 14 * 256;
    for (case, left, lost, hidden, most) in [
        ("none", 17, 0, 0, 0),
        ("flipped", 10, 0, 7, 7),
        ("noise", 10, 0, 7, noisy),
        ("cut", 10, 0, 7, LEAST_REACH),
        ("deleted", 0, 10, 7, LEAST_REACH),
    ] {
        let dir = killed(&runtime);
        let mark = crate::store::embedded::account::read(dir.path()).expect("reads").mark.expect("whole");
        assert!(!mark.closed && mark.accepted == 10, "{mark:?}");
        let path = segments(dir.path()).remove(0).path;
        let mut bytes = fs::read(&path).expect("reads");
        let end = bytes.iter().rposition(|byte| *byte != 0).expect("something");
        match case {
            "flipped" => bytes[end - 2] ^= 1,
            // The header of the frame is gone as well: what fits into its bytes is left as a bound.
            "noise" => bytes[mark.end.offset as usize..end].fill(0x55),
            "cut" => bytes.truncate(mark.end.offset as usize),
            _ => {}
        }
        fs::write(&path, bytes).expect("writes");
        if case == "deleted" {
            fs::remove_file(&path).expect("deletes");
        }
        for _ in 0..2 {
            let store = quiet(dir.path());
            assert_eq!(
                (readable(&store, &runtime).len(), doubted(&store, DoubtKind::Lost).0),
                (left, lost),
                "{case}"
            );
            let (bound, doubts) = doubted(&store, DoubtKind::Uncertain);
            let bounds = if hidden == 0 { 0..=0 } else { hidden..=most };
            assert!(bounds.contains(&bound) && doubts == usize::from(hidden > 0), "{case}: up to {bound}");
        }
    }
}
