//! Puts the segments of a directory under the names that their heads say, and heals damaged heads.
//!
//! A segment under another's name gets its own back. Of two with the same number the one whose name agrees is it; the
//! other one, and segments of another directory, are moved to `quarantine/`, never deleted. A head neither copy of
//! which is sound is written anew when a frame behind it proves number and salt: the sum of a frame covers both.
//!
//! Must not know: which entries live, who is told.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::head::{HEAD_BYTES, HeadFields};
use super::heads::{HeadState, SegmentHead, Stray, heads, strays};
use super::walk::Walk;
use super::{aside, segment};
use crate::store::StoreError;
use crate::store::embedded::files;

/// What is known of the directory, and whether anything may be changed.
pub(crate) struct Arrange<'a> {
    /// The directory's salt, as far as it is known: segments with another one are foreign.
    pub salt: u64,
    /// The salt is proven by more than its own record: without that nothing is called foreign.
    pub is_salt_proven: bool,
    /// Whether the name `NNNNNNNNNN.settled` may be believed for this number.
    pub is_settled: &'a dyn Fn(u32) -> bool,
    /// Whether there ever was a segment of this number; `None` when nobody knows.
    pub is_known: &'a dyn Fn(u32) -> Option<bool>,
    /// Without it nothing is changed.
    pub repair: bool,
}

/// A file that was not as the store left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrangeFinding {
    /// Its name in the directory, as it was found.
    pub name: String,
    /// What was found, and what was done about it.
    pub detail: String,
}

/// Arranges the segments of `dir` and returns what was found.
///
/// # Errors
/// [`StoreError::Io`] when files cannot be read or renamed, [`StoreError::Format`] when a newer version wrote one.
pub(crate) fn arrange(dir: &Path, options: &Arrange<'_>) -> Result<Vec<ArrangeFinding>, StoreError> {
    let stray = |Stray { name, what, .. }| ArrangeFinding {
        name,
        detail: format!("it is {what}; it is passed over"),
    };
    let mut found: Vec<ArrangeFinding> = strays(dir)?.into_iter().map(stray).collect();
    let mut pass = ArrangePass { dir, options, found: Vec::new() };
    // A bound: files that somebody else keeps changing must not hold a start for ever.
    let mut left = heads(dir)?.len() * 2;
    // Each step puts at least one file into its place.
    while let Some((finding, step)) = pass.next(&heads(dir)?)? {
        pass.found.push(finding);
        if !options.repair || left == 0 {
            break;
        }
        left -= 1;
        pass.take(step)?;
    }
    found.append(&mut pass.found);
    Ok(found)
}

enum Move {
    Rename(PathBuf, PathBuf),
    Exchange(PathBuf, PathBuf),
    Quarantine(PathBuf),
    Heal(PathBuf, HeadFields),
}

struct ArrangePass<'a> {
    dir: &'a Path,
    options: &'a Arrange<'a>,
    found: Vec<ArrangeFinding>,
}

