//! Small files that are replaced as a whole and know whether they are whole: the form that documents, the account,
//! the list of doubts, the clock's mark and the like share.
//!
//! A sealed file is one line of JSON, `{"format":F,"version":V,"crc":"XXXXXXXX"}`, a line feed, and the body to the
//! end. The CRC-32C, eight lower-case hex digits, covers format and version (8 bytes each, little-endian) and the
//! body. Members other than these three are refused.
//!
//! A replacement goes to `NAME.tmp`, is synced, the old file is kept as `NAME.prev` (a hard link first, so that the
//! name is never missing), and the new one is renamed over the name; then the directory is synced. A crash at any
//! step leaves the old or the new file whole.
//!
//! Must not know: what a body means.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::access::FileOwner;
use super::files;
use crate::store::StoreError;

/// Longest file that is read; what is larger fails its checksum and counts as damaged.
pub(super) const MAX_BYTES: u64 = 256 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealHead {
    format: u32,
    version: u64,
    crc: String,
}

/// A sealed file as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sealed {
    /// There is no file of this name.
    Missing,
    /// It was read and is not what was written, or the name is a link, a directory or a special file.
    Damaged {
        /// What is wrong with it, for people.
        reason: String,
    },
    /// The file is as it was written.
    Whole {
        /// The format that its writer gave it.
        format: u32,
        /// The version that its writer gave it.
        version: u64,
        /// The bytes behind the head line.
        body: Bytes,
    },
}

/// Reads the file.
///
/// # Errors
/// [`StoreError`] when the system does not let it be read: nothing is known about the file then.
pub(super) fn read(path: &Path) -> Result<Sealed, StoreError> {
    let failed = |error| StoreError::io("read", path, error);
    let file = match files::read(path) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(Sealed::Missing),
        Err(error) if files::is_foreign(&error) => return Ok(Sealed::Damaged { reason: error.to_string() }),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(open(&Bytes::from(bytes)))
}

/// The version before the present one, as [`replace`] kept it.
///
/// # Errors
/// As [`read`].
pub(super) fn read_previous(path: &Path) -> Result<Sealed, StoreError> {
    read(&beside(path, ".prev"))
}

/// Splits and checks the bytes of a sealed file.
pub(super) fn open(bytes: &Bytes) -> Sealed {
    let damaged = |reason: String| Sealed::Damaged { reason };
    let Some(line) = bytes.iter().position(|byte| *byte == b'\n') else {
        return damaged("no head line".to_owned());
    };
    let head: SealHead = match serde_json::from_slice(bytes.get(..line).unwrap_or_default()) {
        Ok(head) => head,
        Err(error) => return damaged(format!("head line: {error}")),
    };
    let body = bytes.slice(line + 1..);
    let SealHead { format, version, crc } = head;
    if crc != sum(format, version, &body) {
        return damaged("checksum mismatch".to_owned());
    }
    Sealed::Whole { format, version, body }
}

/// The bytes of a sealed file.
pub(super) fn seal(format: u32, version: u64, body: &[u8]) -> Vec<u8> {
    let head = SealHead { format, version, crc: sum(format, version, body) };
    // A struct of numbers and hex digits always has a JSON form.
    let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
    bytes.push(b'\n');
    bytes.extend_from_slice(body);
    bytes
}

/// Replaces the file, durably, and keeps the one before as `NAME.prev`.
///
/// # Errors
/// [`StoreError`] when the system refuses; the old or the new file is there whole.
pub(super) fn replace(path: &Path, format: u32, version: u64, body: &[u8]) -> Result<(), StoreError> {
    replace_for(None, path, format, version, body)
}

/// The same for another owner than this process, as which only root can act.
///
/// # Errors
/// As [`replace`].
pub(super) fn replace_for(
    owner: Option<FileOwner>,
    path: &Path,
    format: u32,
    version: u64,
    body: &[u8],
) -> Result<(), StoreError> {
    let written = write_over(owner, path, &seal(format, version, body));
    written.map_err(|error| StoreError::io("write", path, error))
}

fn write_over(owner: Option<FileOwner>, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = beside(path, ".tmp");
    let mut file = files::create_temporary(&temporary)?;
    // The owner before the rename: the daemon's user must be able to read what it finds under the name.
    let given = owner.map_or(Ok(()), |owner| owner.take(&file));
    let written = given.and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all());
    drop(file);
    let replaced = written.and_then(|()| keep(path)).and_then(|()| files::rename_durably(&temporary, path));
    replaced.inspect_err(|_| {
        // A full disk is fuller with it. After the rename there is none.
        let _ = fs::remove_file(&temporary);
    })
}

/// Makes the present file the previous one as well. A file system without hard links keeps none.
fn keep(path: &Path) -> io::Result<()> {
    let link = beside(path, ".link");
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match fs::hard_link(path, &link) {
        // Linked under a third name first: a link cannot replace `.prev` in one step.
        Ok(()) => fs::rename(&link, beside(path, ".prev")),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::Unsupported) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

/// The path with an ending after its whole name.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(ending);
    path.with_file_name(name)
}

fn sum(format: u32, version: u64, body: &[u8]) -> String {
    let crc = crc32c::crc32c(&u64::from(format).to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &version.to_le_bytes());
    format!("{:08x}", crc32c::crc32c_append(crc, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(version: u64, body: &'static str) -> Sealed {
        Sealed::Whole { format: 7, version, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn a_replacement_keeps_the_version_before() {
        let temp = tempfile::tempdir().expect("temp");
        let path = temp.path().join("file");
        assert_eq!(read(&path).expect("reads"), Sealed::Missing);
        replace(&path, 7, 1, b"one").expect("writes");
        assert_eq!(read_previous(&path).expect("reads"), Sealed::Missing);
        replace(&path, 7, 2, b"two").expect("writes");
        replace(&path, 7, 3, b"three").expect("writes");
        assert_eq!(read(&path).expect("reads"), whole(3, "three"));
        assert_eq!(read_previous(&path).expect("reads"), whole(2, "two"));
        let names = fs::read_dir(temp.path()).expect("lists").count();
        assert_eq!(names, 2, "nothing else is left behind");
    }

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unnoticed() {
        let bytes = seal(7, 1, b"{\"pace\": 200}");
        assert_eq!(open(&Bytes::from(bytes.clone())), whole(1, "{\"pace\": 200}"), "the control");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                assert!(matches!(open(&Bytes::from(bytes)), Sealed::Damaged { .. }), "byte {at} bit {bit}");
            }
            let cut = Bytes::copy_from_slice(&bytes[..at]);
            assert!(matches!(open(&cut), Sealed::Damaged { .. }), "cut at {at}");
        }
    }

    #[test]
    fn a_link_in_the_place_of_the_file_is_damage_and_is_not_followed() {
        let temp = tempfile::tempdir().expect("temp");
        let (path, other) = (temp.path().join("file"), temp.path().join("other"));
        replace(&other, 7, 1, b"other").expect("writes");
        std::os::unix::fs::symlink(&other, &path).expect("links");
        assert!(matches!(read(&path).expect("reads"), Sealed::Damaged { .. }));
        replace(&path, 7, 2, b"mine").expect("writes");
        assert_eq!(read(&path).expect("reads"), whole(2, "mine"));
        assert_eq!(read(&other).expect("reads"), whole(1, "other"));
    }
}
