//! The last redrive of events, by the id by which they go: trees that each take so many, of which the oldest is dropped as a
//! whole. What lives of it is carried on.
//!
//! A row is the id of the entry and the beginning of its record, as [`record::redriven_part`] cuts it off.
//!
//! Must not know: lanes, who hands in what.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::IndexError;
use super::database::{Database, Tree};
use crate::event::EventId;
use crate::store::{LastRedrive, record};

/// Rows of one tree.
const PER_TREE: usize = 16_384;
/// Trees that are kept at least, the one that is filled included.
const TREES: usize = 5;
/// Trees are named `redrives-NUMBER`.
const PREFIX: &str = "redrives-";

/// The last redrives. Owned by the writer.
pub(in crate::store::embedded) struct RedriveIndex {
    db: Database,
    /// By number, ascending with time, each with the number of its rows. Those that were carried on do not count: however many
    /// live, a tree is dropped for each one that is filled, and not more often.
    trees: BTreeMap<u64, (Tree, usize)>,
    per_tree: usize,
}

impl RedriveIndex {
    pub(super) fn open(db: Database) -> Result<Self, IndexError> {
        let mut trees = BTreeMap::new();
        for name in db.tree_names() {
            let text = String::from_utf8_lossy(&name).into_owned();
            let Some(number) = text.strip_prefix(PREFIX).and_then(|number| number.parse::<u64>().ok()) else {
                continue;
            };
            let tree = db.tree(&name)?;
            let rows = tree.len();
            trees.insert(number, (tree, rows));
        }
        Ok(Self { db, trees, per_tree: PER_TREE })
    }

    /// The last redrive of the event that goes by this id, as far as it is on record.
    pub(in crate::store::embedded) fn find(&self, name: EventId) -> Result<Option<LastRedrive>, IndexError> {
        for (tree, _) in self.trees.values().rev() {
            if let Some(row) = tree.get(name.to_bytes())? {
                return read(&row).map(Some);
            }
        }
        Ok(None)
    }

    /// Notes the redrive that a record tells of, if it does. `keeps` says whether the segment of an entry is still there: of a
    /// tree that is dropped to make room those rows stay. A `bare` row says neither by whom it was nor the URL before: records
    /// are encrypted, and rows are not.
    pub(in crate::store::embedded) fn note(
        &mut self,
        entry: EventId,
        (bytes, bare): (&[u8], bool),
        keeps: impl FnMut(EventId) -> bool,
    ) -> Result<(), IndexError> {
        let part = match bare {
            true => record::bare_redriven_part(bytes).map(Cow::Owned),
            false => record::redriven_part(bytes).map(Cow::Borrowed),
        };
        let Some(part) = part else { return Ok(()) };
        let name = record::name(bytes, entry);
        // A replay comes by it once more, maybe after a later one.
        if self.find(name)?.is_some_and(|known| known.entry >= entry) {
            return Ok(());
        }
        let newest = self.trees.last_key_value().map(|(number, (_, rows))| (*number, *rows));
        let number = match newest {
            Some((number, rows)) if rows < self.per_tree => number,
            Some((number, _)) => self.begin(number + 1, keeps)?,
            None => self.begin(0, keeps)?,
        };
        let Some((tree, rows)) = self.trees.get_mut(&number) else { return Ok(()) };
        let row = [&entry.to_bytes()[..], &part[..]].concat();
        *rows += usize::from(tree.insert(name.to_bytes(), row)?.is_none());
        Ok(())
    }

