//! A quota: at most N starts per calendar period in UTC, over restarts and power cuts too.
//!
//! Must not know: sliding windows, calls in flight, where the record is.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limit::STALE_AFTER;
use crate::limit::figures::Counter;
use crate::limit::forecast::LimitOutlook;
use crate::limit::history::record::{Consumed, RecordedCount};
use crate::limit::meter::calendar::Span;
use crate::limit::meter::reserve::{Chunk, Ready, ReserveAhead};
use crate::limit::stated::Stated;
use crate::policy::{LimitKind, Period, Quota};
use crate::telemetry::defect;

/// Of a bound that another policy sets, at most this part is put on record ahead.
// A sixteenth: what a kill forfeits of such a bound stays about 6 %.
const AHEAD_SHARE: u32 = 16;

/// One quota and what was used of it in the present period.
#[derive(Debug)]
pub(in crate::limit) struct QuotaMeter {
    quota: Quota,
    span: Span,
    used: u32,
    /// Of these, starts of earlier processes.
    restored: u32,
    reserve: ReserveAhead,
    /// The most that is put on record ahead of its use, where a bound asks for little.
    ahead_max: Option<u32>,
    /// What was consumed before then may be missing from the record.
    unknown_before: Timestamp,
    /// The period whose usage an operator has stated.
    stated: Option<Span>,
    /// At least this many starts of the present period are on record.
    on_record: u32,
    /// How many times usage was stated: starts that were taken before are not given back.
    statements: u32,
}

/// A start that was taken and that may be given back while its count applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::limit) struct QuotaClaim {
    /// The period that it counts in.
    period: Timestamp,
    statements: u32,
}

impl QuotaMeter {
    /// Nothing is used. What was consumed before `unknown_before` may be missing from the record: a period that began
    /// earlier counts as spent, unless an operator states what is used.
    pub(super) fn new(quota: Quota, unknown_before: Timestamp, now: Timestamp) -> Self {
        Self {
            quota,
            span: Span::of(quota.per, now),
            used: 0,
            restored: 0,
            reserve: ReserveAhead::new(),
            ahead_max: None,
            unknown_before,
            stated: None,
            on_record: 0,
            statements: 0,
        }
    }

    /// Another one; what was used counts against it, also when the period is another. Returns what has to be put on
    /// record for that.
    pub(super) fn change(&mut self, quota: Quota, now: Timestamp) -> Option<Consumed> {
        self.turn(now);
        let end = self.span.end;
        if quota.per != self.quota.per {
            self.span = Span::of(quota.per, now);
            // What is on record ahead is so until the end of the other period.
            self.reserve.clear();
            // Nothing was stated about the rest of another period.
            self.stated = None;
        }
        self.quota = quota;
        let used = Consumed { count: self.used, at: now, over_at: self.span.end };
        (self.span.end > end && self.used > 0).then_some(used)
    }

    /// Another policy allows only this many of these starts: what a kill forfeits must not be much of that.
    pub(super) fn bound(&mut self, most: u32) {
        let ahead = (most / AHEAD_SHARE).max(1);
        self.ahead_max = Some(self.ahead_max.map_or(ahead, |before| before.min(ahead)));
    }

    /// The most starts of one period.
    pub(super) const fn limit(&self) -> Option<NonZeroU32> {
        self.quota.calls
    }

    /// How many more starts the present period may hold; none while nobody knows what was used of it.
    pub(super) fn room(&mut self, now: Timestamp) -> Option<u32> {
        match self.limit() {
            Some(calls) => Some(calls.get().saturating_sub(self.used(now))),
            None => self.has_unknown_use(now).then_some(0),
        }
    }

    /// The end of the present period; nothing of a quota comes free before.
    pub(super) fn frees_at(&mut self, _now: Timestamp) -> Timestamp {
        self.span.end
    }

    /// How many more starts the present period may hold until it holds this many.
    pub(super) fn room_below(&mut self, most: u32, now: Timestamp) -> u32 {
        most.saturating_sub(self.used_of(most, now))
    }

