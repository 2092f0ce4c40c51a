//! Puts the names of a data directory in order before anything in it is opened.
//!
//! A link, a FIFO, a file or a directory under a name that the store needs for something else is moved to
//! `aside/NAME-N`, never followed and never deleted, and the name counts as missing from then on. An index with
//! anything of the kind in it is moved as a whole: it is a cache. Strays are reported and left where they are. Files
//! that others may read are made private; what belongs to another user is refused.
//!
//! Must not know: what the files hold.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::names::{self, ASIDE, DirectoryEntry, Role};
use super::{access, files};
use crate::store::StoreError;
use crate::store::doubts::{DoubtKind, NewDoubt};

/// The doubt about strays is one for all of them.
pub(super) const STRAYS: &str = "strays";
/// Strays that are named; more are only counted.
const NAMED: usize = 8;

/// Puts `root` in order, which no other process may be using. Returns what has to be reported.
///
/// # Errors
/// [`Denied`](crate::store::DirectoryError::Denied) when something is not this user's, [`StoreError::Io`] when the
/// system fails.
pub(super) fn tidy(root: &Path) -> Result<Vec<NewDoubt>, StoreError> {
    let mut found = Vec::new();
    let entries = names::walk(root)?;
    let mut moved: Vec<PathBuf> = Vec::new();
    for entry in &entries {
        let Some(what) = entry.wrong_kind() else { continue };
        // The library would fail without any one of its files, and the index is made anew from the journal.
        let path = if entry.is_of_index() { PathBuf::from("index") } else { entry.path.clone() };
        // Several wrong names in the index move it once.
        if moved.contains(&path) {
            continue;
        }
        let to = move_aside(root, &path)?;
        found.push(report(&entry.path, what, &to));
        moved.push(path);
    }
    let stays = |entry: &&DirectoryEntry| !moved.iter().any(|path| entry.path.starts_with(path));
    let left: Vec<&DirectoryEntry> = entries.iter().filter(stays).collect();
    make_private(root, &left)?;
    found.extend(strays(&left));
    Ok(found)
}

/// The report of names that are not the store's; `None` when there is none.
pub(super) fn strays(entries: &[&DirectoryEntry]) -> Option<NewDoubt> {
    let strays: Vec<&&DirectoryEntry> = entries.iter().filter(|entry| entry.role == Role::Stray).collect();
    if strays.is_empty() {
        return None;
    }
    let named: Vec<String> =
        strays.iter().take(NAMED).map(|entry| entry.path.display().to_string()).collect();
    let more = if strays.len() > NAMED { ", .." } else { "" };
    Some(NewDoubt {
        kind: DoubtKind::Files,
        subject: STRAYS.to_owned(),
        detail: format!(
            "{} names in the data directory are not the store's and are passed over: {}{more}",
            strays.len(),
            named.join(", ")
        ),
        way_out: "remove them while the daemon is stopped, or acknowledge".to_owned(),
        events: 0,
    })
}

fn report(path: &Path, what: &str, to: &Path) -> NewDoubt {
    NewDoubt {
        kind: DoubtKind::Files,
        subject: path.display().to_string(),
        detail: format!(
            "{} was {what} and was not followed; it was moved to {}",
            path.display(),
            to.display()
        ),
        way_out: "find out who put it there, then acknowledge".to_owned(),
        events: 0,
    }
}

