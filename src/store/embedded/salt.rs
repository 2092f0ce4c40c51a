//! The salt of a directory: drawn once, mixed into ids and frames, kept in a file of its own and in the head of each
//! segment.
//!
//! `SALT` is a sealed file (see `sealed`) of format 1 and version 1 whose body is sixteen hex digits. Older directories
//! have the digits and a line feed alone; such a file is sealed once it agrees with the heads. The heads decide: ids
//! made with another salt would be unknown, and waiting events would be sent under other names. A file that is missing,
//! damaged or different is healed from them, and that is reported. Where no head can be read, a sealed file decides,
//! and where there is none either, the account.
//!
//! Must not know: what the salt is mixed into.

use std::collections::BTreeMap;
use std::path::Path;

use crate::store::doubts::{DoubtKind, NewDoubt};
use crate::store::embedded::files;
use crate::store::embedded::journal::{self, Salts};
use crate::store::embedded::sealed::{self, Sealed};
use crate::store::{DirectoryError, StoreError};

/// The name in the data directory.
const NAME: &str = "SALT";
const FORMAT: u32 = 1;
const VERSION: u64 = 1;
/// Longer than any file of digits alone.
const MAX_DIGITS: u64 = 64;

/// The salt, and what is to be reported about its file.
#[derive(Debug)]
pub(super) struct DirectorySalt {
    pub salt: u64,
    pub report: Option<NewDoubt>,
}

/// The file as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum StoredSalt {
    Missing,
    Damaged(String),
    Unsealed(u64),
    Sealed(u64),
}

/// The salt of `root`: that of its segments, else the one on record, else that of the account, else `fresh` after it
/// was put on record.
///
/// # Errors
/// [`DirectoryError::Unusable`] when neither the file, the account nor the head of any segment says what it is although
/// something was accepted; [`StoreError::Io`] when the system fails.
pub(super) fn keep(root: &Path, fresh: u64, account: Option<u64>) -> Result<DirectorySalt, StoreError> {
    let found = find(root)?;
    let mut heads = journal::salts(&root.join("journal"))?;
    let dead = journal::salts(&root.join("dead"))?;
    // Letters have the same salt: they may be all that is left.
    heads.files += dead.files;
    heads.salts.extend(dead.salts);
    let on_record = match &found {
        StoredSalt::Unsealed(salt) | StoredSalt::Sealed(salt) => Some(*salt),
        StoredSalt::Missing | StoredSalt::Damaged(_) => None,
    };
    let Some(salt) = of_heads(&heads, on_record).or(on_record).or(account) else {
        return without_witness(root, &heads, &found, fresh);
    };
    let wrong = match &found {
        StoredSalt::Missing => Some("was missing".to_owned()),
        StoredSalt::Damaged(reason) => Some(format!("was damaged ({reason})")),
        StoredSalt::Unsealed(other) | StoredSalt::Sealed(other) if *other != salt => {
            Some("was another than that of the segments".to_owned())
        }
        StoredSalt::Unsealed(_) | StoredSalt::Sealed(_) => None,
    };
    // Also an old file of digits alone: a seal shows damage, digits do not.
    if found != StoredSalt::Sealed(salt) {
        write(root, salt)?;
    }
    let report = wrong.map(|wrong| {
        healed(format!("the salt {wrong}; it was taken from the segments' heads or the account"))
    });
    Ok(DirectorySalt { salt, report })
}

/// The salt that most heads have; of several the one on record.
fn of_heads(heads: &Salts, on_record: Option<u64>) -> Option<u64> {
    let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
    for salt in &heads.salts {
        *votes.entry(*salt).or_default() += 1;
    }
    // A single head may belong to a foreign segment that was put there.
    let most = votes.into_iter().max_by_key(|(salt, votes)| (*votes, Some(*salt) == on_record));
    most.map(|(salt, _)| salt)
}

/// Nothing says what the salt is: a new directory, or one that lost it.
fn without_witness(
    root: &Path,
    heads: &Salts,
    found: &StoredSalt,
    fresh: u64,
) -> Result<DirectorySalt, StoreError> {
    // The index is made right after the salt: a directory without one has never accepted anything.
    if heads.files > 0 || root.join("index").exists() {
        let what = match found {
            StoredSalt::Damaged(reason) => format!("damaged ({reason})"),
            _ => "missing".to_owned(),
        };
        let reason = format!(
            "{NAME} is {what} and no head of a segment can be read, so that no event can be recognised; restore \
             {NAME} or the segments from a copy"
        );
        return Err(StoreError::Directory(DirectoryError::Unusable { reason }));
    }
    // Durable before anything is made with it: ids under a salt that is lost are unknown for ever.
    write(root, fresh)?;
    let report = match found {
        StoredSalt::Damaged(reason) => Some(healed(format!(
            "the salt of an empty directory was damaged ({reason}); a new one was drawn"
        ))),
        _ => None,
    };
    Ok(DirectorySalt { salt: fresh, report })
}

fn healed(detail: String) -> NewDoubt {
    NewDoubt {
        kind: DoubtKind::Document,
        subject: NAME.to_owned(),
        detail,
        way_out: "run `tidegate store verify`, then acknowledge".to_owned(),
        events: 0,
    }
}

