//! The offline check of a data directory: reads everything, lists everything that it finds, changes nothing.
//!
//! One file for each thing that is checked. What the system does not let be read is a finding like any other: the check
//! goes on with the rest.
//!
//! Must not know: how what is found is healed.

mod account;
mod documents;
mod format;
mod index;
mod keys;
mod names;
mod records;
#[cfg(test)]
mod tests;
mod usages;

use std::fmt;
use std::path::Path;

pub(super) use self::format::salt;
use super::account::compare::ScanTally;
use super::directory::DataDir;
use super::journal::{self, Scan, ScanReport};
use super::keys::Keys;
use crate::store::StoreError;

/// Something that does not add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Which file, relative to the data directory.
    pub place: String,
    /// What is wrong with it, for people.
    pub detail: String,
}

/// What a check of a whole directory found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct VerifyReport {
    /// What the scan of the journal met.
    pub journal: ScanReport,
    /// What the scan of the dead letters met.
    pub dead: ScanReport,
    /// Number of documents that are whole.
    pub documents: u64,
    /// Everything else that does not add up.
    pub findings: Vec<Finding>,
    /// What is worth knowing and no defect.
    pub notes: Vec<String>,
}

impl VerifyReport {
    /// Nothing is damaged. A torn end is sound: it was never acknowledged.
    #[must_use]
    pub(crate) fn is_sound(&self) -> bool {
        self.journal.damaged == 0 && self.dead.damaged == 0 && self.findings.is_empty()
    }

    fn find(&mut self, place: impl Into<String>, detail: impl Into<String>) {
        self.findings.push(Finding { place: place.into(), detail: detail.into() });
    }

    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Takes the result of a part of the check: a failure of the system is a finding.
    fn take<T>(&mut self, place: &str, result: Result<T, StoreError>) -> Option<T> {
        result.map_err(|error| self.find(place, error.to_string())).ok()
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, part) in [("journal", &self.journal), ("dead", &self.dead)] {
            writeln!(
                f,
                "{name:<10} {} segments, {} bytes, {} frames, {} entries, {} settlements",
                part.segments, part.bytes, part.frames, part.entries, part.settlements
            )?;
            if part.torn_bytes > 0 {
                writeln!(f, "           torn end of {} bytes, never acknowledged", part.torn_bytes)?;
            }
            if part.damaged > 0 {
                writeln!(
                    f,
                    "           {} damaged places, {} entries lost",
                    part.damaged, part.lost_entries
                )?;
            }
            for damage in &part.damages {
                writeln!(f, "           {damage}")?;
            }
        }
        writeln!(f, "documents  {} sound", self.documents)?;
        for note in &self.notes {
            writeln!(f, "note       {note}")?;
        }
        for Finding { place, detail } in &self.findings {
            writeln!(f, "found      {place}: {detail}")?;
        }
        f.write_str(if self.is_sound() { "sound" } else { "DAMAGED" })
    }
}

/// Checks `root`, which no process may have, and `epoch_file` beside it if there is to be one. What is encrypted is
/// checked by its sums alone.
///
/// # Errors
/// [`StoreError`] when the directory is in use or cannot be listed; everything else is in the report.
pub(crate) fn verify(root: &Path, epoch_file: Option<&Path>) -> Result<VerifyReport, StoreError> {
    verify_with(root, epoch_file, None)
}

/// As [`verify`], and what is encrypted is decrypted: a key that is not among these is a finding.
///
/// # Errors
/// As [`verify`].
pub(crate) fn verify_with(
    root: &Path,
    epoch_file: Option<&Path>,
    opens: Option<&Keys>,
) -> Result<VerifyReport, StoreError> {
    let _held = DataDir::hold(root)?;
    let mut report = VerifyReport::default();
    names::check(root, &mut report)?;
    format::check(root, epoch_file, &mut report);
    records::check(root, &mut report);
    account::heads(root, &mut report);
    let found = account::read(root, &mut report);
    let index = index::open_copy(root, &mut report);
    let mut blocks = index::Blocks::new(index.as_ref());
    let salt = salt(root).unwrap_or_default();
    let mut needed = keys::Needed::new(root, salt, opens);
    let mut tally = ScanTally::new(found.as_ref().and_then(|found| found.mark.as_ref()));
    let scanned = journal::scan(&root.join("journal"), account::scan(found.as_ref()), |at, frame| {
        blocks.add(at, &frame);
        needed.add(at, &frame, &mut report);
        tally.add(at, &frame);
        Ok(())
    });
    if let Some(scanned) = report.take("journal", scanned) {
        if let Some(found) = &found {
            account::compare(root, found, &tally, &scanned, &mut report);
        }
        report.journal = scanned;
        if let Some(index) = &index {
            index.compare(&blocks, &mut report);
        }
    }
    let dead = journal::scan(&root.join("dead"), Scan::default(), |_, _| Ok(()));
    report.dead = report.take("dead", dead).unwrap_or_default();
    needed.letters(&mut report);
    needed.tell(&mut report);
    documents::check(root, found.as_ref().map_or(0, |found| found.base().book), &mut report);
    usages::check(root, &mut report);
    Ok(report)
}
