//! The log of ends: which events ended, how and when, in the order in which that became durable. It is written by the
//! thread that applies commits to the index, before the index, so that it is never behind it but for a power cut. This head
//! is the specification of format version 1. All numbers are little-endian.
//!
//! # Files
//! `ends/NNNNNNNNNN.ends` (ten decimal digits, from 1). Together they take at most `store.ends_max_bytes`; the oldest file goes
//! first. `ends/policies` holds each set of policies once: length (2), the inverted CRC-32C (4), the names joined by `+`.
//!
//! | at | bytes | content |
//! |---|---|---|
//! | 0 | 8 | `TIDEENDS` |
//! | 8 | 2 + 2 | version, 1; zero |
//! | 12 | 4 | number of the file |
//! | 16 | 8 | salt of the directory |
//! | 24 | 8 | log, by which its places are told from those of another log |
//! | 32 | 8 | number of the first end |
//! | 40 | 8 | ends after this time, Unix ms, are in this file or in others; 0: all there were |
//! | 48 | 4 | ends that the file takes |
//! | 60 | 4 | CRC-32C of bytes 0..60 |
//! | 64, 96 | 20 each | marks: segment (4) and offset (4) in the journal before which all ends are durable here, turn (8), CRC-32C of that and the salt (4); the later turn counts |
//! | 128 | 29 n | ends |
//! | .. | 2 n | in a full file: its ends in the order of their places in the journal |
//! | .. | 40 | `SEAL`, n (4), least and greatest key (8, 8), time of the last end (8), CRC-32C of the order (4), of the seal and the log (4) |
//!
//! An end takes 31 bytes in all, and the rest of a full file less than one byte for each:
//!
//! | bytes | content |
//! |---|---|
//! | 6 | accepted, Unix ms |
//! | 3 + 3 + 1 | segment, offset / 8 and index of the entry: with the time and the salt its id |
//! | 5 | ms from the acceptance to the end |
//! | 2 | number of the reason |
//! | 3 | last status (10 bits), attempts + 1 or 0 (11), kind of limit or 0 (3) |
//! | 1 | place of the policy that turned it away, or 255 |
//! | 2 | number of the set of policies, from 1; 0: not known |
//! | 3 | low bytes of the CRC-32C of these, the log and the number of the end |
//!
//! # Order and recovery
//! The numbers of ends ascend by one; a number is left out where ends are known to be missing, and a reader is told there.
//! Nothing is synced with an end: the sweeper syncs the files about once a second and before it deletes a segment of the
//! journal, and then writes a mark. A start applies the journal from the mark on: an end that is in the log already is
//! passed over, by the place of its entry, which is used once. If the segment of the mark is gone, ends may be missing.
//!
//! Must not know: rows of the index, callers.

mod file;
mod log;
mod names;
mod read;
mod record;
mod replay;
#[cfg(test)]
mod tests;

pub(super) use file::number as file_number;
pub(super) use log::Ends;
pub(super) use names::NAME as POLICIES;
pub(super) use record::Ended;
pub(super) use replay::Replay;
