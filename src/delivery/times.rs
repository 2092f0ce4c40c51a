//! Times to come back as endpoints write them: the forms of the standards, and those that are seen beside them.
//!
//! - A number of seconds, with decimals or a unit (`0.493`, `20ms`, `6m0s`, `30 seconds`), in quotation marks or not.
//! - Above 10^9 a number is a moment of the epoch in seconds, above 10^12 in milliseconds: no endpoint means 31 years.
//! - The three dates of HTTP (RFC 9110 5.6.7), and those of RFC 3339 and ISO 8601; without a zone they are UTC.
//!
//! Must not know: which headers they stand in, clocks.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime};

use crate::clock::Timestamp;

/// From here on a number is a moment in seconds.
const EPOCH_FROM: f64 = 1e9;
/// From here on it is one in milliseconds.
const EPOCH_MS_FROM: f64 = 1e12;
/// The longest span that is told from a longer one.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// The longest text that is read.
const TEXT_MAX_BYTES: usize = 64;

/// Units behind a number, each with its length in seconds.
const UNITS: [(&[&str], f64); 5] = [
    (&["ms", "msec", "msecs", "millis", "millisecond", "milliseconds"], 0.001),
    (&["", "s", "sec", "secs", "second", "seconds"], 1.0),
    (&["m", "min", "mins", "minute", "minutes"], 60.0),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600.0),
    (&["d", "day", "days"], 86_400.0),
];

/// A time to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// So long after the answer; at most a year.
    After(Duration),
    /// At this moment of the endpoint's clock.
    At(Timestamp),
}

/// Reads a time; `None` for what is none, negative ones included.
pub(super) fn read(text: &str) -> Option<Named> {
    let text = unquoted(text.trim());
    if text.is_empty() || text.len() > TEXT_MAX_BYTES {
        return None;
    }
    if let Some(date) = date(text) {
        return Some(Named::At(date));
    }
    if let Some(number) = number(text) {
        return Some(match number {
            number if number > EPOCH_MS_FROM => Named::At(moment(number)),
            number if number > EPOCH_FROM => Named::At(moment(number * 1000.0)),
            seconds => Named::After(span(seconds)),
        });
    }
    spans(text).map(|seconds| Named::After(span(seconds)))
}

/// A date alone, in any of the forms.
pub(super) fn date(text: &str) -> Option<Timestamp> {
    let of = |date: NaiveDateTime| {
        Timestamp::from_millis(u64::try_from(date.and_utc().timestamp_millis()).unwrap_or(0))
    };
    let zoned = DateTime::parse_from_rfc2822(text).or_else(|_| DateTime::parse_from_rfc3339(text));
    if let Ok(date) = zoned {
        return Some(of(date.naive_utc()));
    }
    const FORMS: [&str; 5] = [
        // The two obsolete forms of HTTP, which a recipient has to accept too.
        "%A, %d-%b-%y %H:%M:%S GMT",
        "%a %b %e %H:%M:%S %Y",
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f UTC",
    ];
    FORMS.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()).map(of)
}

fn unquoted(text: &str) -> &str {
    let within = |mark: char| text.strip_prefix(mark)?.strip_suffix(mark);
    within('"').or_else(|| within('\'')).map_or(text, str::trim)
}

/// Digits, with decimals or without; no sign, no exponent.
fn number(text: &str) -> Option<f64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits(whole) && is_digits(decimals) { text.parse().ok() } else { None }
}

/// Numbers with units, one behind the other, as `1h30m` or `6m0s`.
fn spans(mut text: &str) -> Option<f64> {
    let mut sum = 0.0;
    let mut is_first = true;
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, rest) = text.split_at(end);
        let rest = rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (unit, behind) = rest.split_at(end);
        let unit = unit.to_ascii_lowercase();
        let (_, seconds) = UNITS.iter().find(|(names, _)| names.contains(&&*unit))?;
        // A number without a unit stands alone, and has been read by then.
        if unit.is_empty() {
            return None;
        }
        sum += number(digits)? * seconds;
        is_first = false;
        text = behind.trim_start();
    }
    (!is_first).then_some(sum)
}

fn span(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).map_or(LONGEST, |span| span.min(LONGEST))
}

