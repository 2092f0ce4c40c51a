//! Time. The only file that reads clocks: everything else is handed a [`Timestamp`] or a [`Clock`].
//!
//! A [`Timestamp`] lies on a *steady* line: it starts at the wall time of the anchor and advances with the
//! boot clock, which also counts suspended time. A stepped wall clock therefore ages nothing, fires nothing
//! early and stalls nothing. Wall time is asked for by name ([`Clock::wall`]) at the doors alone.
//!
//! Must not know: anything of tidegate.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A moment on the steady line, in nanoseconds since the Unix epoch. Arithmetic saturates: no clock step
/// or absurd duration can panic or wrap.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The epoch: before every other moment.
    pub const ZERO: Self = Self(0);
    /// After every other moment.
    pub const MAX: Self = Self(u64::MAX);

    /// From nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From milliseconds since the Unix epoch; saturates in the year 2554.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This moment rounded up to a whole millisecond: what a millisecond column must hold so that nothing
    /// happens early.
    #[must_use]
    pub const fn ceil_millis(self) -> u64 {
        self.0.div_ceil(1_000_000)
    }

    /// Reads an RFC 3339 date; one before the epoch or beyond the last moment counts as that.
    #[must_use]
    pub fn parse(date: &str) -> Option<Self> {
        let date = chrono::DateTime::parse_from_rfc3339(date).ok()?;
        Some(Self(match date.timestamp_nanos_opt() {
            Some(nanos) => u64::try_from(nanos).unwrap_or(0),
            None if date.timestamp() < 0 => 0,
            None => u64::MAX,
        }))
    }

    /// The time from `earlier` to here; zero when `earlier` lies later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(nanos(rhs)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(rhs)))
    }
}

/// RFC 3339 in UTC with milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.as_millis()).unwrap_or(i64::MAX);
        match chrono::DateTime::from_timestamp_millis(millis) {
            Some(time) => write!(f, "{}", time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
            None => f.write_str("beyond the calendar"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Where time comes from. Cheap to clone; clones of a manual clock share their hand.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// `offset_ns` turns the boot clock into nanoseconds since the epoch.
    System {
        offset_ns: Arc<AtomicU64>,
    },
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock, anchored at the present wall time.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System { offset_ns: Arc::new(AtomicU64::new(wall_ns().saturating_sub(boot_ns()))) })
    }

    /// Moves a clock that stands before `floor` up to it. The store does so with the newest moment on record
    /// when it is opened, so that a wall clock set back between two runs cannot make ids or ages run backwards.
    pub fn raise_to(&self, floor: Timestamp) {
        match &self.0 {
            Source::System { offset_ns } => {
                offset_ns.fetch_max(floor.as_nanos().saturating_sub(boot_ns()), Ordering::AcqRel);
            }
            Source::Manual(hand) => {
                hand.fetch_max(floor.as_nanos(), Ordering::AcqRel);
            }
        }
    }

    /// A clock that stands at `start` until it is moved: for tests and simulations.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(start.as_nanos()))))
    }

    /// The present moment on the steady line.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { offset_ns } => {
                Timestamp(offset_ns.load(Ordering::Acquire).saturating_add(boot_ns()))
            }
            Source::Manual(hand) => Timestamp(hand.load(Ordering::Acquire)),
        }
    }

    /// The present wall time, for dates that people give and read. A manual clock has no other time.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        match &self.0 {
            Source::System { .. } => Timestamp(wall_ns()),
            Source::Manual(_) => self.now(),
        }
    }

    /// Moves a manual clock forward; a system clock moves by itself and ignores this.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(hand) = &self.0 {
            hand.fetch_add(nanos(by), Ordering::AcqRel);
        }
    }
}

fn boot_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    secs.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

fn wall_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    // A wall clock before 1970 counts as 1970: the anchor's floor takes over.
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    secs.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Timestamp::MAX + Duration::from_secs(1), Timestamp::MAX);
        assert_eq!(Timestamp::ZERO - Duration::from_secs(1), Timestamp::ZERO);
        assert_eq!(Timestamp::ZERO.since(Timestamp::MAX), Duration::ZERO);
    }

    #[test]
    fn a_raised_clock_stands_at_its_floor_and_goes_on() {
        let clock = Clock::system();
        let floor = clock.now() + Duration::from_secs(3600);
        clock.clone().raise_to(floor);
        let first = clock.now();
        assert!(first >= floor);
        assert!(clock.now() >= first);
        clock.raise_to(Timestamp::ZERO);
        assert!(clock.now() >= first);
    }

    #[test]
    fn clones_of_a_manual_clock_share_their_hand() {
        let clock = Clock::manual(Timestamp::from_millis(5));
        clock.clone().advance(Duration::from_millis(2));
        assert_eq!(clock.now(), Timestamp::from_millis(7));
        assert_eq!(clock.now().to_string(), "1970-01-01T00:00:00.007Z");
    }

    #[test]
    fn milliseconds_round_up_when_nothing_may_be_early() {
        assert_eq!(Timestamp::from_nanos(1_000_001).ceil_millis(), 2);
        assert_eq!(Timestamp::from_nanos(1_000_000).ceil_millis(), 1);
    }
}
