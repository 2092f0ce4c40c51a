//! The mark of the clock: the file `clock` in the data directory, a sealed file of format 1 whose body is the JSON form
//! of [`ClockMark`]. It says where the line of time stood and in which boot, so that the next start can judge the wall
//! clock.
//!
//! The sweeper writes it every ten seconds, whenever the trust in the wall clock changes, and at an orderly end. Within
//! one boot an old mark is as good as a new one, because the boot clock goes on from it.
//!
//! Must not know: how a wall clock is judged, what depends on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::sealed::{self, Sealed};
use crate::clock::{Clock, ClockMark, Suspicion, Timestamp};
use crate::store::StoreError;
use crate::store::doubts::{DoubtKind, Doubts, NewDoubt, WALL_CLOCK};

/// The name in the data directory.
pub(crate) const NAME: &str = "clock";
const FORMAT: u32 = 1;
/// How often the mark is written although nothing has changed.
const KEEP_EVERY: Duration = Duration::from_secs(10);

/// The mark as it was found.
struct StoredClockMark {
    mark: Option<ClockMark>,
    version: u64,
    /// Why the newest mark cannot be used.
    damage: Option<String>,
}

/// Keeps the mark of a running store up to date.
pub(super) struct Keeper {
    root: PathBuf,
    version: u64,
    kept: Option<(Timestamp, bool)>,
}

/// Begins the line of time of a store whose newest record is of `newest`, and raises or clears the doubts about the
/// wall clock. A clock that is at most `bound` ahead is believed.
///
/// # Errors
/// [`StoreError`] when the mark cannot be read for a reason that may pass, or is of a later format.
pub(super) fn begin(
    root: &Path,
    clock: &Clock,
    newest: Timestamp,
    bound: Duration,
    doubts: &Doubts,
) -> Result<Keeper, StoreError> {
    let StoredClockMark { mark, version, damage } = read(root)?;
    // A directory of a version that kept no mark, or that has lost it.
    let mark = mark.or_else(|| (newest > Timestamp::ZERO).then(|| ClockMark::unknown(newest)));
    let verdict = clock.begin(mark.as_ref(), newest, bound);
    // Only now: the line of time begins with the call above.
    let now = clock.now();
    if let Some(reason) = damage {
        doubts.raise(damaged(&reason), now);
    }
    match verdict.suspicion {
        Some(suspicion) => {
            doubts.raise(suspected(suspicion, clock.wall(), verdict.line), now);
        }
        // One that is about to end is reported until it has ended.
        None if verdict.is_in_doubt() => {}
        None => doubts.clear(DoubtKind::Clock, WALL_CLOCK),
    }
    let mut keeper = Keeper { root: root.to_owned(), version, kept: None };
    if let Err(error) = keeper.keep(clock) {
        // A full disk must not keep what is stored from being sent.
        tracing::warn!(%error, "the mark of the clock could not be written; it is tried again");
    }
    Ok(keeper)
}

/// Confirms the wall clock for the next start of the directory `root`, which nobody may have open. Returns whether
/// there was a doubt about it.
///
/// # Errors
/// [`StoreError`] when the mark cannot be read or written.
pub(crate) fn confirm(root: &Path) -> Result<bool, StoreError> {
    let StoredClockMark { mark, version, .. } = read(root)?;
    let Some(mut mark) = mark.filter(ClockMark::is_in_doubt) else { return Ok(false) };
    mark.is_confirmed = true;
    write(root, version.saturating_add(1), &mark).map(|()| true)
}

impl Keeper {
    /// Writes the mark when it is time, or when the trust in the wall clock has changed.
    pub(super) fn keep_when_due(&mut self, clock: &Clock) -> Result<(), StoreError> {
        let (now, is_trusted) = (clock.now(), clock.is_trusted());
        let is_fresh = |(at, was): (Timestamp, bool)| was == is_trusted && now.since(at) < KEEP_EVERY;
        if self.kept.is_some_and(is_fresh) { Ok(()) } else { self.keep(clock) }
    }

