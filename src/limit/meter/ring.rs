//! The hard cap of a sliding window: a cell per start that one window may hold.
//!
//! Why it is strict: a cell holds the latest moment at which its start may have happened, and leaves only a whole
//! window after that moment. Cells are in order of time: one that would be earlier than the cell before it counts with
//! that. Whenever a start is claimed, every earlier start that could share a half-open window
//! with it is still in a cell, and there are fewer cells than the capacity - whatever the order of claims,
//! confirmations and returns, and however late (within [`STALE_AFTER`]) a request starts after its claim.
//!
//! Large capacities count in groups: a cell stands for several starts and leaves when the latest of them has left
//! the window. That errs on the strict side by at most one group and bounds the memory of a ring.
//!
//! A window that limits nothing keeps the newest starts one by one: others count on them.
//!
//! Must not know: smoothing, calls in flight.

use std::collections::VecDeque;

use crate::clock::{Leap, Timestamp};
use crate::limit::STALE_AFTER;
use crate::policy::Window;

/// Most cells of one ring, of 8 bytes each: half a mebibyte. Larger limits count in groups.
pub(super) const CELLS_MAX: u32 = 65_536;
/// In a cell: its start was given back. No start happened at the epoch: what is restored is moved past it.
const FREE: u64 = 0;

/// The starts of the newest window.
#[derive(Debug)]
pub(in crate::limit) struct Ring {
    allowed: Window,
    /// Starts that share a cell; 1 for limits of up to [`CELLS_MAX`] starts.
    group: u32,
    /// The latest moment of each cell, in nanoseconds, in order of claim and of time.
    cells: VecDeque<u64>,
    /// The number of the first cell.
    first: u64,
    /// Cells among them whose start was given back.
    free: usize,
    /// Starts in the newest cell; as long as that is less than `group`, others may join them.
    in_newest: u32,
    /// The latest start that no cell remembers but that still counts.
    aside: Timestamp,
    /// The latest start that has left: a longer window may reach back to it.
    left: Timestamp,
}

/// The right to start once: the number of its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::limit) struct CellNumber(u64);

impl Ring {
    /// Without starts, but nothing shares a window with `last_start`. `number` is that of its first cell: above all
    /// those of an earlier ring under the same limit, so that claims under that one find nothing here.
    pub(in crate::limit) fn new(allowed: Window, last_start: Timestamp, number: u64) -> Self {
        Self {
            allowed,
            group: group(allowed),
            cells: VecDeque::new(),
            first: number,
            free: 0,
            in_newest: 0,
            aside: last_start,
            left: Timestamp::ZERO,
        }
    }

    /// The window that applies since the last change.
    pub(super) const fn allowed(&self) -> Window {
        self.allowed
    }

    /// Changes what it allows; everything claimed so far counts against the new limit.
    /// An earlier process may have started something until `unknown_before`.
    pub(super) fn allow(&mut self, allowed: Window, unknown_before: Timestamp) {
        if allowed == self.allowed {
            return;
        }
        if allowed.length() > self.allowed.length() {
            // The longer window reaches back to starts whose cells are gone; their latest stands for all of them.
            self.aside = self.aside.max(self.left).max(unknown_before);
        }
        self.allowed = allowed;
        if group(allowed) < self.group {
            // A cell may hold more starts than one will count as.
            self.aside = self.last_start();
            // Claims of the cells that are gone point before `first` from now on: they change nothing.
            self.first += self.cells.len() as u64;
            self.cells.clear();
            self.free = 0;
        }
        // Cells that hold fewer starts than a group counts are counted as whole ones.
        self.group = group(allowed);
        self.in_newest = self.group;
    }

    /// Counts starts of an earlier process, the latest of them at `at`; to be called in order of time.
    pub(super) fn restore(&mut self, count: u32, at: Timestamp) {
        debug_assert!(
            self.cells.back().is_none_or(|newest| *newest <= at.as_nanos().max(FREE + 1)),
            "starts are restored in order of time"
        );
        // More than fill a ring leave it together with those that do.
        for _ in 0..count.div_ceil(self.group).min(CELLS_MAX) {
            self.cells.push_back(at.as_nanos().max(FREE + 1));
        }
        // How many starts share the newest cell is not known: none may join them.
        self.in_newest = self.group;
        self.assert_order();
    }

