//! Starts that are on record before they are made: a limit whose window outlasts a restart writes down "up to this many
//! starts until then" and only then makes them. So neither a kill nor a power cut can make it forget a start; it may
//! count some that never happened, at most one chunk.
//!
//! Chunks follow the demand: they double while they are used up quickly and halve while they are not.
//!
//! Must not know: where the record is, what the limit is.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::telemetry::defect;

/// A chunk that lasts less than this was too small: each costs a write and a sync of some milliseconds, for which
/// starts would have to wait.
const QUICK: Duration = Duration::from_millis(20);
/// One that lasts longer than this was larger than it had to be: what is left of it is forfeited by a kill.
const SLOW: Duration = Duration::from_secs(2);
/// How long a record that failed is left alone, so that a full disk is not asked at the rate of the starts.
const FAILED: Duration = Duration::from_secs(1);
/// How long a chunk is good, at first and at most. Twice as long after each whose record took longer than that.
const LASTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The largest chunk: it bounds what a kill forfeits under one limit.
const CHUNK_MAX: u32 = 4096;

/// When a start is possible, as far as is known without taking it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::limit) enum Ready {
    /// At once, within the same step.
    Now,
    /// At this moment, at the earliest.
    At(Timestamp),
    /// Once more of them are on record.
    OnceRecorded,
}

/// What is on record and not used.
#[derive(Debug)]
pub(super) struct ReserveAhead {
    /// Until when, and how many, in order of time.
    chunks: VecDeque<(Timestamp, u32)>,
    left: u32,
    awaited: Option<Chunk>,
    chunk_size: u32,
    /// How long a chunk is good.
    lasts: Duration,
    last_reserved_at: Timestamp,
    not_before: Timestamp,
}

/// A chunk that is to be put on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::limit) struct Chunk {
    pub(super) count: u32,
    pub(super) until: Timestamp,
}