fn find(root: &Path) -> Result<StoredSalt, StoreError> {
    let path = root.join(NAME);
    Ok(match sealed::read(&path)? {
        Sealed::Missing => StoredSalt::Missing,
        Sealed::Whole { format: FORMAT, body, .. } => match digits(&body) {
            Some(salt) => StoredSalt::Sealed(salt),
            None => StoredSalt::Damaged("it holds no salt".to_owned()),
        },
        Sealed::Whole { format, .. } => {
            let what = path.display().to_string();
            return Err(StoreError::Format { what, found: format, known: FORMAT });
        }
        Sealed::Damaged { reason } => {
            find_unsealed(&path)?.map_or(StoredSalt::Damaged(reason), StoredSalt::Unsealed)
        }
    })
}

/// Digits and a line feed alone.
fn find_unsealed(path: &Path) -> Result<Option<u64>, StoreError> {
    let read = files::read_plain(path, MAX_DIGITS).map_err(|error| StoreError::io("read", path, error))?;
    let Some(bytes) = read else { return Ok(None) };
    Ok(bytes.strip_suffix(b"\n").and_then(digits))
}

fn digits(bytes: &[u8]) -> Option<u64> {
    let is_hex = bytes.len() == 16 && bytes.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(bytes).ok().filter(|_| is_hex)?;
    u64::from_str_radix(text, 16).ok()
}

fn write(root: &Path, salt: u64) -> Result<(), StoreError> {
    sealed::replace(&root.join(NAME), FORMAT, VERSION, format!("{salt:016x}").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::clock::Timestamp;
    use crate::store::embedded::journal::{HEAD_BYTES, Journal, JournalOptions};

    const TRUE: u64 = 0x0123_4567_89ab_cdef;

    /// A directory with one segment, and a salt of the older form.
    fn directory() -> tempfile::TempDir {
        let temp = tempfile::tempdir().expect("temp");
        fs::create_dir(temp.path().join("journal")).expect("makes");
        let options = JournalOptions { segment_bytes: 4096, salt: TRUE, ..JournalOptions::default() };
        drop(Journal::open(&temp.path().join("journal"), options, 0, Timestamp::ZERO).expect("opens"));
        fs::write(temp.path().join(NAME), format!("{TRUE:016x}\n")).expect("writes");
        temp
    }

    fn kept(temp: &tempfile::TempDir) -> (u64, bool) {
        let DirectorySalt { salt, report } = keep(temp.path(), 7, None).expect("opens");
        (salt, report.is_some())
    }

    #[test]
    fn a_salt_is_drawn_once_and_an_older_file_is_sealed() {
        let temp = tempfile::tempdir().expect("temp");
        assert_eq!(kept(&temp), (7, false));
        assert_eq!(keep(temp.path(), 8, None).expect("opens").salt, 7);
        let temp = directory();
        assert_eq!(kept(&temp), (TRUE, false));
        assert_eq!(find(temp.path()).expect("reads"), StoredSalt::Sealed(TRUE));
        assert_eq!(kept(&temp), (TRUE, false));
    }

    #[test]
    fn whatever_happens_to_the_file_the_heads_decide_and_it_is_healed() {
        for seal in [false, true] {
            let temp = directory();
            if seal {
                assert_eq!(kept(&temp), (TRUE, false));
            }
            let path = temp.path().join(NAME);
            let sound = fs::read(&path).expect("reads");
            let flipped = (0..sound.len()).flat_map(|at| (0..8).map(move |bit| (at, bit)));
            for (at, bit) in flipped {
                let mut bytes = sound.clone();
                bytes[at] ^= 1 << bit;
                fs::write(&path, &bytes).expect("writes");
                // The case of a digit says nothing.
                let is_same = !seal && digits(bytes.strip_suffix(b"\n").unwrap_or_default()) == Some(TRUE);
                assert_eq!(kept(&temp), (TRUE, !is_same), "byte {at} bit {bit}");
                assert_eq!(kept(&temp), (TRUE, false), "healed");
            }
            fs::remove_file(&path).expect("deletes");
            assert_eq!(kept(&temp), (TRUE, true));
            fs::write(&path, format!("{:016x}\n", TRUE + 1)).expect("writes");
            assert_eq!(kept(&temp), (TRUE, true), "a different one");
        }
    }

    #[test]
    fn without_any_head_only_a_whole_file_is_believed() {
        let temp = directory();
        assert_eq!(kept(&temp), (TRUE, false));
        let segment = journal::list(&temp.path().join("journal")).expect("lists").remove(0).path;
        let mut bytes = fs::read(&segment).expect("reads");
        bytes[..HEAD_BYTES].fill(0xff);
        fs::write(&segment, bytes).expect("writes");
        assert_eq!(kept(&temp), (TRUE, false), "the control: it is sealed");
        fs::write(temp.path().join(NAME), "noise").expect("writes");
        assert!(matches!(
            keep(temp.path(), 7, None),
            Err(StoreError::Directory(DirectoryError::Unusable { .. }))
        ));
        fs::remove_file(temp.path().join(NAME)).expect("deletes");
        assert!(matches!(
            keep(temp.path(), 7, None),
            Err(StoreError::Directory(DirectoryError::Unusable { .. }))
        ));
        fs::remove_file(&segment).expect("deletes");
        assert_eq!(kept(&temp), (7, false), "without segments and index nothing was ever accepted");
        fs::write(temp.path().join(NAME), "noise").expect("writes");
        assert_eq!(kept(&temp), (7, true));
        fs::write(temp.path().join(NAME), "noise").expect("writes");
        fs::create_dir(temp.path().join("index")).expect("makes");
        assert!(matches!(
            keep(temp.path(), 7, None),
            Err(StoreError::Directory(DirectoryError::Unusable { .. }))
        ));
    }
}
