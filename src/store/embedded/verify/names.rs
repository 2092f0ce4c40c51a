//! Names of the wrong kind, strays, modes that are too open, other owners.
//!
//! Must not know: what the files hold.

use std::fs;
use std::path::Path;

use super::VerifyReport;
use crate::store::StoreError;
use crate::store::embedded::access;
use crate::store::embedded::names::{self, Role};

/// Lists what is not as the store leaves it.
pub(super) fn check(root: &Path, report: &mut VerifyReport) -> Result<(), StoreError> {
    let meta = fs::metadata(root).map_err(|error| StoreError::io("look at", root, error))?;
    if access::is_open(&meta) {
        report.find(".", "it is open to other users");
    }
    if let Err(error) = access::check_owner(root, &meta) {
        report.find(".", error.to_string());
    }
    for entry in names::walk(root)? {
        let place = entry.path.display().to_string();
        if let Some(what) = entry.wrong_kind() {
            report.find(place, format!("it is {what}; the next start moves it to {}/", names::ASIDE));
            continue;
        }
        if entry.role == Role::Stray {
            report.find(place, format!("{} that is not the store's", names::kind(&entry.meta)));
            continue;
        }
        if let Err(error) = access::check_owner(&root.join(&entry.path), &entry.meta) {
            report.find(place, error.to_string());
        } else if access::is_open(&entry.meta) && !entry.is_of_index() {
            report.find(place, "it is open to other users");
        }
    }
    Ok(())
}
