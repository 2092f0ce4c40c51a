//! Text for terminals and text logs: what somebody else has written must neither steer a terminal nor pass for another
//! line. JSON and journald's native protocol carry any text as it is.
//!
//! Must not know: where a text comes from.

use std::fmt::Debug;

use tracing::field::Field;
use tracing_subscriber::fmt::format::Writer;

/// The text with each control character (C0, DEL, C1) escaped as in Rust, such as `\u{1b}`.
#[must_use]
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_debug());
        } else {
            out.push(c);
        }
    }
    out
}

/// The same for a text of several lines, whose line ends stay.
#[must_use]
pub(crate) fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Writes one field of a log line for eyes: the message alone, of others the name as well.
pub(super) fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    let value = printable(&format!("{value:?}"));
    match field.name() {
        "message" => writer.write_str(&value),
        name if writer.has_ansi_escapes() => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}"),
        name => write!(writer, "{name}={value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_is_left() {
        let all: String = (0..=0x2028).filter_map(char::from_u32).collect();
        let text = printable(&all);
        assert!(!text.contains(char::is_control));
        assert!(text.starts_with("\\0\\u{1}") && text.contains("\\u{1b}") && text.contains("\\u{9b}"));
        assert_eq!(printable("caf\u{e9} \\ \"x\""), "caf\u{e9} \\ \"x\"", "other text stays");
        assert_eq!(printable_lines("a\r\n\tb\u{1b}[2J\n"), "a\\r\n\\tb\\u{1b}[2J\n");
    }
}
