//! Which dead letters are kept, and where: shared by who writes them and by who lists them. A page is read from the
//! segments, at most one of which is in memory in windows; of each letter that was taken its place alone is remembered.
//!
//! Must not know: when letters are written or taken, doubts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dead::LetterFrame;
use super::frame::{FrameError, FrameKind, FramePlace};
use super::sealing::Opener;
use super::walk::{Walk, WalkStep};
use super::{HEAD_BYTES, Position, head, segment};
use crate::event::EventId;
use crate::store::embedded::files;
use crate::store::embedded::keys::Keys;
use crate::store::{DeadLetter, LetterOrder, ReadLimit, StoreError};

/// The letters of a directory, for readers on any thread. Clones share what is known of them.
#[derive(Clone)]
pub(crate) struct Letters(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    salt: u64,
    keys: Keys,
    stand: Mutex<LetterIndex>,
    /// Held over a walk: one at a time, so that the disk is the writer's. What is in it is known of earlier walks.
    walking: Mutex<VecDeque<Resume>>,
}

/// Walks that are remembered, so that a page need not begin at the head of its segment.
const RESUMES: usize = 16;

/// Where a page has stopped inside a segment.
struct Resume {
    /// The last letter of the page.
    after: Position,
    /// The frame at which the walk goes on.
    from: u32,
    /// What it met before that.
    met: Met,
}

/// What is kept in memory: counts and places, never letters.
#[derive(Default)]
pub(super) struct LetterIndex {
    pub(super) kept: BTreeMap<u32, SegmentLetters>,
    /// Up to where everything is durable.
    pub(super) end: Position,
}

/// The letters of one segment, and what this segment says of letters in others.
#[derive(Default)]
pub(super) struct SegmentLetters {
    /// The letters that a walk has to find, with those taken.
    pub(super) letters: u64,
    /// When the youngest was parked, Unix ms.
    pub(super) newest_ms: u64,
    /// Where those that were taken begin.
    pub(super) taken: BTreeSet<u32>,
    /// Segments of whose letters this one says that they were taken.
    pub(super) takes_from: BTreeSet<u32>,
}

impl SegmentLetters {
    pub(super) fn add(&mut self, at_ms: u64) {
        self.letters += 1;
        self.newest_ms = at_ms.max(self.newest_ms);
    }

    /// How many are not taken. Damage may have cost one that was.
    pub(super) fn left(&self) -> u64 {
        self.letters.saturating_sub(self.taken.len() as u64)
    }
}

impl LetterIndex {
    /// Notes that a record in the segment `by` takes the letter at `place`.
    pub(super) fn take(&mut self, place: Position, by: u32) {
        if let Some(kept) = self.kept.get_mut(&place.segment) {
            kept.taken.insert(place.offset);
            self.kept.entry(by).or_default().takes_from.insert(place.segment);
        }
    }
}

/// A page of letters with their places, and what is damaged where it was read.
#[derive(Debug, Default)]
pub(crate) struct LettersRead {
    /// In the order that was asked for.
    pub letters: Vec<(Position, DeadLetter)>,
    /// After which the next page begins; `None` when there is none.
    pub next: Option<Position>,
    /// Letters that are missing in the segments that this page has left behind, or whose key is.
    pub unreadable: u64,
    /// Segments with damage, each with the letters that are missing there.
    pub damaged: Vec<(u32, u64)>,
}

/// A page under construction, within the limits of the caller.
struct LetterPageBuilder {
    read: LettersRead,
    limit: ReadLimit,
    bytes: usize,
    /// Where it has come to: its last letter, or the far end of a segment that it has left behind.
    last: Option<Position>,
}

impl LetterPageBuilder {
    /// Whether this much more fits; one letter always does, so that a page can go on past a long one.
    fn fits(&self, letters: usize, bytes: usize) -> bool {
        let (count, sum) = (self.read.letters.len() + letters, self.bytes.saturating_add(bytes));
        count <= 1 || (count <= self.limit.entries && sum <= self.limit.bytes)
    }

    fn push(&mut self, letter: DeadLetter, place: Position) {
        self.bytes = self.bytes.saturating_add(letter.record.len());
        self.last = Some(place);
        self.read.letters.push((place, letter));
    }

    /// The page with a place to go on from, because more may lie behind it.
    fn cut(mut self) -> LettersRead {
        self.read.next = self.last;
        self.read
    }
}

/// A segment as it is known before a walk.
struct View {
    letters: u64,
    taken: BTreeSet<u32>,
    /// Where what is durable ends, in the segment that is being written.
    end: Option<u32>,
}

/// What a walk over a segment met up to now.
#[derive(Debug, Clone, Copy, Default)]
struct Met {
    letters: u64,
    /// Those among them whose key is not there.
    locked: u64,
    is_damaged: bool,
}

type FrameVisit = Result<ControlFlow<()>, FrameError>;

