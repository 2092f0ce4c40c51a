//! What a directory looks like, to find whether anything in it has changed. The tests of the program have it too.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Names, modes, times of change and bytes of all that is in a directory, and of itself.
pub(crate) fn everything(root: &Path) -> Vec<(PathBuf, u32, i64, i64, Vec<u8>)> {
    let mut all = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path).expect("there");
        let bytes = if meta.is_file() { fs::read(&path).expect("reads") } else { Vec::new() };
        if meta.is_dir() {
            left.extend(fs::read_dir(&path).expect("lists").map(|entry| entry.expect("an entry").path()));
        }
        all.push((path, meta.mode(), meta.ctime(), meta.ctime_nsec(), bytes));
    }
    all.sort();
    all
}
