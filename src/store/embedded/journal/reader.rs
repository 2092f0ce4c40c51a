//! Reading single blocks by position. Cheap to clone, safe from any thread; keeps few files open.
//!
//! Damage is only what was read and does not prove itself: a frame that passes its sum, which covers the directory's
//! salt, the segment's number and the offset, is sound whatever the head of its file says, so that the head is not
//! read. Whatever the system refuses, and whatever may be different the next time, is an error and no damage.
//!
//! Must not know: who asks, what becomes of a block that cannot be read.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::block::{Block, BlockHead};
use super::frame::{self, FRAME_HEADER_BYTES, FrameError, FrameKind, FramePlace};
use super::sealing::Opener;
use super::source::BlockSource;
#[cfg(any(test, feature = "testkit"))]
use super::source::OsSource;
use super::{Position, head, segment};
use crate::event::LaneKey;
use crate::store::StoreError;
use crate::store::embedded::keys::Keys;
use crate::store::embedded::spare;

/// Files kept open at most, unless fewer are asked for.
#[cfg(any(test, feature = "testkit"))]
const OPEN_FILES: usize = 64;
/// How often a read that ended before the end of the file is tried again.
const SHORT_READS: usize = 3;

/// Why a block could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// Its segment is gone: everything in it was settled, or somebody deleted it.
    #[error("segment {segment} does not exist")]
    Gone {
        /// Number of the segment.
        segment: u32,
    },
    /// The bytes at the position are not the block that was written.
    #[error("segment {}, offset {}: {error}", position.segment, position.offset)]
    Damaged {
        /// Where the block should start.
        position: Position,
        /// Why the bytes there are not the block.
        error: FrameError,
    },
    /// The system refused, or the bytes are not ours to judge; nothing is known about the block.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ReadError {
    /// Whether two reads of a block found the same damage.
    #[must_use]
    pub fn is_same_damage(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Gone { segment }, Self::Gone { segment: other }) => segment == other,
            (
                Self::Damaged { position, error },
                Self::Damaged { position: other_position, error: other_error },
            ) => (position, error) == (other_position, other_error),
            _ => false,
        }
    }
}

/// Reads blocks of one directory, with a bounded number of segments kept open.
#[derive(Clone)]
pub struct BlockReader(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    salt: u64,
    source: Arc<dyn BlockSource>,
    keys: Keys,
    /// How many files are kept open.
    keeps: usize,
    /// The segments kept open, the most recently used last.
    open: Mutex<Vec<OpenSegment>>,
}

#[derive(Clone)]
struct OpenSegment {
    number: u32,
    file: Arc<File>,
}

impl BlockReader {
    /// Reads from the segments of `dir`, whose frames carry `salt` in their sums.
    #[cfg(any(test, feature = "testkit"))]
    #[must_use]
    pub fn new(dir: &Path, salt: u64) -> Self {
        Self::over(dir, salt, Arc::new(OsSource), OPEN_FILES, Keys::default())
    }

    /// As `BlockReader::new`, with the reads made by `source`, at most `keeps` files kept open, and records
    /// decrypted with these keys.
    #[must_use]
    pub fn over(dir: &Path, salt: u64, source: Arc<dyn BlockSource>, keeps: usize, keys: Keys) -> Self {
        Self(Arc::new(Inner { dir: dir.to_owned(), salt, source, keys, keeps, open: Mutex::new(Vec::new()) }))
    }

    /// The block at `position`, checked and unpacked. Two reads of the file; waits for the disk.
    ///
    /// # Errors
    /// [`ReadError`]; damage is never returned as a block.
    pub fn read_block(&self, position: Position) -> Result<Block, ReadError> {
        let file = self.segment(position.segment)?;
        self.read_with(&file, position, false)
    }

    /// As [`BlockReader::read_block`], through a descriptor of its own, and from the device as far as the system can be
    /// asked for that: what an earlier read left behind does not count.
    ///
    /// # Errors
    /// As [`BlockReader::read_block`].
    pub fn read_block_afresh(&self, position: Position) -> Result<Block, ReadError> {
        let file = self.open(position.segment)?;
        self.read_with(&file, position, true)
    }

    /// Closes the file of a segment that is about to be deleted, so that its space is given back.
    pub fn forget(&self, segment: u32) {
        self.cache().retain(|open| open.number != segment);
    }

    /// The lane of the block at `position` and when its entries were accepted, which need no key. As expensive as
    /// [`BlockReader::read_block`].
    ///
    /// # Errors
    /// As [`BlockReader::read_block`], and [`ReadError::Damaged`] for a lane that is none.
    pub(in crate::store::embedded) fn read_head(
        &self,
        position: Position,
    ) -> Result<(LaneKey, u64), ReadError> {
        let file = self.segment(position.segment)?;
        self.decode_with(&file, position, false, |head, _| {
            let lane = LaneKey::new(head.lane).map_err(|_| FrameError::Payload("no lane"))?;
            Ok((lane, head.accepted_ms))
        })
    }

