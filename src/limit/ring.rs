//! The hard cap of a pace: a slot per start that one window may hold.
//!
//! Why it is strict: a slot is claimed again only a whole window after the latest moment at which its former
//! holder may have started. So two starts of one slot never share a half-open window, and since there are
//! `capacity` slots, no window holds more than `capacity` starts - whatever the order of claims,
//! confirmations and returns, and however late (within [`STALE_AFTER`]) a request starts after its claim.
//! After a change of the limit, starts that no remaining slot remembers hold every new claim back until they
//! have left the window.
//!
//! Slots are made on demand, so that memory follows the starts of the last window, not the limit.
//!
//! Must not know: smoothing, calls in flight.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limit::STALE_AFTER;
use crate::limit::watch::Watch;

const CHUNK: usize = 64;
/// In a slot: nobody ever started here, or has given it back.
const FREE: u64 = 0;

/// Slots that are made together; claims hold on to it.
#[derive(Debug)]
struct Chunk {
    /// Per slot the latest moment at which its holder started or may start, in nanoseconds.
    latest_ns: [AtomicU64; CHUNK],
    watch: Arc<Watch>,
}

/// The slots of one pace.
#[derive(Debug)]
pub(super) struct Ring {
    capacity: u32,
    window: Duration,
    chunks: Vec<Arc<Chunk>>,
    /// The slots in use, by time of claim: the front is the first to come free.
    order: VecDeque<u32>,
    /// Slots that a lower capacity has put aside.
    spare: Vec<u32>,
    /// The latest start that no slot in use remembers but that still counts.
    aside: Timestamp,
    /// The latest start that a later one has overwritten: a longer window may reach back to it.
    overwritten: Timestamp,
    watch: Arc<Watch>,
}

/// The right to start once; until it is confirmed its slot counts as started at the latest possible moment.
#[derive(Debug)]
pub(super) struct Claim {
    chunk: Arc<Chunk>,
    slot: u32,
    /// What the slot holds until the claim is confirmed: just after every allowed start, so that a confirmed
    /// claim can be told from an open one.
    open: Timestamp,
}

impl Ring {
    /// At most `capacity` starts in every half-open `window`, and no claim shares a window with `last_start`;
    /// `watch` hears of confirmed starts.
    pub(super) fn new(capacity: u32, window: Duration, last_start: Timestamp, watch: Arc<Watch>) -> Self {
        Self {
            capacity,
            window,
            chunks: Vec::new(),
            order: VecDeque::new(),
            spare: Vec::new(),
            aside: last_start,
            overwritten: Timestamp::ZERO,
            watch,
        }
    }

    /// From when on a claim succeeds, if nothing is claimed before.
    pub(super) fn ready_at(&self) -> Timestamp {
        let front = if self.order.len() < self.capacity as usize {
            Timestamp::ZERO
        } else {
            self.order.front().map_or(Timestamp::ZERO, |slot| self.free_at(*slot))
        };
        front.max(self.aside_free_at())
    }

    /// The latest moment at which something may have started; [`Timestamp::ZERO`] when nothing ever did.
    pub(super) fn last_start(&self) -> Timestamp {
        self.order
            .iter()
            .map(|slot| self.latest(*slot))
            .fold(self.aside.max(self.overwritten), Timestamp::max)
    }

    /// Whether every start has left the window.
    pub(super) fn is_idle(&self, now: Timestamp) -> bool {
        self.last_start() + self.window <= now
    }

    /// Claims a slot for a start between `now` and [`STALE_AFTER`] later; `None` before [`Ring::ready_at`].
    pub(super) fn claim(&mut self, now: Timestamp) -> Option<Claim> {
        if now < self.ready_at() {
            return None;
        }
        let free = self.order.front().copied().filter(|slot| self.free_at(*slot) <= now);
        let slot = match free {
            Some(slot) => {
                self.overwritten = self.overwritten.max(self.latest(slot));
                self.order.pop_front();
                slot
            }
            // There is room for one more, or `ready_at` would have said no.
            None => self.spare.pop().unwrap_or_else(|| self.make_slot()),
        };
        let open = now + STALE_AFTER + Duration::from_nanos(1);
        let chunk = Arc::clone(self.chunks.get(slot as usize / CHUNK)?);
        chunk.cell(slot)?.store(open.as_nanos(), Ordering::Release);
        self.order.push_back(slot);
        Some(Claim { chunk, slot, open })
    }