impl Letters {
    pub(super) fn new(dir: &Path, salt: u64, keys: Keys, stand: LetterIndex) -> Self {
        let (dir, stand, walking) = (dir.to_owned(), Mutex::new(stand), Mutex::default());
        Self(Arc::new(Inner { dir, salt, keys, stand, walking }))
    }

    pub(super) fn stand(&self) -> MutexGuard<'_, LetterIndex> {
        // Every change is complete before anything can panic.
        self.0.stand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are kept and not taken.
    #[must_use]
    pub(crate) fn count(&self) -> u64 {
        self.stand().kept.values().map(SegmentLetters::left).sum()
    }

    /// How many are kept and not taken, by segment.
    #[must_use]
    pub(crate) fn left(&self) -> BTreeMap<u32, u64> {
        self.stand().kept.iter().map(|(number, kept)| (*number, kept.left())).collect()
    }

    /// Whether the letter at this place is kept and not taken.
    #[must_use]
    pub(crate) fn is_kept(&self, place: Position) -> bool {
        let stand = self.stand();
        stand.kept.get(&place.segment).is_some_and(|kept| !kept.taken.contains(&place.offset))
    }

    /// The letters behind `after` in this order, as many as the limit allows.
    ///
    /// # Errors
    /// [`StoreError`] when the system does not let a segment be read, or a newer version wrote it.
    pub(crate) fn page(
        &self,
        order: LetterOrder,
        after: Option<Position>,
        limit: ReadLimit,
    ) -> Result<LettersRead, StoreError> {
        // Before the look at what is kept: the wait for another walk may take long.
        let mut resumes = self.walking();
        let mut page = LetterPageBuilder { read: LettersRead::default(), limit, bytes: 0, last: None };
        let numbers: Vec<u32> = self.stand().kept.keys().copied().collect();
        let is_full = match order {
            LetterOrder::OldestFirst => {
                let after = after.unwrap_or_default();
                let numbers = numbers
                    .into_iter()
                    .filter(|number| Position { segment: *number, offset: u32::MAX } > after);
                self.oldest(numbers, after, &mut page, &mut resumes)?
            }
            LetterOrder::NewestFirst => {
                let below = after.unwrap_or(Position::MAX);
                let numbers = numbers
                    .into_iter()
                    .rev()
                    .filter(|number| Position { segment: *number, offset: 0 } < below);
                self.newest(numbers, below, &mut page)?
            }
        };
        Ok(if is_full { page.cut() } else { page.read })
    }

    /// The letters of the events that are known by this id, and segments with damage as in a page.
    ///
    /// # Errors
    /// As [`Letters::page`].
    pub(crate) fn find(&self, name: EventId) -> Result<LettersRead, StoreError> {
        let _one = self.walking();
        let numbers: Vec<u32> = self.stand().kept.keys().copied().collect();
        let mut read = LettersRead::default();
        for segment in numbers {
            let Some(view) = self.view(segment) else { continue };
            let mut met = Met::default();
            self.walk(segment, &view, HEAD_BYTES, &mut met, |offset, frame, opener| {
                if frame.name() == name && !view.taken.contains(&offset) {
                    read.letters.push((Position { segment, offset }, frame.letter(opener)?));
                }
                Ok(ControlFlow::Continue(()))
            })?;
            self.judge(segment, &view, met, &mut read);
        }
        Ok(read)
    }

    /// Fills the page; true when there may be more.
    fn oldest(
        &self,
        numbers: impl Iterator<Item = u32>,
        after: Position,
        page: &mut LetterPageBuilder,
        resumes: &mut VecDeque<Resume>,
    ) -> Result<bool, StoreError> {
        for segment in numbers {
            let Some(view) = self.view(segment) else { continue };
            // What lies before it was handed out by earlier pages, or was taken.
            let known = resumes.iter().find(|resume| resume.after == after && after.segment == segment);
            let (from, mut met) =
                known.map_or((HEAD_BYTES, Met::default()), |known| (known.from as usize, known.met));
            let mut stopped_at = None;
            self.walk(segment, &view, from, &mut met, |offset, frame, opener| {
                let place = Position { segment, offset };
                if place <= after || view.taken.contains(&offset) {
                    return Ok(ControlFlow::Continue(()));
                }
                let letter = frame.letter(opener)?;
                if !page.fits(1, letter.record.len()) {
                    stopped_at = Some(offset);
                    return Ok(ControlFlow::Break(()));
                }
                page.push(letter, place);
                Ok(ControlFlow::Continue(()))
            })?;
            // The walk ended inside the segment: what is missing in it is judged by the page that leaves it.
            if let Some(from) = stopped_at {
                if let Some(after) = page.last {
                    resumes.truncate(RESUMES - 1);
                    resumes.push_front(Resume { after, from, met });
                }
                return Ok(true);
            }
            self.judge(segment, &view, met, &mut page.read);
            page.last = Some(Position { segment, offset: u32::MAX });
        }
        Ok(false)
    }

