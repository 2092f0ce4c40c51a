//! How a batch of new entries is divided for the writer.
//!
//! Must not know: the writer, what becomes of the parts.

use crate::store::NewEntry;

/// Records go to the writer in parts of at most this many bytes, so that a commit takes several of them and none
/// outgrows a group.
pub(super) const PART_BYTES: usize = 4 * 1024 * 1024;
/// Entries of a part at most.
pub(super) const PART_ENTRIES: usize = 4096;

/// Splits a batch into parts that fit into a group, with their bytes.
pub(super) fn parts(batch: Vec<NewEntry>) -> Vec<(Vec<NewEntry>, usize)> {
    let mut parts: Vec<(Vec<NewEntry>, usize)> = Vec::new();
    for entry in batch {
        let bytes = entry.record.len();
        match parts.last_mut() {
            Some((part, sum)) if *sum + bytes <= PART_BYTES && part.len() < PART_ENTRIES => {
                *sum += bytes;
                part.push(entry);
            }
            _ => parts.push((vec![entry], bytes)),
        }
    }
    parts
}