    /// The line of time has leapt; the order of the cells stays.
    pub(super) fn leap(&mut self, leap: &Leap) {
        for cell in self.cells.iter_mut().filter(|cell| **cell != FREE) {
            *cell = leap.moved(Timestamp::from_nanos(*cell)).as_nanos();
        }
        self.aside = leap.moved(self.aside);
        self.left = leap.moved(self.left);
    }

    /// From when on a claim succeeds, if nothing is claimed before.
    pub(super) fn ready_at(&self) -> Timestamp {
        let Some(most) = self.cells_allowed() else { return Timestamp::ZERO };
        // Zero means that nothing is aside, not that something was started at the epoch: the window must not be added.
        let mut ready =
            if self.aside == Timestamp::ZERO { self.aside } else { self.aside + self.allowed.length() };
        let live = self.cells.len() - self.free;
        // The newest cell is not full: a start may join it although no cell is left.
        let shared = live > 0 && live <= most && self.in_newest < self.group;
        if live >= most && !shared {
            // This many have to leave before one may come.
            let surplus = live - most;
            let last = self.cells.iter().filter(|cell| **cell != FREE).nth(surplus);
            ready = ready.max(Timestamp::from_nanos(last.copied().unwrap_or(FREE)) + self.allowed.length());
        }
        ready
    }

    /// Claims a start between `now` and [`STALE_AFTER`] later; `None` before [`Ring::ready_at`].
    pub(in crate::limit) fn claim(&mut self, now: Timestamp) -> Option<CellNumber> {
        self.forget(now);
        if now < self.ready_at() {
            return None;
        }
        // Nothing else ends its growth.
        if self.allowed.calls().is_none() && self.cells.len() >= CELLS_MAX as usize {
            self.drop_oldest();
        }
        // Until it is confirmed the start may happen at any moment up to the end of its permit, and its cell may not
        // stand before an earlier one: `ready_at` takes the oldest cells for those that leave first. Free cells do not
        // stand last.
        let open = (now + STALE_AFTER).as_nanos().max(self.cells.back().copied().unwrap_or(FREE));
        let newest = self.first + self.cells.len() as u64;
        match self.cells.back_mut() {
            Some(cell) if self.in_newest < self.group => {
                self.in_newest += 1;
                *cell = open;
                Some(CellNumber(newest - 1))
            }
            _ => {
                self.in_newest = 1;
                self.cells.push_back(open);
                debug_assert!(
                    self.cells_allowed().is_none_or(|most| self.cells.len() - self.free <= most),
                    "a window holds more starts than it may"
                );
                Some(CellNumber(newest))
            }
        }
    }

    /// The claimed start happens at `at`, not later than [`STALE_AFTER`] after the claim.
    pub(in crate::limit) fn confirm(&mut self, claim: CellNumber, at: Timestamp) {
        // A shared cell keeps the latest moment of any of its claims: the others may still be open.
        if self.group == 1 {
            self.set(claim, |_| at.as_nanos());
        }
    }

    /// The confirmed start happened by `at`.
    pub(super) fn under_way(&mut self, claim: CellNumber, at: Timestamp) {
        self.set(claim, |latest_ns| at.as_nanos().max(latest_ns));
    }

    /// Takes an unconfirmed claim back as if it had never been made.
    pub(super) fn put_back(&mut self, claim: CellNumber) {
        let newest = claim.0 + 1 == self.first + self.cells.len() as u64;
        if self.group > 1 {
            // In an older cell it stays counted until that leaves: how many starts it stands for is not kept.
            self.in_newest -= u32::from(newest && self.in_newest > 1);
            return;
        }
        let Some(cell) = self.index(claim).and_then(|at| self.cells.get_mut(at)) else { return };
        *cell = FREE;
        self.free += 1;
        // A free cell at the end would hide the latest start from [`Ring::last_start`].
        while self.cells.back() == Some(&FREE) {
            self.cells.pop_back();
            self.free -= 1;
            self.in_newest = 1;
        }
        self.assert_order();
    }

    /// Starts in the newest window, at most this many.
    pub(super) fn used(&mut self, now: Timestamp) -> u32 {
        self.forget(now);
        let live = u32::try_from(self.cells.len() - self.free).unwrap_or(u32::MAX);
        let in_newest = if live > 0 { self.group - self.in_newest } else { 0 };
        // `CELLS_MAX` whole groups of the largest limit are one more than `u32` holds.
        live.saturating_mul(self.group) - in_newest
    }

