//! The record of what limits have consumed.
//!
//! Must not know: the form of its lines.

use std::path::Path;

use super::VerifyReport;
use crate::store::embedded::UsageLog;
use crate::store::embedded::format;

const PLACE: &str = "limits/usage.log";

/// Checks it.
pub(super) fn check(root: &Path, report: &mut VerifyReport) {
    let found = UsageLog::count_damage(&root.join("limits"));
    match report.take(PLACE, found) {
        Some(Some(damaged)) if damaged > 0 => {
            report.find(PLACE, format!("{damaged} damaged places; quotas count as spent"));
        }
        Some(None) if format::holds_entries(root).unwrap_or(true) => {
            // The first format had none.
            let is_first = format::judge(root, true).is_ok_and(|verdict| verdict.upgrade_from == Some(1));
            if !is_first {
                report.find(PLACE, "it is missing");
            }
        }
        _ => {}
    }
}
