//! The cut of the torn end that a scan has found.
//!
//! Must not know: what was torn, who is told of it.

use std::io;
use std::path::Path;

use super::head::HEAD_BYTES;
use super::segment;
use super::walk::ScanReport;
use crate::store::StoreError;
use crate::store::embedded::files;
use crate::telemetry::defect;

/// Cuts the last segment where a scan with repair found its end. To be called when the account no longer expects what
/// is missing there: a second start would take the cut for a loss.
///
/// # Errors
/// [`StoreError::Io`] when the system refuses; the next segment that is begun does no harm to a torn end.
pub(crate) fn cut(dir: &Path, report: &ScanReport) -> Result<(), StoreError> {
    let Some((number, keep)) = report.cut else { return Ok(()) };
    if (keep as usize) < HEAD_BYTES {
        // Nothing is cut on doubt.
        defect!("a cut that would take the head of a segment");
        return Ok(());
    }
    let Some(file) = segment::list(dir)?.into_iter().find(|file| file.number == number) else {
        return Ok(());
    };
    let failed = |error: io::Error| StoreError::io("cut", &file.path, error);
    let opened = files::write(&file.path).map_err(failed)?;
    opened.set_len(keep.into()).map_err(failed)?;
    opened.sync_all().map_err(failed)
}
