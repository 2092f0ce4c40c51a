//! The self-check of a sliding limit: counts the starts that really happened, knowing nothing of how they were
//! granted. A window that holds more than the limit is a defect of this room, and shows up as a violation.
//!
//! Large limits are counted in groups that leave the window with their first start: such a check may miss one group,
//! and never raises a false alarm.
//!
//! Must not know: permits, smoothing.

use std::collections::VecDeque;

use crate::clock::Timestamp;
use crate::policy::Window;
use crate::telemetry::defect;

const MINUTE_S: u64 = 60;
const SECOND_NS: u64 = 1_000_000_000;
/// Most groups of one check, of 16 bytes each: about a mebibyte.
const GROUPS_MAX: u32 = 65_536;

/// What the self-check of one limit has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SelfCheckFigures {
    /// Most starts in any sliding window during the last minute.
    pub window_peak: u32,
    /// Starts that came when their window was full already, since the start of the process.
    pub violations: u64,
}

/// Counts the starts of one limit.
#[derive(Debug)]
pub(super) struct SelfCheck {
    allowed: Window,
    /// The starts of the newest window, oldest first: the first of each group, and how many it holds.
    groups: VecDeque<(u64, u32)>,
    in_window: u32,
    /// Seconds of the last minute with their peaks; later ones are lower.
    peaks: VecDeque<(u64, u32)>,
    violations: u64,
}

impl SelfCheck {
    /// Expects at most this many starts in a window; has seen none.
    pub(super) const fn new(allowed: Window) -> Self {
        Self { allowed, groups: VecDeque::new(), in_window: 0, peaks: VecDeque::new(), violations: 0 }
    }

    /// From now on expects this; the starts so far keep counting.
    pub(super) fn expect(&mut self, allowed: Window) {
        self.allowed = allowed;
    }

    /// A request has started. Returns whether that was one too many.
    pub(super) fn started(&mut self, at: Timestamp) -> bool {
        let at_ns = at.as_nanos();
        // What is only counted is never too many, and may be counted as roughly as the largest limit.
        let calls = self.allowed.calls();
        let most_in_group = calls.map_or(GROUPS_MAX, |calls| calls.get().div_ceil(GROUPS_MAX));
        match self.groups.back_mut() {
            Some((_, count)) if *count < most_in_group => *count += 1,
            _ => {
                // Nearly always at the end; a start that is reported late is put where it belongs.
                let later = self.groups.iter().rev().take_while(|(first_ns, _)| *first_ns > at_ns).count();
                self.groups.insert(self.groups.len() - later, (at_ns, 1));
            }
        }
        self.in_window += 1;
        // A start may be reported late: the latest start, not the last report, says what has left.
        let newest_ns = self.groups.back().map_or(at_ns, |(first_ns, _)| (*first_ns).max(at_ns));
        self.forget(newest_ns);
        let is_too_many = calls.is_some_and(|calls| self.in_window > calls.get());
        self.violations += u64::from(is_too_many);
        self.note_peak(newest_ns / SECOND_NS);
        is_too_many
    }

    /// What it has seen until `now`.
    pub(super) fn seen(&self, now: Timestamp) -> SelfCheckFigures {
        let oldest_s = (now.as_nanos() / SECOND_NS + 1).saturating_sub(MINUTE_S);
        let recent = self.peaks.iter().find(|(second, _)| *second >= oldest_s);
        SelfCheckFigures { window_peak: recent.map_or(0, |(_, peak)| *peak), violations: self.violations }
    }

    fn forget(&mut self, newest_ns: u64) {
        let length_ns = u64::try_from(self.allowed.length().as_nanos()).unwrap_or(u64::MAX);
        while let Some((first_ns, count)) = self.groups.front().copied() {
            if first_ns.saturating_add(length_ns) > newest_ns {
                return;
            }
            defect!(unless count <= self.in_window, "a group of starts that was never counted");
            self.in_window = self.in_window.saturating_sub(count);
            self.groups.pop_front();
        }
    }

    fn note_peak(&mut self, second: u64) {
        // A peak that is not higher than a later one is never the highest of the last minute again.
        while self.peaks.back().is_some_and(|(_, peak)| *peak <= self.in_window) {
            self.peaks.pop_back();
        }
        if self.peaks.back().is_none_or(|(last, _)| *last != second) {
            self.peaks.push_back((second, self.in_window));
        }
        while self.peaks.front().is_some_and(|(first, _)| first + MINUTE_S <= second) {
            self.peaks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Timestamp {
        Timestamp::from_millis(100_000 + ms)
    }

    fn a_second(calls: i64) -> Window {
        Window::new(calls, 1000).expect("valid")
    }

    #[test]
    fn one_start_too_many_is_a_violation_and_the_peak_fades_after_a_minute() {
        let mut check = SelfCheck::new(a_second(2));
        for at in [0, 500, 1000, 1500] {
            check.started(ms(at));
        }
        assert_eq!(check.seen(ms(1500)), SelfCheckFigures { window_peak: 2, violations: 0 });
        assert!(check.started(ms(1999)));
        assert_eq!(check.seen(ms(2000)), SelfCheckFigures { window_peak: 3, violations: 1 });
        assert_eq!(check.seen(ms(60_999)), SelfCheckFigures { window_peak: 3, violations: 1 });
        assert_eq!(check.seen(ms(62_000)), SelfCheckFigures { window_peak: 0, violations: 1 });
    }

    #[test]
    fn the_peak_of_the_last_minute_is_the_highest_of_it() {
        let mut check = SelfCheck::new(a_second(9));
        for second in 0..70_u64 {
            let starts = if second == 3 { 5 } else { second % 4 };
            (0..starts).for_each(|n| assert!(!check.started(ms(second * 1000 + 100 * n))));
            let peak = check.seen(ms(second * 1000 + 900)).window_peak;
            assert_eq!(peak >= 5, (3..63).contains(&second), "second {second}: {peak}");
        }
    }

    #[test]
    fn starts_reported_out_of_order_count_where_they_belong() {
        let mut check = SelfCheck::new(a_second(2));
        for at in [0, 1002, 1001] {
            check.started(ms(at));
        }
        assert_eq!(check.seen(ms(1002)), SelfCheckFigures { window_peak: 2, violations: 0 });
    }

    #[test]
    fn a_lowered_limit_blames_only_starts_that_come_after() {
        let mut check = SelfCheck::new(a_second(3));
        (0..3).for_each(|at| assert!(!check.started(ms(at))));
        check.expect(a_second(1));
        assert_eq!(check.seen(ms(5)).violations, 0);
        check.started(ms(1001));
        assert_eq!(check.seen(ms(1001)).violations, 1, "the start at 2 ms is still in the window");
        check.started(ms(2001));
        assert_eq!(check.seen(ms(2001)).violations, 1);
    }

    #[test]
    fn large_limits_are_watched_in_bounded_memory() {
        let mut check = SelfCheck::new(a_second(1_000_000));
        for n in 0..1_000_100_u64 {
            check.started(ms(n / 2_000));
        }
        assert!(check.groups.len() <= GROUPS_MAX as usize + 8);
        assert_eq!(check.seen(ms(999)).violations, 100);
    }
}
