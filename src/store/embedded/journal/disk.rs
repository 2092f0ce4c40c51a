//! The two calls on which durability rests, behind a trait so that tests can count them and make them fail.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How segment files are written and synced, by one thread.
pub trait Disk: Send {
    /// Writes all bytes at an offset.
    ///
    /// # Errors
    /// What the system says; part of the bytes may have been written.
    fn write_at(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns when the file's written bytes would survive a power cut.
    ///
    /// # Errors
    /// What the system says; nothing is known about the bytes then, and asking again would lie.
    fn sync(&mut self, file: &File) -> io::Result<()>;
}

/// The files of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn write_at(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}
