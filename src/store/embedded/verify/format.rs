//! The format of the directory and its copy, the salt against the heads of the segments, and the epoch against the file
//! outside.
//!
//! Must not know: what distinguishes the formats, what a salt is for.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use super::VerifyReport;
use crate::store::StoreError;
use crate::store::embedded::sealed::{self, Sealed};
use crate::store::embedded::{files, format, journal, rollback};

const SALT: &str = "SALT";

/// Checks them; `epoch_file` is the file outside, if there is to be one.
pub(super) fn check(root: &Path, epoch_file: Option<&Path>, report: &mut VerifyReport) {
    let judged = format::holds_entries(root).and_then(|holds| format::judge(root, holds));
    if let Some(verdict) = report.take("FORMAT", judged) {
        for doubt in verdict.doubts {
            report.find(doubt.subject, doubt.detail);
        }
        if let Some(reason) = verdict.unread {
            report.find("FORMAT", reason);
        }
        if let Some(format) = verdict.upgrade_from {
            report.note(format!("the directory is of format {format}; the next start upgrades it"));
        }
    }
    let salts = salts(root);
    if let (Some(salts), Some(on_record)) = (report.take("journal", salts), on_record(root, report)) {
        compare(&salts, on_record, report);
        if let (Some(file), Some(salt)) = (epoch_file, on_record) {
            let checked = rollback::check(root, file, salt);
            if let Some(Some(why)) = report.take("store.epoch_file", checked) {
                report.find("store.epoch_file", why);
            }
        }
    }
}

/// The salts of all segments.
fn salts(root: &Path) -> Result<BTreeSet<u64>, StoreError> {
    let mut all = BTreeSet::new();
    for room in ["journal", "dead"] {
        all.extend(journal::salts(&root.join(room))?.salts);
    }
    Ok(all)
}

fn compare(salts: &BTreeSet<u64>, on_record: Option<u64>, report: &mut VerifyReport) {
    match on_record {
        None if !salts.is_empty() => report.find(SALT, "it is missing"),
        Some(salt) if !salts.is_empty() && !salts.contains(&salt) => {
            report.find(SALT, "it is another than that of the segments");
        }
        _ => {}
    }
    if salts.len() > 1 {
        report.find("journal", format!("segments of {} data directories lie in it", salts.len()));
    }
}

/// The salt on record, if it can be read.
pub(in crate::store::embedded) fn salt(root: &Path) -> Option<u64> {
    on_record(root, &mut VerifyReport::default()).flatten()
}

/// The salt on record, `Some(None)` when there is none, `None` when that was found to be wrong.
fn on_record(root: &Path, report: &mut VerifyReport) -> Option<Option<u64>> {
    let path = root.join(SALT);
    let digits = |bytes: &[u8]| u64::from_str_radix(std::str::from_utf8(bytes).ok()?.trim(), 16).ok();
    let found = match report.take(SALT, sealed::read(&path))? {
        Sealed::Missing => return Some(None),
        Sealed::Whole { body, .. } => digits(&body),
        // Directories of older formats have the digits alone.
        Sealed::Damaged { reason } => match files::read(&path) {
            Ok(Some(file)) => {
                let mut bytes = Vec::new();
                let read = file.take(64).read_to_end(&mut bytes);
                read.ok().and_then(|_| digits(&bytes)).or_else(|| {
                    report.find(SALT, reason);
                    None
                })
            }
            // Named by the check of the names.
            _ => return None,
        },
    };
    found.map(Some)
}
