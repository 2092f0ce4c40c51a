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

pub(super) use screened::{Heard, Report, Screened, mended_of};

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
    /// Whether some of the surplus says where the answer ends.
    pub(super) is_framing_cut: bool,
}

impl Mended {
    /// Whether the connection has to be closed after the answer.
    pub(super) const fn closes(self) -> bool {
        self.broken > 0 || self.is_framed_twice || self.is_framing_cut
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
/// `closes_anyway` says that an informational head before it had to be mended so that the connection ends with the answer;
/// `heard` are the names, in small letters, of further lines that the answer may be judged by.
///
/// # Errors
/// [`HeadError::Framing`] when it cannot be known where the answer ends.
pub(super) fn mend(complete: Vec<u8>, closes_anyway: bool, heard: &[&str]) -> Result<Head, HeadError> {
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
    let mut mended = Mended { broken, is_framed_twice: framing == Framing::Twice, ..Mended::default() };
    if framing == Framing::Broken {
        mended.broken = mended.broken.max(1);
    }
    let reason_is_odd = status.is_some() && !lines::is_value(status_line);
    mended.broken += usize::from(reason_is_odd);
    let framing_lines = fields.iter().filter(|field| !is_bodiless && field.is_framing()).count();
    mended.is_framing_cut = framing_lines > LINES_MAX - usize::from(mended.closes() || closes_anyway);
    let closes = mended.closes() || closes_anyway;
    if mended == Mended::default() && !closes && fields.len() <= LINES_MAX {
        return Ok(Head { bytes: complete, mended, is_interim });
    }
    let mut out = Vec::with_capacity(head.len());
    // Nobody reads the reason.
    out.extend_from_slice(if reason_is_odd { lines::bare_status(status_line) } else { status_line });
    out.extend_from_slice(b"\r\n");
    let wanted: Vec<&FieldLine<'_>> = fields.iter().filter(|field| is_wanted(field, is_bodiless)).collect();
    mended.surplus = write_fields(&wanted, heard, &mut out, LINES_MAX - usize::from(closes));
    if closes && !is_interim {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(Head { bytes: out, mended, is_interim })
}

fn is_wanted(field: &FieldLine<'_>, is_bodiless: bool) -> bool {
    matches!(field.line, Line::Sound | Line::Mended) && !(is_bodiless && field.is_framing())
}

/// What a line counts where not all find room: the lower, the more. An endpoint may send what decides as its last lines.
fn rank(field: &FieldLine<'_>, heard: &[&str]) -> usize {
    const COUNTING: [&str; 4] = ["connection", "retry-after", "date", "content-type"];
    if field.is_framing() {
        return 0;
    }
    let name = field.name.to_ascii_lowercase();
    let says_limits = name.starts_with(b"x-rate-limit") || name.windows(9).any(|part| part == b"ratelimit");
    match says_limits || COUNTING.iter().chain(heard).any(|counting| field.is(counting)) {
        true => 1,
        false => 2,
    }
}

/// Writes at most `room` lines, in their order, and returns how many found none. Those that the answer is judged by come
/// before all others, and cookies are the first to go: nobody here reads them.
fn write_fields(fields: &[&FieldLine<'_>], heard: &[&str], out: &mut Vec<u8>, room: usize) -> usize {
    if fields.len() <= room {
        fields.iter().for_each(|field| field.write(out));
        return 0;
    }
    let mut ranked: Vec<(usize, &FieldLine<'_>)> = fields
        .iter()
        .filter(|field| !field.is("set-cookie"))
        .map(|field| (rank(field, heard), *field))
        .collect();
    // How many of each rank there is room for, the lowest rank first.
    let mut left = room;
    let room_of = [0, 1, 2].map(|rank| {
        let taken = ranked.iter().filter(|(of, _)| *of == rank).count().min(left);
        left -= taken;
        taken
    });
    let mut taken = [0; 3];
    ranked.retain(|(rank, _)| {
        let (Some(taken), Some(room)) = (taken.get_mut(*rank), room_of.get(*rank)) else { return false };
        *taken += 1;
        *taken <= *room
    });
    ranked.iter().for_each(|(_, field)| field.write(out));
    fields.len() - ranked.len()
}
