//! Secrets that the configuration file names: they stand in files of their own, or are credentials of systemd, and are read
//! whenever the configuration is.
//!
//! A problem with one names its place and never what stands there.
//!
//! Must not know: what a secret is for.

use std::io::Read;
use std::path::{Path, PathBuf};

/// The variable by which systemd hands over the directory of the unit's credentials.
pub(super) const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Stands before the name of a credential.
const CREDENTIAL: &str = "credential:";
/// The longest file of a secret, in bytes.
const MAX_BYTES: u64 = 256 * 1024;

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

    fn path(&self, place: &str) -> Result<PathBuf, String> {
        let Some(name) = place.strip_prefix(CREDENTIAL) else {
            let path = Path::new(place);
            // Read again at SIGHUP, whatever the working directory is by then.
            return match path.is_absolute() {
                true => Ok(path.to_owned()),
                false => Err(format!("must be the absolute path of a file, or {CREDENTIAL}NAME")),
            };
        };
        let is_name = !name.is_empty() && !matches!(name, "." | "..") && !name.contains(['/', '\0']);
        if !is_name {
            return Err(format!(
                "must be the name of a credential behind {CREDENTIAL}, as in LoadCredential= of the unit"
            ));
        }
        let directory = self.credentials.as_ref().ok_or_else(|| {
            format!("names a credential, and systemd has handed over none ({CREDENTIALS_VARIABLE} is not set); name a file")
        })?;
        Ok(directory.join(name))
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
        let none = SecretPlaces::default().lines("credential:one").expect_err("no directory");
        assert!(none.contains(CREDENTIALS_VARIABLE), "{none}");
    }
}
