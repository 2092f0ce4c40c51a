//! The small sealed files at the top of the directory, and the doubts that are open.
//!
//! Must not know: what the files are for.

use std::path::Path;

use super::VerifyReport;
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::doubts::Doubts;
use crate::store::embedded::sealed::{self, Sealed};

/// Files that may be missing, and are whole when they are there.
const NAMES: [&str; 4] = ["doubts", "clock", "book-seen", "restored"];

/// Checks them.
pub(super) fn check(root: &Path, report: &mut VerifyReport) {
    for name in NAMES {
        let path = root.join(name);
        sealed_file(name, sealed::read(&path), report);
        sealed_file(&format!("{name}.prev"), sealed::read_previous(&path), report);
    }
    let Some(doubts) = report.take("doubts", Doubts::open(root, Timestamp::ZERO)) else { return };
    for doubt in doubts.list() {
        let said = format!("{}: {} ({} events)", doubt.kind.word(), doubt.detail, doubt.events);
        if doubt.since_ms == 0 {
            // Raised by the reading itself: named above.
        } else if doubt.acknowledged {
            report.note(format!("acknowledged doubt about {}: {said}", doubt.subject));
        } else {
            report.find(doubt.subject, format!("open doubt: {said}; {}", doubt.way_out));
        }
    }
}

fn sealed_file(place: &str, read: Result<Sealed, StoreError>, report: &mut VerifyReport) {
    if let Some(Sealed::Damaged { reason }) = report.take(place, read) {
        report.find(place, reason);
    }
}
