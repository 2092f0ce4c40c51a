//! How an embedded store is run, and its defaults.
//!
//! Must not know: where the values come from.

use std::path::PathBuf;
use std::time::Duration;

use super::keys::Keys;

/// How an embedded store is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// Size at which a journal segment is closed.
    pub segment_bytes: u64,
    /// Age at which a journal segment is closed.
    pub segment_age: Duration,
    /// How long a settlement waits for company before it is synced.
    pub settle_delay: Duration,
    /// How often the index is handed to the system and settled segments go.
    pub sweep_every: Duration,
    /// How long a repetition is recognised, at least.
    pub dedup_window: Duration,
    /// How long dead letters are kept.
    pub dead_retention: Duration,
    /// How many dead letters are kept: beyond that the oldest file goes.
    pub dead_letters: u64,
    /// How many bytes the files of dead letters may take: beyond that the oldest one goes.
    pub dead_bytes: u64,
    /// How many bytes the details of attempts may take: beyond that the oldest file of them goes; 0 keeps none.
    pub attempts_max_bytes: u64,
    /// How many bytes the ends of events may take: beyond that the oldest go.
    pub ends_max_bytes: u64,
    /// A wall clock that is at most this much ahead of the last process is believed at the start.
    pub clock_bound: Duration,
    /// Memory of the index's cache, in bytes.
    pub cache_bytes: u64,
    /// Memory of unpacked blocks, in bytes; 0 keeps none.
    pub block_cache_bytes: usize,
    /// Appends are refused when fewer bytes are free.
    pub needed_bytes: u64,
    /// Entries that may wait for the writer.
    pub waiting_entries: usize,
    /// Bytes of records that may wait for the writer.
    pub waiting_bytes: usize,
    /// Segments that are kept open for reading.
    pub open_segments: usize,
    /// Descriptors kept spare for the files that the store opens as it runs.
    pub spare_descriptors: usize,
    /// Where the highest epoch of the directory is kept as well, so that an older copy of it is recognised.
    pub epoch_file: Option<PathBuf>,
    /// How fast what waits is read in search of damage; 0 for not at all.
    pub scrub_bytes_per_second: u64,
    /// By which records are encrypted; without any they are not.
    pub keys: Keys,
    /// A random number: becomes the salt of a new directory, by which its ids and frames are recognised.
    pub salt: u64,
}

impl EmbeddedOptions {
    /// What has to be free beside the records of an append: a new segment takes its whole size at once.
    pub(super) fn appends_need_bytes(&self) -> u64 {
        self.needed_bytes.saturating_add(self.segment_bytes)
    }
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            segment_bytes: crate::store::embedded::journal::JournalOptions::MAX_SEGMENT_BYTES,
            segment_age: Duration::from_secs(300),
            settle_delay: Duration::from_millis(50),
            sweep_every: Duration::from_millis(100),
            dedup_window: Duration::from_secs(24 * 3600),
            dead_retention: Duration::from_secs(14 * 24 * 3600),
            dead_letters: u64::MAX,
            dead_bytes: u64::MAX,
            attempts_max_bytes: 256 * 1024 * 1024,
            ends_max_bytes: 1024 * 1024 * 1024,
            clock_bound: Duration::from_secs(6 * 3600),
            cache_bytes: 64 * 1024 * 1024,
            block_cache_bytes: 16 * 1024 * 1024,
            needed_bytes: crate::store::embedded::directory::DEFAULT_NEEDED_BYTES,
            waiting_entries: 64 * 1024,
            waiting_bytes: 48 * 1024 * 1024,
            open_segments: 64,
            spare_descriptors: 16,
            epoch_file: None,
            scrub_bytes_per_second: 4 * 1024 * 1024,
            keys: Keys::default(),
            salt: 0,
        }
    }
}
