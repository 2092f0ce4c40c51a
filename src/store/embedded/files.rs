//! Opening files of the data directory so that nothing unexpected is followed, waited for or overwritten.
//!
//! A name in the directory may have become a link, a FIFO or a directory. A link is never followed (`O_NOFOLLOW`), a
//! FIFO never waited for (`O_NONBLOCK`), and what is not a plain file is an error of the kind
//! [`io::ErrorKind::InvalidData`], told apart from errors of the system by [`is_foreign`]. Where descriptors are used
//! up, a spare one is given up for the open ([`super::spare`]).
//!
//! Must not know: what the files hold.

use std::fs::{self, File, OpenOptions, ReadDir};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::error::is_shortage;
use super::spare;

/// Whether an error of this module means that the name is no plain file: not a failure of the system.
pub(super) fn is_foreign(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

/// Opens a plain file for reading. `None` when there is nothing of this name.
///
/// # Errors
/// One that [`is_foreign`] knows when the name is a link, a directory or a special file; otherwise what the system
/// says.
pub(super) fn read(path: &Path) -> io::Result<Option<File>> {
    match spare::opened(|| options().read(true).open(path)) {
        Ok(file) => plain(path, file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(judged(path, error)),
    }
}

/// Reads a plain file, at most `most_bytes` of it. `None` when there is nothing of this name, or no plain file.
///
/// # Errors
/// What the system says.
pub(super) fn read_plain(path: &Path, most_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match read(path) {
        Ok(Some(file)) => file,
        Err(error) if !is_foreign(&error) => return Err(error),
        _ => return Ok(None),
    };
    let mut bytes = Vec::new();
    file.take(most_bytes).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Opens a plain file for writing, which must exist.
///
/// # Errors
/// As [`read`], and `NotFound`.
pub(super) fn write(path: &Path) -> io::Result<File> {
    let opened = spare::opened(|| options().read(true).write(true).open(path));
    let file = opened.map_err(|error| judged(path, error))?;
    plain(path, file)
}

/// Makes a new private file (0600). What stands under the name already, of whatever kind, is left alone.
///
/// # Errors
/// `AlreadyExists`, or what the system says.
pub(super) fn create(path: &Path) -> io::Result<File> {
    spare::opened(|| options().read(true).write(true).create_new(true).mode(0o600).open(path))
}

/// Makes a new private file (0600) for a replacement under way, in place of one that an earlier attempt left
/// behind. A directory under the name is left alone and is an error.
///
/// # Errors
/// What the system says.
pub(super) fn create_temporary(path: &Path) -> io::Result<File> {
    match create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Removes the name alone: a link's target and a FIFO's other end stay as they are.
            fs::remove_file(path)?;
            create(path)
        }
        other => other,
    }
}

/// Removes a name that need not exist; what a link points to stays.
///
/// # Errors
/// What the system says.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Makes the names in a directory survive a power cut.
///
/// # Errors
/// What the system says.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    open_dir(path).and_then(|dir| dir.sync_all())
}

/// Opens a directory, to be synced after a change in it: a caller that opens it before the change has nothing to take
/// back when there is no descriptor left.
///
/// # Errors
/// What the system says.
pub(super) fn open_dir(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags(OFlags::DIRECTORY | OFlags::CLOEXEC));
    spare::opened(|| options.open(path))
}

/// The directory that has the name: of a bare name the working directory, of the root itself the root.
pub(super) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// The names in a directory.
///
/// # Errors
/// What the system says.
pub(super) fn list(path: &Path) -> io::Result<ReadDir> {
    spare::opened(|| fs::read_dir(path))
}

/// Moves a complete file over a name, durably.
///
/// # Errors
/// What the system says. A shortage is returned as such only when the name has not changed.
pub(super) fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    // Before the rename: after it a lack of descriptors could not be reported as a refusal.
    let dir = open_dir(parent_of(to))?;
    fs::rename(from, to)?;
    dir.sync_all()
        .map_err(|error| if is_shortage(&error) { io::Error::other(error.to_string()) } else { error })
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC));
    options
}

fn flags(flags: OFlags) -> i32 {
    // Flags of open(2) are small numbers.
    i32::try_from(flags.bits()).unwrap_or(0)
}

fn plain(path: &Path, file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(foreign(path)) }
}

/// An open that failed because of what the name is, not because of the system.
fn judged(path: &Path, error: io::Error) -> io::Error {
    let is_plain = fs::symlink_metadata(path).map(|meta| meta.is_file());
    if matches!(is_plain, Ok(false)) { foreign(path) } else { error }
}

fn foreign(path: &Path) -> io::Error {
    let what = match fs::symlink_metadata(path).map(|meta| meta.file_type()) {
        Ok(kind) if kind.is_symlink() => "a link",
        Ok(kind) if kind.is_dir() => "a directory",
        _ => "a special file",
    };
    io::Error::new(io::ErrorKind::InvalidData, format!("it is {what}, not a plain file"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_bare_name_stands_in_the_working_directory() {
        for (path, parent) in [("x", "."), ("./x", "."), ("a/x", "a"), ("/x", "/"), ("/", "/"), ("..", ".")] {
            assert_eq!(parent_of(Path::new(path)), Path::new(parent), "{path}");
            open_dir(parent_of(Path::new("x"))).expect("it can be synced");
        }
    }

    #[test]
    fn links_fifos_and_directories_are_foreign_and_never_followed_or_waited_for() {
        let temp = tempfile::tempdir().expect("temp");
        let at = |name: &str| temp.path().join(name);
        fs::write(at("target"), "secret").expect("writes");
        symlink(at("target"), at("link")).expect("links");
        fs::create_dir(at("dir")).expect("makes");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .expect("makes");
        for name in ["link", "dir", "fifo"] {
            assert!(is_foreign(&read(&at(name)).expect_err("foreign")), "{name}");
            assert!(is_foreign(&write(&at(name)).expect_err("foreign")), "{name}");
            assert_eq!(create(&at(name)).expect_err("there").kind(), io::ErrorKind::AlreadyExists, "{name}");
        }
        assert!(create_temporary(&at("dir")).is_err());
        create_temporary(&at("link")).expect("the name is taken over");
        assert_eq!(fs::read_to_string(at("target")).expect("there"), "secret");
        let mut text = String::new();
        read(&at("target")).expect("opens").expect("there").read_to_string(&mut text).expect("reads");
        assert_eq!(text, "secret", "the control");
        assert!(read(&at("nothing")).expect("no error").is_none());
        let made = fs::metadata(at("link")).expect("there").permissions().mode();
        assert_eq!(made & 0o777, 0o600);
    }
}
