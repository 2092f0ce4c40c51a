//! The head of an HTTP/1 answer as endpoints really send it, made fit for a strict parser.
//!
//! An answer counts by its status as soon as its status line and its framing can be read, whatever its other lines look
//! like. Lines that break the grammar are mended where that is certain (a folded line, a blank before the colon) and left
//! out otherwise; a head with any of them ends its connection, since the endpoint and whatever lies between may read it
//! otherwise. A `Content-Length` or `Transfer-Encoding` that is broken cannot be read, and neither can the answer.
//!
//! Must not know: connections, what answers mean.

mod lines;
mod screened;
#[cfg(test)]
mod tests;

use lines::{FieldLine, Framing, Line};

pub(super) use screened::{Report, Screened};

/// Most field lines that are handed on: as many as the HTTP library takes.
const LINES_MAX: usize = 100;
/// The largest head that is read.
pub(super) const HEAD_MAX_BYTES: usize = 256 * 1024;

/// Why a head cannot be read at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeadError {
    /// No end within [`HEAD_MAX_BYTES`].
    #[error("the head of the answer is longer than {HEAD_MAX_BYTES} bytes")]
    TooLong,
    /// Where the answer ends cannot be known.
    #[error("the answer has a broken Content-Length or Transfer-Encoding")]
    Framing,
}

/// What was done to a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mended {
    /// Lines that break the grammar: joined, trimmed or left out.
    pub(super) broken: usize,
    /// Sound lines beyond the most that are handed on, left out.
    pub(super) surplus: usize,
    /// Whether its framing is named twice, by length and by encoding: it can be read, but is not trusted beyond.
    pub(super) is_framed_twice: bool,
}

impl Mended {
    /// Whether the connection has to be closed after the answer.
    pub(super) const fn closes(self) -> bool {
        self.broken > 0 || self.is_framed_twice
    }
}

/// A complete head, fit for the parser of the HTTP library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// As it came where nothing was wrong with it.
    pub(super) bytes: Vec<u8>,
    /// What is different from what came.
    pub(super) mended: Mended,
    /// Whether another head follows it: it is informational.
    pub(super) is_interim: bool,
}

/// Whether what came so far may be the beginning of an HTTP/1 answer. What is none is for the HTTP library to refuse.
pub(super) fn may_be_head(came: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"HTTP/1.";
    let text = without_empty_lines(came);
    let both = text.len().min(BEGINNING.len());
    text.get(..both) == BEGINNING.get(..both)
}

/// Where the head that these bytes begin with ends, behind its empty line; `None` while that has not come. Everything
/// before `from` is known not to hold the end.
pub(super) fn end(came: &[u8], from: usize) -> Option<usize> {
    let skipped = came.len() - without_empty_lines(came).len();
    // The end may begin up to two bytes before what is new.
    let mut at = from.saturating_sub(2).max(skipped);
    loop {
        at += came.get(at..)?.iter().position(|&byte| byte == b'\n')? + 1;
        match came.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
}

/// The status of a head, where its status line can be read.
pub(super) fn status_of(head: &[u8]) -> Option<u16> {
    lines::status(lines::split_line(without_empty_lines(head)).0)
}

/// Empty lines before a status line are passed over, as the HTTP library does.
fn without_empty_lines(came: &[u8]) -> &[u8] {
    let first = came.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    first.and_then(|first| came.get(first..)).unwrap_or_default()
}

/// Makes a complete head fit for the HTTP library; its status line stays as it is unless its reason cannot be.
/// `closes_anyway` says that an informational head before it had to be mended so that the connection ends with the answer.
///
/// # Errors
/// [`HeadError::Framing`] when it cannot be known where the answer ends.
pub(super) fn mend(complete: Vec<u8>, closes_anyway: bool) -> Result<Head, HeadError> {
    let head = without_empty_lines(&complete);
    let (status_line, rest) = lines::split_line(head);
    let status = lines::status(status_line);
    let (fields, broken) = lines::fields(rest);
    let is_interim = status.is_some_and(|status| (100..=199).contains(&status) && status != 101);
    // These have no body, so that nothing depends on what they say of its length.
    let is_bodiless = matches!(status, Some(100..=199 | 204 | 304));
    let framing = lines::framing(&fields);
    if framing == Framing::Broken && !is_bodiless {
        return Err(HeadError::Framing);
    }
    let mut mended = Mended { broken, surplus: 0, is_framed_twice: framing == Framing::Twice };
    if framing == Framing::Broken {
        mended.broken = mended.broken.max(1);
    }
    let reason_is_odd = status.is_some() && !lines::is_value(status_line);
    mended.broken += usize::from(reason_is_odd);
    let closes = mended.closes() || closes_anyway;
    if mended == Mended::default() && !closes && fields.len() <= LINES_MAX {
        return Ok(Head { bytes: complete, mended, is_interim });
    }
    let mut out = Vec::with_capacity(head.len());
    // Nobody reads the reason.
    out.extend_from_slice(if reason_is_odd { lines::bare_status(status_line) } else { status_line });
    out.extend_from_slice(b"\r\n");
    mended.surplus = write_fields(&fields, is_bodiless, &mut out, LINES_MAX - usize::from(closes));
    if closes && !is_interim {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(Head { bytes: out, mended, is_interim })
}

/// Writes at most `room` lines and returns how many sound ones found none. Cookies are the first to go: nobody here reads
/// them.
fn write_fields(fields: &[FieldLine<'_>], is_bodiless: bool, out: &mut Vec<u8>, room: usize) -> usize {
    let is_wanted = |field: &FieldLine<'_>| {
        matches!(field.line, Line::Sound | Line::Mended) && !(is_bodiless && field.is_framing())
    };
    let wanted = fields.iter().filter(|field| is_wanted(field)).count();
    let without_cookies = wanted > room;
    let mut left = room;
    let mut kept = 0;
    for field in fields.iter().filter(|field| is_wanted(field)) {
        if left == 0 || (without_cookies && field.is("set-cookie")) {
            continue;
        }
        field.write(out);
        left -= 1;
        kept += 1;
    }
    wanted - kept
}
