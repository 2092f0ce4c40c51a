//! Text as a query of a url writes it.

/// The text with all but letters, digits, `-`, `.`, `_` and `~` escaped, so that every reader of queries gets it back.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reader_of_queries_gets_the_text_back() {
        let text = "https://h.org/a b?c=d&e+f/\u{e9}%2F~";
        let query = format!("x={}", encoded(text));
        let read: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
        assert_eq!(read, [("x".into(), text.into())]);
    }
}
