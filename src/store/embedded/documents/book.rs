//! The policy book as the store sees it: a document whose loss puts every waiting event in doubt.
//!
//! The newest version of the book that was written is on record outside it, in `book-seen` in the data directory: a
//! sealed file of format 1 with that version and no body. The book is durable first, then the mark, so that a crash
//! between the two leaves a mark that is older. The account of the directory keeps the version as well, from its next
//! mark on: a `book-seen` that is missing or below it is made anew and reported. A book that is missing although one
//! was seen, older than the mark, damaged, or whose name is no plain file, raises a doubt that holds the store as a
//! whole. The doubt ends when the book is as it should be at a later opening, or when an operator adopts what there is
//! ([`adopt`]): it gets a version above the newest that was seen, and what stood in its place is kept as
//! `policies.json.damaged`.
//!
//! Must not know: what the book says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::{StoredDocument, find, lay, path, write};
use crate::clock::Timestamp;
use crate::store::doubts::{DoubtKind, NewDoubt};
use crate::store::embedded::sealed::{self, Sealed};
use crate::store::embedded::{account, files};
use crate::store::{Doubts, StoreError, Version};

/// The name of the policy book among the documents.
pub(crate) const NAME: &str = "policies";
/// The subject of doubts about it.
pub(crate) const SUBJECT: &str = "documents/policies.json";

const MARK: &str = "book-seen";
const MARK_FORMAT: u32 = 1;

/// Which book becomes the accepted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BookSource {
    /// The book that is in its place.
    Present,
    /// The version before it, as its replacement kept it.
    Previous,
    /// A new book without policies.
    Empty,
}

/// The newest version on record outside the book.
enum RecordedVersion {
    /// No version was ever recorded.
    Never,
    Seen(Version),
    /// The record was damaged; the book was at least at this version.
    Damaged {
        least: Version,
        reason: String,
    },
}

/// The newest version of the book that is on record, as the account keeps it. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Newest(Arc<AtomicU64>);

impl Newest {
    /// As the account has it; 0 when it has none.
    #[must_use]
    pub(crate) fn new(version: u64) -> Self {
        Self(Arc::new(AtomicU64::new(version)))
    }

    /// The version; 0 when no book was ever seen.
    #[must_use]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn raise(&self, Version(version): Version) {
        self.0.fetch_max(version, Ordering::AcqRel);
    }
}

/// Looks at the book and raises or clears the doubt about it. One of format 1 is written anew as format 2.
///
/// # Errors
/// [`StoreError`] when the system fails: nothing is known about the book then.
pub(super) fn judge(root: &Path, doubts: &Doubts, newest: &Newest, now: Timestamp) -> Result<(), StoreError> {
    let on_record = Version(newest.get());
    let (seen, mark_damage) = match mark(root)? {
        RecordedVersion::Never if on_record == Version(0) => (None, None),
        RecordedVersion::Never => (Some(on_record), Some("it is missing".to_owned())),
        RecordedVersion::Seen(version) if version < on_record => {
            (Some(on_record), Some(format!("it is at version {}, the account at {}", version.0, on_record.0)))
        }
        RecordedVersion::Seen(version) => (Some(version), None),
        RecordedVersion::Damaged { least, reason } => (Some(least.max(on_record)), Some(reason)),
    };
    match (find(&path(root, NAME))?, seen) {
        (StoredDocument::Missing, None) if !has_previous(root)? => doubts.clear(DoubtKind::Book, SUBJECT),
        (StoredDocument::Missing, None) => {
            doubt(root, doubts, "the policy book is missing, its previous version is there".to_owned(), now);
        }
        (StoredDocument::Missing, Some(Version(seen))) => {
            doubt(root, doubts, format!("the policy book is missing; it was at version {seen}"), now);
        }
        (StoredDocument::Damaged { reason }, _) => {
            doubt(root, doubts, format!("the policy book is damaged ({reason})"), now);
        }
        (StoredDocument::Whole { version, .. }, Some(seen)) if version < seen => {
            let (found, seen) = (version.0, seen.0);
            doubt(root, doubts, format!("the policy book is at version {found}; it was at {seen}"), now);
        }
        (StoredDocument::Whole { version, body, is_sealed }, seen) => {
            if !is_sealed {
                write(&path(root, NAME), version, &body)?;
            }
            // Also a mark that is older: a crash came between the book and its mark.
            if seen != Some(version) || mark_damage.is_some() {
                record(root, version)?;
            }
            newest.raise(version);
            doubts.clear(DoubtKind::Book, SUBJECT);
        }
    }
    // Also of a book in doubt: an adopted one has to get a version above it.
    seen.into_iter().for_each(|seen| newest.raise(seen));
    if let Some(reason) = mark_damage {
        let doubt = NewDoubt {
            kind: DoubtKind::Document,
            subject: MARK.to_owned(),
            detail: format!("the record of the newest policy book was unusable ({reason})"),
            way_out: "check that the policies are those of the last change, then acknowledge".to_owned(),
            events: 0,
        };
        doubts.raise(doubt, now);
    }
    Ok(())
}

