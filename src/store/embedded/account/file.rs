//! The two copies of the account: read whichever is whole and newer, write over whichever is older.
//!
//! Must not know: what the numbers in a mark mean.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::mark::AccountMark;
use crate::store::StoreError;
use crate::store::embedded::sealed::{self, Sealed};
use crate::store::embedded::{epoch, files};

const FORMAT: u32 = 1;
const NAMES: [&str; 2] = ["account.a", "account.b"];
/// A copy grows by this much: marks of the same length change no record of the file system.
const GRAIN_BYTES: usize = 16 * 1024;

/// Why a copy of the account cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountDefect {
    /// Name of the copy in the data directory.
    pub file: &'static str,
    /// What is wrong, for the text of a doubt.
    pub reason: String,
}

/// The account as it lies in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct StoredAccount {
    /// The newest whole mark of this directory.
    pub mark: Option<AccountMark>,
    /// The highest version met: the next mark's is above it.
    pub version: u64,
    /// The copies that are missing or damaged. Both are missing in a directory that has no account yet.
    pub defects: Vec<AccountDefect>,
    /// Something of an account is there, whole or damaged.
    pub exists: bool,
    /// The newest mark of this directory from before its last start.
    pub outdated: Option<AccountMark>,
    /// The epoch that the last start took, if it was asked for: no mark of the directory may be of an older one.
    pub started: u64,
}

impl StoredAccount {
    /// The salt of the directory, as far as a mark says it.
    #[must_use]
    pub(crate) fn salt(&self) -> Option<u64> {
        self.mark.as_ref().map(|mark| mark.salt)
    }

    /// What the next mark goes on from: the mark, or what is known without one.
    #[must_use]
    pub(crate) fn base(&self) -> AccountMark {
        let outdated = || self.outdated.as_ref().map(AccountMark::totals);
        let mark = self.mark.clone().or_else(outdated).unwrap_or_default();
        AccountMark { epoch: mark.epoch.max(self.started), ..mark }
    }

    /// A newer mark than this one may have been lost with the other copy.
    #[must_use]
    pub(crate) fn may_be_older(&self) -> bool {
        !self.defects.is_empty() && self.mark.as_ref().is_some_and(|mark| !mark.closed)
    }
}

/// Reads both copies of the account in the data directory `root`; changes nothing and needs no lock. What they hold may
/// be of another directory.
///
/// # Errors
/// [`StoreError::Io`] when the system does not let a copy be read: nothing is known of it then, and
/// [`StoreError::Format`] when a newer version wrote it.
pub(crate) fn read(root: &Path) -> Result<StoredAccount, StoreError> {
    read_those(root, None)
}

/// As [`read`], of a directory whose salt is known. Copies of another directory, and copies that are older than its
/// last start, are defects.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_own(root: &Path, salt: u64) -> Result<StoredAccount, StoreError> {
    let started = epoch::read(root)?.epoch.map_or(0, |epoch| epoch.started);
    read_those(root, Some(MarkOrigin { salt, started }))
}

/// What a mark of the directory has.
#[derive(Clone, Copy)]
struct MarkOrigin {
    salt: u64,
    /// The epoch that the last start took.
    started: u64,
}

impl MarkOrigin {
    fn is_outdated(self, mark: &AccountMark) -> bool {
        mark.salt == self.salt && mark.epoch < self.started
    }

    fn defect(self, mark: &AccountMark) -> Option<String> {
        let Self { salt, started } = self;
        if mark.salt != salt {
            return Some("it belongs to another data directory".to_owned());
        }
        let is_outdated = self.is_outdated(mark);
        is_outdated
            .then(|| format!("it is an older copy, of epoch {}; the last start took {started}", mark.epoch))
    }
}

fn read_those(root: &Path, own: Option<MarkOrigin>) -> Result<StoredAccount, StoreError> {
    let mut found = StoredAccount { started: own.map_or(0, |own| own.started), ..StoredAccount::default() };
    let mut missing = 0;
    let (mut newest, mut newest_outdated) = (0, 0);
    for file in NAMES {
        let path = root.join(file);
        let reason = match sealed::read(&path)? {
            Sealed::Missing => {
                missing += 1;
                "it is missing".to_owned()
            }
            Sealed::Damaged { reason } => reason,
            Sealed::Whole { format, .. } if format != FORMAT => {
                let what = path.display().to_string();
                return Err(StoreError::Format { what, found: format, known: FORMAT });
            }
            Sealed::Whole { version, body, .. } => match serde_json::from_slice::<AccountMark>(&body) {
                Ok(mark) => {
                    found.version = found.version.max(version);
                    let Some(reason) = own.and_then(|own| own.defect(&mark)) else {
                        // Whatever the order of the names: the newer copy may be either.
                        if version > newest {
                            (found.mark, newest) = (Some(mark), version);
                        }
                        continue;
                    };
                    if own.is_some_and(|own| own.is_outdated(&mark)) && version > newest_outdated {
                        (found.outdated, newest_outdated) = (Some(mark), version);
                    }
                    reason
                }
                Err(error) => error.to_string(),
            },
        };
        found.defects.push(AccountDefect { file, reason });
    }
    found.exists = missing < NAMES.len();
    if found.mark.is_some() && found.version == 1 && missing == 1 {
        // The very first opening was cut short between its two copies.
        found.defects.clear();
    }
    Ok(found)
}

/// Which copies a mark goes to: both where losing one must not lose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copies {
    Older,
    Both,
}

/// The writing end of the two copies.
pub(super) struct Pair {
    root: PathBuf,
    /// As it was, or is to be, written.
    pub(super) mark: AccountMark,
    version: u64,
    /// Which of [`NAMES`] is written next.
    older: usize,
}