    /// Writes the mark. A manual clock has none.
    pub(super) fn keep(&mut self, clock: &Clock) -> Result<(), StoreError> {
        // Taken before the mark: a change in between is written next time.
        let kept = (clock.now(), clock.is_trusted());
        let Some(mark) = clock.mark() else { return Ok(()) };
        self.version = self.version.saturating_add(1);
        write(&self.root, self.version, &mark)?;
        self.kept = Some(kept);
        Ok(())
    }
}

fn read(root: &Path) -> Result<StoredClockMark, StoreError> {
    let path = root.join(NAME);
    let reason = match decode(&path, sealed::read(&path)?)? {
        Ok(Some((mark, version))) => return Ok(StoredClockMark { mark: Some(mark), version, damage: None }),
        Ok(None) => return Ok(StoredClockMark { mark: None, version: 0, damage: None }),
        Err(reason) => reason,
    };
    // An older mark stands for less time passed, never for more.
    let before = decode(&path, sealed::read_previous(&path)?)?.unwrap_or_default();
    let (mark, version) = before.unzip();
    Ok(StoredClockMark { mark, version: version.unwrap_or_default().saturating_add(1), damage: Some(reason) })
}

/// The mark and its version, or why it cannot be used.
fn decode(path: &Path, sealed: Sealed) -> Result<Result<Option<(ClockMark, u64)>, String>, StoreError> {
    match sealed {
        Sealed::Missing => Ok(Ok(None)),
        Sealed::Damaged { reason } => Ok(Err(reason)),
        Sealed::Whole { format, .. } if format > FORMAT => {
            Err(StoreError::Format { what: path.display().to_string(), found: format, known: FORMAT })
        }
        Sealed::Whole { version, body, .. } => {
            let mark = serde_json::from_slice(&body);
            Ok(mark.map(|mark| Some((mark, version))).map_err(|error| error.to_string()))
        }
    }
}

fn write(root: &Path, version: u64, mark: &ClockMark) -> Result<(), StoreError> {
    // A struct of numbers and text always has a JSON form.
    let body = serde_json::to_vec(mark).unwrap_or_default();
    sealed::replace(&root.join(NAME), FORMAT, version, &body)
}

fn damaged(reason: &str) -> NewDoubt {
    NewDoubt {
        kind: DoubtKind::Document,
        subject: NAME.to_owned(),
        detail: format!(
            "the mark of the clock is damaged ({reason}); an older one or the newest record is used"
        ),
        way_out: "acknowledge; the mark has been written anew".to_owned(),
        events: 0,
    }
}