/// Raises the doubt about the book: `found` says why.
pub(super) fn doubt(root: &Path, doubts: &Doubts, found: String, now: Timestamp) {
    let previous = match sealed::read_previous(&path(root, NAME)) {
        Ok(Sealed::Whole { version, .. }) => format!(" (--previous takes version {version})"),
        // A help for people: without it they still see what the command says.
        _ => String::new(),
    };
    let doubt = NewDoubt {
        kind: DoubtKind::Book,
        subject: SUBJECT.to_owned(),
        detail: found,
        way_out: format!(
            "stop tidegate and restore the file, or keep the backlog under another book with \
             `tidegate store adopt-book`{previous}"
        ),
        events: 0,
    };
    doubts.raise(doubt, now);
}

/// Records that the book was seen at `version`. A mark that could not be written is older, which is harmless: it is
/// written at the next change or start.
pub(super) fn see(root: &Path, newest: &Newest, version: Version) {
    match record(root, version) {
        Ok(()) => newest.raise(version),
        Err(error) => {
            tracing::warn!(%error, "the newest version of the policy book is not on record outside it");
        }
    }
}

/// The body that `source` names, for its reader to check before it is adopted. Empty for [`BookSource::Empty`].
///
/// # Errors
/// [`StoreError::Damaged`] when there is no such book or it is damaged; [`StoreError`] when the system fails.
pub(crate) fn candidate(root: &Path, source: BookSource) -> Result<Bytes, StoreError> {
    let path = match source {
        BookSource::Present => path(root, NAME),
        BookSource::Previous => previous(root),
        BookSource::Empty => return Ok(Bytes::new()),
    };
    match find(&path)? {
        StoredDocument::Whole { body, .. } => Ok(body),
        StoredDocument::Missing => {
            let reason = "there is none; --previous or --empty takes another book".to_owned();
            Err(StoreError::Damaged { place: path.display().to_string(), reason })
        }
        StoredDocument::Damaged { reason } => {
            let reason = format!("{reason}; --previous or --empty takes another book");
            Err(StoreError::Damaged { place: path.display().to_string(), reason })
        }
    }
}

/// Makes `body` the accepted book, at a version above the newest that was seen, and ends the doubt about it. What is
/// damaged or unreadable there is kept as `policies.json.damaged`. Nobody may be using the directory.
///
/// # Errors
/// [`StoreError`] when the system fails; the call can be repeated.
pub(crate) fn adopt(root: &Path, body: &[u8], now: Timestamp) -> Result<Version, StoreError> {
    let doubts = Doubts::open(root, now)?;
    let book = path(root, NAME);
    let marked = match mark(root)? {
        RecordedVersion::Never => Version(0),
        RecordedVersion::Seen(version) | RecordedVersion::Damaged { least: version, .. } => version,
    };
    let found = find(&book)?;
    let present = version_of(&found);
    let on_record = Version(account::read(root)?.base().book);
    let newest =
        [on_record, marked, present, version_of(&find(&previous(root))?)].into_iter().max().unwrap_or(marked);
    let version = Version(newest.0.saturating_add(1));
    lay(root)?;
    if matches!(found, StoredDocument::Damaged { .. }) {
        set_aside(&book)?;
    }
    // The book before its mark, and both before the doubt ends: a crash in between leaves a doubt, never a book that
    // counts as older.
    write(&book, version, body)?;
    record(root, version)?;
    doubts.clear(DoubtKind::Book, SUBJECT);
    doubts.save(root)?;
    Ok(version)
}

fn version_of(found: &StoredDocument) -> Version {
    match found {
        StoredDocument::Whole { version, .. } => *version,
        StoredDocument::Missing | StoredDocument::Damaged { .. } => Version(0),
    }
}

fn previous(root: &Path) -> PathBuf {
    sealed::beside(&path(root, NAME), ".prev")
}

fn has_previous(root: &Path) -> Result<bool, StoreError> {
    Ok(find(&previous(root))? != StoredDocument::Missing)
}

/// Moves what has this name out of the way, of whatever kind it is, under a name that is free.
pub(super) fn set_aside(path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::io("set aside", path, error);
    for number in 0_u32.. {
        let ending = if number == 0 { ".damaged".to_owned() } else { format!(".damaged-{number}") };
        let aside = sealed::beside(path, &ending);
        match fs::symlink_metadata(&aside) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::rename(path, &aside).map_err(failed)?;
                break;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    path.parent().map_or(Ok(()), files::sync_dir).map_err(failed)
}

fn mark(root: &Path) -> Result<RecordedVersion, StoreError> {
    let path = root.join(MARK);
    let reason = match sealed::read(&path)? {
        Sealed::Missing if sealed::read_previous(&path)? == Sealed::Missing => {
            return Ok(RecordedVersion::Never);
        }
        Sealed::Missing => "it is missing, the one before it is there".to_owned(),
        Sealed::Whole { format: MARK_FORMAT, version, .. } => {
            return Ok(RecordedVersion::Seen(Version(version)));
        }
        Sealed::Whole { format, .. } => {
            let what = path.display().to_string();
            return Err(StoreError::Format { what, found: format, known: MARK_FORMAT });
        }
        Sealed::Damaged { reason } => reason,
    };
    // Marks ascend: the damaged one was above the one before it.
    let before = match sealed::read_previous(&path)? {
        Sealed::Whole { version, .. } => version,
        Sealed::Missing | Sealed::Damaged { .. } => 0,
    };
    Ok(RecordedVersion::Damaged { least: Version(before.saturating_add(1)), reason })
}

fn record(root: &Path, version: Version) -> Result<(), StoreError> {
    let path = root.join(MARK);
    // A directory would not be replaced.
    if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
        set_aside(&path)?;
    }
    sealed::replace(&path, MARK_FORMAT, version.0, b"")
}