impl Pair {
    pub(super) fn new(root: &Path, mark: AccountMark, version: u64) -> Self {
        Self { root: root.to_owned(), mark, version, older: 0 }
    }

    /// Writes the mark, durably. After an error at least one copy is whole.
    pub(super) fn write(&mut self, copies: Copies) -> Result<(), StoreError> {
        let times = if copies == Copies::Both { 2 } else { 1 };
        for _ in 0..times {
            let path = self.root.join(NAMES.get(self.older).copied().unwrap_or(NAMES[0]));
            // After a failure it is written over again: the other one is whole.
            write(&path, self.version + 1, &self.mark)
                .map_err(|error| StoreError::io("write", &path, error))?;
            self.version += 1;
            // Only after a success: the copy that failed may be torn, the other one is whole.
            self.older = 1 - self.older;
        }
        Ok(())
    }
}

fn write(path: &Path, version: u64, mark: &AccountMark) -> io::Result<()> {
    let body = serde_json::to_vec(mark)?;
    match files::write(path) {
        Ok(file) => {
            let at_least = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
            // A copy that noise has made huge is made anew.
            if at_least <= 64 * GRAIN_BYTES.max(body.len()) {
                // In place and of the same length: `sync_data` then has no change of the file's size to write.
                file.write_all_at(&padded(version, body, at_least), 0)?;
                return file.sync_data();
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if files::is_foreign(&error) => set_aside(path)?,
        Err(error) => return Err(error),
    }
    let temporary = sealed::beside(path, ".tmp");
    let file = files::create_temporary(&temporary)?;
    file.write_all_at(&padded(version, body, 0), 0)?;
    file.sync_all()?;
    files::rename_durably(&temporary, path)
}

/// The sealed bytes, filled up to at least `at_least`.
fn padded(version: u64, mut body: Vec<u8>, at_least: usize) -> Vec<u8> {
    let head = sealed::seal(FORMAT, version, &[]).len();
    let length = (head + body.len()).max(at_least).next_multiple_of(GRAIN_BYTES);
    // Blanks behind JSON are no part of it; the checksum covers them.
    body.resize(length - head, b' ');
    sealed::seal(FORMAT, version, &body)
}

/// Moves what is no plain file out of the way; it is neither followed nor deleted.
fn set_aside(path: &Path) -> io::Result<()> {
    let free = (1..=u32::MAX).map(|n| sealed::beside(path, &format!(".aside-{n}")));
    for aside in free {
        if fs::symlink_metadata(&aside).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return fs::rename(path, aside);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(accepted: u64) -> AccountMark {
        AccountMark { accepted, ..AccountMark::default() }
    }

    fn accepted(root: &Path) -> (Option<u64>, usize) {
        let found = read(root).expect("reads");
        (found.mark.map(|mark| mark.accepted), found.defects.len())
    }

    /// Three marks; returns the name of the copy with the newest one and of the other.
    fn written(root: &Path) -> [PathBuf; 2] {
        let mut pair = Pair::new(root, mark(1), 0);
        pair.write(Copies::Both).expect("writes");
        pair.mark = mark(2);
        pair.write(Copies::Older).expect("writes");
        [root.join("account.a"), root.join("account.b")]
    }

    #[test]
    fn marks_alternate_and_the_newest_whole_one_counts() {
        let temp = tempfile::tempdir().expect("temp");
        assert_eq!(accepted(temp.path()), (None, 2));
        let [newest, other] = written(temp.path());
        assert_eq!(accepted(temp.path()), (Some(2), 0), "the control");
        let sound = fs::read(&newest).expect("reads");
        for at in (0..sound.len()).step_by(61) {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x10;
            fs::write(&newest, bytes).expect("writes");
            assert_eq!(accepted(temp.path()), (Some(1), 1), "byte {at}");
        }
        fs::write(&newest, &sound).expect("writes");
        fs::remove_file(&other).expect("deletes");
        assert_eq!(accepted(temp.path()), (Some(2), 1));
        fs::remove_file(&newest).expect("deletes");
        assert_eq!(accepted(temp.path()), (None, 2));
    }

    #[test]
    fn swapped_copies_say_the_same() {
        let temp = tempfile::tempdir().expect("temp");
        let [newest, other] = written(temp.path());
        let middle = temp.path().join("middle");
        for (from, to) in [(&newest, &middle), (&other, &newest), (&middle, &other)] {
            fs::rename(from, to).expect("renames");
        }
        assert_eq!(accepted(temp.path()), (Some(2), 0));
        let found = read(temp.path()).expect("reads");
        let mut pair = Pair::new(temp.path(), mark(3), found.version);
        pair.write(Copies::Both).expect("writes");
        assert_eq!(accepted(temp.path()), (Some(3), 0));
    }

    #[test]
    fn a_link_in_the_place_of_a_copy_is_not_followed_and_the_copy_is_made_anew() {
        let temp = tempfile::tempdir().expect("temp");
        let [newest, _] = written(temp.path());
        let other = temp.path().join("other");
        fs::rename(&newest, &other).expect("renames");
        let before = fs::read(&other).expect("reads");
        std::os::unix::fs::symlink(&other, &newest).expect("links");
        assert_eq!(accepted(temp.path()), (Some(1), 1));
        let mut pair = Pair::new(temp.path(), mark(5), 9);
        pair.write(Copies::Both).expect("writes");
        assert_eq!(accepted(temp.path()), (Some(5), 0));
        assert_eq!(fs::read(&other).expect("reads"), before);
        assert!(temp.path().join("account.a.aside-1").exists());
    }
}