    /// When fewer than this many starts count: in the next period.
    pub(super) fn below_at(&mut self, _most: u32, _now: Timestamp) -> Timestamp {
        self.span.end
    }

    /// Counts what was consumed before, in this period, in a longer one that goes on, or in a shorter one within this.
    /// Returns what has to be put on record anew because it counts longer now.
    pub(super) fn restore(&mut self, before: &Consumed) -> Option<Consumed> {
        // It was over before this period began. The end alone does not say: a shorter period within this one ends
        // earlier.
        if before.over_at < self.span.end && before.at < self.span.start {
            return None;
        }
        self.used = self.used.saturating_add(before.count);
        self.restored = self.restored.saturating_add(before.count);
        self.on_record = self.on_record.saturating_add(before.count);
        (before.over_at < self.span.end).then_some(Consumed { over_at: self.span.end, ..*before })
    }

    /// Whether a start is possible at `now`; changes nothing that counts.
    pub(super) fn ready(&mut self, now: Timestamp) -> Ready {
        if self.room(now) == Some(0) {
            return Ready::At(self.span.end);
        }
        self.reserve.ready(now)
    }

    /// Takes a start that [`QuotaMeter::ready`] has just found possible.
    pub(super) fn take(&mut self) -> QuotaClaim {
        defect!(unless self.limit().is_none_or(|calls| self.used < calls.get()), "a start under a quota that is used up");
        self.used += 1;
        // All of a period are good until its end.
        let good_until = self.reserve.take();
        defect!(unless good_until.is_some(), "a start that is made before it is on record");
        QuotaClaim { period: self.span.start, statements: self.statements }
    }

    /// Takes an unconfirmed start back, if it still counts.
    pub(super) fn put_back(&mut self, claim: QuotaClaim) {
        // Else a new period has begun, or a statement has replaced the count: the start is in neither.
        if claim.period == self.span.start && claim.statements == self.statements {
            self.used = self.used.saturating_sub(1);
            self.reserve.put_back(self.span.end);
        }
    }

    /// All starts are put on record before they are made.
    pub(super) const fn is_recorded(&self) -> bool {
        true
    }

    /// What is to be put on record next, if anything is, and how it stands there.
    pub(super) fn reserve(&mut self, now: Timestamp) -> Option<(Chunk, Consumed)> {
        let most = self.room(now).into_iter().chain(self.ahead_max).min();
        let chunk = self.reserve.reserve(most, self.span.end, now)?;
        // A start at the last moment of its chunk may leave a little later.
        Some((chunk, Consumed { count: chunk.count, at: chunk.until + STALE_AFTER, over_at: chunk.until }))
    }

    /// That was put on record, or could not be.
    pub(super) fn confirmed(&mut self, chunk: Chunk, is_recorded: bool, now: Timestamp) {
        // A chunk of the period before may be confirmed after its end.
        if is_recorded && chunk.until == self.span.end {
            self.on_record = self.on_record.saturating_add(chunk.count);
        }
        self.reserve.confirmed(chunk, is_recorded, now);
    }

    /// Starts used in the present period: all of them while that is unknown.
    fn used(&mut self, now: Timestamp) -> u32 {
        self.used_of(0, now)
    }

    /// The same under a limit of `most`, which counts if the quota has none itself.
    fn used_of(&mut self, most: u32, now: Timestamp) -> u32 {
        let calls = self.quota.calls.map_or(most, NonZeroU32::get);
        if self.has_unknown_use(now) { self.used.max(calls) } else { self.used }
    }

    fn has_unknown_use(&mut self, now: Timestamp) -> bool {
        self.turn(now);
        self.is_unknown()
    }

    /// What counts of the present period, for the record or for memory.
    pub(super) fn counted(&mut self, now: Timestamp, note: &mut dyn FnMut(RecordedCount)) {
        self.turn(now);
        let Span { start, end } = self.span;
        if self.is_stated(now) {
            // The record keeps whole milliseconds; rounded down it would precede starts that it takes in.
            let at = Timestamp::from_millis(now.ceil_millis());
            let (replaces, used) = (self.on_record, self.used);
            note(RecordedCount::Stated(Stated { replaces, used, at, over_at: end }));
        } else if self.used > 0 {
            note(RecordedCount::Starts(Consumed { count: self.used, at: start, over_at: end }));
        }
    }

