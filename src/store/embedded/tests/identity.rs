//! What account, index and the small files know of each other: starts that are cut short, and files that are missing,
//! older, or of another directory.

use super::account::{doubted, filled, lose_index, quiet, readable, segments, start_cut_short};
use super::*;
use crate::store::doubts::DoubtKind;

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
