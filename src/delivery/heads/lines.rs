//! The lines of a head: which are sound, which can be mended, and what they say of the framing (RFC 9112 5 and 6).
//!
//! Must not know: what follows from a line that is broken.

use std::borrow::Cow;

const LENGTH: &str = "content-length";
const ENCODING: &str = "transfer-encoding";

/// What is known of one field line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// It keeps the grammar.
    Sound,
    /// It did not, and what it says is certain: it was folded, or had a blank before its colon.
    Mended,
    /// What it says is not certain.
    Broken,
}

/// One field line of a head, with the lines that are folded into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FieldLine<'a> {
    /// Without blanks around it; of a broken line everything that could be its name.
    pub(super) name: &'a [u8],
    /// Without blanks around it; folds are single blanks.
    pub(super) value: Cow<'a, [u8]>,
    /// What is known of it.
    pub(super) line: Line,
}

impl FieldLine<'_> {
    /// Whether this is its name; the given one is in small letters.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Whether it says where the answer ends, or may have been meant to: what is no letter of a name does not count.
    pub(super) fn is_framing(&self) -> bool {
        let meant = |name: &str| {
            let letters = self.name.iter().copied().filter(|&byte| is_token(byte));
            letters.map(|byte| byte.to_ascii_lowercase()).eq(name.bytes())
        };
        meant(LENGTH) || meant(ENCODING)
    }

    /// Writes it as the grammar wants it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(&self.value);
        out.extend_from_slice(b"\r\n");
    }
}

/// What a head says of where its answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// In one way, or not at all.
    Readable,
    /// By length and by encoding: the encoding rules (RFC 9112 6.3).
    Twice,
    /// It cannot be read.
    Broken,
}

/// The first line, without its end, and what follows it.
pub(super) fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&byte| byte == b'\n').unwrap_or(text.len());
    let (line, rest) = text.split_at(end);
    (line.strip_suffix(b"\r").unwrap_or(line), rest.get(1..).unwrap_or_default())
}

/// The status of a status line that can be read: a version 1.x, a blank, three digits, and a blank or nothing.
pub(super) fn status(line: &[u8]) -> Option<u16> {
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', code @ ..] = line else { return None };
    let (digits, rest) = code.split_at_checked(3)?;
    if !matches!(rest, [] | [b' ', ..]) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A status line that [can be read](status), without its reason.
pub(super) fn bare_status(line: &[u8]) -> &[u8] {
    line.get(..b"HTTP/1.1 200".len()).unwrap_or(line)
}

/// The fields of what follows a status line up to the empty line, and how many lines break the grammar.
pub(super) fn fields(mut rest: &[u8]) -> (Vec<FieldLine<'_>>, usize) {
    let mut fields: Vec<FieldLine<'_>> = Vec::with_capacity(16);
    let mut broken = 0;
    while !rest.is_empty() {
        let (line, after) = split_line(rest);
        rest = after;
        if line.is_empty() {
            break;
        }
        if !matches!(line, [b' ' | b'\t', ..]) {
            let field = field(line);
            broken += usize::from(field.line != Line::Sound);
            fields.push(field);
            continue;
        }
        broken += 1;
        // A fold before any field belongs to nothing.
        if let Some(folded) = fields.last_mut() {
            fold(folded, line);
        }
    }
    (fields, broken)
}

fn field(line: &[u8]) -> FieldLine<'_> {
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        return FieldLine { name: line, value: Cow::Borrowed(b""), line: Line::Broken };
    };
    let (name, value) = line.split_at(colon);
    let value = trimmed(value.get(1..).unwrap_or_default());
    let bare = trimmed(name);
    let is_readable = !bare.is_empty() && bare.iter().all(|&byte| is_token(byte)) && is_value(value);
    let line = match is_readable {
        true if bare.len() == name.len() => Line::Sound,
        true => Line::Mended,
        false => Line::Broken,
    };
    FieldLine { name: bare, value: Cow::Borrowed(value), line }
}

fn fold(field: &mut FieldLine<'_>, line: &[u8]) {
    let more = trimmed(line);
    let is_readable = field.line != Line::Broken && is_value(more);
    field.line = if is_readable { Line::Mended } else { Line::Broken };
    let value = field.value.to_mut();
    if !value.is_empty() && !more.is_empty() {
        value.push(b' ');
    }
    value.extend_from_slice(more);
}

/// What the fields say of the framing together.
pub(super) fn framing(fields: &[FieldLine<'_>]) -> Framing {
    let mut length: Option<u64> = None;
    let mut is_encoded = false;
    for field in fields.iter().filter(|field| field.is_framing()) {
        // Also one that could be mended: that it has to be read in this way is nowhere said.
        if field.line != Line::Sound {
            return Framing::Broken;
        }
        if field.is(ENCODING) {
            if trimmed(&field.value).is_empty() {
                return Framing::Broken;
            }
            is_encoded = true;
            continue;
        }
        for number in field.value.split(|&byte| byte == b',') {
            match (digits(trimmed(number)), length) {
                (Some(one), None) => length = Some(one),
                (Some(one), Some(other)) if one == other => {}
                _ => return Framing::Broken,
            }
        }
    }
    if is_encoded && length.is_some() { Framing::Twice } else { Framing::Readable }
}

/// Digits alone: no sign.
fn digits(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn trimmed(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(first) = text.iter().position(|byte| !is_blank(byte)) else { return b"" };
    let last = text.iter().rposition(|byte| !is_blank(byte)).unwrap_or(first);
    text.get(first..=last).unwrap_or_default()
}

/// Whether all of it may stand in the value of a field: no controls but the tab.
pub(super) fn is_value(text: &[u8]) -> bool {
    text.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

/// Whether it may stand in the name of a field (RFC 9110 5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
