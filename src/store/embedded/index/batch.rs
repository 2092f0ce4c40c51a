//! Changes of rows, kept back until they go into the tree together with the checkpoint that counts them.
//!
//! Must not know: what rows mean.

use std::collections::HashMap;
use std::sync::Arc;

use super::IndexError;
use super::database::Tree;
use super::keys::Key;
use super::room::{BATCH_BYTES, IndexRoom};
use super::rows::{Checkpoint, digest};
use crate::store::embedded::journal::Position;

/// Most rows of one atomic batch: larger ones make the library's memory explode.
pub(in crate::store::embedded) const MAX_ROWS: usize = 250;

struct Change {
    old: Option<sled::IVec>,
    new: Option<sled::IVec>,
}

/// The only writer of the tree: it knows the sum of all rows without reading them.
pub(in crate::store::embedded) struct RowWriter {
    tree: Tree,
    checkpoint: Checkpoint,
    changes: HashMap<Key, Change>,
    room: Arc<IndexRoom>,
}

impl RowWriter {
    pub(in crate::store::embedded) fn new(tree: Tree, checkpoint: Checkpoint, room: Arc<IndexRoom>) -> Self {
        Self { tree, checkpoint, changes: HashMap::with_capacity(MAX_ROWS), room }
    }

    pub(in crate::store::embedded) fn checkpoint(&mut self) -> &mut Checkpoint {
        &mut self.checkpoint
    }

    /// The row as it is with the changes so far.
    pub(in crate::store::embedded) fn get(&self, key: Key) -> Result<Option<sled::IVec>, IndexError> {
        match self.changes.get(&key) {
            Some(change) => Ok(change.new.clone()),
            None => Ok(self.tree.get(key.encode())?),
        }
    }

    pub(in crate::store::embedded) fn put(&mut self, key: Key, value: &[u8]) -> Result<(), IndexError> {
        self.change(key, Some(value.into()))
    }

    pub(in crate::store::embedded) fn remove(&mut self, key: Key) -> Result<(), IndexError> {
        self.change(key, None)
    }

    fn change(&mut self, key: Key, new: Option<sled::IVec>) -> Result<(), IndexError> {
        if let Some(change) = self.changes.get_mut(&key) {
            change.new = new;
            return Ok(());
        }
        // Read once for each row: the sum needs what was there before this batch.
        let old = self.tree.get(key.encode())?;
        self.changes.insert(key, Change { old, new });
        Ok(())
    }

    /// Writes the changes so far when fewer than `rows` more would fit: what follows stays together.
    pub(in crate::store::embedded) fn make_room(&mut self, rows: usize) -> Result<(), IndexError> {
        if self.changes.len() + rows > MAX_ROWS { self.write() } else { Ok(()) }
    }

    /// Writes the changes; from now on the index reflects every frame below `position`.
    pub(in crate::store::embedded) fn commit(&mut self, position: Position) -> Result<(), IndexError> {
        self.checkpoint.reflects = position;
        self.write()
    }

    fn write(&mut self) -> Result<(), IndexError> {
        let mut batch = sled::Batch::default();
        for (key, change) in self.changes.drain() {
            // A row that came and went within the batch, or was written as it is.
            if change.old == change.new {
                continue;
            }
            let key = key.encode();
            if let Some(old) = change.old {
                self.checkpoint.rows = self.checkpoint.rows.wrapping_sub(1);
                self.checkpoint.sum = self.checkpoint.sum.wrapping_sub(digest(key.as_ref(), &old));
            }
            match change.new {
                Some(new) => {
                    self.checkpoint.rows = self.checkpoint.rows.wrapping_add(1);
                    self.checkpoint.sum = self.checkpoint.sum.wrapping_add(digest(key.as_ref(), &new));
                    batch.insert(key.as_ref(), new);
                }
                None => batch.remove(key.as_ref()),
            }
        }
        // In the same batch: after a crash sum and rows are both old or both new.
        batch.insert(Key::Checkpoint.encode().as_ref(), self.checkpoint.encode());
        // Where nobody waits for room the library has to find some.
        self.room.wait_for(BATCH_BYTES);
        Ok(self.tree.apply_batch(batch)?)
    }
}
