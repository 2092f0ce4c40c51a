//! The keys of the store: read from their file at the start, and again whenever the configuration is.
//!
//! Must not know: what is encrypted, and how.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;

use crate::app::{AppError, AppErrorKind};
use crate::config::{Config, KeyFile};
use crate::store::embedded::KeyRing;

/// The longest file of keys, in bytes.
const MAX_BYTES: u64 = 64 * 1024;
/// Bits of a mode that let others than the owner do something.
const OTHERS: u32 = 0o077;

/// Has the store of this configuration use the keys of its file.
///
/// # Errors
/// As for [`read`].
pub(super) fn use_keys(config: &Config) -> Result<(), AppError> {
    config.store.embedded.keys.replace(read(config.store.key_file.as_ref())?);
    Ok(())
}

/// The keys of a file; none where no file is set.
///
/// # Errors
/// [`AppErrorKind::Permission`] when others may read the file or this user may not, [`AppErrorKind::Config`] when it is
/// not there or holds something else than keys. Never with what stands in it.
pub(super) fn read(file: Option<&KeyFile>) -> Result<KeyRing, AppError> {
    let Some(file) = file else { return Ok(KeyRing::default()) };
    let wrong =
        |kind, detail: String| AppError { kind, detail: format!("store.key_file {}: {detail}", file.place) };
    let no_credential = || {
        let detail = "systemd has handed over no credentials (CREDENTIALS_DIRECTORY is not set)";
        wrong(AppErrorKind::Config, detail.to_owned())
    };
    let path = file.path.as_ref().ok_or_else(no_credential)?;
    let failed = |error: io::Error| {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied => AppErrorKind::Permission,
            _ => AppErrorKind::Config,
        };
        wrong(kind, format!("cannot be read: {error}"))
    };
    // Before it is opened: a pipe would keep the start waiting.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(wrong(AppErrorKind::Config, "is no file".to_owned()));
    }
    let opened = File::open(path).map_err(failed)?;
    let mode = opened.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    // Those of systemd lie in a directory of the unit's own, with a list of who may read them in place of an owner.
    if mode & OTHERS != 0 && !file.is_credential {
        let detail = format!(
            "must be open to its owner alone, and its mode is {mode:04o}: `chmod 600 {}`, and make new keys if others \
             have read it",
            path.display()
        );
        return Err(wrong(AppErrorKind::Permission, detail));
    }
    let mut text = String::new();
    let read = opened.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if read as u64 > MAX_BYTES {
        return Err(wrong(AppErrorKind::Config, format!("is longer than {MAX_BYTES} bytes")));
    }
    KeyRing::parse(&text).map_err(|problem| wrong(AppErrorKind::Config, problem))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const KEY: &str = "5b0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn of(path: &Path, is_credential: bool) -> Result<usize, AppErrorKind> {
        let file = KeyFile { place: "the place".to_owned(), path: Some(path.to_owned()), is_credential };
        let read = read(Some(&file));
        if let Err(error) = &read {
            assert!(
                error.detail.contains("store.key_file the place: ") && !error.detail.contains("5b01"),
                "{error}"
            );
        }
        read.map(|ring| ring.ids().count()).map_err(|error| error.kind)
    }

    #[test]
    fn a_file_of_keys_is_open_to_its_owner_alone() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("keys");
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("changes");
        fs::write(&path, KEY).expect("writes");
        for open in [0o640, 0o604, 0o620, 0o610] {
            mode(open);
            assert_eq!(of(&path, false), Err(AppErrorKind::Permission), "{open:o}");
            assert_eq!(of(&path, true), Ok(1), "systemd guards its credentials by a list");
        }
        for private in [0o600, 0o400] {
            mode(private);
            assert_eq!(of(&path, false), Ok(1));
        }
        mode(0o600);
        fs::write(&path, format!("{KEY}0")).expect("writes");
        assert_eq!(of(&path, false), Err(AppErrorKind::Config));
        assert_eq!(of(&dir.path().join("none"), false), Err(AppErrorKind::Config));
        assert_eq!(of(dir.path(), false), Err(AppErrorKind::Config));
        assert_eq!(read(None).expect("no file is set").ids().count(), 0);
        let unknown = KeyFile { place: "credential:x".to_owned(), path: None, is_credential: true };
        assert_eq!(read(Some(&unknown)).expect_err("no directory").kind, AppErrorKind::Config);
    }
}
