//! The hold of a lane after a shortage of tidegate's own: no socket, or no place in line for a name.
//!
//! It grows while shortages follow each other, because what is short stays so for a while and each try costs a write to
//! the journal. Six hundred names of a silent name server otherwise come back to the line of names each second.
//!
//! Must not know: what was short, other holds.

use std::time::Duration;

use crate::clock::{Leap, Timestamp};

/// The longest hold after the first shortage in a row; the shortest is half of it.
const FIRST: Duration = Duration::from_secs(1);
/// The longest hold, however many shortages follow each other: so much later at most than the end of the shortage does
/// the lane go on.
const LONGEST: Duration = Duration::from_secs(8);

/// When the lane may go on, and how often in a row it was held.
#[derive(Debug, Default, Clone)]
pub(super) struct ShortageHold {
    until: Option<Timestamp>,
    in_a_row: u32,
}

impl ShortageHold {
    /// Until when the lane is held; a time that has passed holds nothing.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// A call met a shortage at `now`; `share` in `0.0..=1.0` spreads the holds of several lanes.
    pub(super) fn begin(&mut self, share: f64, now: Timestamp) {
        // Calls that were under way when the hold began met the same shortage.
        if self.until.is_some_and(|until| until > now) {
            return;
        }
        // The one before is long over.
        if self.until.is_some_and(|until| now.since(until) > LONGEST) {
            self.in_a_row = 0;
        }
        // Kept in the range of the shift.
        let longest = FIRST.saturating_mul(1 << self.in_a_row.min(8)).min(LONGEST);
        self.until = Some(now + longest.mul_f64(0.5 + 0.5 * share));
        self.in_a_row = self.in_a_row.saturating_add(1);
    }

    /// A call got what it needed: the next shortage is a first one. A hold that has begun is kept.
    pub(super) fn passed(&mut self) {
        self.in_a_row = 0;
    }

    /// The line of time has leapt.
    pub(super) fn leap(&mut self, leap: &Leap) {
        self.until = self.until.map(|until| leap.moved(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn shortages_that_follow_each_other_hold_for_longer_until_a_call_passes() {
        let mut hold = ShortageHold::default();
        let mut at = ms(0);
        let mut lengths_ms = Vec::new();
        for _ in 0..6 {
            hold.begin(1.0, at);
            // Those under way at the same time add nothing.
            hold.begin(1.0, at);
            let until = hold.until().expect("a hold");
            lengths_ms.push(until.since(at).as_millis());
            at = until;
        }
        assert_eq!(lengths_ms, [1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
        hold.passed();
        assert_eq!(hold.until(), Some(at), "it is not shortened");
        hold.begin(0.0, at);
        assert_eq!(hold.until(), Some(at + Duration::from_millis(500)));
        hold.begin(1.0, at + Duration::from_secs(1));
        let later = at + Duration::from_secs(60);
        hold.begin(1.0, later);
        assert_eq!(hold.until(), Some(later + FIRST), "what is long over does not count");
    }
}
