//! A quota: at most N starts per calendar period in UTC, over restarts and power cuts too.
//!
//! Must not know: sliding windows, calls in flight, where the record is.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Utc};

use crate::clock::Timestamp;
use crate::limit::history::record::Consumed;
use crate::limit::meter::reserve::{Chunk, Ready, ReserveAhead};
use crate::limit::stated::Stated;
use crate::policy::{Period, Quota};

/// Of a bound that another policy sets, at most this part is put on record ahead.
const AHEAD_SHARE: u32 = 16;

/// A calendar period: from its start to just before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::limit) struct Span {
    pub(in crate::limit) start: Timestamp,
    pub(in crate::limit) end: Timestamp,
}

/// One quota and what was used of it in the present period.
#[derive(Debug)]
pub(in crate::limit) struct QuotaMeter {
    quota: Quota,
    span: Span,
    used: u32,
    /// Of these, starts of earlier processes.
    restored: u32,
    reserve: ReserveAhead,
    /// The most that is put on record ahead of its use.
    ahead_max: u32,
    /// What was consumed before then may be missing from the record.
    unknown_before: Timestamp,
    /// The period whose usage an operator has stated.
    stated: Option<Span>,
    /// At least so many starts of the present period are on record.
    on_record: u32,
    /// How many times usage was stated: starts that were taken before are not given back.
    statements: u32,
}

/// What counts of a period, as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::limit) enum QuotaCount {
    /// What was used.
    Plain(Consumed),
    /// The same, after an operator's statement.
    Stated(Stated),
}

/// A start that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::limit) struct QuotaClaim {
    /// The period that it counts in.
    period: Timestamp,
    statements: u32,
}

impl QuotaMeter {
    /// Nothing is used. What was consumed before `unknown_before` may be missing from the record: a period that began
    /// earlier counts as spent, unless an operator states what is used.
    pub(in crate::limit) fn new(quota: Quota, unknown_before: Timestamp, now: Timestamp) -> Self {
        Self {
            quota,
            span: Span::of(quota.per, now),
            used: 0,
            restored: 0,
            reserve: ReserveAhead::new(),
            ahead_max: u32::MAX,
            unknown_before,
            stated: None,
            on_record: 0,
            statements: 0,
        }
    }

    /// The quota.
    pub(in crate::limit) const fn quota(&self) -> Quota {
        self.quota
    }

    /// Another one; what was used counts against it, also when the period is another. Returns what has to be put on
    /// record for that.
    pub(in crate::limit) fn allow(&mut self, quota: Quota, now: Timestamp) -> Option<Consumed> {
        self.turn(now);
        let end = self.span.end;
        if quota.per != self.quota.per {
            self.span = Span::of(quota.per, now);
            self.reserve.clear();
            // Nothing was stated about the rest of another period.
            self.stated = None;
        }
        self.quota = quota;
        let used = Consumed { count: self.used, at: now, over_at: self.span.end };
        (self.span.end > end && self.used > 0).then_some(used)
    }

    /// Another policy allows only so many of these starts: what a kill forfeits must not be much of that.
    pub(in crate::limit) fn bound(&mut self, calls: u32) {
        self.ahead_max = self.ahead_max.min((calls / AHEAD_SHARE).max(1));
    }

    /// Counts what was consumed before, in this period, in a longer one that goes on, or in a shorter one within this.
    /// Returns what has to be put on record anew because it counts longer now.
    pub(in crate::limit) fn restore(&mut self, before: &Consumed) -> Option<Consumed> {
        if before.over_at < self.span.end && before.at < self.span.start {
            return None;
        }
        self.used = self.used.saturating_add(before.count);
        self.restored = self.restored.saturating_add(before.count);
        self.on_record = self.on_record.saturating_add(before.count);
        (before.over_at < self.span.end).then_some(Consumed { over_at: self.span.end, ..*before })
    }

    /// Whether a start is possible at `now`; changes nothing that counts.
    pub(in crate::limit) fn ready(&mut self, now: Timestamp) -> Ready {
        if self.used(now) >= self.quota.calls.get() {
            return Ready::At(self.span.end);
        }
        self.reserve.ready(now)
    }

