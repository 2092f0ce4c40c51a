//! Idempotency keys of lines: each names the input and the number of the line.
//!
//! Must not know: how lines are sent.

use bytes::BytesMut;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The beginning of every key that this command makes.
const START: &str = "tidegate-enqueue";

/// Where the keys of an input come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    /// The SHA-256 digest of the whole input, in hex; `None` where it is not known beforehand.
    pub digest: Option<String>,
    /// The name of the pass, as `--resume-id` gives it.
    pub id: Option<String>,
}

impl Keys {
    pub(super) fn of_file(digest: &str, id: Option<String>) -> Self {
        Self { digest: Some(digest.to_owned()), id }
    }

    pub(super) fn of_input(id: &str) -> Self {
        Self { digest: None, id: Some(id.to_owned()) }
    }

    fn of_line(&self, number: u64) -> String {
        let parts = [self.id.as_deref(), self.digest.as_deref()];
        let named: String = parts.into_iter().flatten().map(|part| format!(":{part}")).collect();
        format!("{START}{named}:{number}")
    }

    /// Writes a line with its end and with a key, unless it has one of its own. What is no JSON object is written as it
    /// is: the daemon refuses it and says why.
    pub(super) fn write(&self, line: &[u8], number: u64, out: &mut BytesMut) {
        match place(line) {
            Some(KeyPlace { start, end, before }) => {
                debug_assert!(start <= end && end <= line.len(), "a place for a key outside of its line");
                let (head, tail) =
                    (line.get(..start).unwrap_or_default(), line.get(end..).unwrap_or_default());
                out.extend_from_slice(head);
                out.extend_from_slice(before.as_bytes());
                out.extend_from_slice(format!("\"{}\"", self.of_line(number)).as_bytes());
                out.extend_from_slice(tail);
            }
            None => out.extend_from_slice(line),
        }
        out.extend_from_slice(b"\n");
    }
}

/// Where the value of the key goes: in place of these bytes, after `before`.
struct KeyPlace {
    start: usize,
    end: usize,
    before: &'static str,
}

#[derive(Deserialize)]
struct LineKey<'l> {
    #[serde(default, borrow, deserialize_with = "given")]
    idempotency_key: Option<&'l RawValue>,
}

/// `null` is a value here: it has a place.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn place(line: &[u8]) -> Option<KeyPlace> {
    let text = line.trim_ascii_end();
    let inner = text.trim_ascii_start().strip_prefix(b"{")?.strip_suffix(b"}")?;
    // A line that gives its key twice does not read: it is sent as it is, and the daemon refuses it.
    let own: LineKey<'_> = serde_json::from_slice(line).ok()?;
    match own.idempotency_key {
        Some(value) if value.get() == "null" => {
            // It lies in the line.
            let start = value.get().as_ptr().addr().checked_sub(line.as_ptr().addr())?;
            Some(KeyPlace { start, end: start + value.get().len(), before: "" })
        }
        // The producer's own key stays.
        Some(_) => None,
        None => {
            let is_empty = inner.trim_ascii().is_empty();
            let before = if is_empty { "\"idempotency_key\":" } else { ",\"idempotency_key\":" };
            let end = text.len().checked_sub(1)?;
            Some(KeyPlace { start: end, end, before })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &str) -> String {
        let mut out = BytesMut::new();
        Keys { digest: Some("d".to_owned()), id: None }.write(line.as_bytes(), 7, &mut out);
        String::from_utf8(out.to_vec()).expect("text")
    }

    #[test]
    fn a_key_is_put_in_where_there_is_none() {
        let key = r#""idempotency_key":"tidegate-enqueue:d:7""#;
        assert_eq!(written("{}"), format!("{{{key}}}\n"));
        assert_eq!(written(" { } \r"), format!(" {{ {key}}} \r\n"));
        assert_eq!(written(r#"{"url":"u","body":{}}"#), format!("{{\"url\":\"u\",\"body\":{{}},{key}}}\n"));
        let null = r#"{"idempotency_key" : null, "body":{"idempotency_key":1}}"#;
        let full = r#"{"idempotency_key" : "tidegate-enqueue:d:7", "body":{"idempotency_key":1}}"#;
        assert_eq!(written(null), format!("{full}\n"));
    }

    #[test]
    fn other_lines_stay_as_they_are() {
        for line in [
            r#"{"url":"u","idempotency_key":"own"}"#,
            r#"{"idempotency_key":"a","idempotency_key":"b"}"#,
            "[1]",
            r#"["a"]"#,
            r#"{"url""#,
            "no json",
            "{\"a\":1} x}",
        ] {
            assert_eq!(written(line), format!("{line}\n"));
        }
    }

    #[test]
    fn keys_name_the_pass_the_input_and_the_line() {
        let file = Keys::of_file("d", Some("again".to_owned()));
        assert_eq!(file.of_line(3), "tidegate-enqueue:again:d:3");
        assert_eq!(Keys::of_input("x").of_line(3), "tidegate-enqueue:x:3");
    }
}
