//! What a recovery found, for people and for the log.
//!
//! Must not know: how it was found.

use std::fmt;

use crate::store::embedded::account::compare::Shortfall;
use crate::store::embedded::journal::{ArrangeFinding, ScanReport};

/// What a recovery found: shown at the start and by `store` commands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Why the index was rebuilt from the journal; `None` when it was sound.
    pub rebuilt: Option<String>,
    /// What was read of the journal.
    pub journal: ScanReport,
    /// What is missing against the account and the index.
    pub verdict: Shortfall,
    /// Files of the journal that were not as the store left them.
    pub findings: Vec<ArrangeFinding>,
    /// Entries that are owed an end.
    pub living: u64,
    /// Lanes that hold entries that are owed an end.
    pub lanes: u64,
}

impl RecoveryReport {
    /// The number of entries lost for certain, in all segments.
    #[must_use]
    pub fn lost_entries(&self) -> u64 {
        self.verdict.lost.values().sum()
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rebuilt {
            Some(reason) => writeln!(f, "index: rebuilt ({reason})")?,
            None => writeln!(f, "index: sound")?,
        }
        let journal = &self.journal;
        writeln!(f, "journal read: {} segments, {} bytes", journal.segments, journal.bytes)?;
        writeln!(f, "  {} entries, {} settlements", journal.entries, journal.settlements)?;
        writeln!(f, "  {} damaged places, {} entries lost", self.verdict.damaged, self.lost_entries())?;
        writeln!(f, "  {} bytes of a torn end, never acknowledged", journal.torn_bytes)?;
        for damage in &journal.damages {
            writeln!(f, "  {damage}")?;
        }
        for ArrangeFinding { name, detail } in &self.findings {
            writeln!(f, "  {name}: {detail}")?;
        }
        for segment in &self.verdict.missing {
            writeln!(f, "  segment {segment} is gone")?;
        }
        for (segment, entries) in &self.verdict.lost {
            writeln!(f, "  segment {segment}: {entries} entries lost")?;
        }
        for (segment, entries) in &self.verdict.uncertain {
            writeln!(f, "  segment {segment}: up to {entries} entries may be lost")?;
        }
        write!(f, "waiting: {} entries in {} lanes", self.living, self.lanes)
    }
}
