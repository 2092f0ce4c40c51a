//! The names of the policies that governed ended events, each set of them once: ends name it by its number.
//!
//! Must not know: ends, policies.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::event::{Lane, LaneKey};
use crate::store::StoreError;
use crate::store::embedded::{files, retry};

/// The name of the file in the directory of the ends.
pub(in crate::store::embedded) const NAME: &str = "policies";
/// Most bytes of the file: of what is governed by further sets of policies, these are not kept.
const MAX_BYTES: usize = 1024 * 1024;
/// Length and sum before each text.
const HEAD_BYTES: usize = 6;

/// The sets by number, from 1 on.
#[derive(Debug)]
pub(super) struct PolicyNames {
    /// `None` when it cannot be read or written: no number is known, and none is given.
    file: Option<Arc<File>>,
    /// Something follows the last sound text. Its number may be in use, so that no further ones are given: an end of unknown
    /// policies is better than one of the wrong ones.
    is_closed: bool,
    length: usize,
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u16>,
    /// The lane of the last end, and its number: ends of one lane come together.
    last: Option<(LaneKey, u16)>,
}

impl PolicyNames {
    /// Takes up the file, or makes one. Where a text is not sound, it and what follows are left as they are, and further sets
    /// are not known; where the system refuses, none is.
    pub(super) fn open(dir: &Path) -> Self {
        let path = dir.join(NAME);
        let open = || Self::take_up(&path).map_err(|error| StoreError::io("open", &path, error));
        let names = match retry::reading(open) {
            Ok(names) => names,
            Err(error) => {
                tracing::warn!(%error, "the policies of ends cannot be read; until the next start they are not known");
                return Self::unknown();
            }
        };
        if names.is_closed {
            tracing::warn!(
                "the file of the policies of ends is damaged; those of further sets are not known"
            );
        }
        names
    }

    fn unknown() -> Self {
        let (texts, numbers) = (Vec::new(), HashMap::new());
        Self { file: None, is_closed: true, length: 0, texts, numbers, last: None }
    }

    fn take_up(path: &Path) -> io::Result<Self> {
        let mut names = Self::unknown();
        let file = match files::create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => files::write(path)?,
            made => made?,
        };
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(MAX_BYTES)];
        file.read_exact_at(&mut bytes, 0)?;
        let mut rest = bytes.as_slice();
        while let Some((text, behind)) = split(rest) {
            names.note(text.into());
            names.length += rest.len() - behind.len();
            rest = behind;
        }
        names.is_closed = names.length < length;
        names.file = Some(Arc::new(file));
        Ok(names)
    }

    pub(super) fn file(&self) -> Option<Arc<File>> {
        self.file.clone()
    }

    pub(super) fn text(&self, number: u16) -> Option<Arc<str>> {
        self.texts.get(usize::from(number).checked_sub(1)?).cloned()
    }

    /// The number of the policies of a lane, 0 when they cannot be kept.
    pub(super) fn number(&mut self, lane: &LaneKey) -> io::Result<u16> {
        if let Some((last, number)) = &self.last
            && last == lane
        {
            return Ok(*number);
        }
        let number = match Lane::parse(lane) {
            Ok(parsed) => self.number_of(&joined(&parsed))?,
            Err(_) => 0,
        };
        self.last = Some((lane.clone(), number));
        Ok(number)
    }

    fn number_of(&mut self, text: &str) -> io::Result<u16> {
        if let Some(number) = self.numbers.get(text) {
            return Ok(*number);
        }
        let Some(file) = self.file.as_ref().filter(|_| !self.is_closed) else { return Ok(0) };
        let is_full =
            self.length + HEAD_BYTES + text.len() > MAX_BYTES || self.texts.len() >= usize::from(u16::MAX);
        let Some(length) = u16::try_from(text.len()).ok().filter(|_| !is_full) else { return Ok(0) };
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(&sum(text.as_bytes()).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
        file.write_all_at(&bytes, self.length as u64)?;
        self.length += bytes.len();
        Ok(self.note(text.into()))
    }

    fn note(&mut self, text: Arc<str>) -> u16 {
        self.texts.push(Arc::clone(&text));
        // Checked before: there are no more than fit.
        let number = u16::try_from(self.texts.len()).unwrap_or(0);
        self.numbers.insert(text, number);
        number
    }
}

/// The names without their generations, of which there are ever more.
fn joined(lane: &Lane) -> String {
    let names: Vec<&str> = lane.policies().iter().map(|part| part.policy.as_str()).collect();
    names.join("+")
}

/// Zeros, as a power cut may leave them, are no sound text.
fn sum(text: &[u8]) -> u32 {
    !crc32c::crc32c(text)
}

fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let (text, behind) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let is_sound = self::sum(text) == u32::from_le_bytes(*sum);
    std::str::from_utf8(text).ok().filter(|_| is_sound).map(|text| (text, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_keep_their_numbers_and_behind_a_torn_one_none_is_used_again() {
        let temp = tempfile::tempdir().expect("temp");
        let lane = |text: &str| LaneKey::new(text).expect("a key");
        let mut names = PolicyNames::open(temp.path());
        assert_eq!(names.number(&lane("crm@3+org@1;org=A")).expect("writes"), 1);
        assert_eq!(names.number(&lane("crm@4+org@1;org=B")).expect("writes"), 1, "another generation");
        assert_eq!(names.number(&lane("-")).expect("writes"), 2, "of no policy");
        assert_eq!(names.number(&lane("org@1")).expect("writes"), 3);
        drop(names);
        let path = temp.path().join(NAME);
        let length = std::fs::metadata(&path).expect("there").len();
        File::options().write(true).open(&path).expect("opens").set_len(length - 1).expect("cuts");
        let mut names = PolicyNames::open(temp.path());
        assert_eq!(names.text(1).as_deref(), Some("crm+org"));
        assert_eq!((names.text(2).as_deref(), names.text(3), names.text(0)), (Some(""), None, None));
        assert_eq!(names.number(&lane("web@1")).expect("writes"), 0, "an end may say 3 and mean another");
        assert_eq!(names.number(&lane("crm@9+org@9")).expect("known"), 1);
        std::fs::remove_file(&path).expect("removes");
        std::fs::create_dir(&path).expect("makes");
        let mut names = PolicyNames::open(temp.path());
        assert_eq!((names.number(&lane("crm@1")).expect("not known"), names.text(1)), (0, None));
    }
}
