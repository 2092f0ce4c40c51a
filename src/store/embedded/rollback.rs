//! Recognises an older copy of the data directory by a file outside it, on another file system: `store.epoch_file`.
//!
//! That file is sealed, of format 1, with `{"salt":S,"epoch":N,"pending":B}`: the salt of the directory in hex digits,
//! the highest epoch that the directory was given, and whether the directory may not have heard of it yet.
//!
//! # Order
//! A start, once the account has a mark of the next epoch, and an orderly stop, first write that epoch here as pending,
//! then into the directory, then here as given. A crash in between leaves the directory one behind a pending epoch,
//! which is in order. A directory that is further behind, or behind a given epoch, is an older copy: it starts held,
//! and neither number changes until an operator accepts it. A file that cannot be read, is damaged, or is missing
//! although there was one says nothing (its file system may not be mounted): held as well. A copy that was made while
//! the process ran and is put back after that same process was killed cannot be told from the original.
//!
//! Must not know: what is held, and how.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::access::FileOwner;
use super::directory::{DIRECTORY_FORMAT, DataDir};
use super::epoch::{self, Epoch};
use super::files;
use super::sealed::{self, Sealed};
use crate::clock::Timestamp;
use crate::store::doubts::{DoubtKind, Doubts, NewDoubt};
use crate::store::{DirectoryError, StoreError};

/// What doubts about the epoch are about.
const SUBJECT: &str = "store.epoch_file";
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackBody {
    salt: String,
    epoch: u64,
    pending: bool,
}

/// The file outside, as it was found.
enum Outside {
    Missing,
    Unknown(String),
    Known(RollbackBody),
}

/// A directory and the file that belongs to it.
pub(super) struct Epochs<'a> {
    pub root: &'a Path,
    /// Path of the setting `store.epoch_file`; `None` when it is not set.
    pub file: Option<&'a Path>,
    pub salt: u64,
    pub doubts: &'a Doubts,
}

impl Epochs<'_> {
    /// Compares at a start. Returns the epoch that the directory is to take ([`Epochs::take`]) once the account has a
    /// mark with it; `None` when it may be an older copy.
    ///
    /// # Errors
    /// [`DirectoryError::EpochFile`] when the file belongs to another directory, [`StoreError::Format`] when a newer
    /// version wrote one of them.
    pub(super) fn start(&self, now: Timestamp) -> Result<Option<Epoch>, StoreError> {
        let own = own(self.root)?;
        let other = match self.file.map(|path| judge(own, path, self.salt)).transpose()? {
            Some(Judgement::InDoubt(detail)) => {
                self.hold(detail, now);
                return Ok(None);
            }
            Some(Judgement::InOrder(other)) => {
                // A newer copy was restored since, or the file is mounted again.
                self.doubts.clear(DoubtKind::Rollback, SUBJECT);
                other
            }
            Some(Judgement::First) | None => own.number,
        };
        if self.is_held() {
            return Ok(None);
        }
        let next = self.next(own, other);
        Ok(Some(Epoch { started: next.number, ..next }))
    }

    /// Gives the directory another epoch at an orderly stop: a copy that was made before is older from now on.
    pub(super) fn stop(&self, now: Timestamp) {
        let Some(path) = self.file.filter(|_| !self.is_held()) else { return };
        match (own(self.root), outside(path)) {
            (Ok(own), Ok(Outside::Known(body))) => self.take(self.next(own, body.epoch), now),
            // The next start finds what is wrong with them.
            _ => tracing::warn!(file = %path.display(), "the epoch could not be read at the stop"),
        }
    }

    /// Names the directory: the same at each start, another one once an operator went on with what may be an older
    /// copy, and of each restored copy.
    ///
    /// # Errors
    /// [`StoreError`] when the system lets the epoch not be read.
    pub(super) fn id(&self) -> Result<u64, StoreError> {
        Ok(mixed(self.salt ^ mixed(own(self.root)?.accepted_ms)))
    }

    fn next(&self, own: Epoch, other: u64) -> Epoch {
        // Above both: the file may be one ahead and pending after a crash.
        let number = own.number.max(other).saturating_add(1);
        Epoch { format: DIRECTORY_FORMAT, number, has_file: own.has_file || self.file.is_some(), ..own }
    }

    /// Gives the directory an epoch. A failure leaves the numbers as they were or the file one ahead and pending: both
    /// are in order.
    pub(super) fn take(&self, epoch: Epoch, now: Timestamp) {
        let number = epoch.number;
        let outside = |pending| match self.file {
            Some(path) => put(path, &RollbackBody { salt: hex(self.salt), epoch: number, pending }),
            None => Ok(()),
        };
        let done = outside(true).and_then(|()| epoch::write(self.root, epoch)).and_then(|()| outside(false));
        match done {
            Ok(()) if self.file.is_some() => tracing::info!(epoch = number, "the epoch was taken"),
            Ok(()) => {}
            Err(error) if self.file.is_some() => {
                self.report(format!("the epoch could not be recorded: {error}"), now);
            }
            Err(error) => tracing::warn!(%error, "the epoch could not be recorded"),
        }
    }

    fn is_held(&self) -> bool {
        self.doubts.find(DoubtKind::Rollback, SUBJECT).is_some()
    }

    fn hold(&self, detail: String, now: Timestamp) {
        let way_out = "restore the newest copy, or start once with `tidegate serve --accept-rollback`";
        self.raise(DoubtKind::Rollback, detail, way_out, now);
    }

    fn report(&self, detail: String, now: Timestamp) {
        self.raise(DoubtKind::Document, detail, "find out why, then acknowledge", now);
    }

    fn raise(&self, kind: DoubtKind, detail: String, way_out: &str, now: Timestamp) {
        let (subject, way_out) = (SUBJECT.to_owned(), way_out.to_owned());
        self.doubts.raise(NewDoubt { kind, subject, detail, way_out, events: 0 }, now);
    }
}

