//! What is damaged and how: every file kind of a data directory, every way in which it can be damaged.
//!
//! Must not know: what a directory owes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::base::{Base, End, LARGE_BYTES};
use super::tree;

/// What a file of the directory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Lock,
    Format,
    Salt,
    Ballast,
    Doubts,
    DoubtsBefore,
    Account,
    Living,
    Clock,
    Epoch,
    Document,
    DocumentBefore,
    Usages,
    FirstSegment,
    MiddleSegment,
    ActiveSegment,
    SettledSegment,
    DeadSegment,
    Quarantine,
    Index,
    Directory,
    Other,
}

impl Kind {
    /// Those that every directory must show, or the matrix has a hole.
    pub(super) const EXPECTED: [Self; 18] = [
        Self::Lock,
        Self::Format,
        Self::Salt,
        Self::Ballast,
        Self::Doubts,
        Self::DoubtsBefore,
        Self::Account,
        Self::Clock,
        Self::Document,
        Self::DocumentBefore,
        Self::Usages,
        Self::FirstSegment,
        Self::MiddleSegment,
        Self::ActiveSegment,
        Self::SettledSegment,
        Self::DeadSegment,
        Self::Quarantine,
        Self::Index,
    ];

    pub(super) const fn is_segment(self) -> bool {
        matches!(self, Self::FirstSegment | Self::MiddleSegment | Self::ActiveSegment | Self::SettledSegment)
    }
}

/// One way to damage a file or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Damage {
    /// One bit.
    Flip {
        at: u64,
        bit: u8,
    },
    Delete,
    Empty,
    Cut(u64),
    Swap(PathBuf),
    /// A copy under another name of the same kind.
    Double(PathBuf),
    Noise(u64),
    Link,
    Fifo,
    /// A directory in the place of a file, a file in the place of a directory.
    OtherKind,
}

/// One case: a base, a place in it, a damage.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) end: End,
    pub(super) kind: Kind,
    pub(super) path: PathBuf,
    pub(super) damage: Damage,
    /// The index is deleted as well: only the journal and the account can tell.
    pub(super) without_index: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { end, path, damage, without_index, .. } = self;
        let index = if *without_index { ", no index" } else { "" };
        write!(f, "{}{index}: {} ", end.word(), path.display())?;
        match damage {
            Damage::Flip { at, bit } => write!(f, "flip byte {at} bit {bit}"),
            Damage::Delete => f.write_str("delete"),
            Damage::Empty => f.write_str("empty"),
            Damage::Cut(at) => write!(f, "cut at {at}"),
            Damage::Swap(with) => write!(f, "swap with {}", with.display()),
            Damage::Double(to) => write!(f, "double as {}", to.display()),
            Damage::Noise(_) => f.write_str("noise"),
            Damage::Link => f.write_str("link"),
            Damage::Fifo => f.write_str("fifo"),
            Damage::OtherKind => f.write_str("other kind"),
        }
    }
}

/// The kinds of all files of the directory at `root`.
pub(super) fn kinds(root: &Path) -> BTreeMap<PathBuf, Kind> {
    let files = tree::files(root);
    let segments: Vec<&PathBuf> = files.iter().filter(|path| is_segment(path, "journal")).collect();
    let kind = |path: &PathBuf| {
        if segments.first() == Some(&path) {
            return Kind::FirstSegment;
        }
        if segments.last() == Some(&path) {
            return Kind::ActiveSegment;
        }
        kind_by_name(path)
    };
    files.iter().map(|path| (path.clone(), kind(path))).collect()
}

fn is_segment(path: &Path, room: &str) -> bool {
    path.parent() == Some(Path::new(room)) && path.extension().is_some_and(|ending| ending == "seg")
}

fn kind_by_name(path: &Path) -> Kind {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let room = path.iter().next().and_then(|room| room.to_str()).unwrap_or_default();
    let is_before = name.ends_with(".prev");
    match (room, name) {
        ("LOCK", _) => Kind::Lock,
        ("FORMAT", _) => Kind::Format,
        ("SALT", _) => Kind::Salt,
        (room, _) if room.starts_with("ballast") => Kind::Ballast,
        (room, _) if room.starts_with("doubts") && is_before => Kind::DoubtsBefore,
        (room, _) if room.starts_with("doubts") => Kind::Doubts,
        (room, _) if room.starts_with("account") => Kind::Account,
        ("living", _) => Kind::Living,
        (room, _) if room.starts_with("clock") => Kind::Clock,
        (room, _) if room.starts_with("epoch") => Kind::Epoch,
        ("documents", _) if is_before => Kind::DocumentBefore,
        ("documents", _) => Kind::Document,
        ("limits", _) => Kind::Usages,
        ("journal", name) if name.ends_with(".settled") => Kind::SettledSegment,
        ("journal", name) if name.ends_with(".seg") => Kind::MiddleSegment,
        ("journal", _) => Kind::Quarantine,
        ("dead", _) => Kind::DeadSegment,
        ("index", _) => Kind::Index,
        _ => Kind::Other,
    }
}

