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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::clock::Timestamp;
    use crate::event::LaneKey;
    use crate::store::directory::DataDir;
    use crate::store::journal::{FRAME_HEADER_BYTES, Group, Journal, JournalOptions, NewBlock, Position};

    const SEGMENT: &str = "journal/0000000001.seg";

    /// A directory with a document and two blocks of one entry each, and where they are.
    fn sound(root: &Path) -> Vec<Position> {
        let dir = DataDir::open(root).expect("opens");
        fs::write(dir.documents().join("book.json"), "{\"format\":1,\"version\":1}\n{}").expect("writes");
        let options = JournalOptions { segment_bytes: 4096, ..JournalOptions::default() };
        let mut journal = Journal::open(&dir.journal(), options, 0, Timestamp::ZERO).expect("opens");
        let (lane, mut group) = (LaneKey::new("a@1").expect("valid"), Group::default());
        let mut append = |records: &[Bytes]| {
            let block =
                NewBlock { lane_no: 1, lane: &lane, accepted_ms: 1, records, due_ms: &[], dedup: &[] };
            group.push_block(&block).expect("fits");
            journal.append(&mut group, Timestamp::ZERO).expect("appends")
        };
        let mut at = append(&[Bytes::from_static(b"first")]);
        at.extend(append(&[Bytes::from_static(b"second")]));
        at
    }

    #[test]
    fn a_sound_directory_is_called_sound() {
        let temp = tempfile::tempdir().expect("temp");
        sound(temp.path());
        let report = verify(temp.path()).expect("reads");
        assert!(report.is_sound());
        assert_eq!((report.journal.entries, report.documents), (2, 1));
        assert!(report.to_string().ends_with("documents  1 sound\nsound"), "{report}");
    }

    #[test]
    fn damage_is_named_and_nothing_is_changed() {
        let temp = tempfile::tempdir().expect("temp");
        let at = sound(temp.path());
        let path = temp.path().join(SEGMENT);
        let mut bytes = fs::read(&path).expect("reads");
        bytes[at[0].offset as usize + FRAME_HEADER_BYTES] ^= 1;
        fs::write(&path, &bytes).expect("writes");
        let report = verify(temp.path()).expect("reads");
        assert!(!report.is_sound());
        assert_eq!((report.journal.damaged, report.journal.lost_entries, report.journal.entries), (1, 1, 1));
        let text = report.to_string();
        assert!(text.contains("segment 1 offset 64: damage") && text.ends_with("DAMAGED"), "{text}");
        assert_eq!(fs::read(&path).expect("reads"), bytes);
        assert!(!temp.path().join("journal/quarantine").exists());
    }

    #[test]
    fn a_torn_end_is_sound_and_told() {
        let temp = tempfile::tempdir().expect("temp");
        let at = sound(temp.path());
        let path = temp.path().join(SEGMENT);
        let bytes = fs::read(&path).expect("reads");
        fs::write(&path, &bytes[..at[1].offset as usize + FRAME_HEADER_BYTES]).expect("cuts");
        let report = verify(temp.path()).expect("reads");
        assert!(report.is_sound());
        assert_eq!(report.journal.entries, 1);
        assert!(report.to_string().contains("torn end of 24 bytes, never acknowledged"), "{report}");
    }

    #[test]
    fn a_bad_document_is_named_and_leftovers_are_passed_over() {
        let temp = tempfile::tempdir().expect("temp");
        sound(temp.path());
        fs::write(temp.path().join("documents/book.json.tmp"), "half").expect("writes");
        assert!(verify(temp.path()).expect("reads").is_sound());
        fs::write(temp.path().join("documents/quota.json"), "no head").expect("writes");
        let report = verify(temp.path()).expect("reads");
        assert!(!report.is_sound());
        assert_eq!((report.documents, report.bad_documents.len()), (1, 1));
        assert!(report.to_string().contains("documents/quota.json"), "{report}");
    }
}
