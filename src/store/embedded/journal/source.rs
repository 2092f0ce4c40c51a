//! The calls by which blocks are read, behind a trait so that tests can make them fail.
//!
//! Must not know: frames, who reads.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use crate::store::embedded::files;

/// How blocks are read. Implementations may be called from several threads at once.
pub trait BlockSource: Send + Sync {
    /// Opens a plain file. `None` when there is nothing of this name.
    ///
    /// # Errors
    /// What the system says, or that the name is no plain file.
    fn open(&self, path: &Path) -> io::Result<Option<File>>;

    /// Reads some bytes at an offset; 0 at or after the end of the file.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The length of a file in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    /// Asks that the next read of this range comes from the device and not from memory. A hint: it may be ignored.
    fn bypass(&self, file: &File, offset: u64, bytes: u64) {
        let _ = fadvise(file, offset, std::num::NonZeroU64::new(bytes), Advice::DontNeed);
    }
}

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OsSource;

impl BlockSource for OsSource {
    fn open(&self, path: &Path) -> io::Result<Option<File>> {
        files::read(path)
    }

    fn read_at(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        file.read_at(bytes, offset)
    }
}