/// What the file outside says of the directory.
enum Judgement {
    /// There never was such a file.
    First,
    /// The directory is the newest one; the epoch that the file gives.
    InOrder(u64),
    /// The directory is an older copy, or nobody knows: why.
    InDoubt(String),
}

fn judge(own: Epoch, path: &Path, salt: u64) -> Result<Judgement, StoreError> {
    let file = path.display();
    Ok(match outside(path)? {
        Outside::Unknown(reason) => Judgement::InDoubt(format!("the epoch file {file} {reason}")),
        Outside::Missing if own.has_file => {
            Judgement::InDoubt(format!("the epoch file {file} is missing, and there was one"))
        }
        Outside::Missing => Judgement::First,
        Outside::Known(body) if body.salt != hex(salt) => {
            let reason = "it belongs to another data directory".to_owned();
            return Err(StoreError::Directory(DirectoryError::EpochFile { path: file.to_string(), reason }));
        }
        Outside::Known(body) if is_older(own, &body) => Judgement::InDoubt(format!(
            "the data directory is an older copy: its epoch is {}, the newest one was {}",
            own.number, body.epoch
        )),
        Outside::Known(body) => Judgement::InOrder(body.epoch),
    })
}

/// Why a start with this file would be held; `None` when it would not be. Changes nothing.
///
/// # Errors
/// As [`Epochs::start`].
pub(super) fn check(root: &Path, file: &Path, salt: u64) -> Result<Option<String>, StoreError> {
    Ok(match judge(own(root)?, file, salt)? {
        Judgement::InDoubt(detail) => Some(detail),
        Judgement::First | Judgement::InOrder(_) => None,
    })
}

/// Why a copy at `root` may not be the newest state of its directory; `None` when this file says that it is. Changes
/// nothing.
///
/// # Errors
/// As [`Epochs::start`].
pub(crate) fn check_copy(root: &Path, file: &Path) -> Result<Option<String>, StoreError> {
    let Some(salt) = super::verify::salt(root) else {
        return Ok(Some("the salt of the copy does not read".to_owned()));
    };
    Ok(match judge(own(root)?, file, salt)? {
        Judgement::InOrder(_) => None,
        Judgement::InDoubt(detail) => Some(detail),
        Judgement::First => Some(format!("there is no epoch file {}", file.display())),
    })
}

/// Goes on with the directory as it is, though it may be an older copy. Nobody may be using it. Returns its epoch from
/// now on.
///
/// # Errors
/// [`StoreError`] when the directory is in use, or when one of the files cannot be written.
pub(crate) fn accept(root: &Path, file: Option<&Path>, now: Timestamp) -> Result<u64, StoreError> {
    let _dir = DataDir::open(root)?;
    raise(root, file, now)?.put(None)
}

/// A directory that has an epoch above all others, which the file outside does not know yet.
#[derive(Debug)]
#[must_use]
pub(crate) struct Raised {
    number: u64,
    /// The file outside, and what it said as far as that is known.
    outside: Option<(PathBuf, Option<RollbackBody>)>,
}

