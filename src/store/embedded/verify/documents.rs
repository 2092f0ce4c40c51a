//! Documents, the versions before them, and the policy book against the newest version that was seen.
//!
//! Must not know: what the documents mean.

use std::path::Path;

use super::VerifyReport;
use crate::store::Version;
use crate::store::embedded::documents::{self, book};
use crate::store::embedded::names;
use crate::store::embedded::sealed::{self, Sealed};

/// Checks them all; `on_record` is the newest version of the book that the account has, or 0.
pub(super) fn check(root: &Path, on_record: u64, report: &mut VerifyReport) {
    let Ok(entries) = names::walk(root) else { return };
    let mut present = None;
    for entry in entries {
        let place = entry.path.display().to_string();
        let is_document = place.starts_with("documents/") && entry.meta.is_file();
        let is_previous = place.ends_with(".json.prev");
        if !is_document || !(place.ends_with(".json") || is_previous) {
            continue;
        }
        match documents::read(&root.join(&entry.path)) {
            Ok(found) if !is_previous => {
                report.documents += 1;
                if place == book::SUBJECT {
                    present = found.map(|(version, _)| version);
                }
            }
            Ok(_) => {}
            Err(error) => report.find(place, error.to_string()),
        }
    }
    let marked = match sealed::read(&root.join("book-seen")) {
        Ok(Sealed::Whole { version, .. }) => version,
        _ => 0,
    };
    if marked < on_record {
        report.find("book-seen", format!("it is at version {marked} or missing, the account at {on_record}"));
    }
    let seen = Version(marked.max(on_record));
    if seen > Version(0) {
        match present {
            Some(present) if present < seen => report.find(
                book::SUBJECT,
                format!("it is at version {}, the newest one was {}", present.0, seen.0),
            ),
            None => report.find(book::SUBJECT, format!("version {} is missing or damaged", seen.0)),
            Some(_) => {}
        }
    }
}
