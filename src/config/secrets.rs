//! Secrets that the configuration file names: they stand in files of their own, or are credentials of systemd, and are read
//! whenever the configuration is.
//!
//! A problem with one names its place and never what stands there.
//!
//! Must not know: what a secret is for.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::config::KeyFile;

/// The variable by which systemd hands over the directory of the unit's credentials.
pub(super) const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Stands before the name of a credential.
const CREDENTIAL: &str = "credential:";
/// The longest file of a secret, in bytes.
const MAX_BYTES: u64 = 256 * 1024;
/// The longest path of a file, in bytes: no system opens a longer one.
const MAX_PATH_BYTES: usize = 4096;
/// The longest place of a credential, in bytes: its name is that of a file.
const MAX_CREDENTIAL_BYTES: usize = 256;

/// Where secrets are found.
#[derive(Debug, Clone, Default)]
pub(super) struct SecretPlaces {
    /// The directory of the unit's credentials, where systemd has given one.
    pub(super) credentials: Option<PathBuf>,
}

impl SecretPlaces {
    /// The lines of a file, given by its absolute path, or of a credential, as `credential:NAME`; without blanks around them
    /// and without empty ones.
    ///
    /// # Errors
    /// In words for whoever wrote the place, with the way out.
    pub(super) fn lines(&self, place: &str) -> Result<Vec<String>, String> {
        let (path, text) = (self.path(place)?, self.bytes(place)?);
        let shown = path.display();
        let text = String::from_utf8(text).map_err(|_| format!("{shown} cannot be read as text"))?;
        let lines: Vec<String> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        if lines.is_empty() {
            return Err(format!("{shown} is empty; write the secret into it"));
        }
        Ok(lines)
    }

    /// Everything in a file or credential.
    ///
    /// # Errors
    /// As for [`SecretPlaces::lines`].
    pub(super) fn bytes(&self, place: &str) -> Result<Vec<u8>, String> {
        let path = self.path(place)?;
        let shown = path.display();
        let mut bytes = Vec::new();
        let file =
            std::fs::File::open(&path).map_err(|error| format!("{shown} cannot be opened: {error}"))?;
        let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
        let read = read.map_err(|error| format!("{shown} cannot be read: {error}"))?;
        if u64::try_from(read).unwrap_or(u64::MAX) > MAX_BYTES {
            return Err(format!("{shown} is longer than {MAX_BYTES} bytes, which no secret is"));
        }
        Ok(bytes)
    }

    /// Where the keys of the store are. Nothing is read, and a credential may be one that this process has not been given.
    ///
    /// # Errors
    /// As for [`SecretPlaces::lines`], of the form alone.
    pub(super) fn key_file(&self, place: &str) -> Result<KeyFile, String> {
        check_form(place)?;
        let is_credential = place.starts_with(CREDENTIAL);
        Ok(KeyFile { place: place.to_owned(), path: self.path(place).ok(), is_credential })
    }

    fn path(&self, place: &str) -> Result<PathBuf, String> {
        check_form(place)?;
        let Some(name) = place.strip_prefix(CREDENTIAL) else { return Ok(PathBuf::from(place)) };
        let directory = self.credentials.as_ref().ok_or_else(|| {
            format!("names a credential, and systemd has handed over none ({CREDENTIALS_VARIABLE} is not set); name a file")
        })?;
        Ok(directory.join(name))
    }
}

/// Whether this has the form of a place; what stands there is not looked at.
///
/// # Errors
/// In words for whoever wrote the place, with the way out, and without what was written.
pub(super) fn check_form(place: &str) -> Result<(), String> {
    let is_plain = !place.contains(char::is_control);
    let Some(name) = place.strip_prefix(CREDENTIAL) else {
        // Absolute because it is read again at SIGHUP, whatever the working directory is by then.
        return match is_plain && place.len() <= MAX_PATH_BYTES && Path::new(place).is_absolute() {
            true => Ok(()),
            false => Err(format!(
                "must be the absolute path of a file, or {CREDENTIAL}NAME; the secret itself stands in that file alone"
            )),
        };
    };
    let is_name = !name.is_empty() && !matches!(name, "." | "..") && !name.contains('/');
    match is_plain && is_name && place.len() <= MAX_CREDENTIAL_BYTES {
        true => Ok(()),
        false => Err(format!(
            "must be the name of a credential behind {CREDENTIAL}, as in LoadCredential= of the unit"
        )),
    }
}

/// What a problem calls a place: as it was written where it has the form of one. Anything else may be the secret itself,
/// which somebody has written where its place belongs.
pub(super) fn shown(place: &str) -> String {
    match check_form(place) {
        Ok(()) => format!("{place:?}"),
        Err(_) => "what stands here (not shown, it may be the secret itself)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_from_files_and_credentials_and_problems_show_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let one = file("one", b"  CANARY-1  \n\n CANARY-2\n");
        let places = SecretPlaces { credentials: Some(dir.path().to_owned()) };
        let both = vec!["CANARY-1".to_owned(), "CANARY-2".to_owned()];
        assert_eq!(places.lines(&one), Ok(both.clone()));
        assert_eq!(places.lines("credential:one"), Ok(both));
        let binary = file("binary", b"CANARY\xff");
        let long = file("long", "CANARY".repeat(50_000).as_bytes());
        let blank = file("blank", b" \n\n");
        for (place, rule) in [
            ("one", "absolute path"),
            ("credential:", "name of a credential"),
            ("credential:../one", "name of a credential"),
            ("credential:none", "cannot be opened"),
            ("/does/not/exist", "cannot be opened"),
            (binary.as_str(), "as text"),
            (long.as_str(), "longer than"),
            (blank.as_str(), "is empty"),
        ] {
            let problem = places.lines(place).expect_err(place);
            assert!(problem.contains(rule) && !problem.contains("CANARY"), "{place}: {problem}");
        }
        let credential = |bytes: usize| format!("credential:{}", "C".repeat(bytes - CREDENTIAL.len()));
        for (place, is_shown) in [
            ("/etc/tidegate/crm.secret", true),
            ("credential:crm", true),
            (&*credential(MAX_CREDENTIAL_BYTES), true),
            (&*credential(MAX_CREDENTIAL_BYTES + 1), false),
            (&*format!("/{}", "C".repeat(MAX_PATH_BYTES)), false),
            ("/etc\nCANARY", false),
            ("credential:CANARY\n", false),
            ("whsec_CANARY", false),
            ("Bearer CANARY", false),
        ] {
            let text = shown(place);
            assert_eq!(text == format!("{place:?}"), is_shown, "{text}");
            assert!(is_shown || !text.contains("CANARY"), "{text}");
            assert_eq!(check_form(place).is_ok(), is_shown, "{place}");
            assert!(is_shown || !places.lines(place).expect_err(place).contains("CANARY"), "{place}");
        }
        let none = SecretPlaces::default().lines("credential:one").expect_err("no directory");
        assert!(none.contains(CREDENTIALS_VARIABLE), "{none}");
    }
}
