//! Figures as people read them: ages, byte counts, large numbers, lines of names and values.
//!
//! Must not know: what they mean.

use std::time::Duration;

use crate::clock::Timestamp;

/// A number with its digits in groups of three, such as `123 456`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A length of time in its largest units, two of them at most: `1 s 500 ms`, `4 min 5 s`, `2 h`, `5 d 6 h`.
pub(super) fn span(length: Duration) -> String {
    const UNITS: [(u64, &str); 5] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"), (1, "ms")];
    let mut rest = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    for (unit, name) in UNITS {
        // Two neighbouring units: days beside milliseconds would only pretend to be exact.
        if rest >= unit && parts.len() < 2 {
            parts.push(format!("{} {name}", rest / unit));
            rest %= unit;
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// A measured length of time: to the second from one second on.
pub(super) fn about(length: Duration) -> String {
    span(if length.as_secs() > 0 { Duration::from_secs(length.as_secs()) } else { length })
}

/// A measured length of time in seconds.
pub(super) fn about_seconds(seconds: f64) -> String {
    about(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

/// How long ago an RFC 3339 time is; the text itself where it is none, `-` without one.
pub(super) fn age(at: Option<&str>, now: Timestamp) -> String {
    let Some(at) = at else { return "-".to_owned() };
    Timestamp::parse(at).map_or_else(|| at.to_owned(), |at| about(now.since(at)))
}

/// An RFC 3339 time and how far away it is.
pub(super) fn until(at: &str, now: Timestamp) -> String {
    match Timestamp::parse(at).map(|at| at.since(now)) {
        Some(left) if !left.is_zero() => format!("{at} (in {})", about(left)),
        _ => at.to_owned(),
    }
}

/// The text, `-` in place of an empty one.
pub(super) fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Bytes in the largest unit below them.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = count as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 1024.0 {
        let Some(larger) = units.next() else { break };
        (value, unit) = (value / 1024.0, Some(larger));
    }
    format!("{value:.1} {}", unit.unwrap_or(&""))
}

/// Lines of names and values, the values below each other.
pub(super) fn pairs<'n>(rows: impl IntoIterator<Item = (&'n str, String)>) -> String {
    rows.into_iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect()
}

/// A text of a JSON value; empty where it has none.
pub(super) fn text<'v>(value: &'v serde_json::Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default()
}

/// A number of a JSON value; zero where it has none.
pub(super) fn count(value: &serde_json::Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or_default()
}

/// A list of a JSON value; empty where it has none.
pub(super) fn list<'v>(value: &'v serde_json::Value, pointer: &str) -> &'v [serde_json::Value] {
    value.pointer(pointer).and_then(serde_json::Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        for (millis, text) in [
            (0, "0 s"),
            (7, "7 ms"),
            (1000, "1 s"),
            (1500, "1 s 500 ms"),
            (245_900, "4 min 5 s"),
            (3_661_000, "1 h 1 min"),
            (86_400_000, "1 d"),
            (453_600_000, "5 d 6 h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
        let measured =
            [about_seconds(-1.0), about_seconds(0.25), about_seconds(12.34), about_seconds(f64::INFINITY)];
        assert_eq!(measured[..3], ["0 s", "250 ms", "12 s"]);
        assert!(measured[3].contains(" d "), "{}", measured[3]);
    }

    #[test]
    fn figures_are_grouped_and_bytes_have_units() {
        assert_eq!((grouped(7), grouped(1_234_567)), ("7".to_owned(), "1 234 567".to_owned()));
        for (count, text) in
            [(1023, "1023 B"), (1024, "1.0 KiB"), (83_886_080, "80.0 MiB"), (u64::MAX, "16384.0 PiB")]
        {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn times_are_shown_from_now() {
        let now = Timestamp::parse("2030-01-31T08:00:10Z").expect("a date");
        assert_eq!(age(Some("2030-01-31T08:00:00Z"), now), "10 s");
        assert_eq!(until("2030-01-31T08:00:15Z", now), "2030-01-31T08:00:15Z (in 5 s)");
        assert_eq!(until("2030-01-31T08:00:05Z", now), "2030-01-31T08:00:05Z");
        assert_eq!((age(Some("x"), now), age(None, now)), ("x".to_owned(), "-".to_owned()));
    }
}
