//! The epoch of a data directory: a number that grows at each start, and at an orderly stop where it is also kept
//! elsewhere. An older copy of the directory has a smaller one.
//!
//! `epoch` in the directory is a sealed file of format 1 with `{"format":F,"epoch":N,"has_file":B,"started":M}`: the
//! directory's format (see [`format`](super::format)), the number, whether it was ever kept outside as well, and the
//! number that the last start took; a directory that was restored also has `"accepted_ms":T`, when that was. Each is
//! written twice, so that the version before, `epoch.prev`, holds the same.
//!
//! A start takes its number once the account has a mark with it: an account whose marks are all of epochs below
//! `started` is an older one, and a directory with `started` above 0 has had an account.
//!
//! Must not know: who compares the number with what.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::sealed::{self, Sealed};
use crate::store::StoreError;

/// The name in the data directory.
pub(super) const NAME: &str = "epoch";
const FORMAT: u32 = 1;

/// What the file of the epoch holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Epoch {
    /// The format of the directory as a whole.
    pub format: u32,
    /// The epoch; 0 before the first start in this format.
    #[serde(rename = "epoch")]
    pub number: u64,
    /// The epoch was kept in a file outside the directory.
    pub has_file: bool,
    /// The epoch that the last start took; 0 when it was never put down.
    #[serde(default)]
    pub started: u64,
    /// When an operator last went on with the directory as it was although it could be an older copy, in milliseconds;
    /// 0 when that never was.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub accepted_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The file as it was found.
#[derive(Debug, Default)]
pub(super) struct StoredEpoch {
    /// What it holds; `None` when neither version of it is whole.
    pub epoch: Option<Epoch>,
    /// What is wrong with it, though the version before may be whole.
    pub defect: Option<String>,
}

/// Reads the epoch of `root`.
///
/// # Errors
/// [`StoreError`] when the system lets neither version be read, [`StoreError::Format`] when a newer version wrote it.
pub(super) fn read(root: &Path) -> Result<StoredEpoch, StoreError> {
    let path = root.join(NAME);
    let defect = match sealed::read(&path) {
        Ok(sealed) => match decode(&path, sealed)? {
            Ok(epoch) => return Ok(StoredEpoch { epoch: Some(epoch), defect: None }),
            Err(reason) => reason,
        },
        Err(error) => match decode(&path, sealed::read_previous(&path)?)? {
            Ok(epoch) => return Ok(StoredEpoch { epoch: Some(epoch), defect: Some(error.to_string()) }),
            Err(_) => return Err(error),
        },
    };
    let previous = decode(&path, sealed::read_previous(&path)?)?;
    Ok(StoredEpoch { epoch: previous.ok(), defect: Some(defect) })
}

fn decode(path: &Path, sealed: Sealed) -> Result<Result<Epoch, String>, StoreError> {
    match sealed {
        Sealed::Missing => Ok(Err("it is missing".to_owned())),
        Sealed::Damaged { reason } => Ok(Err(reason)),
        Sealed::Whole { format, .. } if format > FORMAT => {
            Err(StoreError::Format { what: path.display().to_string(), found: format, known: FORMAT })
        }
        Sealed::Whole { body, .. } => Ok(serde_json::from_slice(&body).map_err(|error| error.to_string())),
    }
}

/// Writes the epoch of `root`, and the same as its version before.
///
/// # Errors
/// [`StoreError`] when the system refuses.
pub(super) fn write(root: &Path, epoch: Epoch) -> Result<(), StoreError> {
    // Numbers always have a JSON form.
    let body = serde_json::to_vec(&epoch).unwrap_or_default();
    // The second replacement makes the first one the version before.
    for _ in 0..2 {
        sealed::replace(&root.join(NAME), FORMAT, epoch.number, &body)?;
    }
    Ok(())
}