impl ArrangePass<'_> {
    /// The first file that is not in order, and the step that mends it; `None` when all are, or when the rest cannot be
    /// mended.
    fn next(&self, all: &[SegmentHead]) -> Result<Option<(ArrangeFinding, Move)>, StoreError> {
        for one in all {
            let path = one.file.path.clone();
            let name = name_of(&path);
            let step = match one.head {
                HeadState::Sound { salt, .. } if self.is_foreign(salt) => Some((
                    "it is of another data directory; moved to quarantine/".into(),
                    Move::Quarantine(path),
                )),
                HeadState::Sound { number, .. } if number != one.file.number => {
                    Some(self.misnamed(one, number, all))
                }
                HeadState::Sound { .. } if self.is_second(one, all) => Some((
                    "it is a second copy of its segment; moved to quarantine/".into(),
                    Move::Quarantine(path),
                )),
                HeadState::Sound { number, salt, key, damaged: true } => {
                    let head = HeadFields { segment: number, salt, key };
                    Some(("one copy of its head was damaged; written anew".into(), Move::Heal(path, head)))
                }
                HeadState::Sound { .. } => None,
                HeadState::Lost => self.headless(one)?,
            };
            let step = step.or_else(|| self.not_settled(one));
            let Some((detail, step)) = step else { continue };
            let finding = ArrangeFinding { name, detail };
            // Already reported: a step that did not help is not repeated.
            if !self.found.contains(&finding) {
                return Ok(Some((finding, step)));
            }
        }
        Ok(None)
    }

    fn is_foreign(&self, salt: u64) -> bool {
        self.options.is_salt_proven && salt != self.options.salt
    }

    fn misnamed(&self, one: &SegmentHead, number: u32, all: &[SegmentHead]) -> (String, Move) {
        let path = one.file.path.clone();
        let rival = all.iter().find(|other| other.file.number == number);
        match rival {
            None => {
                let to = self.dir.join(segment::name(number, one.file.settled));
                (format!("it is segment {number}; renamed"), Move::Rename(path, to))
            }
            Some(rival) if matches!(rival.head, HeadState::Sound { number: own, .. } if own == number) => {
                let detail = format!("it is a second copy of segment {number}; moved to quarantine/");
                (detail, Move::Quarantine(path))
            }
            Some(rival) => {
                let detail = format!("it is segment {number}; exchanged with {}", name_of(&rival.file.path));
                (detail, Move::Exchange(path, rival.file.path.clone()))
            }
        }
    }

    /// Whether the same segment is there under its other name as well.
    fn is_second(&self, one: &SegmentHead, all: &[SegmentHead]) -> bool {
        let is_first = |other: &SegmentHead| {
            other.file.number == one.file.number && !other.file.settled && other.head != HeadState::Lost
        };
        one.file.settled && all.iter().any(is_first)
    }

    /// A name that hides living entries: all is read then, not the settlements alone.
    fn not_settled(&self, one: &SegmentHead) -> Option<(String, Move)> {
        if !one.file.settled || (self.options.is_settled)(one.file.number) {
            return None;
        }
        let to = self.dir.join(segment::name(one.file.number, false));
        let detail = "its entries are not all settled; renamed".to_owned();
        (!to.exists()).then(|| (detail, Move::Rename(one.file.path.clone(), to)))
    }

    /// Both copies of the head are bad: the name and the salt on record are tried.
    fn headless(&self, one: &SegmentHead) -> Result<Option<(String, Move)>, StoreError> {
        let path = one.file.path.clone();
        let failed = |error| StoreError::io("read", &path, error);
        let file =
            files::read(&path).and_then(|file| file.ok_or(io::ErrorKind::NotFound.into())).map_err(failed)?;
        // A guess until a frame passes its sum with it.
        let (segment, salt) = (one.file.number, self.options.salt);
        let walk = || Walk::new(&file, HEAD_BYTES, salt, segment);
        // Nothing but zeros.
        let is_empty = walk().map_err(failed)?.used_end() == 0;
        if walk().and_then(Walk::has_frames).map_err(failed)? {
            let head = HeadFields { segment, salt, key: walk().and_then(Walk::key).map_err(failed)? };
            return Ok(Some(("its head was destroyed; written anew".to_owned(), Move::Heal(path, head))));
        }
        // Without frames nothing proves that it is ours; only a number that never was makes it foreign.
        let is_unknown = (self.options.is_known)(one.file.number) == Some(false);
        let detail = "it is no segment of this directory; moved to quarantine/".to_owned();
        Ok((is_unknown && !is_empty).then_some((detail, Move::Quarantine(path))))
    }

    fn take(&self, step: Move) -> Result<(), StoreError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| StoreError::io("arrange", &path, error)
        };
        match step {
            // Never over another file: a segment that appeared meanwhile would be lost.
            Move::Rename(from, to) => renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE)
                .map_err(|error| failed(&from)(error.into()))?,
            Move::Exchange(one, other) => renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE)
                .map_err(|error| failed(&one)(error.into()))?,
            Move::Quarantine(path) => quarantine(self.dir, &path).map_err(failed(&path))?,
            Move::Heal(path, head) => heal(self.dir, &path, head).map_err(failed(&path))?,
        }
        segment::sync_dir(self.dir)
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn heal(dir: &Path, path: &Path, head: HeadFields) -> io::Result<()> {
    let file = files::write(path)?;
    let mut before = [0; HEAD_BYTES];
    let kept = file.read_at(&mut before, 0)?;
    // The damaged head is kept: a person may find out from it what has happened.
    let copy = free_name(dir, &format!("{:010}-0", head.segment))?;
    fs::write(copy, before.get(..kept).unwrap_or_default())?;
    file.write_all_at(&head.encode(), 0)?;
    file.sync_all()
}

fn quarantine(dir: &Path, path: &Path) -> io::Result<()> {
    fs::rename(path, free_name(dir, &name_of(path))?)
}

/// A name in `quarantine/` that nothing has.
fn free_name(dir: &Path, name: &str) -> io::Result<PathBuf> {
    let room = aside::room(dir)?;
    let mut names = (1..=u32::MAX).map(|n| room.join(format!("{name}.{n}.bin")));
    let is_free = |path: &PathBuf| {
        fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    names.find(is_free).ok_or_else(|| io::ErrorKind::AlreadyExists.into())
}
