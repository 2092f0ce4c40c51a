//! How the starts of one line are divided among priorities: each has the share of its weight while all have something to
//! send, and what one does not take goes to the others in the same proportion.
//!
//! Each priority stands at a mark; the one with the lowest is the next, and its mark moves on by as much as its weight is
//! small (stride scheduling). A start costs the same however many wait. Nobody is passed over for good: while one waits,
//! the marks of the others move towards its own and beyond.
//!
//! Must not know: who waits, what for.

use crate::event::Priority;

/// As far as a priority may be ahead of the one that was served last: so many starts of others it pays back at most.
const MOST_AHEAD: u64 = 2 * stride(Priority::Low);

/// How far a start moves the mark.
const fn stride(priority: Priority) -> u64 {
    Priority::High.weight() / priority.weight()
}

/// Where the priorities of one line stand.
#[derive(Debug, Default)]
pub(super) struct Weights {
    marks: [u64; Priority::ALL.len()],
    /// The mark of the priority that was served last, before it moved.
    served: u64,
}

impl Weights {
    /// The order in which priorities are served: the lowest is the next.
    pub(super) fn rank(&self, priority: Priority) -> (u64, Priority) {
        (self.mark(priority), priority)
    }

    /// Somebody of this priority joins those that wait: it is owed nothing for the time in which nobody of it did, nor
    /// does it owe more than a little.
    pub(super) fn joined(&mut self, priority: Priority) {
        let (least, most) = (self.served, self.served.saturating_add(MOST_AHEAD));
        self.set(priority, self.mark(priority).clamp(least, most));
    }

    /// A call of this priority started: in its turn in this line, or beside it.
    pub(super) fn started(&mut self, priority: Priority, in_turn: bool) {
        if in_turn {
            self.served = self.served.max(self.mark(priority));
        }
        let mark = self.mark(priority).max(self.served).saturating_add(stride(priority));
        self.set(priority, mark.min(self.served.saturating_add(MOST_AHEAD)));
    }

    fn mark(&self, priority: Priority) -> u64 {
        self.marks.get(priority.place()).copied().unwrap_or(self.served)
    }

    fn set(&mut self, priority: Priority, mark: u64) {
        if let Some(place) = self.marks.get_mut(priority.place()) {
            *place = mark;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves those of these priorities that always have something to send.
    fn serve(weights: &mut Weights, waiting: &[Priority], starts: usize) -> [usize; 3] {
        let mut counts = [0; 3];
        for _ in 0..starts {
            let next = waiting.iter().copied().min_by_key(|priority| weights.rank(*priority));
            let next = next.expect("somebody waits");
            weights.started(next, true);
            // It has more to send, and waits again.
            weights.joined(next);
            counts[next.place()] += 1;
        }
        counts
    }

    #[test]
    fn starts_are_divided_by_weight_and_what_is_left_goes_to_the_others() {
        use Priority::{High, Low, Normal};
        let mut weights = Weights::default();
        assert_eq!(serve(&mut weights, &Priority::ALL, 1300), [800, 400, 100]);
        assert_eq!(serve(&mut weights, &[High, Low], 900), [800, 0, 100]);
        assert_eq!(serve(&mut weights, &[Normal, Low], 500), [0, 400, 100]);
        assert_eq!(serve(&mut weights, &[Low], 50), [0, 0, 50]);
        let all = serve(&mut weights, &Priority::ALL, 1300);
        assert!(all[2].abs_diff(100) <= 2, "a time alone is neither paid for nor paid back: {all:?}");
    }

    #[test]
    fn what_starts_beside_the_line_counts_and_is_paid_back_within_bounds() {
        let mut weights = Weights::default();
        for _ in 0..1000 {
            weights.started(Priority::High, false);
        }
        let counts = serve(&mut weights, &Priority::ALL, 130);
        assert!(counts[0] >= 60, "it is not kept back for long: {counts:?}");
        assert!(counts[0] < 80, "the control: what it had counts, {counts:?}");
    }
}