    /// When every start will have left the window.
    pub(super) fn idle_at(&self) -> Timestamp {
        let last = self.last_start();
        if last == Timestamp::ZERO { last } else { last + self.allowed.length() }
    }

    /// The latest moment at which something may have started; [`Timestamp::ZERO`] when nothing ever did.
    pub(super) fn last_start(&self) -> Timestamp {
        let newest = self.cells.back().copied().map_or(Timestamp::ZERO, Timestamp::from_nanos);
        newest.max(self.aside).max(self.left)
    }

    /// Until when something may have started that no cell remembers.
    pub(super) fn unknown_before(&self) -> Option<Timestamp> {
        (self.aside > Timestamp::ZERO).then_some(self.aside)
    }

    /// The starts that still count, with their latest moments, oldest first.
    pub(super) fn starts(&self) -> impl Iterator<Item = (u32, Timestamp)> {
        let of_cell = |cell: &u64| (self.group, Timestamp::from_nanos(*cell));
        self.cells.iter().filter(|cell| **cell != FREE).map(of_cell)
    }

    /// Lets go of what has left the window.
    fn forget(&mut self, now: Timestamp) {
        while let Some(cell) = self.cells.front().copied() {
            let latest = Timestamp::from_nanos(cell);
            if cell == FREE {
                self.free -= 1;
            // Half-open: a start exactly one window later is in the next one.
            } else if latest + self.allowed.length() <= now {
                self.left = self.left.max(latest);
            } else {
                return;
            }
            self.cells.pop_front();
            self.first += 1;
        }
        self.assert_order();
    }

    /// Of what is counted without a limit the newest starts are kept: bounds on them are not larger.
    fn drop_oldest(&mut self) {
        if let Some(cell) = self.cells.pop_front() {
            self.first += 1;
            self.free -= usize::from(cell == FREE);
            self.left = self.left.max(Timestamp::from_nanos(cell));
        }
    }

    /// What holds between any two calls. Whatever takes a pass over the cells is left to the tests.
    fn assert_order(&self) {
        debug_assert!(self.cells.back() != Some(&FREE), "the newest cell is free");
        debug_assert!(self.free < self.cells.len().max(1), "more cells are free than there are");
        debug_assert!(self.in_newest <= self.group, "a cell stands for more starts than share one");
    }

    /// `None` when starts are only counted.
    fn cells_allowed(&self) -> Option<usize> {
        self.allowed.calls().map(|calls| (calls.get() / self.group) as usize)
    }

    fn index(&self, claim: CellNumber) -> Option<usize> {
        // `None` for a cell that has left, or of a ring before this one: the claim came too late to change anything.
        usize::try_from(claim.0.checked_sub(self.first)?).ok()
    }

    /// Sets the moment of a cell and keeps the order. Nearly always it is the last that is not open any more.
    fn set(&mut self, claim: CellNumber, latest_ns: impl Fn(u64) -> u64) {
        let Some(at) = self.index(claim) else { return };
        // It may not stand before an earlier cell, whose start may still happen.
        let before = (0..at).rev().find_map(|at| self.cells.get(at).filter(|cell| **cell != FREE));
        let before = before.copied().unwrap_or(FREE + 1);
        let Some(cell) = self.cells.get_mut(at).filter(|cell| **cell != FREE) else { return };
        *cell = latest_ns(*cell).max(before);
        let latest_ns = *cell;
        // A start that left late pushes the later ones with it, up to the first that is later anyway.
        for later in self.cells.iter_mut().skip(at + 1) {
            if *later >= latest_ns {
                break;
            }
            if *later != FREE {
                *later = latest_ns;
            }
        }
    }
}

