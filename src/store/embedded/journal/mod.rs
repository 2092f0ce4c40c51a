//! The journal: the truth of the store. Append-only segments of checksummed frames, one fdatasync per group.
//! This head is the complete specification of format versions 1 and 2. All numbers are little-endian.
//!
//! # Files
//! `journal/NNNNNNNNNN.seg` (ten decimal digits, from 1, at most 2^24 - 1) holds what was accepted and decided;
//! `NNNNNNNNNN.settled` is a segment without live entries, kept because it settles entries of older segments: a
//! scan takes only its settlements. `journal/quarantine/NNNNNNNNNN-OFFSET.bin` holds raw bytes that no longer
//! decode. `dead/` has files of the same form for dead letters, with a numbering of its own. Other names are ignored.
//!
//! # Segment
//! A segment is preallocated with zeros, so it ends at the first zeros that reach to the end of the file. Byte 0
//! holds the head, byte 32 the same head again (either is enough):
//!
//! | at | bytes | content |
//! |---|---|---|
//! | 0 | 8 | `TIDEGATE` |
//! | 8 | 2 | format version, 1; 2 when its records are encrypted |
//! | 10 | 2 | zero |
//! | 12 | 4 | segment number, equal to that of the file name |
//! | 16 | 8 | salt, drawn at random for each data directory |
//! | 24 | 4 | zero; in version 2 the id of the key that all its records need |
//! | 28 | 4 | CRC-32C of bytes 0..28 |
//!
//! Frames follow from byte 64 on, each starting at a multiple of 8 below 2^26 (padding is zero, after the payload).
//!
//! # Frame
//! | at | bytes | content |
//! |---|---|---|
//! | 0 | 4 | mark `F7 74 67 1E` |
//! | 4 | 1 | frame version, 1; 2 when its records are encrypted |
//! | 5 | 1 | kind: 1 block, 2 settlements, 3 dead letter (in `dead/` alone) |
//! | 6 | 1 | flags: bit 0 = first frame of its group |
//! | 7 | 1 | zero |
//! | 8 | 4 | payload length, at most 8 MiB |
//! | 12 | 4 | entries in the blocks before it in this segment: a gap tells how many a damage has cost |
//! | 16 | 2 | entries in this frame (blocks and dead letters; else 0) |
//! | 18 | 2 | zero |
//! | 20 | 4 | CRC-32C of payload, bytes 4..20, salt (8), segment number (4), offset (4) |
//! | 24 | n | payload |
//!
//! Salt and position in the sum keep a frame that was copied elsewhere, or written by a producer into a body, from
//! passing for one.
//!
//! ## Block (kind 1): 1 to 256 entries of one lane, all plain or all delayed
//! | bytes | content |
//! |---|---|
//! | 4 | lane number |
//! | 2 | entries, n |
//! | 1 | flags: bit 0 delayed, bit 1 body is an LZ4 block, bit 2 body is encrypted |
//! | 1 | zero |
//! | 8 | accepted, Unix ms (never decreasing over the journal) |
//! | 4 | length of the body before compression, at most 4 MiB |
//! | 2 | length of the lane key, 1 to 1024 |
//! | 2 | dedup rows, d, at most n |
//! | .. | lane key, UTF-8 |
//! | 8 n | when delayed: due, Unix ms, of each entry |
//! | 26 d | dedup rows: entry (2), digest of key (16), fingerprint of content (8) |
//! | rest | body: n lengths (4 each), then the records end to end |
//!
//! Compression is kept when it saves at least an eighth; a scan does not undo it.
//!
//! ## Settlements (kind 2): one or more runs to the end of the payload
//! Run: lane number (4), segment (4), offset of the block's frame (4), entries (2), then for each: index in the block
//! (1), what (1: low bits 1 delivered, 2 reschedule, 3 dead, 4 expired, 5 drained, 6 cancelled, 7 lost, 8 reschedule in
//! doubt; bit 7: it was taken from a due place), then with bit 7 the due ms of that place (8), and for a reschedule the
//! new due ms (8), tries (2: the low 10 bits count attempts, the high 6 bits, zero in older files, tries that cost none
//! of them) and, while the clock was in doubt, when that was, Unix ms (8).
//!
//! A run of lane 4294967295 says why entries of the run before it, of the same block, ended: each is written as a reschedule
//! whose due ms holds the number of the reason (2), the last HTTP status or 0 (2), the kind of limit, from 1 on, or 0 (1),
//! the place of the policy in the lane or 255 (1), zero (2), and whose tries are zero. Versions before there was such a run
//! pass over it: no lane has this number, and it ends nothing.
//!
//! ## Dead letter (kind 3)
//! Event id (16), parked at, Unix ms (8), attempts (2), length of lane key (2), of reason (2), of record (4), then
//! lane key, reason, record. It is synced in `dead/` before its settlement is written: a crash between the two
//! shows one twice, never not at all.
//!
//! A letter is taken by settlements (kind 2) in `dead/`: a run of lane 0 that names the segment and offset of the
//! letter's frame, index 0, what 6. Versions before there was such a record pass over it: they go on counting the
//! letter, and delete the record with a segment that holds no younger letter. A letter that was taken may then be
//! listed again; none is ever lost by it. A segment with records lives as long as any segment that they name.
//!
//! ## Encrypted records (frame version 2)
//! What is encrypted ends the payload: the body of a block, compressed before; of a dead letter the record, before which the
//! id stands (16) by which its event is known.
//!
//! | bytes | content |
//! |---|---|
//! | 4 | id of the key |
//! | 16 | seed: with it HKDF-SHA-256 derives the key of the segment from that one (see `keys`) |
//! | 12 | nonce, random for each frame |
//! | n | ciphertext of AES-256-GCM |
//! | 16 | tag |
//!
//! Bound to it: salt (8), segment (4), offset (4) of the frame, and the payload before it. A key that is not there is no damage.
//!
//! # Bounds
//! A record is at most `MAX_RECORD_BYTES`; a longer one is refused with `TooLarge`. A block's body is at most 4 MiB and
//! 256 entries; a fuller one is refused with `TooLarge`: split it ([`FrameGroup::fits`]). A group is at most 32 MiB; a
//! full one refuses further frames the same way and goes into the next group. A group lies in one segment: when it does
//! not fit into the segment's size, a new segment is begun; one larger than a whole segment gets its own. A file is
//! thus at most 64 + 32 MiB; bytes beyond that are damage.
//!
//! # Order
//! 1. A segment is created, preallocated, headed, synced, and its directory synced, before the first group goes in.
//! 2. A group is one write and one fdatasync; its positions are handed out after both. The next group starts after.
//! 3. After the first failure nothing is written or synced again: the journal refuses for ever.
//! 4. Opening always begins a new segment above every number seen: no position is ever used twice.
//!
//! # Recovery and damage
//! A segment is what its head says: before a scan [`arrange()`] gives each its name back, heals damaged heads, and moves
//! what is foreign to `quarantine/`. Links, directories and special files are passed over.
//!
//! A scan walks the frames in order. Bad bytes are damage: counted, set aside, and the scan goes on at the next
//! multiple of 8 that carries the mark and passes the sum. In the last segment, bad bytes that no frame with the group
//! flag follows may be a torn group that was never acknowledged, where the account ([`Marked`]) does not say otherwise:
//! below the mark they are damage; behind a closing mark nothing was acknowledged; behind another mark nobody knows,
//! and they are *uncertain*. Sound frames behind them are kept. A torn end is cut off, by [`cut()`], when the account
//! goes on. A last segment without two valid heads and without frames is one whose creation was cut short and is
//! removed. A version above 2, in a head or in a frame with a valid sum, ends the scan with `Format`: it is not ours to
//! judge.

