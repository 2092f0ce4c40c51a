//! The index against the journal, on a copy: the library has no way of opening it without writing.
//!
//! The index reflects every frame below its checkpoint, and may reflect some above. So the living entries that it has
//! of a block lie between those after all settlements and those after the settlements below the checkpoint.
//!
//! Must not know: rows, the library.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::VerifyReport;
use crate::store::StoreError;
use crate::store::embedded::bits::Bits;
use crate::store::embedded::files;
use crate::store::embedded::index::open::{self, Opened};
use crate::store::embedded::journal::{Frame, Position, What};
use crate::store::embedded::rebuilding;

/// A larger index is not copied.
const MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// Keys older than this are dropped from the copy.
const DEDUP_WINDOW: Duration = Duration::from_secs(24 * 3600);
const PLACE: &str = "index";

/// An index that was opened on a copy. The fields are dropped in this order.
pub(super) struct Index {
    opened: Opened,
    _copy: Copy,
}

/// A directory that goes when this is dropped.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Opens a copy of the index; `None` when there is none, it is too large or it does not open.
pub(super) fn open_copy(root: &Path, report: &mut VerifyReport) -> Option<Index> {
    let path = root.join(PLACE);
    if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
        report.note("there is no index; the next start makes it from the journal");
        return None;
    }
    if report.take(PLACE, rebuilding::is_unfinished(root))? {
        report.note("a rebuild of the index was cut short; the next start makes it anew");
        return None;
    }
    let bytes = report.take(PLACE, size(&path))?;
    if bytes > MAX_BYTES {
        report.note(format!(
            "the index of {bytes} bytes was not compared with the journal: it is too large to copy"
        ));
        return None;
    }
    let copy = report.take(PLACE, copy(&path))?;
    match open::open(&copy.0, None, CACHE_BYTES, DEDUP_WINDOW) {
        Ok(opened) => {
            let salt = opened.checkpoint.salt;
            if salt != 0 && super::format::salt(root).is_some_and(|own| own != salt) {
                report.find(PLACE, "it belongs to another data directory; the next start makes it anew");
                return None;
            }
            Some(Index { opened, _copy: copy })
        }
        Err(error) => {
            report.find(PLACE, format!("{error}; the next start makes it anew"));
            None
        }
    }
}

fn size(path: &Path) -> Result<u64, StoreError> {
    let failed = |error| StoreError::io("list", path, error);
    let mut sum = 0;
    for entry in fs::read_dir(path).map_err(failed)? {
        let meta = entry.and_then(|entry| entry.metadata()).map_err(failed)?;
        sum += if meta.is_dir() { 0 } else { meta.len() };
    }
    Ok(sum)
}

/// Copies plain files alone. The room is a new one of this process.
fn copy(path: &Path) -> Result<Copy, StoreError> {
    let mut number = 0_u32;
    let to = loop {
        let to = std::env::temp_dir().join(format!("tidegate-verify-{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&to) {
            Ok(()) => break Copy(to),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(StoreError::io("create", &to, error)),
        }
    };
    copy_into(path, &to.0)?;
    Ok(to)
}

fn copy_into(from: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::io("copy", from, error);
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            DirBuilder::new().mode(0o700).create(&target).map_err(failed)?;
            copy_into(&entry.path(), &target)?;
        } else if let Some(mut file) =
            kind.is_file().then(|| files::read(&entry.path())).transpose().map_err(failed)?.flatten()
        {
            io::copy(&mut file, &mut files::create(&target).map_err(failed)?).map_err(failed)?;
        }
    }
    Ok(())
}

/// The blocks of the journal with what was settled of each.
pub(super) struct Blocks {
    reflects: Position,
    all: BTreeMap<Position, BlockTally>,
    /// Settlements of blocks that are not there (yet).
    is_used: bool,
}

#[derive(Default)]
struct BlockTally {
    count: u32,
    settled_below: Bits,
    settled: Bits,
}

impl Blocks {
    pub(super) fn new(index: Option<&Index>) -> Self {
        let reflects = index.map_or(Position::default(), |index| index.opened.checkpoint.reflects);
        Self { reflects, all: BTreeMap::new(), is_used: index.is_some() }
    }

    pub(super) fn add(&mut self, at: Position, frame: &Frame<'_>) {
        match frame {
            _ if !self.is_used => {}
            Frame::Block(head) => self.all.entry(at).or_default().count = u32::from(head.count),
            Frame::Settlements(runs) => {
                for run in runs.clone() {
                    let state = self.all.entry(run.block).or_default();
                    for entry in run.entries {
                        if matches!(entry.what, What::Reschedule { .. }) {
                            continue;
                        }
                        state.settled.set(entry.index);
                        // The index has applied these for certain.
                        if at < self.reflects {
                            state.settled_below.set(entry.index);
                        }
                    }
                }
            }
            Frame::Dead(_) => {}
        }
    }
}

impl Index {
    /// Compares and reports each segment that does not fit.
    pub(super) fn compare(&self, blocks: &Blocks, report: &mut VerifyReport) {
        let mut wrong: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        let mut seen: BTreeMap<Position, u32> = BTreeMap::new();
        let walked = self.opened.reader.blocks(|at, living| *seen.entry(at).or_default() += living);
        if let Err(error) = walked {
            report.find(PLACE, error.to_string());
            return;
        }
        for (at, living) in &seen {
            let most =
                // A block that the journal does not have holds nothing.
                blocks.all.get(at).map_or(0, |state| state.count.saturating_sub(state.settled_below.count()));
            wrong.entry(at.segment).or_default().0 += u64::from(living.saturating_sub(most));
        }
        for (at, state) in blocks.all.range(..blocks.reflects) {
            let least = state.count.saturating_sub(state.settled.count());
            let living = seen.get(at).copied().unwrap_or(0);
            wrong.entry(at.segment).or_default().1 += u64::from(least.saturating_sub(living));
        }
        for (segment, (more, fewer)) in wrong {
            if more > 0 {
                report.find(
                    PLACE,
                    format!("{more} entries of segment {segment} wait that the journal does not have"),
                );
            }
            if fewer > 0 {
                report.find(
                    PLACE,
                    format!("{fewer} entries of segment {segment} are missing that wait in the journal"),
                );
            }
        }
    }
}
