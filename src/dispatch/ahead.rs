//! Reading ahead: how much one lane keeps loaded, and how much all lanes together do.
//!
//! A lane starts small and doubles each time it has used up a full page before the next one came, up to an equal part
//! of what the common bounds leave: lanes that are stuck leave something to others, however many they are. A few
//! entries a lane may always have.
//!
//! Must not know: what is read.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::dispatch::lanes::LaneId;
use crate::dispatch::mix::DueShare;
use crate::queue::PageMix;
use crate::store::ReadLimit;
use crate::telemetry::defect;

/// Entries that a lane reads ahead, at first and at most.
const LANE_ENTRIES: (usize, usize) = (32, 1024);
/// Bytes of one page, at least and at most.
const PAGE_BYTES: (usize, usize) = (256 << 10, 4 << 20);
/// What the bytes of a page are planned with, per entry.
const BYTES_PER_ENTRY: usize = 4 << 10;
/// A due entry may be fetched although the read-ahead is full: in pages of this size, up to this excess.
const DUE_PAGE: usize = 32;
const DUE_EXCESS: usize = 1024;
/// What a lane may read ahead whatever the others do, and the page of due entries that it gets then.
const LEAN_PAGE: usize = 4;
/// Entries that all lanes together read ahead.
const ALL_ENTRIES: usize = 65_536;
/// Pages being read at a time.
const LOADS: usize = 64;
/// How long a lane whose page failed is left alone, at first and at most.
const FAILED: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The read-ahead of one lane: how much of it, and which page is on its way.
#[derive(Debug)]
pub(super) struct ReadWindow {
    entries: usize,
    /// The part of what it holds up to which due entries are read while others wait.
    share: DueShare,
    /// The queue has, or may have, plain entries that are not loaded.
    more: bool,
    /// New entries were announced since the page under way was asked for, which may not have seen them.
    announced: bool,
    loading: Option<usize>,
    /// The page that came last, or is on its way, was to bring what is due.
    asked_due: bool,
    queued: bool,
    /// Whether its lane held entries when it was last counted.
    holds: bool,
    failures: u32,
    not_before: Timestamp,
}

impl ReadWindow {
    pub(super) fn new(share: DueShare) -> Self {
        Self {
            entries: LANE_ENTRIES.0,
            share,
            more: false,
            announced: false,
            loading: None,
            asked_due: false,
            queued: false,
            holds: false,
            failures: 0,
            not_before: Timestamp::ZERO,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.more && self.loading.is_none() && !self.queued
    }

    /// Whether a page is on its way.
    pub(super) fn is_asked(&self) -> bool {
        self.queued || self.loading.is_some()
    }

    /// New entries were announced, which a page under way may not have seen.
    pub(super) fn announced(&mut self) {
        self.more = true;
        self.announced = true;
    }

    /// When a failed page may be asked for again, if one failed.
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        (self.failures > 0 && self.loading.is_none()).then_some(self.not_before)
    }

    /// How many entries to ask for now, of the `most` that the lane may hold: none, the free part of the window, or a
    /// few for the sake of a due one.
    pub(super) fn wants(&self, held: LaneBuffered, most: usize, now: Timestamp) -> usize {
        if self.loading.is_some() || now < self.not_before {
            return 0;
        }
        // A few entries even when the others leave nothing: a lane that gets none would never go on.
        let entries = self.entries.min(most.max(LEAN_PAGE));
        let room = entries.saturating_sub(held.entries);
        let page = room.max(if most > LEAN_PAGE { DUE_PAGE } else { LEAN_PAGE });
        let may_exceed = !held.due_loaded && held.entries < self.entries + DUE_EXCESS;
        if held.due_pending && (room > 0 || may_exceed) && self.due_part(held, page) > 0 {
            page
        // By halves: a page for each entry that goes would cost a read each.
        } else if self.more && held.entries <= entries / 2 {
            room
        } else {
            0
        }
    }