    /// Takes a start that [`QuotaMeter::ready`] has just found possible.
    pub(in crate::limit) fn take(&mut self) -> QuotaClaim {
        self.used += 1;
        // All of a period are good until its end.
        let _ = self.reserve.take();
        QuotaClaim { period: self.span.start, statements: self.statements }
    }

    /// Takes an unconfirmed start back.
    pub(in crate::limit) fn put_back(&mut self, claim: QuotaClaim) {
        if claim.period == self.span.start && claim.statements == self.statements {
            self.used = self.used.saturating_sub(1);
            self.reserve.put_back(self.span.end);
        }
    }

    /// What is to be put on record next, if anything is.
    pub(in crate::limit) fn reserve(&mut self, now: Timestamp) -> Option<Chunk> {
        let most = self.quota.calls.get().saturating_sub(self.used(now)).min(self.ahead_max);
        self.reserve.reserve(most, self.span.end, now)
    }

    /// That was put on record, or could not be.
    pub(in crate::limit) fn confirmed(&mut self, chunk: Chunk, is_recorded: bool, now: Timestamp) {
        if is_recorded && chunk.until == self.span.end {
            self.on_record = self.on_record.saturating_add(chunk.count);
        }
        self.reserve.confirmed(chunk, is_recorded, now);
    }

    /// Starts used in the present period: all of them while that is unknown.
    pub(in crate::limit) fn used(&mut self, now: Timestamp) -> u32 {
        self.turn(now);
        if self.is_unknown() { self.used.max(self.quota.calls.get()) } else { self.used }
    }

    /// What counts of the present period.
    pub(in crate::limit) fn counted(&mut self, now: Timestamp) -> QuotaCount {
        self.turn(now);
        let Span { start, end } = self.span;
        let consumed = Consumed { count: self.used, at: start, over_at: end };
        if self.is_stated(now) {
            let at = Timestamp::from_millis(now.ceil_millis());
            return QuotaCount::Stated(Stated {
                replaces: self.on_record,
                used: self.used,
                at,
                over_at: end,
            });
        }
        QuotaCount::Plain(consumed)
    }

    /// Whether an operator has stated what is used of the present period.
    pub(in crate::limit) fn is_stated(&self, now: Timestamp) -> bool {
        self.stated == Some(self.span) && now < self.span.end
    }

    /// What is used, and the statement that so much is.
    pub(in crate::limit) fn usage_to_state(
        &mut self,
        used: u32,
        at: Timestamp,
        now: Timestamp,
    ) -> (u32, Stated) {
        self.turn(now);
        (self.used, Stated { replaces: self.on_record, used, at, over_at: self.span.end })
    }

    /// Counts what an operator has stated of this period when `used_then` were used, and what was used since.
    pub(in crate::limit) fn state(&mut self, stated: &Stated, used_then: u32, now: Timestamp) {
        self.turn(now);
        let since = self.used.saturating_sub(used_then);
        self.count_stated(stated, since);
        self.reserve.clear();
    }

    /// Counts what an operator had stated before this process, when all else of the record is restored.
    pub(in crate::limit) fn restore_stated(&mut self, stated: &Stated) {
        self.count_stated(stated, self.on_record.saturating_sub(stated.replaces));
    }

    fn count_stated(&mut self, stated: &Stated, since: u32) {
        if stated.over_at != self.span.end || stated.at < self.span.start {
            return;
        }
        self.used = stated.used.saturating_add(since);
        self.on_record = self.on_record.max(stated.replaces);
        self.stated = Some(self.span);
        self.statements += 1;
    }

    fn is_unknown(&self) -> bool {
        self.unknown_before > self.span.start && self.stated != Some(self.span)
    }

    /// The present period.
    pub(in crate::limit) const fn span(&self) -> Span {
        self.span
    }

    /// Whether an answer is awaited.
    pub(in crate::limit) const fn is_awaited(&self) -> bool {
        self.reserve.is_awaited()
    }

    /// Begins the next period when it is time. A clock that goes back over a boundary does not bring a budget back.
    fn turn(&mut self, now: Timestamp) {
        if now >= self.span.end {
            self.span = Span::of(self.quota.per, now);
            (self.used, self.restored, self.on_record) = (0, 0, 0);
            self.reserve.clear();
        }
    }

