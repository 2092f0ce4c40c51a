//! Idempotency keys: trees that each cover a span of time and are dropped whole once everything in them has
//! outlived the window.
//!
//! Must not know: lanes, blocks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::IndexError;
use super::database::{Database, Tree};
use super::redrives::RedriveIndex;
use crate::clock::{self, Correction, Timestamp};
use crate::event::EventId;
use crate::store::{Appended, Dedup};

/// A window is covered by about this many trees: each is asked for each key.
const TREES: u64 = 6;
/// A short window is not cut finer: a tree for every few seconds would cost more than its keys.
const MIN_SPAN_MS: u64 = 60_000;
/// Trees are named `dedup-SPAN-NUMBER`, so that those of another span are recognised.
const PREFIX: &str = "dedup-";

/// The keys on record. Owned by the writer.
pub(in crate::store::embedded) struct DedupIndex {
    db: Database,
    window_ms: u64,
    span_ms: u64,
    /// By number of the span of acceptance times that they cover.
    trees: BTreeMap<u64, Tree>,
    /// The last redrives, which outlast their keys.
    pub(in crate::store::embedded) redrives: RedriveIndex,
}

impl DedupIndex {
    pub(in crate::store::embedded) fn open(db: Database, window: Duration) -> Result<Self, IndexError> {
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let span_ms = (window_ms / TREES).max(MIN_SPAN_MS);
        let mut trees = BTreeMap::new();
        for name in db.tree_names() {
            let text = String::from_utf8_lossy(&name).into_owned();
            let Some((span, number)) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else {
                continue;
            };
            // Trees of another window length cover other spans: their keys are kept no longer.
            match (span.parse::<u64>(), number.parse::<u64>()) {
                (Ok(span), Ok(number)) if span == span_ms => {
                    trees.insert(number, db.tree(&name)?);
                }
                _ => db.drop_tree(name)?,
            }
        }
        let redrives = RedriveIndex::open(db.clone())?;
        Ok(Self { db, window_ms, span_ms, trees, redrives })
    }

    /// What was handed in under this key, newest first.
    pub(in crate::store::embedded) fn find(&self, dedup: &Dedup) -> Result<Option<Appended>, IndexError> {
        // Newest first: repetitions mostly follow soon, and of a key that was used again after the window the later use
        // counts.
        for tree in self.trees.values().rev() {
            if let Some(value) = tree.get(dedup.key)? {
                return Ok(Some(answer(dedup, &value)?));
            }
        }
        Ok(None)
    }

    /// Records a key with the id of its entry, in the tree of its time.
    pub(in crate::store::embedded) fn insert(
        &mut self,
        dedup: &Dedup,
        id: EventId,
    ) -> Result<(), IndexError> {
        // By the time in the id: a replay then puts the key into the same tree.
        let number = id.accepted_at().as_millis() / self.span_ms;
        let tree = match self.trees.entry(number) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(self.db.tree(format!("{PREFIX}{}-{number}", self.span_ms))?)
            }
        };
        let mut value = [0; 24];
        let (fingerprint, rest) = value.split_at_mut(8);
        fingerprint.copy_from_slice(&dedup.fingerprint.to_be_bytes());
        rest.copy_from_slice(&id.to_bytes());
        tree.insert(dedup.key, &value)?;
        Ok(())
    }

    /// Drops the trees in which everything is older than the window, after all corrections of the clock.
    pub(in crate::store::embedded) fn expire(
        &mut self,
        now: Timestamp,
        corrections: &[Correction],
    ) -> Result<(), IndexError> {
        while let Some((number, tree)) = self.trees.first_key_value() {
            let first = Timestamp::from_millis(number.saturating_mul(self.span_ms));
            let last = first + Duration::from_millis(self.span_ms);
            // What the clock was corrected by counts on top: a key must not go early because of a step of the clock.
            let extended = clock::extension(corrections, first, last);
            if last + extended + Duration::from_millis(self.window_ms) > now {
                // Trees ascend by time: all later ones are younger.
                break;
            }
            let (name, number) = (tree.name(), *number);
            // Our handle goes first. A tree is dropped as a whole: nothing is done key by key.
            self.trees.remove(&number);
            self.db.drop_tree(name)?;
        }
        Ok(())
    }
}

fn answer(dedup: &Dedup, value: &[u8]) -> Result<Appended, IndexError> {
    let wrong = IndexError::Corrupt("dedup row");
    let (fingerprint, id) = value.split_first_chunk().ok_or_else(|| wrong.clone())?;
    let id = EventId::from_bytes(id.try_into().map_err(|_| wrong)?);
    Ok(if u64::from_be_bytes(*fingerprint) == dedup.fingerprint {
        Appended::Duplicate(id)
    } else {
        Appended::Conflict(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ClockMark, Script};

    #[test]
    fn a_key_that_was_given_in_doubt_is_kept_for_the_whole_window() {
        let (hour, window) = (Duration::from_secs(3600), Duration::from_secs(24 * 3600));
        let begun = Timestamp::from_millis(1_700_000_000_000);
        let script = Script::new("another", begun + hour * 100);
        let clock = Clock::scripted(&script);
        clock.begin(Some(&ClockMark::unknown(begun)), Timestamp::ZERO, hour);
        script.advance(hour);
        let temp = tempfile::tempdir().expect("temp");
        let db = Database::open(temp.path(), 1024 * 1024).expect("opens");
        let mut keys = DedupIndex::open(db, window).expect("opens");
        let key = Dedup { key: [1; 16], fingerprint: 2 };
        keys.insert(&key, EventId::new(clock.now().as_millis(), 1)).expect("inserts");
        clock.trust().expect("in doubt");
        let is_known = |keys: &DedupIndex| keys.find(&key).expect("reads").is_some();
        script.advance(hour * 23);
        keys.expire(clock.now(), &clock.corrections()).expect("expires");
        assert!(is_known(&keys));
        script.advance(hour * 10);
        keys.expire(clock.now(), &clock.corrections()).expect("expires");
        assert!(!is_known(&keys), "the control");
    }
}
