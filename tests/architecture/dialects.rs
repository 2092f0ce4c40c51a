//! The folders of the dialects have the same shape.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::source::root;

/// What the folder of a dialect may hold, as a file or as a folder; what every dialect has is marked.
const PARTS_OF_A_DIALECT: &[(&str, bool)] = &[
    ("mod", true),
    ("options", true),
    ("objects", true),
    ("wire", true),
    ("check", false),
    ("derive", false),
    ("routes", true),
    ("errors", true),
    ("says", false),
    ("hears", false),
    ("implies", false),
    ("usage", false),
    ("doc", true),
    ("contract", true),
    ("tests", true),
];

/// Folders of `src/manage` that are no dialects: what several dialects of one vendor share.
pub(crate) const SHARED_BY_DIALECTS: &[&str] = &["adobe"];

#[test]
fn dialects_have_the_same_shape() {
    let mut broken = Vec::new();
    for (dialect, parts) in dialects() {
        for part in parts.iter().filter(|part| !PARTS_OF_A_DIALECT.iter().any(|(name, _)| name == part)) {
            broken.push(format!("manage/{dialect}: {part} is no part of a dialect"));
        }
        for (part, _) in PARTS_OF_A_DIALECT.iter().filter(|(name, always)| *always && !parts.contains(*name))
        {
            broken.push(format!("manage/{dialect}: has no {part}"));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The folders of the dialects, each with the names of what lies in it, without endings.
pub(crate) fn dialects() -> Vec<(String, BTreeSet<String>)> {
    let names = |folder: &Path| -> Vec<(String, PathBuf)> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let named = entries.filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)));
        named.collect()
    };
    let folders = names(&root().join("src/manage")).into_iter();
    let folders =
        folders.filter(|(name, path)| path.is_dir() && !SHARED_BY_DIALECTS.contains(&name.as_str()));
    let dialects: Vec<_> = folders
        .map(|(name, path)| (name, names(&path).into_iter().map(|(part, _)| part).collect()))
        .collect();
    assert!(dialects.len() > 4, "the dialects were not found");
    dialects
}