    /// It is kept over the end of its limiter, as one sum.
    pub(super) fn idle_at(&self) -> Option<Timestamp> {
        self.reserve.is_awaited().then_some(Timestamp::MAX)
    }

    /// What it means for calls to come; `None` when it limits nothing.
    pub(super) fn outlook(&mut self, now: Timestamp) -> Option<LimitOutlook> {
        let used = self.used(now);
        outlook(self.quota, used, self.span.end)
    }

    /// Its state under a limit of `most`.
    pub(super) fn counter(&mut self, most: u32, now: Timestamp) -> Counter {
        let used = self.used_of(most, now);
        Counter {
            kind: LimitKind::Quota,
            calls: most,
            length: self.span.end.since(self.span.start),
            used,
            window_peak: used,
            violations: 0,
            resets_at: Some(self.span.end),
        }
    }

    /// Whether an operator has stated what is used of the present period.
    pub(super) fn is_stated(&self, now: Timestamp) -> bool {
        self.stated == Some(self.span) && now < self.span.end
    }

    /// What is used, and the statement that `used` starts are.
    pub(super) fn usage_to_state(&mut self, used: u32, at: Timestamp, now: Timestamp) -> (u32, Stated) {
        self.turn(now);
        (self.used, Stated { replaces: self.on_record, used, at, over_at: self.span.end })
    }

    /// Counts what an operator has stated of this period when `used_then` were used, and what was used since.
    pub(super) fn state(&mut self, stated: &Stated, used_then: u32, now: Timestamp) {
        self.turn(now);
        let since = self.used.saturating_sub(used_then);
        self.count_stated(stated, since);
        self.reserve.clear();
    }

    /// Counts what an operator had stated before this process, when all else of the record is restored.
    pub(super) fn restore_stated(&mut self, stated: &Stated) {
        self.count_stated(stated, self.on_record.saturating_sub(stated.replaces));
    }

    fn count_stated(&mut self, stated: &Stated, since: u32) {
        if stated.over_at != self.span.end || stated.at < self.span.start {
            return;
        }
        self.used = stated.used.saturating_add(since);
        // The statement says that this many starts were on record, even if their lines were not found again.
        self.on_record = self.on_record.max(stated.replaces);
        self.stated = Some(self.span);
        self.statements += 1;
    }

    fn is_unknown(&self) -> bool {
        self.unknown_before > self.span.start && self.stated != Some(self.span)
    }

    /// Begins the next period when it is time. A clock that goes back over a boundary does not bring a budget back.
    fn turn(&mut self, now: Timestamp) {
        if now >= self.span.end {
            self.span = Span::of(self.quota.per, now);
            (self.used, self.restored, self.on_record) = (0, 0, 0);
            self.reserve.clear();
        }
    }

    /// The line of time has leapt to `now`: what was started in this process, or `everything`, counts in the period
    /// there. Returns whether that is another period: what counts in the same one is on record.
    pub(super) fn leap(&mut self, everything: bool, now: Timestamp) -> bool {
        if now < self.span.end {
            return false;
        }
        let (used, restored) = if everything {
            (self.used, self.restored)
        } else {
            // A statement may have set `used` below what was restored.
            (self.used - self.restored.min(self.used), 0)
        };
        self.turn(now);
        // The caller puts that on record.
        (self.used, self.restored, self.on_record) = (used, restored, used);
        true
    }
}

/// Until when a quota counts as spent because what was consumed before `unknown_before` is not known.
pub(super) fn spent_until(quota: Quota, unknown_before: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let span = Span::of(quota.per, now);
    (unknown_before > span.start).then_some(span.end)
}

