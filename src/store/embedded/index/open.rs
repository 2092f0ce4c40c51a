//! Opening: everything is read once, counted and added up. Whatever does not add up is not used.
//!
//! Must not know: the journal's files.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::apply::Indexer;
use super::batch::RowWriter;
use super::database::{Database, Tree};
use super::dedup::DedupIndex;
use super::keys::Key;
use super::lanes::LaneNumbers;
use super::read::IndexReader;
use super::room::IndexRoom;
use super::rows::{self, BlockRow, Checkpoint, PutOff, digest};
use super::segments::Segments;
use super::{IndexError, guarded, whys};
use crate::event::LaneKey;
use crate::store::embedded::journal::Position;

/// The library's tree of all rows; keys of repetitions have trees of their own.
const TREE: &str = "rows";

/// The parts of an index whose rows add up.
pub(in crate::store::embedded) struct Opened {
    pub db: Database,
    pub indexer: Indexer,
    pub reader: IndexReader,
    pub dedup: DedupIndex,
    pub checkpoint: Checkpoint,
    pub room: Arc<IndexRoom>,
}

/// Opens the index at `path`, or creates an empty one, and checks it against itself. Room for it is taken from the
/// ballast in `root`, if there is a root. Panics of the library are answered as errors.
pub(in crate::store::embedded) fn open(
    path: &Path,
    root: Option<&Path>,
    cache_bytes: u64,
    window: Duration,
) -> Result<Opened, IndexError> {
    guarded(|| {
        let db = Database::open(path, cache_bytes)?;
        let tree = db.tree(TREE)?;
        let lanes = Arc::new(LaneNumbers::default());
        let counts = Arc::new(Segments::default());
        let mut blocks = Noted::default();
        let checkpoint = check(&tree, &lanes, &counts, &mut blocks)?;
        let reader = IndexReader::new(tree.clone(), Arc::clone(&lanes));
        let dedup = DedupIndex::open(db.clone(), window)?;
        let room = Arc::new(root.map_or_else(IndexRoom::default, |root| IndexRoom::new(root, path)));
        let indexer =
            Indexer::new(RowWriter::new(tree, checkpoint, Arc::clone(&room)), lanes, counts, blocks);
        Ok(Opened { db, indexer, reader, dedup, checkpoint, room })
    })
}

/// The blocks of which something is noted beside what lives.
#[derive(Default)]
pub(super) struct Noted {
    pub(super) lost: BTreeSet<Position>,
    pub(super) whys: BTreeSet<Position>,
}

/// Walks all rows: the sum must be the checkpoint's, and what the rows say of each other must agree.
fn check(
    tree: &Tree,
    lanes: &LaneNumbers,
    counts: &Segments,
    blocks: &mut Noted,
) -> Result<Checkpoint, IndexError> {
    let mut stored = None;
    let (mut rows, mut sum) = (0_u64, 0_u64);
    let (mut due, mut parked) = (0_u64, 0_u64);
    for row in tree.iter() {
        let (key, value) = row?;
        let decoded = Key::decode(&key).ok_or(IndexError::Corrupt("key"))?;
        // It holds the sum and cannot be part of it.
        if decoded == Key::Checkpoint {
            stored = Some(Checkpoint::decode(&value)?);
            continue;
        }
        rows += 1;
        sum = sum.wrapping_add(digest(&key, &value));
        match decoded {
            Key::Lane(no) => {
                let text = std::str::from_utf8(&value).map_err(|_| IndexError::Corrupt("lane row"))?;
                lanes.adopt(no, &LaneKey::new(text).map_err(|_| IndexError::Corrupt("lane row"))?);
            }
            Key::Block { lane, at, .. } => {
                let block = BlockRow::decode(&value)?;
                // Lane rows sort before block rows. A number that a lane had before may be on record as well.
                if lanes.key(lane).is_some() && !lanes.stands_under(lane) {
                    return Err(IndexError::Corrupt("a lane under two numbers"));
                }
                let lane = lanes.key(lane).ok_or(IndexError::Corrupt("block of an unknown lane"))?;
                lanes.add(&lane, block.live().into());
                counts.add(at, block.live().into());
                // Each entry that lives and is not in plain order needs a due row.
                parked += u64::from(block.live() - block.ready());
            }
            Key::Due(_) => {
                PutOff::decode(&value)?;
                due += 1;
            }
            Key::Moved { .. } => {
                PutOff::decode_moved(&value)?;
            }
            Key::Refers { segment, older } => {
                counts.refer(segment, older);
            }
            Key::Lost(at) => {
                rows::lost(&value)?;
                blocks.lost.insert(at);
            }
            Key::Why(at) => {
                whys::check(&value)?;
                blocks.whys.insert(at);
            }
            Key::Checkpoint => {}
        }
    }
    let Some(checkpoint) = stored else {
        return if rows == 0 { Ok(Checkpoint::default()) } else { Err(IndexError::Corrupt("no checkpoint")) };
    };
    if (checkpoint.rows, checkpoint.sum) != (rows, sum) {
        return Err(IndexError::Corrupt("the rows do not add up"));
    }
    // A batch that was cut between due rows and their block is completed by the replay.
    if due < parked {
        return Err(IndexError::Corrupt("due rows are missing"));
    }
    // Also numbers of lanes that are empty by now, which no row names.
    lanes.start_at(checkpoint.next_lane);
    Ok(checkpoint)
}
