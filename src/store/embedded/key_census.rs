//! Which keys the records at rest need, counted from the heads of the segments: each names the one key of its records.
//! Letters whose key is missing are a doubt for each of their files, until the key is back; blocks whose key is missing are
//! one as soon as they are read, as everything that cannot be read.
//!
//! Must not know: keys, where they come from, who shows the counts to whom.

use std::collections::{BTreeMap, BTreeSet};

use super::journal::{self, HeadState};
use super::keys::KeyId;
use super::shared::Shared;
use crate::store::doubts::{DoubtKind, NewDoubt};
use crate::store::{KeyUse, StoreError};

const JOURNAL: &str = "journal";
const DEAD: &str = "dead";

/// The counts of one look, by key; `None` stands for what is not encrypted.
type Counts = BTreeMap<Option<KeyId>, (u64, u64)>;

/// Grows with the segments.
#[derive(Default)]
pub(super) struct KeyCensus {
    /// What the head of each segment says; a head does not change.
    heads: BTreeMap<(&'static str, u32), Option<KeyId>>,
    missing: BTreeSet<KeyId>,
    /// No key was ever set, and none is needed: nothing has to be looked at.
    is_needless: bool,
}

impl KeyCensus {
    /// Counts, and reports keys that are missing.
    ///
    /// # Errors
    /// [`StoreError`] when the directory or the head of a segment cannot be read: the counts stay as they were.
    pub(super) fn take(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let keys = &shared.options.keys;
        if self.is_needless {
            return Ok(());
        }
        let living: BTreeMap<u32, u64> = shared.segments.living().into_iter().collect();
        let letters = shared.letters.left();
        self.look(JOURNAL, shared, &living)?;
        self.look(DEAD, shared, &letters)?;
        self.is_needless = keys.first().is_none() && self.heads.values().all(Option::is_none);
        let mut counts = Counts::default();
        let mut locked = BTreeMap::new();
        for ((room, number), key) in &self.heads {
            let of_room = if *room == DEAD { &letters } else { &living };
            let records = of_room.get(number).copied().unwrap_or(0);
            let counted = counts.entry(*key).or_default();
            // A file without records needs no key, though it is there still.
            counted.0 += u64::from(records > 0);
            counted.1 += records;
            if let Some(key) = key.filter(|key| *room == DEAD && records > 0 && !keys.has(*key)) {
                locked.insert(subject(*number), (key, records));
            }
        }
        doubt(shared, &locked);
        self.tell_missing(shared, &counts);
        shared.figures.set_keys(standing(shared, &counts));
        Ok(())
    }

    /// Brings what is known of the heads of a room in line with its files.
    fn look(
        &mut self,
        room: &'static str,
        shared: &Shared,
        records: &BTreeMap<u32, u64>,
    ) -> Result<(), StoreError> {
        self.heads.retain(|(of, number), _| *of != room || records.contains_key(number));
        if records.keys().all(|number| self.heads.contains_key(&(room, *number))) {
            return Ok(());
        }
        for one in journal::heads(&shared.dir.root().join(room))? {
            let number = one.file.number;
            let key = match one.head {
                HeadState::Sound { key, .. } => key,
                // The next start heals it; until then nothing is known of it.
                HeadState::Lost => continue,
            };
            if records.contains_key(&number) {
                self.heads.insert((room, number), key);
            }
        }
        Ok(())
    }

    /// One line in the log for each key that has come to be missing, or is back.
    fn tell_missing(&mut self, shared: &Shared, counts: &Counts) {
        let is_missing = |id: &KeyId| !shared.options.keys.has(*id);
        let needed = counts.iter().filter(|(_, (_, records))| *records > 0).filter_map(|(key, _)| *key);
        let missing: BTreeSet<KeyId> = needed.filter(is_missing).collect();
        for key in missing.difference(&self.missing) {
            let (files, records) = counts.get(&Some(*key)).copied().unwrap_or_default();
            tracing::error!(%key, files, records, "a key that records need is missing: they wait until it is back");
        }
        for key in self.missing.difference(&missing) {
            tracing::info!(%key, "a key that was missing is back, or is needed no more");
        }
        self.missing = missing;
    }
}

/// The keys that are there, in the order of their file, and then those that are missing, and what is not encrypted.
fn standing(shared: &Shared, counts: &Counts) -> Vec<KeyUse> {
    let keys = &shared.options.keys;
    let count = |key: &Option<KeyId>| counts.get(key).copied().unwrap_or_default();
    let ring = keys.ring();
    let present = ring.ids().map(|id| (Some(id), true));
    let missing =
        counts.iter().filter(|(key, (_, records))| *records > 0 && key.is_none_or(|key| !keys.has(key)));
    let others = missing.map(|(key, _)| (*key, key.is_none()));
    let all = present.chain(others).map(|(key, present)| {
        let (files, records) = count(&key);
        let encrypts = key.is_some() && key == keys.first();
        KeyUse { id: key.map(|key| key.to_string()), present, encrypts, files, records }
    });
    // Where nothing is encrypted there is nothing to say.
    all.filter(|of| of.id.is_some() || keys.first().is_some() || counts.len() > 1).collect()
}

fn subject(number: u32) -> String {
    format!("{DEAD}/{}", journal::segment_name(number, false))
}

/// Raises a doubt for each of these files, and ends those of others.
fn doubt(shared: &Shared, locked: &BTreeMap<String, (KeyId, u64)>) {
    let doubts = &shared.doubts;
    for doubt in doubts.list() {
        let is_of_letters = doubt.kind == DoubtKind::Unread && doubt.subject.starts_with(DEAD);
        if is_of_letters && !locked.contains_key(&doubt.subject) {
            doubts.clear(DoubtKind::Unread, &doubt.subject);
        }
    }
    for (subject, (key, records)) in locked {
        if doubts.find(DoubtKind::Unread, subject).is_some_and(|doubt| doubt.events == *records) {
            continue;
        }
        let doubt = NewDoubt {
            kind: DoubtKind::Unread,
            subject: subject.clone(),
            detail: format!(
                "{records} dead letters cannot be decrypted: their key {key} is not in store.key_file"
            ),
            way_out: "add the key to the file and send SIGHUP: this ends by itself then".to_owned(),
            events: *records,
        };
        doubts.raise(doubt, shared.clock.now());
    }
}