fn suspected(suspicion: Suspicion, wall: Timestamp, line: Timestamp) -> NewDoubt {
    let (by, word) = match suspicion {
        Suspicion::Ahead(by) => (by, "ahead of"),
        Suspicion::Behind(by) => (by, "behind"),
    };
    let by_s = by.as_secs();
    NewDoubt {
        kind: DoubtKind::Clock,
        subject: WALL_CLOCK.to_owned(),
        detail: format!(
            "the wall clock ({wall}) is {by_s} s {word} the last moment on record ({line}): nothing expires, no drain or \
             timed pause ends and nothing is deleted because time has passed, and events whose due_at is a date given meanwhile \
             wait"
        ),
        way_out: "let the time daemon synchronise the clock (the hold ends 60 s later), or check the clock and confirm \
                  it: `tidegate doubts confirm`"
            .to_owned(),
        events: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::clock::Script;

    const HOUR: Duration = Duration::from_secs(3600);
    const BOUND: Duration = Duration::from_secs(6 * 3600);
    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    /// A start in boot `boot` at wall time `wall`, and what it doubts.
    fn start(root: &Path, boot: &str, wall: Timestamp) -> (Clock, Keeper, Vec<DoubtKind>) {
        let clock = Clock::scripted(&Script::new(boot, wall));
        let doubts = Doubts::default();
        let keeper = begin(root, &clock, START, BOUND, &doubts).expect("reads");
        let kinds = doubts.list().iter().map(|doubt| doubt.kind).collect();
        (clock, keeper, kinds)
    }

    #[test]
    fn the_mark_outlasts_the_process_and_a_leap_is_a_doubt() {
        let temp = tempfile::tempdir().expect("temp");
        let (clock, mut keeper, doubts) = start(temp.path(), "one", START);
        assert_eq!(doubts, []);
        clock.advance(HOUR);
        keeper.keep_when_due(&clock).expect("writes");
        let (clock, ..) = start(temp.path(), "two", START + HOUR * 2);
        assert_eq!(clock.now(), START + HOUR * 2, "the control");
        let (clock, _, doubts) = start(temp.path(), "three", START + HOUR * 9);
        assert_eq!((doubts, clock.now()), (vec![DoubtKind::Clock], START + HOUR * 2));
        assert!(confirm(temp.path()).expect("writes"));
        let (clock, mut keeper, _) = start(temp.path(), "three", START + HOUR * 9);
        assert!(clock.is_confirmed() && !clock.is_trusted(), "the process ends it");
        clock.trust().expect("in doubt");
        assert_eq!(clock.now(), START + HOUR * 9);
        keeper.keep_when_due(&clock).expect("writes");
        assert!(!confirm(temp.path()).expect("reads"), "there is no doubt any more");
    }

    #[test]
    fn a_damaged_mark_falls_back_to_the_one_before_and_a_missing_one_to_the_newest_record() {
        let temp = tempfile::tempdir().expect("temp");
        let (clock, mut keeper, _) = start(temp.path(), "one", START);
        clock.advance(HOUR);
        keeper.keep(&clock).expect("writes");
        let path = temp.path().join(NAME);
        let mut bytes = fs::read(&path).expect("reads");
        *bytes.last_mut().expect("some") ^= 1;
        fs::write(&path, bytes).expect("writes");
        let (clock, _, doubts) = start(temp.path(), "one", START + HOUR * 30);
        assert_eq!(doubts, [DoubtKind::Document]);
        assert_eq!(
            (clock.now(), clock.is_trusted()),
            (START, true),
            "the boot clock goes on from the older mark"
        );

        for name in [NAME, "clock.prev"] {
            fs::write(temp.path().join(name), "noise").expect("writes");
        }
        let (clock, _, doubts) = start(temp.path(), "one", START + HOUR * 30);
        assert_eq!((doubts.len(), clock.now(), clock.is_trusted()), (2, START, false), "both copies");

        for name in [NAME, "clock.prev"] {
            fs::remove_file(temp.path().join(name)).expect("removes");
        }
        let (clock, _, doubts) = start(temp.path(), "one", START + HOUR * 30);
        assert_eq!((doubts, clock.now()), (vec![DoubtKind::Clock], START));
    }

    #[test]
    fn the_mark_is_written_when_the_trust_changes_and_every_ten_seconds() {
        let temp = tempfile::tempdir().expect("temp");
        start(temp.path(), "one", START);
        let (clock, mut keeper, _) = start(temp.path(), "two", START + HOUR * 9);
        let written = |keeper: &mut Keeper| {
            let before = keeper.version;
            keeper.keep_when_due(&clock).expect("writes");
            keeper.version > before
        };
        assert!(!written(&mut keeper));
        clock.advance(Duration::from_millis(9_999));
        assert!(!written(&mut keeper));
        clock.advance(Duration::from_millis(1));
        assert!(written(&mut keeper));
        clock.trust().expect("was in doubt");
        assert!(written(&mut keeper));
        let found = read(temp.path()).expect("reads").mark.expect("written");
        assert!(!found.is_in_doubt());
    }
}
