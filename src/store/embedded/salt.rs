//! The salt of a directory: drawn once, kept in a file of its own.
//!
//! Must not know: what it is mixed into.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::store::StoreError;

/// The salt on record in `root`, or `fresh` after it was put on record.
pub(super) fn keep(root: &Path, fresh: u64) -> Result<u64, StoreError> {
    let path = root.join("SALT");
    let failed = |operation| {
        let path = path.display().to_string();
        move |error: io::Error| StoreError::Io { operation, path, reason: error.to_string() }
    };
    match fs::read_to_string(&path) {
        Ok(text) => {
            if let Ok(salt) = u64::from_str_radix(text.trim(), 16) {
                return Ok(salt);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read")(error)),
    }
    let part = root.join("SALT.new");
    let mut file = File::create(&part).map_err(failed("create"))?;
    file.write_all(format!("{fresh:016x}\n").as_bytes()).map_err(failed("write"))?;
    file.sync_all().map_err(failed("sync"))?;
    fs::rename(&part, &path).map_err(failed("rename"))?;
    File::open(root).and_then(|dir| dir.sync_all()).map_err(failed("sync directory"))?;
    Ok(fresh)
}
