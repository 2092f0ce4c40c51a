//! Directory trees: their files in order, and whether two are the same.
//!
//! Must not know: what the files hold.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode};

use super::base::LARGE_BYTES;

/// The plain files below `root`, relative to it, sorted.
pub(super) fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(root, root, &mut |relative, is_dir| {
        if !is_dir {
            found.push(relative.to_owned());
        }
    });
    found.sort();
    found
}

/// The directories below `root`, relative to it, sorted.
pub(super) fn directories(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(root, root, &mut |relative, is_dir| {
        if is_dir {
            found.push(relative.to_owned());
        }
    });
    found.sort();
    found
}

fn walk(root: &Path, dir: &Path, visit: &mut dyn FnMut(&Path, bool)) {
    for entry in fs::read_dir(dir).expect("lists") {
        let entry = entry.expect("an entry");
        let path = entry.path();
        let is_dir = entry.file_type().expect("its kind").is_dir();
        visit(path.strip_prefix(root).expect("below"), is_dir);
        if is_dir {
            walk(root, &path, visit);
        }
    }
}

/// Whether both trees have the same names with the same content. Links and special files are compared by kind;
/// `LOCK` names the last process and is left out.
pub(super) fn same(one: &Path, other: &Path) -> bool {
    let names = files(one);
    names == files(other)
        && directories(one) == directories(other)
        && names.iter().filter(|name| name.as_path() != Path::new("LOCK")).all(|name| {
            let (one, other) = (one.join(name), other.join(name));
            let plain = |path: &Path| fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file);
            match (plain(&one), plain(&other)) {
                (Some(a), Some(b)) if a.len() != b.len() => false,
                (Some(a), Some(_)) if a.len() >= LARGE_BYTES => true,
                (Some(_), Some(_)) => fs::read(&one).ok() == fs::read(&other).ok(),
                (a, b) => a.is_none() == b.is_none(),
            }
        })
}

/// A FIFO, without a process that could hold locks of others open.
pub(super) fn fifo(path: &Path) -> io::Result<()> {
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, mode, 0)?)
}

/// Copies a tree with its links and special files.
pub(super) fn duplicate(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if kind.is_file() {
        return fs::copy(from, to).map(|_| ());
    }
    if !kind.is_dir() {
        return fifo(to);
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        duplicate(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}
