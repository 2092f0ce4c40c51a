//! The calendar periods that quotas count in, in UTC.
//!
//! Must not know: what is counted.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Utc};

use crate::clock::Timestamp;
use crate::policy::{Period, Quota};

/// A calendar period: from its start to just before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::limit) struct Span {
    pub(in crate::limit) start: Timestamp,
    pub(in crate::limit) end: Timestamp,
}

/// When the calendar period of a quota ends in which `now` lies.
#[must_use]
pub(crate) fn period_end(quota: Quota, now: Timestamp) -> Timestamp {
    Span::of(quota.per, now).end
}

impl Span {
    /// The period in which `now` lies.
    pub(in crate::limit) fn of(per: Period, now: Timestamp) -> Self {
        let seconds = |length: u64| {
            // Days of UTC have 86 400 s each: the clock of the system counts no leap seconds.
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
    use super::*;

    fn at(text: &str) -> Timestamp {
        let date: DateTime<Utc> = text.parse().expect("a date");
        Timestamp::from_millis(u64::try_from(date.timestamp_millis()).expect("after 1970"))
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
}
