//! Reading single blocks by position. Cheap to clone, safe from any thread; keeps few files open.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::block::{Block, BlockHead};
use super::frame::{self, FRAME_HEADER_BYTES, FrameError, Kind, Place};
use super::head::{Found, HEAD_BYTES, Head};
use super::{Position, segment};
use crate::store::StoreError;

/// Files kept open at most.
const OPEN_FILES: usize = 64;

/// Why a block could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// Its segment is gone: everything in it was settled, or somebody deleted it.
    #[error("segment {segment} does not exist")]
    Gone {
        /// The segment.
        segment: u32,
    },
    /// The bytes at the position are not the block that was written.
    #[error("segment {}, offset {}: {error}", position.segment, position.offset)]
    Damaged {
        /// Where.
        position: Position,
        /// What is wrong.
        error: FrameError,
    },
    /// The system refused; trying again may help.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads blocks of one directory.
#[derive(Clone)]
pub struct Reader(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    /// Most recently used last.
    open: Mutex<Vec<OpenSegment>>,
}

#[derive(Clone)]
struct OpenSegment {
    number: u32,
    salt: u64,
    file: Arc<File>,
}

impl Reader {
    /// Reads from the segments of `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self(Arc::new(Inner { dir: dir.to_owned(), open: Mutex::new(Vec::new()) }))
    }

    /// The block at `position`, checked and unpacked. Two reads of the file; waits for the disk.
    ///
    /// # Errors
    /// [`ReadError`]; damage is never returned as a block.
    pub fn read_block(&self, position: Position) -> Result<Block, ReadError> {
        let segment = self.segment(position.segment)?;
        let bytes = self.read_frame(&segment, position)?;
        let place = Place { salt: segment.salt, segment: position.segment, offset: position.offset };
        frame::open(&bytes, place)
            .and_then(|(header, payload)| match header.kind {
                Kind::Block => BlockHead::decode(payload)?.unpack(),
                _ => Err(FrameError::Payload("not a block")),
            })
            .map_err(|error| ReadError::Damaged { position, error })
    }

    /// Closes the file of a segment that is about to be deleted, so that its space is given back.
    pub fn forget(&self, segment: u32) {
        self.cache().retain(|open| open.number != segment);
    }

    fn read_frame(&self, segment: &OpenSegment, position: Position) -> Result<Vec<u8>, ReadError> {
        let damaged = |error| ReadError::Damaged { position, error };
        let refused = |error: io::Error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                return damaged(FrameError::Short);
            }
            let path = self.0.dir.join(segment::name(position.segment, false));
            ReadError::Store(StoreError::io("read", &path, error))
        };
        let offset = u64::from(position.offset);
        let mut header = [0; FRAME_HEADER_BYTES];
        segment.file.read_exact_at(&mut header, offset).map_err(refused)?;
        let payload_bytes = frame::claimed_payload_bytes(&header).map_err(damaged)?;
        let mut bytes = vec![0; FRAME_HEADER_BYTES + payload_bytes];
        segment.file.read_exact_at(&mut bytes, offset).map_err(refused)?;
        Ok(bytes)
    }

    fn segment(&self, number: u32) -> Result<OpenSegment, ReadError> {
        let mut cache = self.cache();
        if let Some(at) = cache.iter().rposition(|open| open.number == number) {
            let hit = cache.remove(at);
            cache.push(hit.clone());
            return Ok(hit);
        }
        drop(cache);
        let opened = self.open(number)?;
        let mut cache = self.cache();
        if cache.len() >= OPEN_FILES {
            cache.remove(0);
        }
        cache.push(opened.clone());
        Ok(opened)
    }

    fn open(&self, number: u32) -> Result<OpenSegment, ReadError> {
        let path = self.0.dir.join(segment::name(number, false));
        let file = segment::open(&self.0.dir, number).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ReadError::Gone { segment: number },
            _ => ReadError::Store(StoreError::io("open", &path, error)),
        })?;
        let position = Position { segment: number, offset: 0 };
        let mut bytes = [0; HEAD_BYTES];
        file.read_exact_at(&mut bytes, 0)
            .map_err(|_| ReadError::Damaged { position, error: FrameError::Short })?;
        match Head::decode(&bytes, number) {
            Found::Sound { head, .. } => Ok(OpenSegment { number, salt: head.salt, file: Arc::new(file) }),
            Found::Newer(version) => {
                Err(super::head::newer(path.display().to_string(), version.into()).into())
            }
            Found::Nothing => Err(ReadError::Damaged { position, error: FrameError::Checksum }),
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Vec<OpenSegment>> {
        // No code panics while it holds the lock; a poisoned cache is still a cache.
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::super::{Group, Journal, JournalOptions, NewBlock};
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::LaneKey;

    /// One block in each of `count` segments.
    fn segments(dir: &Path, count: usize) -> Vec<Position> {
        let options = JournalOptions { segment_bytes: 4096, segment_age: Duration::ZERO, salt: 1 };
        let mut journal = Journal::open(dir, options, 0, Timestamp::ZERO).expect("opens");
        let (lane, mut group) = (LaneKey::new("a@1").expect("valid"), Group::default());
        let mut positions = Vec::new();
        for at in 0..count {
            let records = [Bytes::from(at.to_string())];
            let block = NewBlock {
                lane_no: 1,
                lane: &lane,
                accepted_ms: 1,
                records: &records,
                due_ms: &[],
                dedup: &[],
            };
            group.push_block(&block).expect("fits");
            positions.extend(journal.append(&mut group, Timestamp::ZERO).expect("appends"));
        }
        positions
    }

    fn open(reader: &Reader) -> Vec<u32> {
        reader.cache().iter().map(|open| open.number).collect()
    }

    #[test]
    fn the_file_not_used_for_longest_is_closed_and_opened_again_when_asked_for() {
        let temp = tempfile::tempdir().expect("temp");
        let at = segments(temp.path(), OPEN_FILES + 2);
        let reader = Reader::new(temp.path());
        for (number, position) in at.iter().enumerate().take(OPEN_FILES) {
            let record = reader.read_block(*position).expect("reads").record(0);
            assert_eq!(record, Some(Bytes::from(number.to_string())));
        }
        assert_eq!(open(&reader).len(), OPEN_FILES);
        reader.read_block(at[0]).expect("reads");
        reader.read_block(at[OPEN_FILES]).expect("reads");
        assert_eq!(open(&reader).len(), OPEN_FILES);
        let used = |number: u32| open(&reader).contains(&number);
        assert!(used(at[0].segment) && !used(at[1].segment), "the second one was the oldest in use");
        let again = reader.read_block(at[1]).expect("reads").record(0);
        assert_eq!(again, Some(Bytes::from_static(b"1")));
        assert!(!used(at[2].segment));
    }

    #[test]
    fn a_deleted_segment_reads_until_it_is_forgotten() {
        let temp = tempfile::tempdir().expect("temp");
        let at = segments(temp.path(), 2);
        let reader = Reader::new(temp.path());
        reader.read_block(at[0]).expect("reads");
        segment::remove(temp.path(), at[0].segment).expect("deletes");
        reader.clone().read_block(at[0]).expect("the open file holds it, and its space");
        reader.forget(at[0].segment);
        assert!(matches!(reader.read_block(at[0]), Err(ReadError::Gone { segment: 1 })));
        reader.read_block(at[1]).expect("reads");
    }
}
