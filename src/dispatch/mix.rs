//! How many of a lane's recent starts were of due entries: of those that were put off, mostly by failures. Due entries go
//! first until they took their share; then entries that were never tried get the rest, so that a lane whose calls fail
//! again and again still delivers what can be delivered.
//!
//! Recent are the starts of the last second, or the last 20 where those are more.
//!
//! Must not know: which entries there are.

use std::time::Duration;

use crate::clock::Timestamp;

/// Starts that are looked at in a lane that has fewer in a second.
const FEW: u32 = 20;
/// The last second is counted in parts.
const PARTS: usize = 8;
const PART: Duration = Duration::from_millis(1000 / PARTS as u64);

/// The share of a lane's starts up to which due entries go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueShare {
    per_mille: u16,
}

impl DueShare {
    /// Due entries always go first.
    pub const ALL: Self = Self { per_mille: 1000 };
    /// Half of the starts.
    pub const HALF: Self = Self { per_mille: 500 };

    /// From a number from 0 to 1, in thousandths.
    #[must_use]
    pub fn of(share: f64) -> Self {
        // Within the range: it is at most 1000 and not negative.
        let per_mille = (share.clamp(0.0, 1.0) * 1000.0).round() as u16;
        Self { per_mille }
    }

    /// How many of so many entries those are, rounded up.
    pub(super) fn part_of(self, entries: usize) -> usize {
        entries.saturating_mul(self.per_mille.into()).div_ceil(1000)
    }
}

/// The recent starts of one lane, in a few bytes.
#[derive(Debug)]
pub(super) struct RecentStarts {
    share: DueShare,
    /// The last starts, the latest in the lowest bit: 1 for a due entry.
    last: u32,
    parts: [Part; PARTS],
}

/// The starts of one part of a second.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    /// Which part of all time it is.
    number: u64,
    all: u32,
    due: u32,
}

impl RecentStarts {
    pub(super) fn new(share: DueShare) -> Self {
        Self { share, last: 0, parts: [Part::default(); PARTS] }
    }

    /// A call has got its permit at `now`.
    pub(super) fn started(&mut self, is_due: bool, now: Timestamp) {
        self.last = (self.last << 1) | u32::from(is_due);
        let number = number(now);
        let Some(part) = self.parts.get_mut(place(number)) else { return };
        if part.number != number {
            *part = Part { number, ..Part::default() };
        }
        part.all = part.all.saturating_add(1);
        part.due = part.due.saturating_add(u32::from(is_due));
    }

    /// How many there were in the second before `now`, to about an eighth of one.
    pub(super) fn in_last_second(&self, now: Timestamp) -> u32 {
        let number = number(now);
        let recent = |part: &&Part| part.number <= number && part.number + PARTS as u64 > number;
        self.parts.iter().filter(recent).fold(0_u32, |all, part| all.saturating_add(part.all))
    }

    /// Whether due entries have had their share of the recent starts, so that others go first.
    pub(super) fn due_had_share(&self, now: Timestamp) -> bool {
        if self.share == DueShare::ALL {
            return false;
        }
        let number = number(now);
        let recent = |part: &&Part| part.number <= number && part.number + PARTS as u64 > number;
        let recent = self.parts.iter().filter(recent);
        let (all, due) = recent.fold((0_u32, 0_u32), |(all, due), part| {
            (all.saturating_add(part.all), due.saturating_add(part.due))
        });
        let (all, due) = if all < FEW {
            // What it has not started yet counts as not due: a lane may begin with half of 20 due ones in a row.
            (FEW, (self.last & ((1 << FEW) - 1)).count_ones())
        } else {
            (all, due)
        };
        u64::from(due) * 1000 >= u64::from(self.share.per_mille) * u64::from(all)
    }
}

fn number(now: Timestamp) -> u64 {
    now.as_millis() / PART.as_millis() as u64
}

fn place(number: u64) -> usize {
    // Below `PARTS`.
    (number % PARTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + ms)
    }

    /// The order in which a lane with entries of both kinds starts them, one every `gap_ms`; `true` for a due one.
    fn order(share: DueShare, count: u64, gap_ms: u64) -> Vec<bool> {
        let mut recent = RecentStarts::new(share);
        let start = |n| {
            let is_due = !recent.due_had_share(ms(n * gap_ms));
            recent.started(is_due, ms(n * gap_ms));
            is_due
        };
        (0..count).map(start).collect()
    }

    #[test]
    fn due_ones_go_first_until_they_took_their_share() {
        let due = |order: &[bool]| order.iter().filter(|is_due| **is_due).count();
        let busy = order(DueShare::HALF, 4_000, 1);
        assert!(busy[..10].iter().all(|is_due| *is_due), "first");
        for from in 0..3_000 {
            let share = due(&busy[from..from + 1_000]);
            assert!((450..=510).contains(&share), "{share} of the second from {from} ms on");
        }
        let quiet = order(DueShare::HALF, 200, 10_000);
        for twenty in quiet.windows(20) {
            assert!((9..=10).contains(&due(twenty)), "{twenty:?}");
        }
        let tenth = order(DueShare::of(0.1), 200, 10_000);
        assert!(tenth.windows(20).all(|twenty| (1..=2).contains(&due(twenty))));
        // The controls: without a share there is no bound, with none nothing due goes first.
        assert_eq!(due(&order(DueShare::ALL, 4_000, 1)), 4_000);
        assert_eq!(due(&order(DueShare::of(0.0), 4_000, 1)), 0);
    }

    #[test]
    fn what_is_long_past_counts_in_a_quiet_lane_alone() {
        let mut recent = RecentStarts::new(DueShare::HALF);
        (0..100).for_each(|n| recent.started(true, ms(n)));
        assert!(recent.due_had_share(ms(100)));
        assert!(recent.due_had_share(ms(60_000)), "the last twenty");
        (0..30).for_each(|n| recent.started(false, ms(70_000 + n)));
        assert!(!recent.due_had_share(ms(70_030)));
    }
}