    /// As [`Letters::oldest`], backwards: a segment is walked as a whole, and the last letters of it are taken over.
    fn newest(
        &self,
        numbers: impl Iterator<Item = u32>,
        below: Position,
        page: &mut LetterPageBuilder,
    ) -> Result<bool, StoreError> {
        for segment in numbers {
            let Some(view) = self.view(segment) else { continue };
            let (mut last, mut bytes, mut is_cut) = (VecDeque::new(), 0_usize, false);
            let mut met = Met::default();
            self.walk(segment, &view, HEAD_BYTES, &mut met, |offset, frame, opener| {
                let place = Position { segment, offset };
                if place >= below || view.taken.contains(&offset) {
                    return Ok(ControlFlow::Continue(()));
                }
                let letter = frame.letter(opener)?;
                bytes = bytes.saturating_add(letter.record.len());
                // Frames can only be walked forwards, so that the last letters below `below` are kept as a bounded
                // tail.
                last.push_back((letter, place));
                while !page.fits(last.len(), bytes) {
                    let Some((dropped, _)) = last.pop_front() else { break };
                    bytes = bytes.saturating_sub(dropped.record.len());
                    is_cut = true;
                }
                Ok(ControlFlow::Continue(()))
            })?;
            last.into_iter().rev().for_each(|(letter, place)| page.push(letter, place));
            // `judge` adds to it, and a segment that is cut here is judged again by the next page.
            let unreadable = page.read.unreadable;
            self.judge(segment, &view, met, &mut page.read);
            if is_cut {
                // The page that leaves the segment behind counts what is missing in it.
                page.read.unreadable = unreadable;
                return Ok(true);
            }
            page.last = Some(Position { segment, offset: 0 });
        }
        Ok(false)
    }

    fn walking(&self) -> MutexGuard<'_, VecDeque<Resume>> {
        self.0.walking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` when it is not kept any more, or no letter of it is.
    fn view(&self, number: u32) -> Option<View> {
        let stand = self.stand();
        let kept = stand.kept.get(&number).filter(|kept| kept.left() > 0)?;
        let end = (stand.end.segment == number).then_some(stand.end.offset);
        Some(View { letters: kept.letters, taken: kept.taken.clone(), end })
    }

    /// Shows where each letter of a segment begins, from this place on, and its frame, until `show` ends the walk; `met`
    /// counts what it went past. A payload that breaks its form is damage.
    fn walk(
        &self,
        number: u32,
        view: &View,
        from: usize,
        met: &mut Met,
        mut show: impl FnMut(u32, &LetterFrame<'_>, Opener<'_>) -> FrameVisit,
    ) -> Result<(), StoreError> {
        let path = self.0.dir.join(segment::name(number, false));
        let failed = |error: std::io::Error| StoreError::io("read", &path, error);
        let file = match files::read(&path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(()),
            // Not a file of the store: its letters are missing, which `judge` reports.
            Err(error) if files::is_foreign(&error) => return Ok(()),
            Err(error) => return Err(StoreError::io("open", &path, error)),
        };
        let mut walk = Walk::new(&file, from, self.0.salt, number).map_err(failed)?;
        let is_durable = |offset: u32| view.end.is_none_or(|end| offset < end);
        while let Some(step) = walk.next().map_err(failed)? {
            match step {
                // A group that is being written right now may look like damage.
                WalkStep::Frame { offset, .. } | WalkStep::Bad { offset, .. } if !is_durable(offset) => break,
                WalkStep::Frame { offset, header, payload } if header.kind == FrameKind::Dead => {
                    let place = FramePlace { salt: self.0.salt, segment: number, offset };
                    let opener = Opener { keys: &self.0.keys, place };
                    let frame = LetterFrame::decode(payload, header.sealed);
                    match frame.and_then(|frame| show(offset, &frame, opener)) {
                        Ok(ControlFlow::Continue(())) => met.letters += 1,
                        Ok(ControlFlow::Break(())) => return Ok(()),
                        // It is there, and is listed when its key is.
                        Err(FrameError::Locked(_)) => {
                            met.letters += 1;
                            met.locked += 1;
                        }
                        Err(_) => met.is_damaged = true,
                    }
                }
                WalkStep::Frame { .. } => {}
                WalkStep::Bad { .. } => met.is_damaged = true,
                WalkStep::Newer(found) => {
                    return Err(head::newer(path.display().to_string(), found));
                }
            }
        }
        Ok(())
    }

    /// Compares what a whole walk met with what is on record.
    fn judge(&self, number: u32, view: &View, met: Met, read: &mut LettersRead) {
        let missing = view.letters.saturating_sub(met.letters);
        read.unreadable = read.unreadable.saturating_add(met.locked);
        // One that has outlived its time meanwhile is gone in good order.
        if (missing > 0 || met.is_damaged) && self.view(number).is_some() {
            read.unreadable = read.unreadable.saturating_add(missing);
            read.damaged.push((number, missing));
        }
    }
}