    /// How many due entries a page may bring: the share of due ones in what the lane holds then. The starts keep to it only
    /// while the read-ahead has both, so that neither kind may fill it.
    fn due_part(&self, held: LaneBuffered, page: usize) -> usize {
        let share = self.share.part_of(held.entries + page);
        // Nothing else waits, but may at any moment: it finds half of the window free.
        let most = if self.more { share } else { share.max(self.entries.div_ceil(2)) };
        most.saturating_sub(held.due).clamp(usize::from(held.due == 0), page)
    }

    /// How many plain entries a page may bring that is asked for because something is due.
    fn plain_part(&self, held: LaneBuffered, page: usize) -> usize {
        let all = held.entries + page;
        let rest = all.saturating_sub(self.share.part_of(all));
        let lacks = rest.saturating_sub(held.entries.saturating_sub(held.due));
        lacks.max(self.entries.saturating_sub(held.entries)).min(page)
    }

    /// What the page of so many entries is made of that a lane asks for which holds this.
    pub(super) fn mix(&mut self, held: LaneBuffered, page: usize) -> PageMix {
        let due = self.due_part(held, page);
        self.asked_due = due > 0;
        // A page for the sake of what is due fills the window with what is not no further than the share asks for.
        let plain = if held.due_pending { self.plain_part(held, page) } else { page };
        PageMix::UpTo { due, plain }
    }

    /// Whether the page that came was to bring what is due.
    pub(super) fn asked_due(&self) -> bool {
        self.asked_due
    }

    /// All that was put off is asked for.
    pub(super) fn asks_for_all_due(&mut self) {
        self.asked_due = true;
    }

    /// Takes a page in. The window grows when the lane had nothing left before a page came that was about as large as
    /// asked for.
    pub(super) fn loaded(&mut self, entries: usize, more: bool, starved: bool) {
        let asked = self.loading.take().unwrap_or(0);
        self.failures = 0;
        self.more = more || self.announced;
        if starved && more && entries > 0 && entries >= asked / 2 {
            self.entries = (self.entries * 2).min(LANE_ENTRIES.1);
        }
    }

    /// When a page that failed is asked for again, until one comes.
    pub(super) fn unread_until(&self) -> Option<Timestamp> {
        (self.failures > 0).then_some(self.not_before)
    }

    /// Lets a page that failed be asked for again now.
    pub(super) fn read_again(&mut self) {
        self.not_before = Timestamp::ZERO;
    }

    pub(super) fn failed(&mut self, now: Timestamp) {
        self.loading = None;
        self.more = true;
        // Six doublings are beyond the longest pause; more would leave the range of the shift.
        let wait = FAILED.0.saturating_mul(1 << self.failures.min(6)).min(FAILED.1);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + wait;
    }
}

/// What a lane holds when it asks for a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaneBuffered {
    pub(super) entries: usize,
    pub(super) bytes: usize,
    /// Entries with a due time are loaded, due or not.
    pub(super) due_loaded: bool,
    /// How many of those there are; none while the first of them is not due.
    pub(super) due: usize,
    /// Due entries wait in the queue.
    pub(super) due_pending: bool,
}

/// The read-ahead of all lanes: what they hold together, and which of them get a page next.
#[derive(Debug)]
pub(super) struct Ahead {
    queue: VecDeque<LaneId>,
    loads: usize,
    /// Entries that are loaded or asked for.
    entries: usize,
    /// Of these those that are asked for.
    asked: usize,
    bytes: usize,
    /// What the bytes should stay within.
    most_bytes: usize,
    /// How many lanes hold entries, read ahead or kept aside.
    lanes: usize,
}

