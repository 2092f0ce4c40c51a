//! The offline check of a data directory: reads everything, changes nothing.

use std::fmt;
use std::fs;
use std::path::Path;

use super::StoreError;
use super::directory::DataDir;
use super::documents;
use super::journal::{self, Scan, ScanReport};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The journal.
    pub journal: ScanReport,
    /// The dead letters.
    pub dead: ScanReport,
    /// Documents that read well.
    pub documents: u64,
    /// What is wrong with the others.
    pub bad_documents: Vec<String>,
}

impl VerifyReport {
    /// Nothing is damaged. A torn end is sound: it was never acknowledged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.journal.damaged == 0 && self.dead.damaged == 0 && self.bad_documents.is_empty()
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
        for bad in &self.bad_documents {
            writeln!(f, "           {bad}")?;
        }
        f.write_str(if self.is_sound() { "sound" } else { "DAMAGED" })
    }
}

/// Checks `root`, which no process may have.
///
/// # Errors
/// [`StoreError`] when the directory is in use, cannot be read or was written by a newer version; damage is in
/// the report.
pub fn verify(root: &Path) -> Result<VerifyReport, StoreError> {
    let _held = DataDir::hold(root)?;
    let mut report = VerifyReport {
        journal: journal::scan(&root.join("journal"), Scan::default(), |_, _| Ok(()))?,
        dead: journal::scan(&root.join("dead"), Scan::default(), |_, _| Ok(()))?,
        ..VerifyReport::default()
    };
    let Ok(entries) = fs::read_dir(root.join("documents")) else { return Ok(report) };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|ending| ending == "json") {
            match documents::read(&path) {
                Ok(_) => report.documents += 1,
                Err(error) => report.bad_documents.push(error.to_string()),
            }
        }
    }
    report.bad_documents.sort();
    Ok(report)
}
