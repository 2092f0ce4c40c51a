//! Who may look into the data directory: this user alone (faults.md T12). Bodies of events are other people's data.
//!
//! A directory that is ours but open to others is closed to them. What belongs to somebody else is refused, and so
//! is a link among our files: either could lead writes to where another user wants them. The directory itself may be
//! reached through a link, as service managers lay it out.
//!
//! Must not know: what the files hold.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use super::StoreError;

const PRIVATE: u32 = 0o700;
/// What a data directory holds at its top.
const NAMES: [&str; 8] = ["LOCK", "FORMAT", "ballast", "journal", "dead", "documents", "limits", "index"];

/// Makes `root` if needed and private to this user, and checks what already lies in it.
///
/// # Errors
/// [`StoreError::Denied`] when it or something in it is not this user's, is a link, or when it is open to others and
/// evidently serves another purpose; [`StoreError::Io`] when the system fails.
pub(super) fn own(root: &Path) -> Result<(), StoreError> {
    create(root)?;
    let meta = fs::metadata(root).map_err(|error| StoreError::io("look at", root, error))?;
    check_owner(root, &meta, user())?;
    if meta.mode() & 0o077 != 0 {
        check_purpose(root)?;
        close(root)?;
    }
    // From here on nobody else can put anything in its place.
    NAMES.iter().try_for_each(|name| check_inside(&root.join(name)))
}

/// Makes a directory of our own inside the root if needed, and private.
///
/// # Errors
/// As [`own`].
pub(super) fn make_room(path: &Path) -> Result<(), StoreError> {
    create(path)?;
    close(path)
}

fn create(path: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().recursive(true).mode(PRIVATE).create(path);
    made.map_err(|error| StoreError::io("create", path, error))
}

fn close(path: &Path) -> Result<(), StoreError> {
    let done = fs::set_permissions(path, Permissions::from_mode(PRIVATE));
    done.map_err(|error| StoreError::io("make private", path, error))
}

fn check_inside(path: &Path) -> Result<(), StoreError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => Err(denied(path, "it is a link; the store's own files may not be")),
        Ok(meta) => check_owner(path, &meta, user()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("look at", path, error)),
    }
}

fn check_owner(path: &Path, meta: &Metadata, user: u32) -> Result<(), StoreError> {
    if meta.uid() == user {
        return Ok(());
    }
    Err(denied(path, &format!("it belongs to user {}, not to user {user} who runs this", meta.uid())))
}

/// A data directory names its format, or a first start was cut short in it, or it is empty. Changing the mode of,
/// say, `/tmp` or a home would be worse than not starting.
fn check_purpose(root: &Path) -> Result<(), StoreError> {
    if root.join("FORMAT").exists() {
        return Ok(());
    }
    let failed = |error| StoreError::io("list", root, error);
    for entry in fs::read_dir(root).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !NAMES.iter().chain(&["lost+found"]).any(|ours| name == *ours) {
            return Err(denied(root, "it is open to other users and holds files that are not the store's"));
        }
    }
    Ok(())
}

fn denied(path: &Path, reason: &str) -> StoreError {
    StoreError::Denied { operation: "use", path: path.display().to_string(), reason: reason.to_owned() }
}

fn user() -> u32 {
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
        close(temp.path()).expect("sets");
        own(temp.path()).expect("private: nobody is locked out of it");
        open_to_all(temp.path());
        assert!(matches!(own(temp.path()), Err(StoreError::Denied { .. })));
        assert_eq!(mode(temp.path()), 0o755);
        fs::write(temp.path().join("FORMAT"), "1\n").expect("writes");
        own(temp.path()).expect("evidently a data directory, whatever else lies in it");
    }

    #[test]
    fn links_among_the_files_are_refused_and_a_link_to_the_root_is_not() {
        let temp = tempfile::tempdir().expect("temp");
        let (real, link) = (temp.path().join("real"), temp.path().join("link"));
        own(&real).expect("new");
        symlink(&real, &link).expect("links");
        own(&link).expect("as a service manager lays it out");
        for name in NAMES {
            symlink(temp.path(), real.join(name)).expect("links");
            let Err(StoreError::Denied { path, .. }) = own(&real) else { panic!("{name} was followed") };
            assert!(path.ends_with(name));
            fs::remove_file(real.join(name)).expect("deletes");
        }
        own(&real).expect("the control: without the links it is ours");
    }

    #[test]
    fn what_belongs_to_another_user_is_refused_by_name() {
        let temp = tempfile::tempdir().expect("temp");
        let meta = fs::metadata(temp.path()).expect("there");
        check_owner(temp.path(), &meta, user()).expect("ours");
        let other = check_owner(temp.path(), &meta, user() + 1).expect_err("another's").to_string();
        assert!(other.contains("it belongs to user"), "{other}");
    }

    #[test]
    fn a_file_in_the_way_is_denied() {
        let temp = tempfile::tempdir().expect("temp");
        fs::write(temp.path().join("file"), "").expect("writes");
        assert!(matches!(own(&temp.path().join("file/data")), Err(StoreError::Denied { .. })));
    }
}
