//! Follows the bytes of one HTTP/1 connection to find requests that two parsers could read differently:
//! `Content-Length` beside `Transfer-Encoding`, a repeated `Content-Length`, line ends without a carriage
//! return. The server's own parser repairs these quietly, so they have to be seen before it.
//!
//! Pure: bytes in, verdict out. Bodies of known length are skipped; after a chunked request nothing more is
//! looked at, because the guard makes it the last one on its connection.

/// Longest request line and headers together, in bytes.
pub(super) const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Where the bytes of a connection stand in its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestPhase {
    /// Between requests: nothing of the next head has come.
    Idle,
    /// Within a request line or headers that are not complete.
    Head,
    /// Within a body, or past the last request.
    Body,
}

/// Follows the bytes of one connection, in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct RequestFollower {
    head: Vec<u8>,
    body_left: u64,
    /// Nothing more is looked at: after a chunked request or a taint.
    done: bool,
    tainted: Option<&'static str>,
}

impl RequestFollower {
    /// Why the connection must not be served, once that is so. It stays so.
    pub(super) const fn tainted(&self) -> Option<&'static str> {
        self.tainted
    }

    pub(super) const fn place(&self) -> RequestPhase {
        if self.done || self.body_left > 0 {
            RequestPhase::Body
        } else if self.head.is_empty() {
            RequestPhase::Idle
        } else {
            RequestPhase::Head
        }
    }

    /// Takes the next bytes; where the stream is cut makes no difference.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.done {
            if self.body_left > 0 {
                let left = usize::try_from(self.body_left).unwrap_or(usize::MAX);
                let skipped = left.min(bytes.len());
                bytes = bytes.get(skipped..).unwrap_or_default();
                self.body_left -= skipped as u64;
                continue;
            }
            bytes = self.feed_head(bytes);
        }
    }

    /// Adds to the head up to its end; gives back what follows it.
    fn feed_head<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        for (at, byte) in bytes.iter().enumerate() {
            if self.head.is_empty() && matches!(byte, b'\r' | b'\n') {
                // Empty lines before a request are skipped by every parser.
                continue;
            }
            self.head.push(*byte);
            if self.head.ends_with(b"\n\n") || self.head.ends_with(b"\n\r\n") {
                let head = std::mem::take(&mut self.head);
                self.judge(&head);
                return bytes.get(at + 1..).unwrap_or_default();
            }
            if self.head.len() > MAX_HEAD_BYTES {
                // The server's parser refuses it with its own limit.
                self.taint("the head is too large");
            }
            if self.done {
                return &[];
            }
        }
        &[]
    }

    fn taint(&mut self, why: &'static str) {
        self.tainted = self.tainted.or(Some(why));
        self.done = true;
        // Its memory is given back: nothing is collected from here on.
        self.head = Vec::new();
    }

    fn judge(&mut self, head: &[u8]) {
        let mut length: Option<u64> = None;
        let mut chunked = false;
        for line in head.split_inclusive(|byte| *byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\r\n") else {
                return self.taint("a line ends without a carriage return");
            };
            // The request line and the empty one; a header without a colon is refused by the server's parser.
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = line.split_at(colon);
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                chunked = true;
            } else if name.eq_ignore_ascii_case(b"content-length") {
                let value = value.get(1..).unwrap_or_default().trim_ascii();
                let number = digits(value);
                match number {
                    Some(number) if length.is_none() => length = Some(number),
                    _ => return self.taint("Content-Length is repeated or no number"),
                }
            }
        }
        if chunked && length.is_some() {
            return self.taint("Content-Length and Transfer-Encoding exclude each other");
        }
        if chunked {
            self.done = true;
        } else {
            self.body_left = length.unwrap_or(0);
        }
    }
}

/// Digits alone: no sign, no list.
fn digits(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(pieces: &[&str]) -> RequestFollower {
        let mut follower = RequestFollower::default();
        pieces.iter().for_each(|piece| follower.feed(piece.as_bytes()));
        follower
    }

    #[test]
    fn ordinary_requests_pass_however_they_are_cut() {
        let text = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na\n\nb\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\
                    POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\n\r\n";
        for step in 1..text.len() {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(step).collect();
            let mut follower = RequestFollower::default();
            pieces.iter().for_each(|piece| follower.feed(piece));
            assert_eq!(follower.tainted(), None, "{step}");
            assert_eq!(follower.place(), RequestPhase::Body);
        }
    }

    #[test]
    fn places_follow_the_bytes() {
        assert_eq!(follow(&[]).place(), RequestPhase::Idle);
        assert_eq!(follow(&["\r\n"]).place(), RequestPhase::Idle);
        assert_eq!(follow(&["G"]).place(), RequestPhase::Head);
        assert_eq!(follow(&["GET / HTTP/1.1\r\n\r\n"]).place(), RequestPhase::Idle);
        assert_eq!(follow(&["GET / HTTP/1.1\r\nContent-Length: 2\r\n\r\nx"]).place(), RequestPhase::Body);
        assert_eq!(follow(&["GET / HTTP/1.1\r\nContent-Length: 2\r\n\r\nxy"]).place(), RequestPhase::Idle);
    }

    #[test]
    fn shapes_that_parsers_read_differently_taint() {
        for head in [
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n ",
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
        ] {
            let tainted = follow(&[head]).tainted().is_some();
            assert!(tainted, "{head}");
        }
        let long = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(MAX_HEAD_BYTES));
        assert!(follow(&[&long]).tainted().is_some());
    }
}
