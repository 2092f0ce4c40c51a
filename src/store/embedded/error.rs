//! What only a store in a directory can meet, and the one place where failures of the system become errors.
//!
//! Must not know: who shows it to whom, exit codes, HTTP.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::store::StoreError;

/// Why a store in a directory could not do as asked, beside what any store may answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DirectoryError {
    /// Too little disk space is left; dispatching goes on and will free some.
    #[error("the disk is nearly full: {free_bytes} bytes left, {needed_bytes} are kept in reserve")]
    Full {
        /// Bytes left on the file system.
        free_bytes: u64,
        /// Bytes that appends have to leave free.
        needed_bytes: u64,
        /// How long a producer should wait before it tries again.
        retry_after: Duration,
    },
    /// Too few files can still be made on the file system.
    #[error("the file system has {free_files} files left, {needed_files} are kept in reserve")]
    FewFiles {
        /// Files that can still be made.
        free_files: u64,
        /// Files that appends have to leave.
        needed_files: u64,
        /// How long a producer should wait before it tries again.
        retry_after: Duration,
    },
    /// The system has no room for a write: the disk, a quota or the limit on the size of files is used up.
    #[error("{operation} {path}: no room: {reason}")]
    NoRoom {
        /// The operation that failed: a verb for the text, such as `write`.
        operation: &'static str,
        /// Path of the file or directory.
        path: String,
        /// The error of the system, as text.
        reason: String,
    },
    /// Another process holds the lock of the directory.
    #[error("the data directory {path} is in use by process {pid}")]
    Locked {
        /// Path of the directory.
        path: String,
        /// The process that holds it, as far as its lock file says.
        pid: String,
    },
    /// This user may not do that there: a person has to change owner, mode, or mount. Starting again does not help.
    #[error("{operation} {path}: {reason}")]
    Denied {
        /// The operation that failed: a verb for the text, such as `write`.
        operation: &'static str,
        /// Path of the file or directory.
        path: String,
        /// Who or what stands in the way.
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
        /// Path of the place.
        path: String,
        /// What is there, and the way out.
        reason: String,
    },
    /// The file of `store.epoch_file` does not belong to this directory: a person has to change the setting.
    #[error("store.epoch_file {path}: {reason}")]
    EpochFile {
        /// Path of the file.
        path: String,
        /// What is wrong with it, for people.
        reason: String,
    },
}

impl DirectoryError {
    pub(in crate::store) const fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::FewFiles { .. } | Self::NoRoom { .. })
    }

    pub(in crate::store) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Full { retry_after, .. } | Self::FewFiles { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

impl StoreError {
    /// A failed call on a file: [`DirectoryError::Denied`] where rights are missing, [`DirectoryError::NoRoom`] where
    /// there is no room, [`StoreError::Unread`] where a read may succeed later, [`StoreError::Shortage`] where the
    /// system is short of something, else [`StoreError::Io`]. A caller that has changed something before must not
    /// return a shortage as one.
    pub(in crate::store::embedded) fn io(
        operation: &'static str,
        path: &Path,
        error: impl Into<io::Error>,
    ) -> Self {
        let error = error.into();
        let (path, reason) = (path.display().to_string(), error.to_string());
        // A link where none may be is met as ELOOP by opens that do not follow.
        let link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        match error.kind() {
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotADirectory => DirectoryError::Denied { operation, path, reason }.into(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                DirectoryError::NoRoom { operation, path, reason }.into()
            }
            _ if link => DirectoryError::Denied { operation, path, reason }.into(),
            _ if READS.contains(&operation) && error.raw_os_error().is_some_and(may_pass) => {
                Self::Unread { operation, place: path, reason }
            }
            _ if is_shortage(&error) => Self::Shortage { operation, place: path, reason },
            _ => Self::Io { operation, place: path, reason },
        }
    }
}

/// The operations that change nothing: only what they fail at may be tried again as it is.
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
            assert!(matches!(of(denied), StoreError::Directory(DirectoryError::Denied { .. })), "{denied}");
        }
        for full in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
            assert!(
                matches!(of(full), StoreError::Directory(DirectoryError::NoRoom { .. }))
                    && of(full).is_full(),
                "{full}"
            );
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
