//! Who may look into the data directory: this user alone. Bodies of events are other people's data.
//!
//! A directory that is ours but open to others is closed to them, and so are files in it. What belongs to somebody else
//! is refused. The directory itself may be reached through a link, as service managers lay it out; nothing in it is
//! reached through one: see [`tidy`](super::tidy).
//!
//! Must not know: what the files hold.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use super::names;
use crate::store::{DirectoryError, StoreError};

const PRIVATE: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// Whose a file or directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileOwner {
    /// Number of the owning user.
    pub uid: u32,
    /// Number of the owning group.
    pub gid: u32,
}

impl FileOwner {
    /// User and group of a file or directory.
    pub(super) fn of(meta: &Metadata) -> Self {
        Self { uid: meta.uid(), gid: meta.gid() }
    }

    /// The one to whom root has to give what it makes so that it belongs to `self`; `None` when it does anyway, or when
    /// this is not root, which alone can give things away.
    pub(super) fn to_give(self) -> Option<Self> {
        (user() == 0 && self.uid != 0).then_some(self)
    }

    /// Gives an open file or directory to this owner, durably.
    pub(super) fn take(self, file: &File) -> io::Result<()> {
        fchown(file, Some(self.uid), Some(self.gid))?;
        file.sync_all()
    }
}

/// Makes `root` if needed and private to this user.
///
/// # Errors
/// [`DirectoryError::Denied`] when it is not this user's, or when it is open to others and evidently serves another
/// purpose; [`StoreError::Io`] when the system fails.
pub(super) fn own(root: &Path) -> Result<(), StoreError> {
    create(root)?;
    let meta = fs::metadata(root).map_err(|error| StoreError::io("look at", root, error))?;
    check_owner(root, &meta)?;
    if is_open(&meta) {
        // Before the mode is changed: a directory that serves others would lose its users.
        check_purpose(root)?;
        close(root, &meta)?;
    }
    // From here on nobody else can put anything in its place.
    Ok(())
}

/// Makes a directory of our own inside the root if needed, and private.
///
/// # Errors
/// As [`own`].
pub(super) fn make_room(path: &Path) -> Result<(), StoreError> {
    create(path)?;
    let done = fs::set_permissions(path, Permissions::from_mode(PRIVATE));
    done.map_err(|error| StoreError::io("make private", path, error))
}

/// Whether others than the owner may do anything with it.
pub(super) fn is_open(meta: &Metadata) -> bool {
    meta.mode() & 0o077 != 0
}

/// Makes a file or directory private, which is known not to be a link.
///
/// # Errors
/// [`StoreError`] when the system refuses.
pub(super) fn close(path: &Path, meta: &Metadata) -> Result<(), StoreError> {
    let mode = if meta.is_dir() { PRIVATE } else { PRIVATE_FILE };
    let done = fs::set_permissions(path, Permissions::from_mode(mode));
    done.map_err(|error| StoreError::io("make private", path, error))
}

/// Whether it is this user's.
///
/// # Errors
/// [`DirectoryError::Denied`] when it is not.
pub(super) fn check_owner(path: &Path, meta: &Metadata) -> Result<(), StoreError> {
    check_owner_is(path, meta, user())
}

fn create(path: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().recursive(true).mode(PRIVATE).create(path);
    made.map_err(|error| StoreError::io("create", path, error))
}

fn check_owner_is(path: &Path, meta: &Metadata, user: u32) -> Result<(), StoreError> {
    if meta.uid() == user {
        return Ok(());
    }
    let (owner, way_out) = (meta.uid(), "give it to the one who is to run this, or run this as its owner");
    Err(denied(path, &format!("it belongs to user {owner}, not to user {user} who runs this; {way_out}")))
}

/// A data directory names its format, or a first start was cut short in it, or it is empty. Changing the mode of,
/// say, `/tmp` or a home would be worse than not starting.
fn check_purpose(root: &Path) -> Result<(), StoreError> {
    if fs::symlink_metadata(root.join("FORMAT")).is_ok_and(|meta| meta.is_file()) {
        return Ok(());
    }
    let failed = |error| StoreError::io("list", root, error);
    for entry in fs::read_dir(root).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !name.to_str().is_some_and(names::is_known_at_top) {
            return Err(denied(root, "it is open to other users and holds files that are not the store's"));
        }
    }
    Ok(())
}

fn denied(path: &Path, reason: &str) -> StoreError {
    StoreError::Directory(DirectoryError::Denied {
        operation: "use",
        path: path.display().to_string(),
        reason: reason.to_owned(),
    })
}

/// The user that this process acts as.
pub(super) fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o777
    }

    fn open_to_all(path: &Path) {
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("sets");
    }

    #[test]
    fn an_open_directory_of_ours_is_closed_to_others() {
        let temp = tempfile::tempdir().expect("temp");
        for names in [&[][..], &["LOCK", "journal"], &["lost+found"]] {
            names.iter().for_each(|name| fs::create_dir_all(temp.path().join(name)).expect("makes"));
            open_to_all(temp.path());
            own(temp.path()).expect("ours");
            assert_eq!(mode(temp.path()), 0o700);
        }
    }

    #[test]
    fn an_open_directory_with_other_files_is_refused_and_left_as_it_is() {
        let temp = tempfile::tempdir().expect("temp");
        fs::write(temp.path().join("letter.txt"), "dear").expect("writes");
        make_room(temp.path()).expect("sets");
        own(temp.path()).expect("private: nobody is locked out of it");
        open_to_all(temp.path());
        assert!(matches!(own(temp.path()), Err(StoreError::Directory(DirectoryError::Denied { .. }))));
        assert_eq!(mode(temp.path()), 0o755);
        fs::write(temp.path().join("FORMAT"), "1\n").expect("writes");
        own(temp.path()).expect("evidently a data directory, whatever else lies in it");
    }

    #[test]
    fn the_root_may_be_reached_through_a_link() {
        let temp = tempfile::tempdir().expect("temp");
        let (real, link) = (temp.path().join("real"), temp.path().join("link"));
        own(&real).expect("new");
        symlink(&real, &link).expect("links");
        own(&link).expect("as a service manager lays it out");
    }

    #[test]
    fn what_belongs_to_another_user_is_refused_by_name() {
        let temp = tempfile::tempdir().expect("temp");
        let meta = fs::metadata(temp.path()).expect("there");
        check_owner(temp.path(), &meta).expect("ours");
        let other = check_owner_is(temp.path(), &meta, user() + 1).expect_err("another's").to_string();
        assert!(other.contains("it belongs to user"), "{other}");
    }

    #[test]
    fn a_file_in_the_way_is_denied() {
        let temp = tempfile::tempdir().expect("temp");
        fs::write(temp.path().join("file"), "").expect("writes");
        assert!(matches!(
            own(&temp.path().join("file/data")),
            Err(StoreError::Directory(DirectoryError::Denied { .. }))
        ));
    }
}