impl ReserveAhead {
    pub(super) const fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            left: 0,
            awaited: None,
            chunk_size: 1,
            lasts: LASTS.0,
            last_reserved_at: Timestamp::ZERO,
            not_before: Timestamp::ZERO,
        }
    }

    /// Starts that may be made now.
    pub(super) fn left(&mut self, now: Timestamp) -> u32 {
        // The record says that they were made by then: made later, they would be forgotten too early after a kill.
        while let Some((_, count)) = self.chunks.front().filter(|(until, _)| *until < now) {
            self.left -= count;
            self.chunks.pop_front();
        }
        self.left
    }

    /// Whether one may be made at `now`.
    pub(super) fn ready(&mut self, now: Timestamp) -> Ready {
        match self.left(now) {
            0 if self.not_before > now => Ready::At(self.not_before),
            0 => Ready::OnceRecorded,
            _ => Ready::Now,
        }
    }

    /// Uses one up, if there is one; returns until when it would have been good.
    pub(super) fn take(&mut self) -> Option<Timestamp> {
        while self.chunks.front().is_some_and(|(_, count)| *count == 0) {
            self.chunks.pop_front();
        }
        let (until, count) = self.chunks.front_mut()?;
        *count -= 1;
        // The sum of what the chunks hold, one of which has just given a start.
        defect!(unless self.left > 0, "more starts on record than were counted");
        self.left = self.left.saturating_sub(1);
        Some(*until)
    }

    /// One that was good until then was not used after all. When its chunk is gone, so is it: it is on record for an
    /// earlier time than it could be used in.
    pub(super) fn put_back(&mut self, good_until: Timestamp) {
        if let Some((_, count)) = self.chunks.iter_mut().find(|(until, _)| *until == good_until) {
            *count += 1;
            self.left += 1;
        }
    }

    /// The next chunk, when it is time to put one on record; with it at most `most` are on record and not used.
    pub(super) fn reserve(&mut self, most: Option<u32>, until: Timestamp, now: Timestamp) -> Option<Chunk> {
        let left = self.left(now);
        if self.awaited.is_some()
            // At half, so that the next chunk is on record before this one is used up.
            || left > self.chunk_size / 2
            || most.is_some_and(|most| most <= left)
            || now < self.not_before
        {
            return None;
        }
        let lasted = now.since(self.last_reserved_at);
        if lasted < QUICK {
            self.chunk_size = self.chunk_size.saturating_mul(2).min(CHUNK_MAX);
        } else if lasted > SLOW {
            self.chunk_size = (self.chunk_size / 2).max(1);
        }
        self.last_reserved_at = now;
        let count = most.map_or(self.chunk_size, |most| self.chunk_size.min(most - left));
        // Lanes would wait for it, and be asked again for nothing.
        defect!(unless count > 0, "a chunk without starts");
        self.awaited = Some(Chunk { count, until });
        self.awaited
    }

    /// It is on record, or could not be put there.
    pub(super) fn confirmed(&mut self, chunk: Chunk, is_recorded: bool, now: Timestamp) {
        // One that was asked for before everything was forgotten is of no use any more.
        if self.awaited.take_if(|awaited| *awaited == chunk).is_none() {
            return;
        }
        // The write took longer than the chunk was good for: with the same span the next one would be over as well.
        if chunk.until < now {
            self.lasts = (self.lasts * 2).min(LASTS.1);
        }
        // Also one that is over: the next look drops it.
        if is_recorded {
            self.chunks.push_back((chunk.until, chunk.count));
            self.left += chunk.count;
        } else {
            self.not_before = now + FAILED;
        }
    }

    /// Whether a chunk is on its way to the record.
    pub(super) const fn is_awaited(&self) -> bool {
        self.awaited.is_some()
    }

    /// How long the next chunk should be good.
    pub(super) const fn lasts(&self) -> Duration {
        self.lasts
    }

    /// Forgets what is left and what was asked for: that is for another period.
    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.left = 0;
        self.awaited = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Timestamp {
        Timestamp::from_millis(100_000 + ms)
    }

    #[test]
    fn nothing_may_start_before_it_is_on_record_nor_after_its_time() {
        let mut reserve = ReserveAhead::new();
        assert_eq!(reserve.left(ms(0)), 0);
        let chunk = reserve.reserve(Some(10), ms(100), ms(0)).expect("none is left");
        assert_eq!(
            (chunk.count, reserve.reserve(Some(10), ms(100), ms(0)), reserve.left(ms(0))),
            (1, None, 0)
        );
        reserve.confirmed(chunk, true, ms(3));
        assert_eq!((reserve.left(ms(100)), reserve.left(ms(101))), (1, 0));
    }

    #[test]
    fn portions_follow_the_demand_within_what_is_allowed() {
        let mut reserve = ReserveAhead::new();
        let mut counts = Vec::new();
        for round in 0..8 {
            let chunk = reserve.reserve(Some(20), ms(10_000), ms(round * 10)).expect("none is left");
            reserve.confirmed(chunk, true, ms(round * 10 + 3));
            (0..chunk.count).for_each(|_| assert!(reserve.take().is_some()));
            counts.push(chunk.count);
        }
        assert_eq!(counts, [1, 2, 4, 8, 16, 20, 20, 20]);
        assert!(reserve.reserve(Some(0), ms(10_000), ms(90)).is_none(), "no more is allowed");
        let later = reserve.reserve(Some(1000), ms(60_000), ms(9_000)).expect("none is left");
        assert_eq!(later.count, 64);
    }

    #[test]
    fn at_most_one_portion_is_on_record_unused() {
        let mut reserve = ReserveAhead::new();
        for round in 0..2_000_u64 {
            if let Some(chunk) = reserve.reserve(None, ms(1 << 40), ms(round)) {
                reserve.confirmed(chunk, true, ms(round));
            }
            assert!(reserve.left(ms(round)) <= reserve.chunk_size + reserve.chunk_size / 2);
            (0..reserve.left(ms(round)).min(7)).for_each(|_| assert!(reserve.take().is_some()));
        }
    }

    #[test]
    fn what_comes_back_is_good_only_within_its_own_portion() {
        let mut reserve = ReserveAhead::new();
        for until in [ms(100), ms(200)] {
            let chunk = reserve.reserve(Some(10), until, ms(0)).expect("few are left");
            reserve.confirmed(chunk, true, ms(0));
            if until == ms(100) {
                assert_eq!(reserve.take(), Some(ms(100)));
            }
        }
        reserve.put_back(ms(100));
        assert_eq!((reserve.left(ms(50)), reserve.take()), (3, Some(ms(100))));
        assert_eq!(reserve.take(), Some(ms(200)));
        reserve.put_back(ms(100));
        assert_eq!(reserve.left(ms(50)), 1);
    }

    #[test]
    fn a_failed_record_is_left_alone_for_a_while() {
        let mut reserve = ReserveAhead::new();
        let chunk = reserve.reserve(Some(10), ms(100), ms(0)).expect("none is left");
        reserve.confirmed(chunk, false, ms(5));
        assert_eq!((reserve.left(ms(6)), reserve.reserve(Some(10), ms(100), ms(6))), (0, None));
        assert!(reserve.reserve(Some(10), ms(2000), ms(1005)).is_some());
    }
}