/// Moves a name out of the way and makes that durable. Returns where it is now, relative to the directory.
///
/// # Errors
/// [`StoreError::Io`] when the system refuses.
pub(super) fn move_aside(root: &Path, path: &Path) -> Result<PathBuf, StoreError> {
    let failed = |error| StoreError::io("move aside", &root.join(path), error);
    let name = path.display().to_string().replace('/', "-");
    // A thing in the place of the room itself cannot go into it.
    let within = if path == Path::new(ASIDE) { PathBuf::new() } else { room(root)? };
    for number in 1_u32.. {
        let to = within.join(format!("{name}-{number}"));
        match fs::symlink_metadata(root.join(&to)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::rename(root.join(path), root.join(&to)).map_err(failed)?;
                // Both names have to survive a power cut: the thing must not be in neither place.
                for dir in [root.join(&within), root.join(path.parent().unwrap_or(Path::new("")))] {
                    files::sync_dir(&dir).map_err(failed)?;
                }
                return Ok(to);
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Err(failed(io::ErrorKind::AlreadyExists.into()))
}

fn room(root: &Path) -> Result<PathBuf, StoreError> {
    let path = PathBuf::from(ASIDE);
    if fs::symlink_metadata(root.join(&path)).is_ok_and(|meta| !meta.is_dir()) {
        move_aside(root, &path)?;
    }
    access::make_room(&root.join(&path))?;
    Ok(path)
}

fn make_private(root: &Path, entries: &[&DirectoryEntry]) -> Result<(), StoreError> {
    let mut opened = Vec::new();
    for entry in entries.iter().filter(|entry| entry.role != Role::Stray) {
        let path = root.join(&entry.path);
        // Another user could change under our hands what the store reads.
        access::check_owner(&path, &entry.meta)?;
        if access::is_open(&entry.meta) {
            access::close(&path, &entry.meta)?;
            if !entry.is_of_index() {
                opened.push(&entry.path);
            }
        }
    }
    if let Some(first) = opened.first() {
        let (files, first) = (opened.len(), first.display());
        tracing::warn!(files, %first, "files of the data directory were open to other users; they are private now");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::store::DirectoryError;
    use crate::store::embedded::directory::DataDir;

    const FILES: [&str; 6] = ["LOCK", "FORMAT", "SALT", "epoch", "account.a", "doubts"];
    const DIRECTORIES: [&str; 8] =
        ["journal", "dead", "documents", "limits", "attempts", "ends", "index", ASIDE];
    const INSIDE: [&str; 5] = [
        "journal/0000000001.seg",
        "dead/0000000001.settled",
        "documents/policies.json",
        "documents/policies.json.prev",
        "limits/usage.log",
    ];

    fn fifo(path: &Path) {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).expect("makes");
    }

    fn remove(path: &Path) {
        let _ = fs::remove_file(path);
        let _ = fs::remove_dir_all(path);
    }

    /// Every name of the store, and whether it is to be a directory.
    fn all() -> impl Iterator<Item = (&'static str, bool)> {
        let files = FILES.into_iter().chain(INSIDE).map(|name| (name, false));
        files.chain(DIRECTORIES.into_iter().map(|name| (name, true)))
    }

    #[test]
    fn every_name_of_the_wrong_kind_is_moved_aside_reported_and_not_followed() {
        for (name, is_dir) in all() {
            for kind in ["link", "fifo", "other"] {
                let temp = tempfile::tempdir().expect("temp");
                let (root, target) = (temp.path().join("data"), temp.path().join("target"));
                drop(DataDir::open(&root).expect("opens"));
                fs::create_dir(&target).expect("makes");
                fs::write(target.join("secret"), "kept").expect("writes");
                let path = root.join(name);
                remove(&path);
                match kind {
                    "link" if is_dir => symlink(&target, &path).expect("links"),
                    "link" => symlink(target.join("secret"), &path).expect("links"),
                    "fifo" => fifo(&path),
                    _ if is_dir => fs::write(&path, "").expect("writes"),
                    _ => fs::create_dir(&path).expect("makes"),
                }
                let mut dir = DataDir::open(&root).unwrap_or_else(|error| panic!("{name} {kind}: {error}"));
                let found = dir.take_findings();
                let told = found.iter().find(|doubt| doubt.subject == name);
                assert!(told.is_some_and(|doubt| doubt.kind == DoubtKind::Files), "{name} {kind}: {found:?}");
                drop(dir);
                let meta = fs::symlink_metadata(&path);
                assert!(
                    meta.is_err() || meta.is_ok_and(|meta| meta.is_dir() == is_dir && !meta.is_symlink())
                );
                let aside = if name == ASIDE { root.clone() } else { root.join(ASIDE) };
                let there = fs::symlink_metadata(aside.join(format!("{}-1", name.replace('/', "-"))));
                assert!(there.is_ok(), "{name} {kind} was deleted");
                assert_eq!(fs::read_to_string(target.join("secret")).expect("there"), "kept");
                assert_eq!(fs::read_dir(&target).expect("lists").count(), 1, "{name} {kind} was followed");
                drop(DataDir::open(&root).expect("opens again"));
            }
        }
    }

    #[test]
    fn a_directory_in_order_gives_no_report() {
        let temp = tempfile::tempdir().expect("temp");
        drop(DataDir::open(temp.path()).expect("opens"));
        assert!(DataDir::open(temp.path()).expect("opens").take_findings().is_empty());
        assert!(!temp.path().join(ASIDE).exists());
    }

    #[test]
    fn a_link_in_the_index_moves_the_index_as_a_whole() {
        let temp = tempfile::tempdir().expect("temp");
        drop(DataDir::open(temp.path()).expect("opens"));
        let index = temp.path().join("index");
        fs::create_dir(&index).expect("makes");
        fs::write(index.join("conf"), "").expect("writes");
        symlink("/dev/zero", index.join("db")).expect("links");
        fifo(&index.join("snap.1"));
        let found = DataDir::open(temp.path()).expect("opens").take_findings();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(!index.exists() && temp.path().join("aside/index-1/conf").exists());
    }

    #[test]
    fn strays_are_reported_once_and_left_alone() {
        let temp = tempfile::tempdir().expect("temp");
        drop(DataDir::open(temp.path()).expect("opens"));
        fs::write(temp.path().join("letter.txt"), "dear").expect("writes");
        fs::create_dir(temp.path().join("journal/old")).expect("makes");
        fifo(&temp.path().join("documents/pipe"));
        symlink("/etc/passwd", temp.path().join("limits/x")).expect("links");
        let found = DataDir::open(temp.path()).expect("opens").take_findings();
        let [doubt] = &found[..] else { panic!("{found:?}") };
        assert_eq!(doubt.subject, STRAYS);
        for name in ["4 names", "letter.txt", "journal/old", "documents/pipe", "limits/x"] {
            assert!(doubt.detail.contains(name), "{}", doubt.detail);
        }
        assert!(temp.path().join("letter.txt").exists() && temp.path().join("limits/x").is_symlink());
    }

    #[test]
    fn files_that_are_too_open_are_made_private() {
        let temp = tempfile::tempdir().expect("temp");
        drop(DataDir::open(temp.path()).expect("opens"));
        for name in ["FORMAT", "journal/0000000001.seg", "documents/policies.json", "letter.txt"] {
            let path = temp.path().join(name);
            fs::write(&path, "3\n").expect("writes");
            fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("sets");
        }
        fs::set_permissions(temp.path().join("dead"), Permissions::from_mode(0o755)).expect("sets");
        drop(DataDir::open(temp.path()).expect("opens"));
        let mode = |name: &str| fs::metadata(temp.path().join(name)).expect("there").mode() & 0o777;
        for name in ["FORMAT", "journal/0000000001.seg", "documents/policies.json"] {
            assert_eq!(mode(name), 0o600, "{name}");
        }
        assert_eq!(mode("dead"), 0o700);
        assert_eq!(mode("letter.txt"), 0o644, "the control: not ours to change");
    }

    #[test]
    fn what_belongs_to_another_user_is_refused_by_name() {
        let temp = tempfile::tempdir().expect("temp");
        drop(DataDir::open(temp.path()).expect("opens"));
        for name in ["FORMAT", "LOCK", "journal", "documents/policies.json"] {
            let path = temp.path().join(name);
            if !path.exists() {
                fs::write(&path, "").expect("writes");
            }
            std::os::unix::fs::chown(&path, Some(65534), None).expect("this test runs as root");
            let Err(StoreError::Directory(DirectoryError::Denied { path: said, .. })) =
                DataDir::open(temp.path())
            else {
                panic!("{name} was used")
            };
            assert!(said.ends_with(name), "{said}");
            std::os::unix::fs::chown(&path, Some(0), None).expect("gives it back");
        }
        DataDir::open(temp.path()).expect("the control: all is ours again");
    }
}