    /// The line of time has leapt to `now`: what was started in this process, or `everything`, counts in the period there.
    /// Returns whether that is another period.
    pub(in crate::limit) fn leap(&mut self, everything: bool, now: Timestamp) -> bool {
        if now < self.span.end {
            return false;
        }
        let (used, restored) = if everything {
            (self.used, self.restored)
        } else {
            (self.used - self.restored.min(self.used), 0)
        };
        self.turn(now);
        // The caller puts that on record.
        (self.used, self.restored, self.on_record) = (used, restored, used);
        true
    }
}

/// When the calendar period of a quota ends in which `now` lies.
#[must_use]
pub fn period_end(quota: Quota, now: Timestamp) -> Timestamp {
    Span::of(quota.per, now).end
}

impl Span {
    /// The period in which `now` lies.
    pub(in crate::limit) fn of(per: Period, now: Timestamp) -> Self {
        let seconds = |length: u64| {
            let start_s = now.as_millis() / 1000 / length * length;
            Self {
                start: Timestamp::from_millis(start_s * 1000),
                end: Timestamp::from_millis((start_s + length) * 1000),
            }
        };
        match per {
            Period::Minute => seconds(60),
            Period::Hour => seconds(3600),
            Period::Day => seconds(86_400),
            // The calendar of chrono reaches further than our clock.
            Period::Month => Self::month(now).unwrap_or_else(|| seconds(86_400)),
        }
    }

    fn month(now: Timestamp) -> Option<Self> {
        let today =
            DateTime::<Utc>::from_timestamp_millis(i64::try_from(now.as_millis()).ok()?)?.date_naive();
        let first = today.checked_sub_days(Days::new(u64::from(today.day0())))?;
        Some(Self { start: midnight(first)?, end: midnight(first.checked_add_months(Months::new(1))?)? })
    }
}

fn midnight(date: NaiveDate) -> Option<Timestamp> {
    let millis = date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis();
    u64::try_from(millis).ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(text: &str) -> Timestamp {
        let date: DateTime<Utc> = text.parse().expect("a date");
        Timestamp::from_millis(u64::try_from(date.timestamp_millis()).expect("after 1970"))
    }

    fn quota(calls: i64, per: Period) -> Quota {
        Quota::new(calls, per).expect("valid")
    }

    fn recorded(limit: &mut QuotaMeter, now: Timestamp) {
        if let Some(chunk) = limit.reserve(now) {
            limit.confirmed(chunk, true, now);
        }
    }

    fn start(limit: &mut QuotaMeter, now: Timestamp) -> bool {
        recorded(limit, now);
        limit.ready(now) == Ready::Now && limit.take().period <= now
    }

    #[test]
    fn periods_are_those_of_the_calendar_in_utc() {
        for (per, now, start, end) in [
            (Period::Minute, "2026-11-25T13:07:59.999Z", "2026-11-25T13:07:00Z", "2026-11-25T13:08:00Z"),
            (Period::Hour, "2026-11-25T13:00:00Z", "2026-11-25T13:00:00Z", "2026-11-25T14:00:00Z"),
            (Period::Day, "2026-12-31T23:59:59Z", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"),
            (Period::Month, "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Period::Month, "2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(Span::of(per, at(now)), Span { start: at(start), end: at(end) }, "{per:?} {now}");
        }
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
        assert_eq!(limit.allow(quota(5, Period::Day), noon).map(|used| used.count), Some(4));
        assert!(start(&mut limit, noon) && !start(&mut limit, noon));
        limit.put_back(QuotaClaim { period: at("2026-11-25T00:00:00Z"), statements: 0 });
        assert!(start(&mut limit, noon) && !start(&mut limit, noon));

        let mut of_day = QuotaMeter::new(quota(5, Period::Day), Timestamp::ZERO, noon);
        let again = of_day.restore(&before("2026-11-25T12:00:00Z", "2026-11-25T13:00:00Z"));
        assert_eq!(again.map(|used| used.over_at), Some(at("2026-11-26T00:00:00Z")), "it counts longer now");
        assert_eq!(of_day.used(noon), 4);
    }
}
