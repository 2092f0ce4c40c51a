//! Disks that count, wait, fail, and keep writes back as a power cut shows them.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::store::embedded::journal::{Disk, OsDisk};

/// Counts its calls; one of them may fail, and syncs wait while it is held.
#[derive(Clone, Default)]
pub(super) struct Watched {
    pub fail_write: Option<usize>,
    /// How that write fails: EIO, unless it is said here.
    pub write_errno: Option<i32>,
    pub fail_sync: Option<usize>,
    pub held: Arc<AtomicBool>,
    writes: Arc<AtomicUsize>,
    syncs: Arc<AtomicUsize>,
}

impl Watched {
    /// Writes and syncs so far.
    pub(super) fn calls(&self) -> (usize, usize) {
        (self.writes.load(Ordering::SeqCst), self.syncs.load(Ordering::SeqCst))
    }
}

impl Disk for Watched {
    fn write_at(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.fail_write == Some(self.writes.fetch_add(1, Ordering::SeqCst)) {
            OsDisk.write_at(file, &bytes[..bytes.len() / 2], offset)?;
            return Err(io::Error::from_raw_os_error(self.write_errno.unwrap_or(5)));
        }
        OsDisk.write_at(file, bytes, offset)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        while self.held.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        if self.fail_sync == Some(self.syncs.fetch_add(1, Ordering::SeqCst)) {
            return Err(io::Error::from_raw_os_error(5));
        }
        OsDisk.sync(file)
    }
}

/// Keeps writes back until they are synced; one that is not honest says so of the appended ones and does not.
pub(super) struct PowerCut {
    pub honest: bool,
    pub unsynced: Vec<(u64, Vec<u8>)>,
}

impl Disk for PowerCut {
    fn write_at(&mut self, _: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.unsynced.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        let appended = self.unsynced.first().is_some_and(|(offset, _)| *offset > 0);
        if self.honest || !appended {
            for (offset, bytes) in self.unsynced.drain(..) {
                OsDisk.write_at(file, &bytes, offset)?;
            }
        }
        OsDisk.sync(file)
    }
}
