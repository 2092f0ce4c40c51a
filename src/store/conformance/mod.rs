//! What every store must do: one suite, run against each implementation.
//!
//! An implementation joins by a [`Subject`] of its own and `suite!(how to make one)` in one of its test files. What it
//! alone has to do, such as to bear damage of its files, it tests itself.
//!
//! Must not know: any implementation.

pub(super) mod dead;
pub(super) mod documents;
pub(super) mod ends;
pub(super) mod entries;
pub(super) mod scan;
pub(super) mod usages;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::event::{LaneKey, Settlement};
use crate::store::{
    DeadLetters, Dedup, DocumentStore, DuePage, EntryStore, NewEntry, ReadLimit, SettleRequest, StoredEntry,
    UsageStore,
};

/// A read without bounds that matter.
pub(in crate::store) const ALL: ReadLimit = ReadLimit { entries: 10_000, bytes: usize::MAX };

/// A store under test, new, that can be dropped and opened again. Its clock stands at 1 000 ms.
pub(in crate::store) trait Subject {
    fn entries(&self) -> Arc<dyn EntryStore>;
    fn documents(&self) -> Arc<dyn DocumentStore>;
    fn usages(&self) -> Arc<dyn UsageStore>;
    fn dead(&self) -> Arc<dyn DeadLetters>;
    /// The next process, after this one has ended without closing anything. Handles to entries were dropped before.
    fn crash(&mut self);
    /// As after a crash, with the record of usages gone.
    fn lose_usages(&mut self);
}

pub(in crate::store) fn lane(name: &str) -> LaneKey {
    LaneKey::new(name).expect("a lane key")
}

pub(in crate::store) fn plain(lane_name: &str, record: &str) -> NewEntry {
    NewEntry {
        lane: lane(lane_name),
        due_at: None,
        record: Bytes::copy_from_slice(record.as_bytes()),
        dedup: None,
    }
}

pub(in crate::store) fn delayed(lane_name: &str, record: &str, due_ms: u64) -> NewEntry {
    NewEntry { due_at: Some(Timestamp::from_millis(due_ms)), ..plain(lane_name, record) }
}

pub(in crate::store) fn keyed(record: &str, key: u8, fingerprint: u64) -> NewEntry {
    NewEntry { dedup: Some(Dedup { key: [key; 16], fingerprint }), ..plain("a", record) }
}

pub(in crate::store) fn texts(entries: &[StoredEntry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.record).into_owned()).collect()
}

pub(in crate::store) fn settle(
    lane_name: &str,
    entry: &StoredEntry,
    settlement: Settlement,
) -> SettleRequest {
    SettleRequest { why: None, lane: lane(lane_name), id: entry.id, due_at: entry.due_at, settlement }
}

pub(in crate::store) async fn ready(store: &dyn EntryStore, name: &str) -> Vec<StoredEntry> {
    store.read_ready(&lane(name), None, ALL).await.expect("reads")
}

pub(in crate::store) async fn due(store: &dyn EntryStore, name: &str, until_ms: u64) -> DuePage {
    let until = Timestamp::from_millis(until_ms);
    store.read_due(&lane(name), until, &HashSet::new(), ALL).await.expect("reads")
}

/// Runs all of the suite against what `$make` makes.
macro_rules! suite {
    ($make:expr) => {
        crate::store::conformance::suite! {
            $make;
            mod entries:
                order_pages_and_limits, due_order_and_skip, those_before_an_entry_are_counted,
                settlements_and_their_places, reasons_are_kept, repetitions_are_recognised, keys_on_record_are_found,
                the_last_redrive_of_an_event_is_known_after_its_end,
                everything_survives_a_crash, a_lane_that_is_given_up_is_lost_once_and_others_stay,
                a_closed_store_says_so, what_an_earlier_owner_decides_is_refused;
            mod ends:
                ends_are_read_in_their_order_and_keep_their_places_over_crashes,
                a_place_that_is_not_kept_is_gone;
            mod scan:
                a_walk_comes_by_everything_once_whatever_is_settled_meanwhile,
                steps_of_a_walk_are_bounded_and_pass_over_what_is_not_meant;
            mod dead:
                letters_are_whole_and_in_pages_of_either_order,
                a_page_is_bounded_by_bytes_and_has_one_letter_at_least,
                what_was_taken_is_gone_for_good_and_taken_once,
                of_many_that_take_a_letter_one_has_it, letters_that_are_added_are_like_others, a_letter_is_found_by_the_name_of_its_event,
                a_store_that_is_held_or_closed_takes_no_letter, an_earlier_owner_takes_no_letter;
            mod usages:
                a_new_record_is_empty_and_orderly, what_was_recorded_is_found_in_order,
                what_is_over_is_not_taken_up, like_usages_are_summed_and_moments_rounded_up,
                closing_replaces_everything, a_record_that_is_not_open_says_so,
                names_are_checked_and_nothing_is_recorded,
                a_lost_record_is_told_until_its_moment_is_past, what_an_earlier_owner_records_is_refused;
            mod documents:
                a_document_is_replaced_only_by_who_knows_its_version,
                documents_survive_a_crash_each_at_its_version,
                of_many_writers_at_once_each_version_has_one,
                a_book_that_its_reader_rejects_holds_the_store;
        }
    };
    ($make:expr; $(mod $part:ident: $($name:ident),*;)*) => {
        $(mod $part {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::store::conformance::$part::$name(&mut $make).await;
            })*
        })*
    };
}
pub(in crate::store) use suite;
