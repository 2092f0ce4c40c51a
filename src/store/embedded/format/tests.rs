//! Every damage of `FORMAT`, every older format, every newer one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::store::doubts::NewDoubt;
use crate::store::embedded::directory::DataDir;
use crate::store::embedded::tests::snapshot::everything;

/// A directory of our format that was started once.
fn started(root: &Path) {
    drop(DataDir::open(root).expect("opens"));
    fs::write(root.join("journal/0000000001.seg"), "").expect("writes");
    epoch::write(
        root,
        Epoch { format: DIRECTORY_FORMAT, number: 1, has_file: false, started: 0, accepted_ms: 0 },
    )
    .expect("writes");
}

fn open(root: &Path) -> Result<Vec<NewDoubt>, StoreError> {
    DataDir::open(root).map(|mut dir| dir.take_findings())
}

fn text(root: &Path) -> String {
    fs::read_to_string(root.join(NAME)).expect("there")
}

/// What binaries of format 2 do with the text.
fn old_rule(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|found| (1..=2).contains(found))
}

#[test]
fn older_binaries_refuse_the_text_of_this_format() {
    let temp = tempfile::tempdir().expect("temp");
    started(temp.path());
    assert_eq!(old_rule(&text(temp.path())), None);
    assert_eq!(old_rule("2\n"), Some(2), "the control");
}

#[test]
fn each_flipped_bit_a_cut_and_a_deletion_are_healed_and_reported() {
    let temp = tempfile::tempdir().expect("temp");
    started(temp.path());
    assert!(open(temp.path()).expect("opens").is_empty(), "the control");
    let path = temp.path().join(NAME);
    let mut damages: Vec<Option<Vec<u8>>> =
        vec![None, Some(Vec::new()), Some(b"\xff\xff".to_vec()), Some(vec![b'x'; 4096])];
    damages.extend((0..8).map(|bit| Some(vec![b'3' ^ (1 << bit), b'\n'])));
    for damage in damages {
        match &damage {
            Some(bytes) => fs::write(&path, bytes).expect("writes"),
            None => fs::remove_file(&path).expect("deletes"),
        }
        let found = open(temp.path()).unwrap_or_else(|error| panic!("{damage:?}: {error}"));
        assert!(found.iter().any(|doubt| doubt.subject == NAME), "{damage:?}: {found:?}");
        assert_eq!(text(temp.path()), "3\n", "{damage:?}");
        assert_eq!(
            fs::read_dir(temp.path().join("limits")).expect("lists").count(),
            0,
            "nothing was upgraded"
        );
    }
}

#[test]
fn a_newer_format_is_refused_and_nothing_is_changed() {
    let temp = tempfile::tempdir().expect("temp");
    started(temp.path());
    epoch::write(temp.path(), Epoch { format: 4, number: 2, has_file: false, started: 0, accepted_ms: 0 })
        .expect("writes");
    for text in ["4\n", "3\n", ""] {
        fs::write(temp.path().join(NAME), text).expect("writes");
        assert!(matches!(open(temp.path()), Err(StoreError::Format { found: 4, .. })), "{text:?}");
        assert_eq!(self::text(temp.path()), text);
    }
    for name in ["epoch", "epoch.prev"] {
        fs::remove_file(temp.path().join(name)).expect("deletes");
    }
    fs::write(temp.path().join(NAME), "4\n").expect("writes");
    assert!(matches!(open(temp.path()), Err(StoreError::Format { found: 4, .. })), "no copy contradicts");
    assert!(!temp.path().join("epoch").exists());
}

#[test]
fn a_lost_copy_is_reported_and_made_anew() {
    let temp = tempfile::tempdir().expect("temp");
    started(temp.path());
    for name in ["epoch", "epoch.prev"] {
        fs::remove_file(temp.path().join(name)).expect("deletes");
    }
    let found = open(temp.path()).expect("opens");
    assert_eq!(found.iter().map(|doubt| doubt.subject.as_str()).collect::<Vec<_>>(), ["epoch"]);
    assert!(temp.path().join("epoch").exists());
}

#[test]
fn the_first_format_gets_a_record_of_usages_that_knows_of_no_orderly_end() {
    for (format, records) in [("1\n", 1), ("2\n", 0)] {
        let temp = tempfile::tempdir().expect("temp");
        fs::write(temp.path().join(NAME), format).expect("writes");
        fs::create_dir(temp.path().join("journal")).expect("makes");
        fs::write(temp.path().join("journal/0000000001.seg"), "").expect("writes");
        assert!(open(temp.path()).expect("opens").is_empty(), "an upgrade is no damage");
        assert_eq!(text(temp.path()), "3\n");
        assert_eq!(fs::read_dir(temp.path().join("limits")).expect("lists").count(), records, "{format}");
    }
}

#[test]
fn a_first_start_that_was_cut_short_is_completed_without_a_report() {
    let temp = tempfile::tempdir().expect("temp");
    fs::write(temp.path().join(NAME), "").expect("writes");
    assert!(open(temp.path()).expect("opens").is_empty());
    assert_eq!(text(temp.path()), "3\n");
}

#[test]
fn a_newer_directory_is_refused_as_it_is_also_when_it_is_open_to_others() {
    let temp = tempfile::tempdir().expect("temp");
    let root = temp.path().join("data");
    started(&root);
    let open_all = |root: &Path| {
        for name in ["", "FORMAT", "LOCK", "journal"] {
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o755)).expect("opens it");
        }
        fs::write(root.join("LOCK"), "1\n").expect("writes");
        fs::remove_file(root.join("ballast.3")).expect("deletes");
    };
    open_all(&root);
    let control = everything(&root);
    drop(DataDir::open(&root).expect("the control: our own format"));
    assert_ne!(everything(&root), control, "it is closed, its ballast filled, the process noted");
    open_all(&root);
    epoch::write(
        &root,
        Epoch { format: DIRECTORY_FORMAT + 1, number: 9, has_file: false, started: 0, accepted_ms: 0 },
    )
    .expect("writes");
    let before = everything(&root);
    assert!(matches!(DataDir::open(&root), Err(StoreError::Format { found: 4, .. })));
    assert!(matches!(DataDir::hold_to_change(&root), Err(StoreError::Format { found: 4, .. })));
    DataDir::hold(&root).expect("whoever only reads");
    assert_eq!(everything(&root), before);
}