/// Of a quota of which `used` are used in a period that ends then; `None` when it limits nothing.
pub(in crate::limit) fn outlook(quota: Quota, used: u32, end: Timestamp) -> Option<LimitOutlook> {
    let calls = quota.calls?.get();
    let every = Duration::from_secs(match quota.per {
        Period::Minute => 60,
        Period::Hour => 3600,
        Period::Day => 86_400,
        // An estimate: how long the months to come are does not matter for a forecast.
        Period::Month => 30 * 86_400,
    });
    let room = u64::from(calls.saturating_sub(used));
    let portion = u64::from(calls);
    Some(LimitOutlook { kind: LimitKind::Quota, room, first_at: end, portion, every, slides: false })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, Utc};

    use super::*;

    fn at(text: &str) -> Timestamp {
        let date: DateTime<Utc> = text.parse().expect("a date");
        Timestamp::from_millis(u64::try_from(date.timestamp_millis()).expect("after 1970"))
    }

    fn quota(calls: i64, per: Period) -> Quota {
        Quota::new(calls, per).expect("valid")
    }

    fn recorded(limit: &mut QuotaMeter, now: Timestamp) {
        if let Some((chunk, _)) = limit.reserve(now) {
            limit.confirmed(chunk, true, now);
        }
    }

    fn start(limit: &mut QuotaMeter, now: Timestamp) -> bool {
        recorded(limit, now);
        limit.ready(now) == Ready::Now && limit.take().period <= now
    }

    #[test]
    fn a_period_holds_its_quota_and_the_next_one_begins_anew() {
        let begin = at("2026-11-25T13:00:10Z");
        let mut limit = QuotaMeter::new(quota(5, Period::Minute), Timestamp::ZERO, begin);
        assert_eq!(limit.ready(begin), Ready::OnceRecorded);
        let started = (0..9).filter(|_| start(&mut limit, begin)).count();
        assert_eq!((started, limit.ready(begin)), (5, Ready::At(at("2026-11-25T13:01:00Z"))));
        assert!(start(&mut limit, at("2026-11-25T13:01:00Z")));
        assert_eq!(limit.used(at("2026-11-25T13:01:01Z")), 1);
    }

    #[test]
    fn a_clock_that_goes_back_brings_no_budget_back() {
        let noon = at("2026-11-25T12:00:00Z");
        let mut limit = QuotaMeter::new(quota(1, Period::Hour), Timestamp::ZERO, noon);
        assert!(start(&mut limit, noon));
        assert!(!start(&mut limit, noon - Duration::from_secs(5)));
        assert!(!start(&mut limit, noon + Duration::from_secs(5)));
    }

    #[test]
    fn edits_and_restarts_keep_what_was_used() {
        let noon = at("2026-11-25T12:00:00Z");
        let mut limit = QuotaMeter::new(quota(10, Period::Hour), Timestamp::ZERO, noon);
        let before = |from: &str, over: &str| Consumed { count: 4, at: at(from), over_at: at(over) };
        assert_eq!(limit.restore(&before("2026-11-25T12:00:00Z", "2026-11-25T13:00:00Z")), None);
        assert_eq!(limit.restore(&before("2026-11-25T11:00:00Z", "2026-11-25T12:00:00Z")), None);
        assert_eq!(limit.used(noon), 4, "an earlier period is over");
        assert_eq!(limit.change(quota(5, Period::Day), noon).map(|used| used.count), Some(4));
        assert!(start(&mut limit, noon) && !start(&mut limit, noon));
        limit.put_back(QuotaClaim { period: at("2026-11-25T00:00:00Z"), statements: 0 });
        assert!(start(&mut limit, noon) && !start(&mut limit, noon));

        let mut of_day = QuotaMeter::new(quota(5, Period::Day), Timestamp::ZERO, noon);
        let again = of_day.restore(&before("2026-11-25T12:00:00Z", "2026-11-25T13:00:00Z"));
        assert_eq!(again.map(|used| used.over_at), Some(at("2026-11-26T00:00:00Z")), "it counts longer now");
        assert_eq!(of_day.used(noon), 4);
    }
}