    fn read_with(&self, file: &File, position: Position, afresh: bool) -> Result<Block, ReadError> {
        self.decode_with(file, position, afresh, |head, opener| head.unpack(opener))
    }

    fn decode_with<T>(
        &self,
        file: &File,
        position: Position,
        afresh: bool,
        take: impl FnOnce(BlockHead<'_>, Opener<'_>) -> Result<T, FrameError>,
    ) -> Result<T, ReadError> {
        let bytes = self.read_frame(file, position, afresh)?;
        let place = FramePlace { salt: self.0.salt, segment: position.segment, offset: position.offset };
        let opened = frame::open(&bytes, place).and_then(|(header, payload)| match header.kind {
            // Only blocks are asked for: another kind at this place is treated as damage.
            FrameKind::Block => take(BlockHead::decode(payload)?, Opener { keys: &self.0.keys, place }),
            _ => Err(FrameError::Payload("not a block")),
        });
        opened.map_err(|error| match error {
            // Its sum is right: a newer version wrote it.
            FrameError::Version(version) => {
                head::newer(self.path(position.segment).display().to_string(), version.into()).into()
            }
            FrameError::Kind(kind) => {
                head::newer(self.path(position.segment).display().to_string(), kind.into()).into()
            }
            // Nothing is known of it until its key is back.
            FrameError::Locked(_) => StoreError::Unread {
                operation: "decrypt",
                place: self.path(position.segment).display().to_string(),
                reason: error.to_string(),
            }
            .into(),
            error => ReadError::Damaged { position, error },
        })
    }

    fn read_frame(&self, file: &File, position: Position, afresh: bool) -> Result<Vec<u8>, ReadError> {
        let mut header = [0; FRAME_HEADER_BYTES];
        self.fill(file, position, &mut header)?;
        // The header first, for the length: a claim above the bound is damage and not read.
        let payload_bytes =
            frame::claimed_payload_bytes(&header).map_err(|error| ReadError::Damaged { position, error })?;
        let mut bytes = vec![0; FRAME_HEADER_BYTES + payload_bytes];
        if afresh {
            // A wrong page in the cache of the system would return the same damage again.
            self.0.source.bypass(file, position.offset.into(), bytes.len() as u64);
        }
        self.fill(file, position, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads all of `bytes` at a position. That the file ends before is damage, that a read ends before is none.
    fn fill(&self, file: &File, position: Position, bytes: &mut [u8]) -> Result<(), ReadError> {
        let start = u64::from(position.offset);
        let refused = |error| ReadError::Store(StoreError::io("read", &self.path(position.segment), error));
        let (mut filled, mut short) = (0, 0);
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.source.read_at(file, rest, start + filled as u64) {
                Ok(0) => {
                    let length = self.0.source.length(file).map_err(refused)?;
                    if length < start + bytes.len() as u64 {
                        return Err(ReadError::Damaged { position, error: FrameError::Short });
                    }
                    // The file is longer, so that the end of the read is a fault of the system and not of the file.
                    short += 1;
                    if short > SHORT_READS {
                        return Err(refused(io::Error::other("the read ended before the end of the file")));
                    }
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(refused(error)),
            }
        }
        Ok(())
    }

    fn segment(&self, number: u32) -> Result<Arc<File>, ReadError> {
        let mut cache = self.cache();
        if let Some(at) = cache.iter().rposition(|open| open.number == number) {
            let hit = cache.remove(at);
            let file = Arc::clone(&hit.file);
            cache.push(hit);
            return Ok(file);
        }
        // Not locked while the file is opened: an open may wait for the disk, and other segments are read meanwhile.
        drop(cache);
        let file = Arc::new(self.open(number)?);
        let mut cache = self.cache();
        if !spare::is_whole() {
            // Others need the descriptors more.
            cache.clear();
            return Ok(file);
        }
        if cache.len() >= self.0.keeps.max(1) {
            cache.remove(0);
        }
        cache.push(OpenSegment { number, file: Arc::clone(&file) });
        Ok(file)
    }

    /// Opens a segment, whichever name it has. It is gone only when its directory does not list it either.
    fn open(&self, number: u32) -> Result<File, ReadError> {
        // A segment may be renamed between two looks.
        for settled in [false, true, false] {
            let path = self.0.dir.join(segment::name(number, settled));
            match self.0.source.open(&path) {
                Ok(Some(file)) => return Ok(file),
                Ok(None) => {}
                Err(error) => return Err(StoreError::io("open", &path, error).into()),
            }
        }
        // Callers act on `Gone` as a fact: a name that is still listed is no proof of it.
        if segment::list(&self.0.dir)?.iter().any(|file| file.number == number) {
            let error = io::Error::other("the name is listed and does not open");
            return Err(StoreError::io("open", &self.path(number), error).into());
        }
        Err(ReadError::Gone { segment: number })
    }

    fn path(&self, number: u32) -> PathBuf {
        self.0.dir.join(segment::name(number, false))
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Vec<OpenSegment>> {
        // No code panics while it holds the lock; a poisoned cache is still a cache.
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
