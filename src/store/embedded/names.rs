//! The names in a data directory: which are the store's, and what each has to be. Everything else is a stray.
//!
//! | name | is |
//! |---|---|
//! | `LOCK`, `FORMAT`, `SALT`, `epoch`, `clock`, `doubts`, `account.a`, `account.b`, `living`, `book-seen`, `restored`, `index.rebuilding`, `ballast`, `ballast.N`, `under-way` | files |
//! | `NAME.tmp`, `.link`, `.prev`, `.new`, `.damaged`, `.damaged-N`, `.aside-N` of these | files: replacements under way, the version before, damaged bytes |
//! | `journal`, `dead` | segments `NNNNNNNNNN.seg` or `.settled`, and `quarantine` |
//! | `attempts` | details of attempts, `NNNNNNNNNN.att`; made with the first failure |
//! | `documents`, `limits` | small files, with the endings above |
//! | `ends` | files `NNNNNNNNNN.ends`, and `policies` |
//! | `index`, `index.aside` | the index library's files |
//! | `aside` | what stood in the place of one of these and was something else |
//!
//! `restoring` and `restoring.data` are there only until a restore has finished (see `restore`); a directory that has
//! the first is not used.
//!
//! Must not know: what the files hold.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::account::living;
use super::journal::segment_number;
use super::under_way;
use super::{attempts, ends};
use crate::store::StoreError;

/// Directories that every data directory has.
pub(super) const ROOMS: [&str; 5] = ["journal", "dead", "documents", "limits", "ends"];
/// Where is put what is not what its name says.
pub(super) const ASIDE: &str = "aside";
/// Made by file systems in their own roots.
pub(super) const FOREIGN: &str = "lost+found";

const FILES: [&str; 14] = [
    "LOCK",
    "FORMAT",
    "SALT",
    "epoch",
    "clock",
    "doubts",
    "account.a",
    "account.b",
    living::NAME,
    "book-seen",
    "restored",
    "index.rebuilding",
    "ballast",
    under_way::NAME,
];
const DIRECTORIES: [&str; 9] =
    ["journal", "dead", "documents", "limits", attempts::NAME, "ends", "index", "index.aside", ASIDE];
const ENDINGS: [&str; 5] = ["tmp", "link", "prev", "new", "damaged"];

/// What a name in the data directory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A plain file of the store.
    File,
    /// The store's name for a directory.
    Directory,
    /// The name is none of the store's.
    Stray,
}

/// A name in the directory and what has it.
#[derive(Debug)]
pub(super) struct DirectoryEntry {
    /// Its path relative to the data directory.
    pub path: PathBuf,
    /// What a name like this is for.
    pub role: Role,
    /// What is there; of a link the link itself.
    pub meta: Metadata,
}

impl DirectoryEntry {
    /// The index or in it: the library makes files as the process's mask lets it, and they hold no bodies.
    pub(super) fn is_of_index(&self) -> bool {
        self.path.starts_with("index")
    }

    /// What is there instead of what the name is for; `None` when it is in order or a stray.
    pub(super) fn wrong_kind(&self) -> Option<&'static str> {
        let is_right = match self.role {
            Role::File => self.meta.is_file(),
            Role::Directory => self.meta.is_dir(),
            Role::Stray => true,
        };
        (!is_right).then(|| kind(&self.meta))
    }
}

/// The kind of a file system entry, in words for people.
pub(super) fn kind(meta: &Metadata) -> &'static str {
    if meta.is_symlink() {
        "a link"
    } else if meta.is_dir() {
        "a directory"
    } else if meta.is_file() {
        "a file"
    } else {
        "a special file"
    }
}

/// The role of a name at the top of a data directory.
pub(super) fn role_at_top(name: &str) -> Role {
    if DIRECTORIES.contains(&name) {
        Role::Directory
    } else if is_file_at_top(name) {
        Role::File
    } else {
        Role::Stray
    }
}

/// Whether a name at the top is the store's or the file system's.
pub(super) fn is_known_at_top(name: &str) -> bool {
    name == FOREIGN || role_at_top(name) != Role::Stray
}

