//! The disks under a store: the system's, or those of a test that fail at its word.
//!
//! Must not know: what is written to them.

use std::sync::Arc;

use super::journal::{BlockSource, Disk, OsDisk, OsSource};

/// Where segments are written and synced.
pub struct Disks {
    /// Where the journal's segments are written.
    pub journal: Box<dyn Disk>,
    /// Where the dead letters' segments are written.
    pub dead: Box<dyn Disk>,
    /// Where blocks are read, once the store is open.
    pub reads: Arc<dyn BlockSource>,
}

impl Default for Disks {
    fn default() -> Self {
        Self { journal: Box::new(OsDisk), dead: Box::new(OsDisk), reads: Arc::new(OsSource) }
    }
}
