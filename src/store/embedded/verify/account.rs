//! What the account says should be there against what the journal has, and the segments' names against their heads.
//!
//! Must not know: the form of the account, what a salt is for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::VerifyReport;
use crate::store::StoreError;
use crate::store::doubts::NewDoubt;
use crate::store::embedded::account::compare::{self, Extent, ScanTally, Shortfall};
use crate::store::embedded::account::{self, StoredAccount, living};
use crate::store::embedded::doubts_file;
use crate::store::embedded::format;
use crate::store::embedded::journal::{self, HeadState, Marked, Position, Scan, ScanReport};
use crate::store::embedded::sealed::{self, Sealed};

const PLACE: &str = "journal";

/// Reads the account; `None` when nothing is known of it.
pub(super) fn read(root: &Path, report: &mut VerifyReport) -> Option<StoredAccount> {
    let read = match super::format::salt(root) {
        Some(salt) => account::read_own(root, salt),
        None => account::read(root),
    };
    let found = report.take("account", read)?;
    let is_expected = found.exists || format::has_run(root).unwrap_or(true);
    for defect in found.defects.iter().filter(|_| is_expected) {
        report.find(defect.file, defect.reason.clone());
    }
    let lost = found.base().lost;
    let list = report.take(doubts_file::NAME, sealed::read(&root.join(doubts_file::NAME)));
    if lost > 0 && list == Some(Sealed::Missing) {
        let NewDoubt { subject, detail, .. } = doubts_file::missing(lost);
        report.find(subject, detail);
    }
    if let Some(mark) = found.mark.as_ref().filter(|mark| mark.closed) {
        let list = report.take(living::NAME, living::open(root, mark.salt, mark.end));
        if let Some(living::StoredList::Damaged { reason }) = list {
            report.find(living::NAME, reason);
        }
    }
    Some(found)
}

/// How the journal is to be scanned, given the account.
pub(super) fn scan(found: Option<&StoredAccount>) -> Scan {
    let mark = found.and_then(|found| found.mark.as_ref());
    Scan {
        salt: mark.map(|mark| mark.salt),
        marked: mark.map(|mark| Marked { end: mark.end, closed: mark.closed }),
        ..Scan::default()
    }
}

/// Compares what a scan has found with the account.
pub(super) fn compare(
    root: &Path,
    found: &StoredAccount,
    tally: &ScanTally,
    journal: &ScanReport,
    report: &mut VerifyReport,
) {
    let Some(files) = report.take(PLACE, lengths(root)) else { return };
    let extent = Extent { from: Position::default(), living: None, missing: None };
    let Shortfall { lost, uncertain, missing, .. } = compare::compare(found, tally, journal, &files, &extent);
    for segment in missing {
        report.find(PLACE, format!("segment {segment}, in which entries wait, is missing"));
    }
    for (segment, entries) in lost {
        report.find(PLACE, format!("{entries} entries of segment {segment} are lost"));
    }
    for (segment, entries) in uncertain {
        report.find(PLACE, format!("up to {entries} entries of segment {segment} may be lost"));
    }
}

fn lengths(root: &Path) -> Result<BTreeMap<u32, u64>, StoreError> {
    let mut lengths = BTreeMap::new();
    for file in journal::list(&root.join(PLACE))? {
        let meta = fs::symlink_metadata(&file.path);
        lengths.insert(file.number, meta.map_err(|error| StoreError::io("read", &file.path, error))?.len());
    }
    Ok(lengths)
}

/// Names each segment whose head says something else than its name, or that has none.
pub(super) fn heads(root: &Path, report: &mut VerifyReport) {
    for room in [PLACE, "dead"] {
        let heads = journal::heads(&root.join(room));
        for one in report.take(room, heads).unwrap_or_default() {
            let name = one.file.path.file_name().unwrap_or_default().to_string_lossy();
            let place = format!("{room}/{name}");
            match one.head {
                HeadState::Sound { number, .. } if number != one.file.number => {
                    report.find(place, format!("it is segment {number} under another name"));
                }
                HeadState::Sound { damaged: true, .. } => {
                    report.find(place, "one copy of its head is damaged")
                }
                HeadState::Sound { .. } => {}
                HeadState::Lost => report.find(place, "its head is damaged"),
            }
        }
    }
}