impl Ahead {
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { queue: VecDeque::new(), loads: 0, entries: 0, asked: 0, bytes: 0, most_bytes, lanes: 0 }
    }

    /// Learns whether a lane holds entries.
    pub(super) fn count(&mut self, window: &mut ReadWindow, holds: bool) {
        match (window.holds, holds) {
            (false, true) => self.lanes += 1,
            (true, false) => {
                defect!(unless self.lanes > 0, "more lanes emptied than held entries");
                self.lanes = self.lanes.saturating_sub(1);
            }
            (true, true) | (false, false) => {}
        }
        window.holds = holds;
    }

    /// Puts a lane in the queue of those that get a page.
    pub(super) fn enqueue(&mut self, lane: LaneId, window: &mut ReadWindow) {
        if !window.queued && window.loading.is_none() {
            window.queued = true;
            self.queue.push_back(lane);
        }
    }

    /// Whether nothing is loaded, being loaded, or waits for that.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.loads == 0 && self.entries == 0
    }

    /// Entries that are loaded, without those that are asked for.
    pub(super) fn loaded(&self) -> usize {
        self.entries.saturating_sub(self.asked)
    }

    pub(super) fn has_next(&self) -> bool {
        self.loads < LOADS && !self.queue.is_empty()
    }

    /// The next lane that gets a page, if one more may be read.
    pub(super) fn next(&mut self) -> Option<LaneId> {
        if self.loads < LOADS { self.queue.pop_front() } else { None }
    }

    /// How many entries a lane would get now. One that gets none holds some: it is to be asked for again when one of
    /// them has gone, not before.
    pub(super) fn grants(&self, window: &ReadWindow, held: LaneBuffered, now: Timestamp) -> usize {
        let bytes = self.part_of(self.most_bytes.saturating_sub(self.bytes), held);
        // As with entries, a lane reads on when half of what it may hold has gone.
        let most = if held.bytes > bytes / 2 {
            0
        } else {
            self.part_of(ALL_ENTRIES.saturating_sub(self.entries), held)
        };
        window.wants(held, most, now)
    }

    /// The part of one lane in what is left for all.
    fn part_of(&self, left: usize, held: LaneBuffered) -> usize {
        // A lane without entries is not counted among the others yet.
        let newcomer = usize::from(held.entries == 0);
        left / (self.lanes + newcomer).max(1)
    }

    /// Decides the page of the lane that [`Ahead::next`] named; `None` when it needs none any more.
    pub(super) fn page(
        &mut self,
        window: &mut ReadWindow,
        held: LaneBuffered,
        now: Timestamp,
    ) -> Option<ReadLimit> {
        window.queued = false;
        let entries = self.grants(window, held, now);
        if entries == 0 {
            return None;
        }
        defect!(unless window.loading.is_none(), "a second page of a lane at a time");
        window.loading = Some(entries);
        window.announced = false;
        self.loads += 1;
        self.entries += entries;
        self.asked += entries;
        let part = self.part_of(self.most_bytes.saturating_sub(self.bytes), held);
        // Also beyond its part: a few entries a lane may always have.
        let bytes = (entries * BYTES_PER_ENTRY).min(part).clamp(PAGE_BYTES.0, PAGE_BYTES.1);
        Some(ReadLimit { entries, bytes })
    }

    /// A page came or failed: its reservation ends.
    pub(super) fn ended(&mut self, window: &ReadWindow) {
        let asked = window.loading.unwrap_or(0);
        defect!(unless asked <= self.asked, "a page that is larger than what was asked for");
        self.loads = self.loads.saturating_sub(1);
        self.entries = self.entries.saturating_sub(asked);
        self.asked = self.asked.saturating_sub(asked);
    }

    pub(super) fn took(&mut self, entries: usize, bytes: usize) {
        self.entries += entries;
        self.bytes += bytes;
    }

    pub(super) fn gave(&mut self, entries: usize, bytes: usize) {
        defect!(unless entries <= self.entries && bytes <= self.bytes, "more given back than was read ahead");
        self.entries = self.entries.saturating_sub(entries);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