impl Raised {
    /// Puts the epoch into the file outside, for `owner` if that is another user than this process. Returns the epoch.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be written.
    pub(super) fn put(self, owner: Option<FileOwner>) -> Result<u64, StoreError> {
        match self.outside {
            Some((path, Some(body))) => {
                // Whoever could read it must be able to afterwards.
                let own = fs::metadata(&path).ok().and_then(|meta| FileOwner::of(&meta).to_give());
                put_for(own.or(owner), &path, &RollbackBody { epoch: self.number, pending: false, ..body })?;
            }
            // Nothing can be learnt from it; the next start makes it anew.
            Some((path, None)) => {
                for path in [path.clone(), sealed::beside(&path, ".prev")] {
                    files::remove(&path).map_err(|error| StoreError::io("delete", &path, error))?;
                }
            }
            None => {}
        }
        Ok(self.number)
    }
}

/// The first half of [`accept`], for a copy that is about to become the data directory: the file outside is left as it
/// is until [`Raised::put`].
///
/// # Errors
/// As [`accept`].
pub(crate) fn prepare(root: &Path, file: Option<&Path>, now: Timestamp) -> Result<Raised, StoreError> {
    let _dir = DataDir::open(root)?;
    raise(root, file, now)
}

fn raise(root: &Path, file: Option<&Path>, now: Timestamp) -> Result<Raised, StoreError> {
    let doubts = Doubts::open(root, now)?;
    let own = own(root)?;
    let known = match file.map(outside).transpose()? {
        Some(Outside::Known(body)) => Some(body),
        _ => None,
    };
    let number = own.number.max(known.as_ref().map_or(0, |body| body.epoch)).saturating_add(1);
    let has_file = known.is_some();
    let accepted_ms = now.as_millis();
    epoch::write(root, Epoch { format: DIRECTORY_FORMAT, number, has_file, accepted_ms, ..own })?;
    doubts.clear(DoubtKind::Rollback, SUBJECT);
    doubts.save(root)?;
    Ok(Raised { number, outside: file.map(|path| (path.to_owned(), known)) })
}

/// Each bit depends on all bits (the finalizer of SplitMix64).
const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn is_older(own: Epoch, outside: &RollbackBody) -> bool {
    // Pending: the directory may not have been given the epoch before the crash.
    let expected = if outside.pending { outside.epoch.saturating_sub(1) } else { outside.epoch };
    own.number < expected
}

fn own(root: &Path) -> Result<Epoch, StoreError> {
    // Every directory has one from its first start on: where it is gone, there may have been a file as well.
    let unknown = Epoch { format: DIRECTORY_FORMAT, number: 0, has_file: true, started: 0, accepted_ms: 0 };
    Ok(epoch::read(root)?.epoch.unwrap_or(unknown))
}

/// What the file outside says. A failure of the system is an answer, too: nothing is known then.
fn outside(path: &Path) -> Result<Outside, StoreError> {
    let mut reason = String::new();
    for found in [sealed::read(path), sealed::read_previous(path)] {
        let is_first = reason.is_empty();
        let said = match found {
            // Without the file, the version before it is not asked.
            Ok(Sealed::Missing) if is_first => return Ok(Outside::Missing),
            Ok(Sealed::Missing) => continue,
            Ok(Sealed::Damaged { reason }) => format!("is damaged: {reason}"),
            Ok(Sealed::Whole { format, .. }) if format > FORMAT => {
                let what = path.display().to_string();
                return Err(StoreError::Format { what, found: format, known: FORMAT });
            }
            Ok(Sealed::Whole { body, .. }) => match serde_json::from_slice(&body) {
                Ok(body) => return Ok(Outside::Known(body)),
                Err(error) => format!("is damaged: {error}"),
            },
            Err(error) => format!("cannot be read: {error}"),
        };
        if is_first {
            reason = said;
        }
    }
    Ok(Outside::Unknown(reason))
}

fn put(path: &Path, body: &RollbackBody) -> Result<(), StoreError> {
    put_for(None, path, body)
}

fn put_for(owner: Option<FileOwner>, path: &Path, body: &RollbackBody) -> Result<(), StoreError> {
    // Text and numbers always have a JSON form.
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    sealed::replace_for(owner, path, FORMAT, body.epoch, &bytes)
}

fn hex(salt: u64) -> String {
    format!("{salt:016x}")
}

#[cfg(test)]
mod tests;
