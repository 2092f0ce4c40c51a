//! The files of attempts in one directory: the newest is written, the oldest goes when there are too many bytes.
//!
//! Must not know: threads, who asks.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::record;
use super::segment::{self, Found, Full, Open};
use crate::event::{AttemptDetail, EventId};
use crate::store::attempts::ATTEMPTS_TOLD;
use crate::store::embedded::files;

/// Into how many files the bytes are divided: so much of them goes at a time.
const FILES: u64 = 16;
/// How long a file becomes at most.
const FILE_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The shortest: room for a few of the longest records.
const FILE_MIN_BYTES: u64 = 64 * 1024;

/// All files. What cannot be read is passed over.
pub(super) struct AttemptLog {
    dir: PathBuf,
    max_bytes: u64,
    /// Full ones with their numbers, the oldest first.
    full: Vec<(u32, Full)>,
    /// `None` until something is noted, and after a failure.
    open: Option<(u32, Open)>,
    /// The number of the next file.
    next: u32,
}

impl AttemptLog {
    /// Opens what lies in the directory, which need not exist; nothing is made before something is noted.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn open(dir: &Path, max_bytes: u64) -> io::Result<Self> {
        let mut log = Self { dir: dir.to_owned(), max_bytes, full: Vec::new(), open: None, next: 1 };
        let numbers = numbers(dir)?;
        for number in numbers {
            log.next = number.saturating_add(1);
            // What cannot be opened is left as it is, like a file of another version.
            let found = segment::open(&log.path(number)).unwrap_or_else(|error| {
                tracing::warn!(number, %error, "a file of attempts cannot be opened; it is passed over");
                Found::Foreign
            });
            match found {
                Found::Foreign => {}
                Found::Full(full) => log.full.push((number, full)),
                // Of several the newest is gone on with.
                Found::Open(open) => {
                    if let Some((number, open)) = log.open.replace((number, open)) {
                        match open.fill() {
                            Ok(full) => log.full.push((number, full)),
                            Err(error) => {
                                tracing::warn!(number, %error, "a file of attempts cannot be completed");
                            }
                        }
                    }
                }
            }
        }
        log.full.sort_unstable_by_key(|(number, _)| *number);
        log.bound();
        Ok(log)
    }

    /// Keeps an attempt, to be handed to the system with the next [`AttemptLog::write`].
    ///
    /// # Errors
    /// What the system says; what was not written yet is lost.
    pub(super) fn add(&mut self, attempt: &AttemptDetail) -> io::Result<()> {
        let record = record::encode(attempt).ok_or(io::ErrorKind::InvalidInput)?;
        let result = self.add_record(attempt.event, &record);
        self.settle(result)
    }

    fn add_record(&mut self, event: EventId, record: &[u8]) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|(_, open)| u64::from(open.end()) >= self.file_bytes())
            && let Some((number, open)) = self.open.take()
        {
            match open.fill() {
                Ok(full) => self.full.push((number, full)),
                Err(error) => {
                    self.reopen(number);
                    return Err(error);
                }
            }
        }
        if self.open.is_none() {
            self.begin()?;
        }
        match &mut self.open {
            Some((_, open)) => open.add(event, record),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let number = self.next;
        // Before the file is made: one that was made in part must not stand in the way of the next.
        self.next = number.saturating_add(1);
        self.open = Some((number, Open::create(&self.path(number))?));
        self.bound();
        Ok(())
    }

    /// Hands what was added to the system.
    ///
    /// # Errors
    /// What the system says; what was not written yet is lost.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let result = self.open.as_mut().map_or(Ok(()), |(_, open)| open.write());
        self.settle(result)
    }

    /// After a failure a file may end in the middle of a frame: it is gone on with only when it was opened again.
    fn settle(&mut self, result: io::Result<()>) -> io::Result<()> {
        if result.is_err()
            && let Some((number, open)) = self.open.take()
        {
            drop(open);
            self.reopen(number);
        }
        result
    }

    fn reopen(&mut self, number: u32) {
        match segment::open(&self.path(number)) {
            Ok(Found::Open(open)) => self.open = Some((number, open)),
            Ok(Found::Full(full)) => self.full.push((number, full)),
            Ok(Found::Foreign) | Err(_) => {}
        }
    }

    /// The last attempts of an event, the newest first.
    pub(super) fn last(&self, event: EventId) -> Vec<AttemptDetail> {
        let mut found = Vec::new();
        let open = self.open.iter().map(|(_, open)| open.last(event, ATTEMPTS_TOLD));
        let full = self.full.iter().rev().map(|(_, full)| full.last(event, ATTEMPTS_TOLD));
        // One file after the other is read as long as there are too few.
        for records in open.chain(full) {
            found.extend(records.iter().filter_map(|bytes| record::decode(event, bytes)));
            if found.len() >= ATTEMPTS_TOLD {
                break;
            }
        }
        found.truncate(ATTEMPTS_TOLD);
        found
    }

    /// How long a file becomes, its table and its last record aside.
    fn file_bytes(&self) -> u64 {
        (self.max_bytes / FILES).clamp(FILE_MIN_BYTES, FILE_MAX_BYTES)
    }

    /// Lets the oldest files go while there are too many bytes, the one that is written taken for full.
    fn bound(&mut self) {
        // A table takes an eighth at most: the shortest record is longer than eight of its members.
        let most = self.max_bytes.saturating_sub(self.file_bytes() * 5 / 4);
        while self.full.iter().map(|(_, full)| full.bytes()).sum::<u64>() > most {
            let (number, _) = self.full.remove(0);
            if let Err(error) = files::remove(&self.path(number)) {
                tracing::warn!(%error, "an old file of attempts cannot be deleted");
            }
        }
    }

    fn path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:010}.att"))
    }
}

/// The number in the name of a file of attempts.
pub(in crate::store::embedded) fn file_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".att")?;
    let is_number = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

fn numbers(dir: &Path) -> io::Result<Vec<u32>> {
    let listed = match files::list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut numbers = Vec::new();
    for entry in listed {
        numbers.extend(entry?.file_name().to_str().and_then(file_number));
    }
    numbers.sort_unstable();
    Ok(numbers)
}