    /// Begins a tree, and drops the oldest when there are enough of them.
    fn begin(&mut self, number: u64, mut keeps: impl FnMut(EventId) -> bool) -> Result<u64, IndexError> {
        let newest = self.db.tree(format!("{PREFIX}{number}"))?;
        self.trees.insert(number, (newest.clone(), 0));
        if self.trees.len() <= TREES {
            return Ok(number);
        }
        let Some((_, (oldest, _))) = self.trees.pop_first() else { return Ok(number) };
        for row in oldest.iter() {
            let (key, row) = row?;
            let name = key.as_ref().try_into().map(EventId::from_bytes);
            let name = name.map_err(|_| IndexError::Corrupt("redrive row"))?;
            // What was redriven again stands in a later tree.
            if keeps(read(&row)?.entry) && self.find(name)?.is_none() {
                newest.insert(name.to_bytes(), row)?;
            }
        }
        let name = oldest.name();
        // Our handle goes first. A tree is dropped as a whole.
        drop(oldest);
        self.db.drop_tree(name)?;
        Ok(number)
    }
}

/// The same answer for the entries of one segment: it is looked for once.
pub(in crate::store::embedded) fn once_each<K: std::hash::Hash + Eq + Copy>(
    mut is_there: impl FnMut(K) -> bool,
) -> impl FnMut(K) -> bool {
    let mut known = HashMap::new();
    move |key| *known.entry(key).or_insert_with(|| is_there(key))
}

fn read(row: &[u8]) -> Result<LastRedrive, IndexError> {
    let wrong = || IndexError::Corrupt("redrive row");
    let (entry, part) = row.split_first_chunk().ok_or_else(wrong)?;
    let redriven = record::redriven(part).ok_or_else(wrong)?;
    Ok(LastRedrive { entry: EventId::from_bytes(*entry), redriven })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::Redriven;
    use crate::store::record::testing::redriven_record;

    fn id(n: u64) -> EventId {
        EventId::new(1_000 + n, n.into())
    }

    /// A redrive of the event that goes by this id.
    fn redriven(name: u64, count: u16) -> Redriven {
        let (at, by) = (Timestamp::from_millis(5), "on call".to_owned());
        let from_url = Some("http://h.org/".to_owned());
        Redriven { origin: id(name), is_renamed: false, count, at, by, from_url }
    }

    fn note(index: &mut RedriveIndex, name: u64, count: u16, entry: u64, keeps: bool) {
        let record = redriven_record(&redriven(name, count));
        index.note(id(entry), (&record, false), |_| keeps).expect("writes");
    }

    fn open(path: &std::path::Path) -> RedriveIndex {
        let db = Database::open(path, 1024 * 1024).expect("opens");
        RedriveIndex { per_tree: 10, ..RedriveIndex::open(db).expect("opens") }
    }

    #[test]
    fn the_last_redrive_is_found_by_the_id_that_people_know_over_restarts() {
        let temp = tempfile::tempdir().expect("temp");
        let mut index = open(temp.path());
        note(&mut index, 1, 1, 100, true);
        note(&mut index, 1, 2, 101, true);
        // A replay.
        note(&mut index, 1, 1, 100, true);
        index.note(id(102), (b"\x01plain", false), |_| true).expect("writes");
        index.note(id(103), (&redriven_record(&redriven(3, 1)), true), |_| true).expect("writes");
        drop(index);
        let index = open(temp.path());
        let found = index.find(id(1)).expect("reads").expect("known");
        assert_eq!(found, LastRedrive { entry: id(101), redriven: redriven(1, 2) });
        assert_eq!(index.find(id(102)).expect("reads"), None);
        let bare = Redriven { by: String::new(), from_url: None, ..redriven(3, 1) };
        let found = index.find(id(3)).expect("reads").expect("known");
        assert_eq!(found, LastRedrive { entry: id(103), redriven: bare }, "beside encrypted records");
    }

    #[test]
    fn what_lives_outlasts_the_tree_that_it_came_to() {
        for keeps in [true, false] {
            let temp = tempfile::tempdir().expect("temp");
            let mut index = open(temp.path());
            for n in 0..60 {
                note(&mut index, n, 1, 100 + n, keeps);
            }
            assert!(index.trees.len() <= TREES, "{}", index.trees.len());
            assert_eq!(index.find(id(0)).expect("reads").is_some(), keeps);
            assert!(index.find(id(59)).expect("reads").is_some());
        }
    }
}
