//! What a policy allows: the kinds of limits with their ranges.
//!
//! Must not know: how limits are kept, whom they govern.

mod kind;

use std::num::NonZeroU32;
use std::time::Duration;

pub(crate) use kind::LimitKind;

/// The limits of one policy; `None` means unlimited.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Limits {
    /// Starts per second, evenly spread; [`Pace::window`] gives the exact promise.
    pub pace: Option<Pace>,
    /// Starts in every sliding window; they may come all at once.
    pub window: Option<Window>,
    /// At most this many starts in each calendar period of UTC.
    pub quota: Option<Quota>,
    /// Most calls in flight at any time, of all events that the policy governs under one key.
    pub slots: Option<NonZeroU32>,
    /// The longest that an attempt may take; counts nothing.
    pub timeout: Option<Duration>,
    /// Nothing may start at all, whatever the other limits say.
    pub closed: bool,
}

impl Limits {
    /// Most calls in flight that a policy can name.
    pub const MAX_SLOTS: u32 = 65_536;
    /// The longest time an attempt can be given.
    pub const MAX_TIMEOUT: Duration = Duration::from_secs(600);

    /// Limits under which nothing may start.
    #[must_use]
    pub fn closed() -> Self {
        Self { closed: true, ..Self::default() }
    }

    /// Whether nothing is limited: neither starts, nor calls in flight, nor the time of an attempt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.metered().next().is_none() && self.slots.is_none() && self.timeout.is_none() && !self.closed
    }

    /// Those that count starts, in the order in which they are asked.
    pub fn metered(&self) -> impl Iterator<Item = Limit> + use<> {
        // All members are named, so that a new kind of limit cannot be forgotten here.
        let Self { pace, window, quota, slots: _, timeout: _, closed: _ } = self;
        let all = [pace.map(Limit::Pace), window.map(Limit::Window), quota.map(Limit::Quota)];
        all.into_iter().flatten()
    }

    /// The one of this kind, if there is one that counts starts.
    #[must_use]
    pub fn metered_by(&self, kind: LimitKind) -> Option<Limit> {
        self.metered().find(|limit| limit.kind() == kind)
    }
}

/// One limit that counts starts, of whatever kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Starts per second, with even gaps between them.
    Pace(Pace),
    /// Starts in every sliding window of a length.
    Window(Window),
    /// Starts in each calendar period of UTC.
    Quota(Quota),
}

impl Limit {
    /// The kind by which API and metrics name it.
    #[must_use]
    pub const fn kind(self) -> LimitKind {
        match self {
            Self::Pace(_) => LimitKind::Pace,
            Self::Window(_) => LimitKind::Window,
            Self::Quota(_) => LimitKind::Quota,
        }
    }

    /// Its numbers, whatever its kind.
    #[must_use]
    pub fn terms(self) -> LimitTerms {
        match self {
            Self::Pace(pace) => {
                LimitTerms { per_second: Some(pace.starts_per_second()), ..LimitTerms::default() }
            }
            Self::Window(window) => {
                LimitTerms { calls: window.calls, length: Some(window.length), ..LimitTerms::default() }
            }
            Self::Quota(quota) => {
                LimitTerms { calls: quota.calls, period: Some(quota.per), ..LimitTerms::default() }
            }
        }
    }

    /// Most starts in each of its windows or periods; `None` for a pace, which says how fast they may follow each
    /// other, and when they are only counted.
    #[must_use]
    pub const fn calls(self) -> Option<NonZeroU32> {
        match self {
            Self::Pace(_) => None,
            Self::Window(window) => window.calls,
            Self::Quota(quota) => quota.calls,
        }
    }
}

/// The numbers of one limit; `None` where they mean nothing for its kind.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LimitTerms {
    /// Most starts in its window or period; also `None` when they are only counted.
    pub calls: Option<NonZeroU32>,
    /// The length of its sliding window.
    pub length: Option<Duration>,
    /// Its calendar period in UTC.
    pub period: Option<Period>,
    /// Starts per second.
    pub per_second: Option<f64>,
}

/// Starts per second: a decimal from one per day to a million per second.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Pace(f64);

/// At most this many starts in every sliding window of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    calls: Option<NonZeroU32>,
    length: Duration,
}

/// At most this many starts per calendar period (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Starts; `None` counts them for the sake of policies that bound them, and limits nothing.
    pub calls: Option<NonZeroU32>,
    /// The calendar period (UTC) at whose beginning the count starts again.
    pub per: Period,
}

/// A calendar period in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// From second 0 of a minute.
    Minute,
    /// From minute 0 of an hour.
    Hour,
    /// From midnight in UTC.
    Day,
    /// From midnight of the first of the month.
    Month,
}

/// Why a limit is not valid: a number lies outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LimitError {
    /// The pace lies outside its range, or is not a number.
    #[error("a pace lies between one per day (0.0000116) and {} per second, not {given}", Pace::MAX)]
    Pace {
        /// The starts per second that were given.
        given: f64,
    },
    /// The number of calls lies outside its range.
    #[error("a limit allows between 1 and {} calls, not {given}", Window::MAX_CALLS)]
    Calls {
        /// The number of calls that was given.
        given: i64,
    },
    /// The window is too short or too long.
    #[error(
        "a window is between {} ms and {} ms (31 days) long, not {given_ms} ms",
        Window::MIN_LENGTH.as_millis(),
        Window::MAX_LENGTH.as_millis()
    )]
    Length {
        /// The length that was given, in milliseconds.
        given_ms: i64,
    },
}