/// Every case of this base.
pub(super) fn all(base: &Base) -> Vec<Case> {
    let root = base.root();
    let kinds = kinds(&root);
    let mut cases = Vec::new();
    for (path, kind) in &kinds {
        let bytes = fs::metadata(root.join(path)).expect("its size").len();
        for damage in damages(path, *kind, bytes, &kinds) {
            let case = Case { end: base.end, kind: *kind, path: path.clone(), damage, without_index: false };
            if kind.is_segment() || matches!(kind, Kind::Account | Kind::Living) {
                cases.push(Case { without_index: true, ..case.clone() });
            }
            cases.push(case);
        }
    }
    for path in tree::directories(&root) {
        for damage in [Damage::Delete, Damage::Empty, Damage::Link, Damage::Fifo, Damage::OtherKind] {
            let kind = Kind::Directory;
            cases.push(Case { end: base.end, kind, path: path.clone(), damage, without_index: false });
        }
    }
    cases
}

fn damages(path: &Path, kind: Kind, bytes: u64, kinds: &BTreeMap<PathBuf, Kind>) -> Vec<Damage> {
    let mut damages = vec![Damage::Delete, Damage::Empty, Damage::Noise(bytes), Damage::Link, Damage::Fifo];
    damages.push(Damage::OtherKind);
    damages.push(Damage::Double(double_of(path, kinds)));
    let sibling = kinds.keys().find(|other| *other > path && other.parent() == path.parent());
    damages.extend(sibling.map(|other| Damage::Swap(other.clone())));
    if bytes > 1 {
        let cuts = [1, bytes / 4, bytes / 2, bytes * 3 / 4, bytes - 1];
        damages.extend(cuts.into_iter().filter(|at| (1..bytes).contains(at)).map(Damage::Cut));
    }
    if bytes < LARGE_BYTES {
        let head = if kind.is_segment() || kind == Kind::DeadSegment { 64 } else { 128 };
        let places = (0..bytes.min(head)).chain((512..bytes).step_by(512));
        damages.extend(places.map(|at| Damage::Flip { at, bit: (at % 8) as u8 }));
    }
    damages
}

/// A free name of the same kind: the next number for a segment.
fn double_of(path: &Path, kinds: &BTreeMap<PathBuf, Kind>) -> PathBuf {
    let room = path.parent().unwrap_or(Path::new(""));
    let number = |path: &PathBuf| {
        path.file_name()?.to_str()?.get(..10)?.parse::<u32>().ok().filter(|_| path.parent() == Some(room))
    };
    if number(&path.to_owned()).is_some() && path.extension().is_some_and(|ending| ending != "bin") {
        let last = kinds.keys().filter_map(number).max().unwrap_or(0);
        return room.join(format!("{:010}.seg", last + 1));
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    room.join(format!("{name}.copy"))
}

impl Case {
    /// Damages the copy at `root`; `aside` is a free place beside it.
    pub(super) fn apply(&self, root: &Path, aside: &Path) -> io::Result<()> {
        let path = root.join(&self.path);
        if self.without_index {
            fs::remove_dir_all(root.join("index"))?;
        }
        let is_dir = path.is_dir();
        match &self.damage {
            Damage::Flip { at, bit } => {
                let mut bytes = fs::read(&path)?;
                let at = usize::try_from(*at).expect("a small file");
                bytes[at] ^= 1 << bit;
                fs::write(&path, bytes)
            }
            Damage::Delete => remove(&path),
            Damage::Empty if is_dir => remove(&path).and_then(|()| private_dir(&path)),
            Damage::Empty => fs::write(&path, []),
            Damage::Cut(at) => fs::OpenOptions::new().write(true).open(&path)?.set_len(*at),
            Damage::Swap(other) => {
                let (other, middle) = (root.join(other), aside.join("swapped"));
                fs::rename(&path, &middle)?;
                fs::rename(&other, &path)?;
                fs::rename(&middle, &other)
            }
            Damage::Double(to) => fs::copy(&path, root.join(to)).map(|_| ()),
            Damage::Noise(seed) => {
                let mut rng = fastrand::Rng::with_seed(*seed);
                let bytes = fs::metadata(&path)?.len().min(LARGE_BYTES);
                let noise: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(bytes as usize).collect();
                fs::write(&path, noise)
            }
            Damage::Link => {
                let target = aside.join("target");
                fs::rename(&path, &target)?;
                symlink(&target, &path)
            }
            Damage::Fifo => remove(&path).and_then(|()| tree::fifo(&path)),
            Damage::OtherKind if is_dir => remove(&path).and_then(|()| fs::write(&path, b"not a directory")),
            Damage::OtherKind => remove(&path).and_then(|()| private_dir(&path)),
        }
    }

    /// Whether the start may be refused, with nothing modified: the format of the directory cannot be told from a
    /// newer one, the lock cannot be taken, or a directory of ours is a name of another kind, which only an
    /// operator can put right.
    pub(super) fn may_refuse(&self) -> bool {
        let touches = |name: &str| {
            self.path == Path::new(name)
                || matches!(&self.damage, Damage::Swap(other) if other == Path::new(name))
        };
        let is_other_name = matches!(self.damage, Damage::Link | Damage::Fifo | Damage::OtherKind);
        touches("FORMAT") || touches("LOCK") && is_other_name || self.kind == Kind::Directory && is_other_name
    }
}

fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(path)
}
