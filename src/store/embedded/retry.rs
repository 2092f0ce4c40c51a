//! Repeats what a start has to read while the system fails to read it, and its request for a lock that somebody has for
//! a moment. Such an error may pass, and a start that ends because of it leaves everything waiting. Damage, and any
//! other error that a repetition does not change, ends it at once.
//!
//! Must not know: what is read.

use std::time::Duration;

use crate::store::{DirectoryError, StoreError};

/// How often a step is tried in all.
const TRIES: u32 = 5;
/// The wait after the first failure; each further one is twice as long. In all a step waits 3 s.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// How often a start asks for a lock in all.
const LOCK_TRIES: u32 = 5;
/// The wait after the first time; each further one is twice as long. In all a start waits 150 ms.
const FIRST_LOCK_WAIT: Duration = Duration::from_millis(10);

/// Does `step`, again after a moment when it fails with [`DirectoryError::Locked`]: a command that only looks whether
/// the directory is in use, as a backup does, holds the lock for a shorter time. For a thread that may wait.
///
/// # Errors
/// What `step` returned last.
pub(super) fn locking<T>(step: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    locking_with(step, std::thread::sleep)
}

fn locking_with<T>(
    step: impl FnMut() -> Result<T, StoreError>,
    mut pause: impl FnMut(Duration),
) -> Result<T, StoreError> {
    again(LOCK_TRIES, FIRST_LOCK_WAIT, step, |error, wait| {
        let passes = matches!(error, StoreError::Directory(DirectoryError::Locked { .. }));
        if passes {
            pause(wait);
        }
        passes
    })
}

/// Does `step` at most `tries` times, while `waits` says of an error that it has waited for it to pass; its wait is
/// twice as long each time.
fn again<T>(
    tries: u32,
    mut wait: Duration,
    mut step: impl FnMut() -> Result<T, StoreError>,
    mut waits: impl FnMut(&StoreError, Duration) -> bool,
) -> Result<T, StoreError> {
    for _ in 1..tries {
        match step() {
            Err(error) if waits(&error, wait) => wait *= 2,
            other => return other,
        }
    }
    step()
}

/// Does `step`, again after a while when it fails with [`StoreError::Unread`]. `step` must be one that a start which
/// was cut off may do again. For a thread that may wait.
///
/// # Errors
/// What `step` returned last; [`StoreError::Unread`] then says what to do.
pub(super) fn reading<T>(step: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    reading_with(step, std::thread::sleep)
}

fn reading_with<T>(
    step: impl FnMut() -> Result<T, StoreError>,
    mut pause: impl FnMut(Duration),
) -> Result<T, StoreError> {
    let result = again(TRIES, FIRST_WAIT, step, |error, wait| {
        let passes = matches!(error, StoreError::Unread { .. });
        if passes {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(%error, wait_ms, "the system failed to read what a start needs; it is tried again");
            pause(wait);
        }
        passes
    });
    result.map_err(|error| match error {
        StoreError::Unread { operation, place: path, reason } => {
            let reason = format!(
                "{reason}, {TRIES} times in a row; nothing is lost: see to the device, or to what the system is \
                 short of, and start again"
            );
            StoreError::Unread { operation, place: path, reason }
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::io::Errno;

    use super::*;

    /// Fails this many times; returns what came of it, how often it was tried, and the waits in ms.
    fn failing(times: u32, errno: Errno) -> (Result<u32, StoreError>, u32, Vec<u128>) {
        let (mut tried, mut waits) = (0, Vec::new());
        let step = || {
            tried += 1;
            let error = || StoreError::io("read", Path::new("/data/journal/0000000001.seg"), errno);
            if tried > times { Ok(tried) } else { Err(error()) }
        };
        let result = reading_with(step, |wait| waits.push(wait.as_millis()));
        (result, tried, waits)
    }

    #[test]
    fn an_error_that_passes_is_waited_for() {
        let (result, tried, waits) = failing(4, Errno::IO);
        assert_eq!((result.ok(), tried), (Some(5), 5));
        assert_eq!(waits, [200, 400, 800, 1600]);
    }

    #[test]
    fn one_that_does_not_pass_ends_it_and_names_the_file_and_the_way_out() {
        let (result, tried, waits) = failing(u32::MAX, Errno::MFILE);
        assert_eq!((tried, waits.len()), (5, 4));
        let line = result.expect_err("fails").to_string();
        for part in ["read /data/journal/0000000001.seg", "os error 24", "5 times", "start again"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }

    #[test]
    fn a_lock_that_is_held_for_a_moment_is_waited_for_and_one_that_is_kept_is_not() {
        let locked = || {
            StoreError::Directory(DirectoryError::Locked { path: "/data".to_owned(), pid: "7".to_owned() })
        };
        let asked = |times: u32| {
            let (mut tried, mut waits) = (0, Vec::new());
            let step = || {
                tried += 1;
                if tried > times { Ok(tried) } else { Err(locked()) }
            };
            let result = locking_with(step, |wait| waits.push(wait.as_millis()));
            (result.ok(), waits)
        };
        assert_eq!(asked(0), (Some(1), vec![]));
        assert_eq!(asked(2), (Some(3), vec![10, 20]));
        assert_eq!(asked(u32::MAX), (None, vec![10, 20, 40, 80]));
        let (mut tried, closed) = (0, || Err::<(), _>(StoreError::Closed));
        let other = locking_with(closed, |_| tried += 1);
        assert!(matches!(other, Err(StoreError::Closed)) && tried == 0, "the control: other errors end it");
    }

    #[test]
    fn what_a_repetition_does_not_change_ends_it_at_once() {
        for errno in [Errno::ACCESS, Errno::NOENT, Errno::NOTDIR] {
            let (result, tried, waits) = failing(u32::MAX, errno);
            assert!(result.is_err());
            assert_eq!((tried, waits.len()), (1, 0), "{errno}");
        }
    }
}