impl Pace {
    /// The slowest pace: one start per day.
    pub const MIN: f64 = 1.0 / 86_400.0;
    /// The fastest pace, in starts per second.
    pub const MAX: f64 = 1_000_000.0;

    /// A pace of this many starts per second.
    ///
    /// # Errors
    /// [`LimitError::Pace`] when it is not a number or lies outside [`Pace::MIN`] to [`Pace::MAX`].
    pub fn per_second(starts: f64) -> Result<Self, LimitError> {
        if (Self::MIN..=Self::MAX).contains(&starts) {
            Ok(Self(starts))
        } else {
            Err(LimitError::Pace { given: starts })
        }
    }

    /// The starts per second, as they were given.
    #[must_use]
    pub const fn starts_per_second(self) -> f64 {
        self.0
    }

    /// The exact promise as a window: `k = ceil(N)` starts in every `k / N` seconds, that is N per second for a
    /// whole N, one per `1 / N` seconds below one, three per 1.2 s for 2.5.
    #[must_use]
    pub fn window(self) -> Window {
        let starts = self.0.ceil();
        debug_assert!((1.0..=Self::MAX).contains(&starts), "a pace lies within its range");
        // Exact for whole paces; else rounded up, so that the window is never too short. Paces end at a million.
        let length_ns = (starts / self.0 * 1e9).ceil() as u64;
        let calls = NonZeroU32::new(starts as u32).unwrap_or(NonZeroU32::MIN);
        Window { calls: Some(calls), length: Duration::from_nanos(length_ns) }
    }
}

impl Window {
    /// Most starts that one window may allow.
    pub const MAX_CALLS: u32 = 1_000_000_000;
    /// The shortest window: one millisecond, the unit of the stored form.
    pub const MIN_LENGTH: Duration = Duration::from_millis(1);
    /// The longest window: 31 days, as long as a month can be.
    pub const MAX_LENGTH: Duration = Duration::from_secs(31 * 86_400);

    /// A window of `length_ms` milliseconds in which at most `calls` start.
    ///
    /// # Errors
    /// [`LimitError::Calls`], [`LimitError::Length`].
    pub fn new(calls: i64, length_ms: i64) -> Result<Self, LimitError> {
        // A negative length becomes zero, which lies outside the range too.
        let length = u64::try_from(length_ms).map(Duration::from_millis).unwrap_or_default();
        if !(Self::MIN_LENGTH..=Self::MAX_LENGTH).contains(&length) {
            return Err(LimitError::Length { given_ms: length_ms });
        }
        Ok(Self { calls: Some(calls_in_range(calls)?), length })
    }

    /// Limits nothing: starts are counted for the sake of policies that bound what this one counts.
    #[must_use]
    pub const fn counting(length: Duration) -> Self {
        Self { calls: None, length }
    }

    /// Most starts in one window; `None` when they are only counted.
    #[must_use]
    pub const fn calls(self) -> Option<NonZeroU32> {
        self.calls
    }

    /// How long a window is; it slides, and does not begin at an edge of the clock.
    #[must_use]
    pub const fn length(self) -> Duration {
        self.length
    }
}

impl Quota {
    /// A quota of `calls` starts in each period.
    ///
    /// # Errors
    /// [`LimitError::Calls`].
    pub fn new(calls: i64, per: Period) -> Result<Self, LimitError> {
        Ok(Self { calls: Some(calls_in_range(calls)?), per })
    }

    /// Limits nothing: starts are counted for the sake of policies that bound what this one counts.
    #[must_use]
    pub const fn counting(per: Period) -> Self {
        Self { calls: None, per }
    }
}

impl Period {
    /// All periods, the shortest before the longer ones.
    pub const ALL: [Self; 4] = [Self::Minute, Self::Hour, Self::Day, Self::Month];

    /// The period that goes by this word; `None` for any other text.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.name() == word)
    }

    /// The word by which API, file and stored form name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

fn calls_in_range(calls: i64) -> Result<NonZeroU32, LimitError> {
    let given = u32::try_from(calls).ok().filter(|calls| *calls <= Window::MAX_CALLS);
    given.and_then(NonZeroU32::new).ok_or(LimitError::Calls { given: calls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_are_none_are_refused_with_their_range() {
        for pace in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-9, 1_000_001.0] {
            let refused = Pace::per_second(pace).expect_err("out of range").to_string();
            assert!(refused.contains("one per day"), "{refused}");
        }
        assert!(Pace::per_second(Pace::MIN).is_ok() && Pace::per_second(Pace::MAX).is_ok());
        for calls in [0, -1, i64::MIN, 1_000_000_001] {
            assert_eq!(Window::new(calls, 1000), Err(LimitError::Calls { given: calls }));
            assert_eq!(Quota::new(calls, Period::Day), Err(LimitError::Calls { given: calls }));
        }
        for length in [0, -5, 31 * 86_400_000 + 1, i64::MAX] {
            assert_eq!(Window::new(1, length), Err(LimitError::Length { given_ms: length }));
        }
    }

    #[test]
    fn a_pace_promises_whole_starts_in_an_exact_window() {
        let promise = |pace: f64| {
            let window = Pace::per_second(pace).expect("valid").window();
            (window.calls().map_or(0, NonZeroU32::get), window.length().as_micros())
        };
        assert_eq!(promise(5000.0), (5000, 1_000_000));
        assert_eq!(promise(0.5), (1, 2_000_000));
        assert_eq!(promise(2.5), (3, 1_200_000));
        assert_eq!(promise(Pace::MIN), (1, 86_400_000_000));
    }
}
