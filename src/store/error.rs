//! What the store answers when it cannot do as asked, and the one place where failures of the system become that.
//!
//! Must not know: who shows it to whom, exit codes, HTTP.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::{MAX_RECORD_BYTES, Version};

/// Why the store could not do as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Too little disk space is left; dispatching goes on and will free some.
    #[error("the disk is nearly full: {free_bytes} bytes left, {needed_bytes} are kept in reserve")]
    Full {
        /// Bytes left on the file system.
        free_bytes: u64,
        /// Bytes that must stay free.
        needed_bytes: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// Too few files can still be made on the file system.
    #[error("the file system has {free_files} files left, {needed_files} are kept in reserve")]
    FewFiles {
        /// Files that can still be made.
        free_files: u64,
        /// How many must stay.
        needed_files: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// The system has no room for a write: the disk, a quota or the limit on the size of files is used up.
    #[error("{operation} {path}: no room: {reason}")]
    NoRoom {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The system is short of descriptors or of memory. It may pass.
    #[error("{operation} {path}: {reason}")]
    Shortage {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The store has not taken what was handed in within the time that its caller waits. Nothing of it is kept.
    #[error("the store did not take it in time; nothing was kept")]
    Slow,
    /// The store has taken what was handed in and has not confirmed it within the time that its caller waits.
    #[error("the store has not confirmed it in time: it may have been kept")]
    OutcomeUnknown,
    /// A write or sync failed; nothing more can be promised until the process is started again.
    #[error("the store failed and takes no more writes: {reason}")]
    Poisoned {
        /// The first failure.
        reason: String,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// More entries would be given up than an operator has confirmed.
    #[error("{found} events would be given up, {confirmed} were confirmed")]
    WrongCount {
        /// How many it would be.
        found: u64,
        /// How many were confirmed.
        confirmed: u64,
    },
    /// A document changed since it was read.
    #[error("the document has changed in between: it is at {found:?}")]
    VersionConflict {
        /// Its present version.
        found: Option<Version>,
    },
    /// Another process has the directory.
    #[error("the data directory {path} is in use by process {pid}")]
    Locked {
        /// The directory.
        path: String,
        /// Who holds it, as far as its lock file tells.
        pid: String,
    },
    /// This user may not do that there: a person has to change owner, mode, or mount. Starting again does not help.
    #[error("{operation} {path}: {reason}")]
    Denied {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: String,
        /// Who or what stands in the way.
        reason: String,
    },
    /// The operating system failed.
    #[error("{operation} {path}: {reason}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The operating system failed to read: the device, or a shortage of memory or of descriptors. It may pass.
    #[error("{operation} {path}: {reason}")]
    Unread {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// A file was read and is not what was written.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// Which file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Something about the store as a whole is in doubt: nothing is changed until an operator has decided.
    #[error("the store is held: {reason}")]
    Held {
        /// What is in doubt, and the way out.
        reason: String,
    },
    /// The directory is damaged so that it cannot be opened. Starting again does not help.
    #[error("the data directory cannot be used: {reason}")]
    Unusable {
        /// What is damaged, and the way out.
        reason: String,
    },
    /// Something is in the place where a directory is to be made; it is left as it is.
    #[error("{path} {reason}")]
    Occupied {
        /// What was to be made or replaced.
        path: String,
        /// What is there, and the way out.
        reason: String,
    },
    /// A record longer than [`MAX_RECORD_BYTES`].
    #[error("a record of {bytes} bytes exceeds the {MAX_RECORD_BYTES} that the store takes")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The file of `store.epoch_file` does not belong to this directory: a person has to change the setting.
    #[error("store.epoch_file {path}: {reason}")]
    EpochFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Written by a newer version of tidegate, or not by tidegate at all.
    #[error("{what} has format {found}; this version reads up to {known}")]
    Format {
        /// Which file.
        what: String,
        /// The format found.
        found: u32,
        /// The newest one known.
        known: u32,
    },
}

impl StoreError {
    /// Whether it says that there is no room: nothing was kept, and it may be tried again once there is.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::FewFiles { .. } | Self::NoRoom { .. })
    }

    /// Whether nothing was kept and the same may succeed later: there is no room, or the system is short of descriptors or
    /// memory.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.is_full() || matches!(self, Self::Shortage { .. })
    }

    /// A failed call on a file: [`StoreError::Denied`] where rights are missing, [`StoreError::NoRoom`] where there is
    /// no room, [`StoreError::Unread`] where a read may succeed later, [`StoreError::Shortage`] where the system is short of
    /// something, else [`StoreError::Io`]. Whoever has changed something before must not return a shortage as one.
    pub(super) fn io(operation: &'static str, path: &Path, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let (path, reason) = (path.display().to_string(), error.to_string());
        // A link where none may be is met as ELOOP by opens that do not follow.
        let link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        match error.kind() {
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotADirectory => Self::Denied { operation, path, reason },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::NoRoom { operation, path, reason }
            }
            _ if link => Self::Denied { operation, path, reason },
            _ if READS.contains(&operation) && error.raw_os_error().is_some_and(may_pass) => {
                Self::Unread { operation, path, reason }
            }
            _ if is_shortage(&error) => Self::Shortage { operation, path, reason },
            _ => Self::Io { operation, path, reason },
        }
    }
}

/// The operations that change nothing.
const READS: [&str; 6] = ["read", "open", "list", "look at", "lock", "ask for room in"];

/// Whether the system is short of descriptors or of memory.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    error.raw_os_error().is_some_and(|errno| short.iter().any(|one| one.raw_os_error() == errno))
}

/// Whether an error of the system says nothing about the file: the same call may succeed later.
pub(super) fn may_pass(errno: i32) -> bool {
    use rustix::io::Errno;
    [Errno::IO, Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::INTR, Errno::AGAIN, Errno::TIMEDOUT]
        .iter()
        .any(|one| one.raw_os_error() == errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn missing_rights_are_told_apart_from_failures() {
        let of = |errno: Errno| StoreError::io("open", Path::new("/data/LOCK"), errno);
        for denied in [Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::NOTDIR, Errno::LOOP] {
            assert!(matches!(of(denied), StoreError::Denied { .. }), "{denied}");
        }
        for full in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
            assert!(matches!(of(full), StoreError::NoRoom { .. }) && of(full).is_full(), "{full}");
        }
        for unread in [Errno::IO, Errno::MFILE, Errno::INTR] {
            assert!(matches!(of(unread), StoreError::Unread { .. }) && !of(unread).is_full(), "{unread}");
        }
        for (errno, is_short) in [(Errno::MFILE, true), (Errno::NOMEM, true), (Errno::IO, false)] {
            let written = StoreError::io("write", Path::new("/data/LOCK"), errno);
            assert_eq!(matches!(written, StoreError::Shortage { .. }), is_short, "{errno}");
            assert_eq!((written.is_refusal(), written.is_full()), (is_short, false), "{errno}");
        }
        assert!(of(Errno::NOSPC).is_refusal());
        assert!(matches!(of(Errno::NOENT), StoreError::Io { .. }));
        assert_eq!(of(Errno::ACCESS).to_string(), "open /data/LOCK: Permission denied (os error 13)");
    }
}