fn is_file_at_top(name: &str) -> bool {
    let is_piece = name.strip_prefix("ballast.").is_some_and(is_number);
    is_piece || FILES.contains(&name) || FILES.contains(&without_ending(name))
}

/// The name of the file that a file beside it belongs to.
fn without_ending(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, ending)) if ENDINGS.contains(&ending) || is_aside(ending) => stem,
        _ => name,
    }
}

fn is_aside(ending: &str) -> bool {
    let number = ending.strip_prefix("aside-").or_else(|| ending.strip_prefix("damaged-"));
    number.is_some_and(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn role_inside(room: &str, name: &str) -> Role {
    let is_file = match room {
        "journal" | "dead" if name == "quarantine" => return Role::Directory,
        "index" if name == "blobs" => return Role::Directory,
        "journal" | "dead" => segment_number(name).is_some(),
        attempts::NAME => attempts::file_number(name).is_some(),
        "documents" => without_ending(name).ends_with(".json"),
        "ends" => name == ends::POLICIES || ends::file_number(name).is_some(),
        "limits" => matches!(without_ending(name), "usage.log" | "usage.mark") || is_damaged_usages(name),
        // The library names its files as it likes.
        _ => true,
    };
    if is_file { Role::File } else { Role::Stray }
}

fn is_damaged_usages(name: &str) -> bool {
    name.strip_prefix("usage.damaged-").is_some_and(is_number)
}

/// Everything in the directory `root`, two levels deep, in the order of the names. Follows no link, opens no file. What
/// lies in `aside` and `index.aside` is not looked at.
///
/// # Errors
/// [`StoreError`] when the system does not list it.
pub(super) fn walk(root: &Path) -> Result<Vec<DirectoryEntry>, StoreError> {
    let mut all = Vec::new();
    for (name, meta) in list(root)? {
        if name == FOREIGN {
            continue;
        }
        let role = role_at_top(&name);
        let is_room = ROOMS.contains(&name.as_str()) || [attempts::NAME, "index"].contains(&name.as_str());
        let is_dir = meta.is_dir();
        all.push(DirectoryEntry { path: PathBuf::from(&name), role, meta });
        if is_room && is_dir {
            for (inside, meta) in list(&root.join(&name))? {
                let role = role_inside(&name, &inside);
                all.push(DirectoryEntry { path: Path::new(&name).join(inside), role, meta });
            }
        }
    }
    Ok(all)
}

fn list(dir: &Path) -> Result<Vec<(String, Metadata)>, StoreError> {
    let failed = |error| StoreError::io("list", dir, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        match fs::symlink_metadata(entry.path()) {
            Ok(meta) => found.push((entry.file_name().to_string_lossy().into_owned(), meta)),
            // The index library replaces files as it likes.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_store_are_told_from_strays() {
        for name in [
            "LOCK",
            "index.rebuilding",
            "epoch.prev",
            "doubts.tmp",
            "account.a.aside-1",
            "ballast.5",
            "SALT.new",
        ] {
            assert_eq!(role_at_top(name), Role::File, "{name}");
        }
        for name in ["letter.txt", "FORMAT~", "ballast.x", "epoch.prev.prev", "account.a.aside-", "core"] {
            assert_eq!(role_at_top(name), Role::Stray, "{name}");
        }
        let inside = [
            ("journal", "0000000001.seg", Role::File),
            ("journal", "0000000001.settled", Role::File),
            ("journal", "1.seg", Role::Stray),
            ("dead", "quarantine", Role::Directory),
            ("documents", "policies.json.prev", Role::File),
            ("documents", "policies.bak", Role::Stray),
            ("limits", "usage.log.tmp", Role::File),
            ("limits", "usage.damaged-1", Role::File),
            ("limits", "usage.txt", Role::Stray),
            ("attempts", "0000000001.att", Role::File),
            ("attempts", "1.att", Role::Stray),
            ("ends", "0000000001.ends", Role::File),
            ("ends", "policies", Role::File),
            ("ends", "1.ends", Role::Stray),
            ("index", "blobs", Role::Directory),
            ("index", "db", Role::File),
        ];
        for (room, name, role) in inside {
            assert_eq!(role_inside(room, name), role, "{room}/{name}");
        }
    }
}