/// How many starts share a cell.
fn group(allowed: Window) -> u32 {
    allowed.calls().map_or(1, |calls| calls.get().div_ceil(CELLS_MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ring(calls: i64) -> Ring {
        Ring::new(Window::new(calls, 1000).expect("valid"), Timestamp::ZERO, 1)
    }

    fn ms(ms: u64) -> Timestamp {
        Timestamp::from_millis(100_000 + ms)
    }

    fn start(ring: &mut Ring, at: Timestamp) -> bool {
        let claim = ring.claim(at);
        claim.inspect(|claim| ring.confirm(*claim, at)).is_some()
    }

    #[test]
    fn a_window_takes_its_burst_and_then_one_for_each_that_leaves() {
        let mut ring = ring(3);
        assert!((0..3).all(|at| start(&mut ring, ms(at))));
        assert!(!start(&mut ring, ms(999)));
        assert_eq!(ring.ready_at(), ms(1000));
        assert!(start(&mut ring, ms(1000)) && !start(&mut ring, ms(1000)));
        assert_eq!((ring.used(ms(1000)), ring.used(ms(1002)), ring.used(ms(3000))), (3, 1, 0));
    }

    #[test]
    fn an_open_claim_counts_at_the_latest_moment_and_a_returned_one_not_at_all() {
        let mut ring = ring(1);
        let claim = ring.claim(ms(0)).expect("free");
        assert_eq!(ring.ready_at(), ms(1003));
        ring.put_back(claim);
        assert!(start(&mut ring, ms(0)));
        assert_eq!(ring.ready_at(), ms(1000));
        ring.under_way(CellNumber(1), ms(300));
        assert_eq!(ring.ready_at(), ms(1300), "it left later than it was confirmed");
    }

    #[test]
    fn a_return_in_the_middle_makes_room() {
        let mut ring = ring(3);
        let claims: Vec<CellNumber> = (0..3).filter_map(|at| ring.claim(ms(at))).collect();
        ring.put_back(claims[1]);
        assert!(start(&mut ring, ms(3)) && !start(&mut ring, ms(4)));
        ring.put_back(claims[0]);
        assert!(start(&mut ring, ms(5)) && !start(&mut ring, ms(6)));
    }

    #[test]
    fn a_lowered_limit_waits_until_enough_have_left() {
        let mut ring = ring(4);
        assert!((0..4).all(|at| start(&mut ring, ms(at * 100))));
        ring.allow(Window::new(2, 1000).expect("valid"), Timestamp::ZERO);
        assert_eq!(ring.ready_at(), ms(1200));
        assert!(!start(&mut ring, ms(1199)) && start(&mut ring, ms(1200)) && !start(&mut ring, ms(1299)));
    }

    #[test]
    fn a_longer_window_reaches_back_to_what_has_left() {
        let mut ring = ring(1);
        assert!(start(&mut ring, ms(0)) && start(&mut ring, ms(1500)));
        assert_eq!(ring.used(ms(2600)), 0);
        ring.allow(Window::new(1, 5000).expect("valid"), Timestamp::ZERO);
        assert_eq!(ring.ready_at(), ms(6500));
    }

    #[test]
    fn large_windows_count_in_groups_and_never_too_little() {
        let mut ring = ring(1_000_000);
        assert_eq!(ring.group, 16);
        let mut taken = 0;
        while start(&mut ring, ms(taken / 10_000)) {
            taken += 1;
        }
        assert!((999_000..=1_000_000).contains(&taken), "{taken}");
        assert!(ring.cells.len() <= CELLS_MAX as usize);
        assert_eq!(u64::from(ring.used(ms(taken / 10_000))), taken);
        let claim = CellNumber(ring.first + ring.cells.len() as u64 - 1);
        ring.put_back(claim);
        assert!(start(&mut ring, ms(500)) && !start(&mut ring, ms(500)));
    }

    #[test]
    fn smaller_groups_never_make_starts_vanish() {
        let mut ring = ring(1_000_000);
        assert!((0..100_000).all(|_| start(&mut ring, ms(0))));
        ring.allow(Window::new(50_000, 1000).expect("valid"), Timestamp::ZERO);
        assert!(!start(&mut ring, ms(1000)) && start(&mut ring, ms(1003)));
    }

    #[test]
    fn what_an_earlier_process_started_counts() {
        let mut ring = ring(3);
        ring.restore(2, ms(0));
        assert!(start(&mut ring, ms(1)) && !start(&mut ring, ms(2)));
        assert_eq!(ring.ready_at(), ms(1000));
    }

    #[test]
    fn however_many_an_earlier_process_may_have_started_memory_is_bounded() {
        let mut unlimited = Ring::new(Window::counting(Duration::from_secs(1)), Timestamp::ZERO, 1);
        unlimited.restore(u32::MAX, ms(0));
        assert_eq!((unlimited.used(ms(1)), unlimited.used(ms(1000))), (CELLS_MAX, 0));
        let mut limited = ring(3);
        limited.restore(u32::MAX, ms(0));
        assert!(!start(&mut limited, ms(999)) && start(&mut limited, ms(1000)));
    }
}