    /// Takes an unconfirmed claim back as if it had never been made. One that was confirmed stays counted:
    /// its request may have started. Returns whether it was taken back.
    pub(super) fn put_back(&mut self, claim: &Claim) -> bool {
        if !claim.replace(FREE) {
            return false;
        }
        let own = self
            .chunks
            .get(claim.slot as usize / CHUNK)
            .is_some_and(|chunk| Arc::ptr_eq(chunk, &claim.chunk));
        // From the back: what is put back was nearly always claimed a moment ago.
        if let Some(at) = self.order.iter().rposition(|slot| *slot == claim.slot).filter(|_| own) {
            self.order.remove(at);
            self.order.push_front(claim.slot);
        }
        true
    }

    /// Changes the limit; everything claimed so far counts against the new one.
    pub(super) fn resize(&mut self, capacity: u32, window: Duration) {
        if window > self.window {
            self.aside = self.aside.max(self.overwritten);
        }
        self.capacity = capacity;
        self.window = window;
        while self.order.len() > capacity as usize {
            let Some(slot) = self.order.pop_front() else { break };
            self.aside = self.aside.max(self.latest(slot));
            self.spare.push(slot);
        }
    }

    fn aside_free_at(&self) -> Timestamp {
        if self.aside == Timestamp::ZERO { Timestamp::ZERO } else { self.aside + self.window }
    }

    fn free_at(&self, slot: u32) -> Timestamp {
        match self.latest(slot).as_nanos() {
            FREE => Timestamp::ZERO,
            latest_ns => Timestamp::from_nanos(latest_ns) + self.window,
        }
    }

    fn latest(&self, slot: u32) -> Timestamp {
        let cell = self.chunks.get(slot as usize / CHUNK).and_then(|chunk| chunk.cell(slot));
        Timestamp::from_nanos(cell.map_or(FREE, |cell| cell.load(Ordering::Acquire)))
    }

    fn make_slot(&mut self) -> u32 {
        let made = self.order.len() + self.spare.len();
        if made == self.chunks.len() * CHUNK {
            let latest_ns = [const { AtomicU64::new(FREE) }; CHUNK];
            self.chunks.push(Arc::new(Chunk { latest_ns, watch: Arc::clone(&self.watch) }));
        }
        // Every slot made lies in `order` or `spare`, and the capacity of both is a u32.
        u32::try_from(made).unwrap_or(u32::MAX)
    }
}

impl Claim {
    /// The request starts now. `false` when it may not: too late, confirmed before, or put back.
    pub(super) fn confirm(&self, started_at: Timestamp) -> bool {
        let confirmed = started_at < self.open && self.replace(started_at.as_nanos().max(FREE + 1));
        if confirmed {
            self.chunk.watch.started(started_at);
        }
        confirmed
    }

    /// The start that was confirmed at `started_at` happened by `under_way_at`: the slot counts from then.
    pub(super) fn under_way(&self, started_at: Timestamp, under_way_at: Timestamp) {
        let counted_ns = started_at.as_nanos().max(FREE + 1);
        // Claimed again meanwhile: then a whole window has passed, and the slot holds a later moment.
        let _ = self.exchange(counted_ns, under_way_at.as_nanos().max(counted_ns));
    }

    /// Only while the slot still belongs to this claim: a slot claimed again holds a later moment.
    fn replace(&self, latest_ns: u64) -> bool {
        self.exchange(self.open.as_nanos(), latest_ns)
    }

    fn exchange(&self, present_ns: u64, next_ns: u64) -> bool {
        self.chunk.cell(self.slot).is_some_and(|cell| {
            cell.compare_exchange(present_ns, next_ns, Ordering::AcqRel, Ordering::Acquire).is_ok()
        })
    }
}

impl Chunk {
    fn cell(&self, slot: u32) -> Option<&AtomicU64> {
        self.latest_ns.get(slot as usize % CHUNK)
    }
}