/// Whatever does not fit lies further away than any wait.
fn moment(millis: f64) -> Timestamp {
    // To the nearest millisecond: most of them are no binary fraction.
    Duration::try_from_secs_f64((millis + 0.5) / 1000.0)
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .map_or(Timestamp::MAX, Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(ms: u64) -> Option<Named> {
        Some(Named::After(Duration::from_millis(ms)))
    }

    fn at(ms: u64) -> Option<Named> {
        Some(Named::At(Timestamp::from_millis(ms)))
    }

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const DATE_MS: u64 = 784_111_777_000;

    #[test]
    fn every_form_is_read() {
        for (text, named) in [
            ("0", after(0)),
            ("17", after(17_000)),
            (" 17\t", after(17_000)),
            ("\"17\"", after(17_000)),
            ("' 17 '", after(17_000)),
            ("0.493", after(493)),
            ("292.5", after(292_500)),
            ("2.0", after(2_000)),
            ("30s", after(30_000)),
            ("30 seconds", after(30_000)),
            ("250ms", after(250)),
            ("5 min", after(300_000)),
            ("6m0s", after(360_000)),
            ("1h30m", after(5_400_000)),
            ("1h 30m 0.5s", after(5_400_500)),
            ("2 Days", after(172_800_000)),
            ("1000000000", after(366 * 86_400_000)),
            ("1000000001", at(1_000_000_001_000)),
            ("1377013266.25", at(1_377_013_266_250)),
            ("1377013266123", at(1_377_013_266_123)),
            ("99999999999999999999999999", Some(Named::At(Timestamp::MAX))),
            ("Sun, 06 Nov 1994 08:49:37 GMT", at(DATE_MS)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", at(DATE_MS)),
            ("Sun Nov  6 08:49:37 1994", at(DATE_MS)),
            ("Sun, 06 Nov 1994 09:49:37 +0100", at(DATE_MS)),
            ("1994-11-06T08:49:37Z", at(DATE_MS)),
            ("1994-11-06T09:49:37.250+01:00", at(DATE_MS + 250)),
            ("1994-11-06T08:49:37", at(DATE_MS)),
            ("1994-11-06 08:49:37", at(DATE_MS)),
            ("1994-11-06 08:49:37 UTC", at(DATE_MS)),
            ("\"1994-11-06T08:49:37Z\"", at(DATE_MS)),
            ("Sun, 06 Nov 1904 08:49:37 GMT", at(0)),
        ] {
            assert_eq!(read(text), named, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            " ",
            "\"\"",
            "-5",
            "+5",
            "1e3",
            ".5",
            "5.",
            "1.2.3",
            "0x10",
            "soon",
            "5 apples",
            "5, 10",
            "10s 5",
            "s",
            "NaN",
            "inf",
            "1994-11-06",
            "08:49:37",
            "Sun, 06 Nov 2094 08:49:37 GMT",
            "\"17",
            "1h-5m",
            "٣",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(read(&"1".repeat(TEXT_MAX_BYTES + 1)), None);
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_breaks_it(text in "\\PC{0,80}") {
            if let Some(Named::After(span)) = read(&text) {
                prop_assert!(span <= LONGEST);
            }
        }

        #[test]
        fn a_span_is_the_same_in_every_unit(ms in 0..1_000_000_000_u64) {
            let wanted = after(ms);
            let (s, rest) = (ms / 1000, ms % 1000);
            for text in [
                format!("{s}.{rest:03}"),
                format!("{ms}ms"),
                format!("{s}s{rest}ms"),
                format!("{}m{}.{rest:03}s", s / 60, s % 60),
                format!("\"{}h {}m {}.{rest:03} sec\"", s / 3600, s / 60 % 60, s % 60),
            ] {
                let Some(Named::After(span)) = read(&text) else { panic!("{text}") };
                // Decimals are those of a floating number.
                let read_ms = u64::try_from((span + Duration::from_micros(500)).as_millis()).expect("short");
                prop_assert_eq!(Some(Named::After(Duration::from_millis(read_ms))), wanted, "{}", text);
            }
        }

        #[test]
        fn a_moment_is_the_same_in_seconds_milliseconds_and_as_a_date(s in 1_000_000_001..4_000_000_000_u64) {
            let date = DateTime::from_timestamp(i64::try_from(s).expect("early"), 0).expect("a date");
            for text in [
                s.to_string(),
                format!("{s}000"),
                date.format("%a, %d %b %Y %H:%M:%S GMT").to_string(),
                date.to_rfc3339(),
            ] {
                prop_assert_eq!(read(&text), at(s * 1000), "{}", text);
            }
        }
    }
}
