//! In which format the data directory is.
//!
//! `FORMAT` holds the number as text, as every version since the first has read it; `epoch` holds a copy under a
//! checksum. An upgrade writes the copy first, does its steps, and writes `FORMAT` last; until the directory has been
//! started in the new format the copy's epoch is 0. So a copy of epoch 1 or higher proves what `FORMAT` has to be: when
//! it is something else it was damaged and is healed. A format above ours in the copy, or in `FORMAT` where the copy
//! does not contradict, is a newer version's and is refused before anything is written.
//!
//! Must not know: what distinguishes the formats.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use super::epoch::{self, Epoch};
use super::files;
use crate::store::StoreError;
use crate::store::doubts::{DoubtKind, NewDoubt};

/// Format version of the directory as a whole. Format 1 had no `limits/`, format 2 no `epoch` and documents without a
/// checksum; both are brought up to this one when they are opened.
pub(crate) const DIRECTORY_FORMAT: u32 = 3;

const NAME: &str = "FORMAT";
/// Longer files are not a number.
const MAX_BYTES: u64 = 64;

/// What `FORMAT` was found to hold.
enum FormatFile {
    Missing,
    Damaged(String),
    Number(u32),
    Unread(StoreError),
}

/// What is to be done about the format.
#[derive(Debug, Default)]
pub(super) struct FormatCheck {
    /// The format from which the directory has to be upgraded; `None` when it is at ours, or when nobody knows.
    pub upgrade_from: Option<u32>,
    /// `FORMAT` has to be written at the end of the upgrade.
    pub is_due: bool,
    /// Why `FORMAT` was not read, where its copy is enough.
    pub unread: Option<String>,
    /// Doubts about `FORMAT` or its copy that have to be raised.
    pub doubts: Vec<NewDoubt>,
}

/// Judges the format of `root` and changes nothing. `holds_entries` says whether something was ever kept in it.
///
/// # Errors
/// [`StoreError::Format`] when a newer version wrote it, [`StoreError::Io`] when `FORMAT` cannot be read and its copy
/// does not prove what it holds.
pub(super) fn judge(root: &Path, holds_entries: bool) -> Result<FormatCheck, StoreError> {
    let epoch::StoredEpoch { epoch: copy, defect } = epoch::read(root)?;
    let path = root.join(NAME);
    let newer =
        |found| StoreError::Format { what: path.display().to_string(), found, known: DIRECTORY_FORMAT };
    if let Some(copy) = copy.filter(|copy| copy.format > DIRECTORY_FORMAT) {
        return Err(newer(copy.format));
    }
    // At 0 the upgrade may have been cut short before `FORMAT` was written.
    let proven = copy.is_some_and(|copy| copy.number > 0);
    let text = read(&path);
    let found = match &text {
        FormatFile::Number(number) => number.to_string(),
        FormatFile::Damaged(reason) => reason.clone(),
        FormatFile::Missing => "missing or empty".to_owned(),
        FormatFile::Unread(error) => error.to_string(),
    };
    let is_ours = matches!(text, FormatFile::Number(DIRECTORY_FORMAT));
    let mut verdict = match text {
        FormatFile::Unread(error) if !proven => return Err(error),
        // The copy proves the format, and what cannot be read is no damage.
        FormatFile::Unread(error) => {
            FormatCheck { unread: Some(error.to_string()), ..FormatCheck::default() }
        }
        FormatFile::Number(DIRECTORY_FORMAT) => FormatCheck::default(),
        FormatFile::Number(number @ 1..DIRECTORY_FORMAT) if !proven => {
            FormatCheck { upgrade_from: Some(number), is_due: true, ..FormatCheck::default() }
        }
        FormatFile::Number(number) if number > DIRECTORY_FORMAT && copy.is_none() => {
            return Err(newer(number));
        }
        // A first start that was cut short.
        FormatFile::Missing if !proven && !holds_entries => {
            FormatCheck { is_due: true, ..FormatCheck::default() }
        }
        _ => FormatCheck { is_due: true, doubts: vec![doubt(&found)], ..FormatCheck::default() },
    };
    if let Some(reason) = defect.filter(|_| copy.is_some() || (is_ours && holds_entries)) {
        verdict.doubts.push(epoch_doubt(&reason));
    }
    Ok(verdict)
}

/// Writes our format: the last step of an upgrade.
///
/// # Errors
/// [`StoreError::Io`] when the system refuses; the file before is there whole.
pub(super) fn write(root: &Path) -> Result<(), StoreError> {
    let path = root.join(NAME);
    let temporary = root.join("FORMAT.tmp");
    let written = files::create_temporary(&temporary)
        .and_then(|mut file| {
            file.write_all(format!("{DIRECTORY_FORMAT}\n").as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, &path))
        .and_then(|()| files::sync_dir(root));
    written.map_err(|error| StoreError::io("write", &path, error))
}

/// Lays the copy for a directory that has none yet: before the first step of an upgrade.
///
/// # Errors
/// As [`write()`].
pub(super) fn write_copy(root: &Path) -> Result<(), StoreError> {
    if epoch::read(root)?.epoch.is_some() {
        return Ok(());
    }
    epoch::write(
        root,
        Epoch { format: DIRECTORY_FORMAT, number: 0, has_file: false, started: 0, accepted_ms: 0 },
    )
}

fn doubt(found: &str) -> NewDoubt {
    NewDoubt {
        kind: DoubtKind::Document,
        subject: NAME.to_owned(),
        detail: format!("FORMAT was damaged ({found}); it is format {DIRECTORY_FORMAT}"),
        way_out: "run `tidegate store verify`, then acknowledge".to_owned(),
        events: 0,
    }
}

fn epoch_doubt(reason: &str) -> NewDoubt {
    NewDoubt {
        kind: DoubtKind::Document,
        subject: epoch::NAME.to_owned(),
        detail: format!(
            "the file of the epoch was damaged ({reason}); the version before it is used if there is one"
        ),
        way_out: "run `tidegate store verify`, then acknowledge".to_owned(),
        events: 0,
    }
}

fn read(path: &Path) -> FormatFile {
    let read = files::read(path).and_then(|file| {
        let Some(file) = file else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    });
    let bytes = match read {
        Ok(Some(bytes)) if !bytes.is_empty() => bytes,
        Ok(_) => return FormatFile::Missing,
        Err(error) if files::is_foreign(&error) => return FormatFile::Damaged(error.to_string()),
        Err(error) => return FormatFile::Unread(StoreError::io("read", path, error)),
    };
    let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
    match number {
        Some(number) if number > 0 => FormatFile::Number(number),
        _ => FormatFile::Damaged(format!("{:?}", String::from_utf8_lossy(&bytes))),
    }
}

/// Whether `root` was started in this format before, so that it has had an account. To be asked before an upgrade.
///
/// # Errors
/// As [`judge`].
pub(super) fn has_run(root: &Path) -> Result<bool, StoreError> {
    let holds_entries = holds_entries(root)?;
    Ok(match epoch::read(root)?.epoch {
        // Versions that did not put `started` down took the number before they wrote the first mark.
        Some(epoch) => epoch.started > 0 || (epoch.number > 0 && holds_entries),
        None => holds_entries && judge(root, holds_entries)?.upgrade_from.is_none(),
    })
}

/// Whether something was ever kept in the rooms of `root`.
///
/// # Errors
/// [`StoreError::Io`] when the system does not list them.
pub(super) fn holds_entries(root: &Path) -> Result<bool, StoreError> {
    for room in ["journal", "documents"] {
        let path = root.join(room);
        match fs::read_dir(&path) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Ok(true);
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(StoreError::io("list", &path, error)),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
