//! Figures as people read them: ages, byte counts, large numbers, lines of names and values.
//!
//! Must not know: what they mean.

use crate::clock::Timestamp;

/// `123456` as `123 456`.
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

/// A time span, two units at most: `12.3 s`, `4 min 5 s`, `2 h 3 min`, `5 d 6 h`.
pub(super) fn span(seconds: f64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    if seconds < 60.0 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is above 60; saturates")]
    let whole = seconds as u64;
    let pairs = UNITS.windows(2).filter_map(|pair| Some((pair.first()?, pair.last()?)));
    let found = pairs.into_iter().find(|(large, _)| whole >= large.0);
    found.map_or_else(String::new, |((large, word), (small, below))| {
        format!("{} {word} {} {below}", whole / large, whole % large / small)
    })
}

/// How long ago, or how far away, an RFC 3339 time is; the text itself where it is none.
pub(super) fn age(at: &str, now: Timestamp) -> String {
    Timestamp::parse(at).map_or_else(|| at.to_owned(), |at| span(now.since(at).as_secs_f64()))
}

/// An RFC 3339 time and how far away it is.
pub(super) fn until(at: &str, now: Timestamp) -> String {
    match Timestamp::parse(at).map(|at| at.since(now)) {
        Some(left) if !left.is_zero() => format!("{at} (in {})", span(left.as_secs_f64())),
        _ => at.to_owned(),
    }
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
        for (seconds, text) in [
            (-1.0, "0.0 s"),
            (12.34, "12.3 s"),
            (60.0, "1 min 0 s"),
            (245.9, "4 min 5 s"),
            (7380.0, "2 h 3 min"),
            (453_600.0, "5 d 6 h"),
        ] {
            assert_eq!(span(seconds), text);
        }
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
    fn times_are_told_from_now() {
        let now = Timestamp::parse("2030-01-31T08:00:10Z").expect("a date");
        assert_eq!(age("2030-01-31T08:00:00Z", now), "10.0 s");
        assert_eq!(until("2030-01-31T08:00:15Z", now), "2030-01-31T08:00:15Z (in 5.0 s)");
        assert_eq!(until("2030-01-31T08:00:05Z", now), "2030-01-31T08:00:05Z");
        assert_eq!(age("x", now), "x");
    }
}