mod arrange;
mod aside;
mod block;
mod codec;
mod cut;
mod dead;
mod dead_log;
mod disk;
#[cfg(test)]
mod format_tests;
mod frame;
mod group;
mod head;
mod heads;
mod letters;
mod prefix;
mod reader;
mod salts;
mod scan;
mod sealing;
mod segment;
mod settlements;
mod source;
mod stream;
#[cfg(test)]
mod tests;
mod walk;
mod window;
mod writer;

pub(crate) use arrange::{Arrange, ArrangeFinding, arrange};
pub(crate) use block::{Block, BlockHead, DedupRow, MAX_BLOCK_BYTES};
pub use block::{MAX_BLOCK_ENTRIES, NewBlock};
pub(crate) use cut::cut;
pub(crate) use dead_log::{DeadLog, FoundLetters, LetterRetention};
pub use disk::{Disk, OsDisk};
pub(crate) use frame::FRAME_HEADER_BYTES;
pub use group::FrameGroup;
pub(crate) use head::HEAD_BYTES;
pub(crate) use heads::{HeadState, SegmentHead, heads};
pub(crate) use letters::Letters;
pub(crate) use prefix::keep_sound_prefix;
pub use reader::BlockReader;
pub(crate) use reader::ReadError;
pub(crate) use salts::{Salts, salts};
pub use scan::{Frame, Scan, scan};
pub(crate) use scan::{Marked, is_whole, sound_frames};
pub(crate) use segment::{
    SegmentFile, list, mark_settled, name as segment_name, number as segment_number, remove,
};
pub(crate) use settlements::RunReader;
pub use settlements::{Settled, SettledRun, What};
pub(crate) use source::{BlockSource, OsSource};
pub(crate) use walk::{ScanReport, Walked};
pub use writer::{Journal, JournalOptions};

/// Where a frame starts: segment, then byte in it. Positions ascend in the order of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Number of the segment, from 1; 0 lies before everything.
    pub segment: u32,
    /// Byte in the segment's file, a multiple of 8.
    pub offset: u32,
}

impl Position {
    /// A position behind everything that can be written.
    pub const MAX: Self = Self { segment: u32::MAX, offset: u32::MAX };
}
