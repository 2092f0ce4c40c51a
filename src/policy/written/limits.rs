//! The limits among the members of a policy: how each of them is read and written. A new one has its place here alone.
//!
//! Must not know: what else a policy says.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::policy::written::given::quoted;
use crate::policy::written::reader::PolicyReader;
use crate::policy::written::{Given, Members};
use crate::policy::{Limits, Pace, Period, Quota, Window};

/// The members that a policy needs one of, in the order in which they are written.
pub(super) const MEMBERS: [&str; 5] = ["pace", "window", "quota", "slots", "timeout_ms"];

/// The members that say these limits.
pub(super) fn members_of(limits: &Limits) -> impl Iterator<Item = (&'static str, Given)> + use<> {
    let Limits { pace, window, quota, slots, timeout, closed: _ } = limits;
    let table = |members: [(&str, Given); 2]| {
        Given::Table(Members(members.map(|(name, given)| (name.to_owned(), given)).to_vec()))
    };
    // Nobody can write one that only counts: it is left out, and the comparison in `write` finds that.
    let window = window.and_then(|window| {
        let calls = Given::Integer(window.calls()?.get().into());
        Some(table([("calls", calls), ("per_ms", Given::Integer(millis(window.length())))]))
    });
    let quota = quota.and_then(|quota| {
        let calls = Given::Integer(quota.calls?.get().into());
        Some(table([("calls", calls), ("per", Given::Text(quota.per.name().to_owned()))]))
    });
    // As many as there are members, in their order.
    let given: [Option<Given>; MEMBERS.len()] = [
        pace.map(|pace| Given::number(pace.starts_per_second())),
        window,
        quota,
        slots.map(|slots| Given::Integer(slots.get().into())),
        timeout.map(|timeout| Given::Integer(millis(timeout))),
    ];
    MEMBERS.into_iter().zip(given).filter_map(|(name, given)| Some((name, given?)))
}

impl PolicyReader<'_> {
    /// A member that is absent or faulty limits nothing; a fault is noted.
    pub(super) fn limits(&mut self) -> Limits {
        Limits {
            pace: self.pace(),
            window: self.window(),
            quota: self.quota(),
            slots: self.number("slots", 1..=i64::from(Limits::MAX_SLOTS)).and_then(count),
            timeout: self.timeout(),
            closed: false,
        }
    }

    fn pace(&mut self) -> Option<Pace> {
        let value = self.find("pace")?;
        let starts = match value {
            // Exact up to 2^53, far above the largest pace.
            Given::Integer(number) => *number as f64,
            Given::Float(number) => *number,
            // Outside every range, so that the fault below names what was given.
            _ => f64::NAN,
        };
        match Pace::per_second(starts) {
            Ok(pace) => Some(pace),
            Err(_) => {
                let (given, most) = (value.told(), Pace::MAX);
                let detail = format!(
                    "must be a number of starts per second from 0.0000116 (one per day) to {most}, not {given}"
                );
                self.wrong("pace", detail)
            }
        }
    }

    fn window(&mut self) -> Option<Window> {
        let within = self.table("window", "as window = { calls = 100, per_ms = 1000 }")?;
        self.refuse_unknown(within, "window", &["calls", "per_ms"]);
        let calls = self.required_number("window.calls", 1..=i64::from(Window::MAX_CALLS));
        let length =
            self.required_number("window.per_ms", millis(Window::MIN_LENGTH)..=millis(Window::MAX_LENGTH));
        match Window::new(calls?, length?) {
            Ok(window) => Some(window),
            Err(error) => self.wrong("window", error.to_string()),
        }
    }

    fn quota(&mut self) -> Option<Quota> {
        let within = self.table("quota", "as quota = { calls = 1000, per = \"hour\" }")?;
        self.refuse_unknown(within, "quota", &["calls", "per"]);
        let calls = self.required_number("quota.calls", 1..=i64::from(Window::MAX_CALLS));
        let per = self.period();
        match Quota::new(calls?, per?) {
            Ok(quota) => Some(quota),
            Err(error) => self.wrong("quota", error.to_string()),
        }
    }

    fn period(&mut self) -> Option<Period> {
        let words = Period::ALL.map(Period::name).join(", ");
        let text = self.required_text("quota.per", &format!("one of {words}"))?;
        match Period::parse(text) {
            Some(period) => Some(period),
            None => self.wrong("quota.per", format!("must be one of {words}, not {}", quoted(text))),
        }
    }

    fn timeout(&mut self) -> Option<Duration> {
        // Zero would let every attempt run out of time.
        let given = self.number("timeout_ms", 1..=millis(Limits::MAX_TIMEOUT))?;
        u64::try_from(given).ok().map(Duration::from_millis)
    }
}

/// Lengths are far below 63 bits of milliseconds.
fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

/// `None` only for what no range lets through.
fn count(number: i64) -> Option<NonZeroU32> {
    u32::try_from(number).ok().and_then(NonZeroU32::new)
}
