//! What is encrypted: which keys the records of the directory need, and whether they decrypt, as far as the keys are there.
//!
//! Must not know: keys, where they come from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::VerifyReport;
use crate::store::embedded::bits::Bits;
use crate::store::embedded::journal::{
    self, BlockReader, FoundLetters, Frame, HeadState, OsSource, Position, ReadError, Settled, What,
};
use crate::store::embedded::keys::{KeyId, Keys};
use crate::store::{LetterOrder, ReadLimit};

/// Letters that are decrypted at a time.
const PAGE: ReadLimit = ReadLimit { entries: 1024, bytes: 16 * 1024 * 1024 };

/// What was counted for one key.
#[derive(Default)]
struct Need {
    files: BTreeSet<(bool, u32)>,
    events: u64,
}

/// Counts as the journal is scanned.
pub(super) struct Needed<'a> {
    root: PathBuf,
    salt: u64,
    /// `None` when nothing is to be decrypted.
    keys: Option<&'a Keys>,
    reader: BlockReader,
    /// What lives of each encrypted block.
    blocks: BTreeMap<Position, (KeyId, Bits)>,
    by_key: BTreeMap<KeyId, Need>,
}

impl<'a> Needed<'a> {
    pub(super) fn new(root: &Path, salt: u64, keys: Option<&'a Keys>) -> Self {
        let opens = keys.cloned().unwrap_or_default();
        let reader = BlockReader::over(&root.join("journal"), salt, Arc::new(OsSource), 1, opens);
        Self { root: root.to_owned(), salt, keys, reader, blocks: BTreeMap::new(), by_key: BTreeMap::new() }
    }

    /// A frame of the journal.
    pub(super) fn add(&mut self, at: Position, frame: &Frame<'_>, report: &mut VerifyReport) {
        match frame {
            Frame::Block(head) => {
                let Some(key) = head.key() else { return };
                self.blocks.insert(at, (key, Bits::first(head.count)));
                if self.keys.is_some_and(|keys| keys.has(key))
                    && let Err(error @ ReadError::Damaged { .. }) = self.reader.read_block(at)
                {
                    report.find("journal", error.to_string());
                }
            }
            Frame::Settlements(runs) => {
                for run in runs.clone() {
                    let Some((_, living)) = self.blocks.get_mut(&run.block) else { continue };
                    let mut ended = Bits::default();
                    let is_end = |entry: &&Settled| !matches!(entry.what, What::Reschedule { .. });
                    run.entries.iter().filter(is_end).for_each(|entry| ended.set(entry.index));
                    *living = living.without(&ended);
                    if living.count() == 0 {
                        self.blocks.remove(&run.block);
                    }
                }
            }
            Frame::Dead(_) => {}
        }
    }

    /// Adds what lives of the journal.
    fn living(&mut self) {
        for (at, (key, living)) in std::mem::take(&mut self.blocks) {
            let need = self.by_key.entry(key).or_default();
            need.files.insert((false, at.segment));
            need.events += u64::from(living.count());
        }
    }

    /// The letters that are kept, by the heads of their files.
    pub(super) fn letters(&mut self, report: &mut VerifyReport) {
        let dir = self.root.join("dead");
        let Some(heads) = report.take("dead", journal::heads(&dir)) else { return };
        if heads.iter().all(|one| !matches!(one.head, HeadState::Sound { key: Some(_), .. })) {
            return;
        }
        let letters = FoundLetters::at_rest(&dir, self.salt, self.keys.cloned().unwrap_or_default());
        let Some(letters) = report.take("dead", letters) else { return };
        let left = letters.left();
        let mut after = None;
        while let Some(page) = report.take("dead", letters.page(LetterOrder::OldestFirst, after, PAGE)) {
            for (number, _) in page.damaged {
                let place = format!("dead/{}", journal::segment_name(number, false));
                report.find(place, "letters in it are damaged, or do not decrypt with their key");
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        for one in heads {
            let HeadState::Sound { key: Some(key), .. } = one.head else { continue };
            let need = self.by_key.entry(key).or_default();
            let events = left.get(&one.file.number).copied().unwrap_or(0);
            need.events += events;
            if events > 0 {
                need.files.insert((true, one.file.number));
            }
        }
    }

    /// Says what is needed, and what of it is not there.
    pub(super) fn tell(mut self, report: &mut VerifyReport) {
        self.living();
        for (key, Need { files, events }) in self.by_key.iter().filter(|(_, need)| need.events > 0) {
            let files = files.len();
            let needed = format!("{events} events and dead letters in {files} files");
            if self.keys.is_none_or(|keys| keys.has(*key)) {
                report.note(format!("the key {key} is needed by {needed}"));
            } else {
                let detail = format!(
                    "the key {key} is not there and is needed by {needed}, which cannot be read until it is back"
                );
                report.find("store.key_file", detail);
            }
        }
    }
}
