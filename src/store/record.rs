//! The disk form of an event: one version byte, then a MessagePack array. Separate from the inner
//! [`Event`], so that either can change without the other.
//!
//! Version 2 is the same for an event whose due time is a date that was given while the clock was in doubt.
//!
//! Version 1: `[method, url, headers, labels, due_ms | nil, expires_ms, body]`; headers and labels are flat
//! arrays of name, value, name, value. Due times are rounded up and expiry times down to a millisecond:
//! nothing is early, nothing outlives its time.
//!
//! Version 3 is a redriven event: `origin (16), flags (1: bit 0 is_renamed, bit 1 from_url), count (2), at, Unix ms (8), length
//! of by (2), of from_url (2), by, from_url`, then a record of version 1 or 2. Numbers are little-endian. Versions of the
//! program before it park such a record with its raw bytes.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::{CanonicalUrl, Event, EventId, Labels, Redriven};

const VERSION: u8 = 1;
/// Same members as version 1; the byte alone says that the due time is a date in doubt.
const VERSION_DATED: u8 = 2;
/// What is known of redrives goes before a record of one of the other versions.
const VERSION_REDRIVEN: u8 = 3;
const IS_RENAMED: u8 = 1;
const HAS_FROM_URL: u8 = 2;
/// Origin, flags, count, moment and two lengths.
const REDRIVEN_BYTES: usize = 31;

/// A record that cannot be read back. It is set aside with its raw bytes, never dropped unseen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The first byte is none of the known versions; 0 for an empty record.
    #[error("record version {0} is unknown")]
    Version(u8),
    /// Bytes that do not decode, or decode to something that breaks a rule.
    #[error("record does not decode: {0}")]
    Malformed(String),
}

#[derive(Serialize, Deserialize)]
struct RecordV1<'a> {
    #[serde(borrow)]
    method: &'a str,
    url: &'a str,
    #[serde(borrow)]
    headers: Vec<Raw<'a>>,
    labels: Vec<&'a str>,
    due_ms: Option<u64>,
    expires_ms: u64,
    body: Raw<'a>,
}

/// Bytes written as MessagePack `bin`, borrowed when read.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Raw<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_borrowed_bytes<E: serde::de::Error>(self, bytes: &'de [u8]) -> Result<Raw<'de>, E> {
                Ok(Raw(bytes))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// Encodes an event for [`crate::store::NewEntry::record`].
///
/// # Errors
/// [`RecordError::Malformed`] when the encoder gives up; it has no known reason to.
pub fn encode(event: &Event) -> Result<Bytes, RecordError> {
    let record = RecordV1 {
        method: event.method.as_str(),
        url: event.url.called().as_str(),
        headers: event
            .headers
            .iter()
            .flat_map(|(name, value)| [Raw(name.as_str().as_bytes()), Raw(value.as_bytes())])
            .collect(),
        labels: event.labels.iter().flat_map(|(key, value)| [key, value]).collect(),
        due_ms: event.due_at.map(Timestamp::ceil_millis),
        expires_ms: event.expires_at.as_millis(),
        body: Raw(&event.body),
    };
    let mut out = Vec::with_capacity(event.body.len() + event.url.called().as_str().len() + 128);
    if let Some(redriven) = &event.redriven {
        encode_redriven(redriven, &mut out)?;
    }
    out.push(if event.is_dated { VERSION_DATED } else { VERSION });
    rmp_serde::encode::write(&mut out, &record).map_err(|error| RecordError::Malformed(error.to_string()))?;
    Ok(out.into())
}

/// Reads a record back.
///
/// # Errors
/// [`RecordError`] when the bytes are of another version or break a rule.
pub fn decode(record: &Bytes) -> Result<Event, RecordError> {
    let (redriven, plain) = split_redriven(record)?;
    let (version, rest) = plain.split_first().ok_or(RecordError::Version(0))?;
    // Before the array: another version may have other members.
    if !matches!(*version, VERSION | VERSION_DATED) {
        return Err(RecordError::Version(*version));
    }
    let raw: RecordV1<'_> = rmp_serde::from_slice(rest).map_err(malformed)?;
    let mut headers = HeaderMap::with_capacity(raw.headers.len() / 2);
    for pair in raw.headers.chunks_exact(2) {
        if let [name, value] = pair {
            let name = HeaderName::from_bytes(name.0).map_err(malformed)?;
            headers.append(name, HeaderValue::from_bytes(value.0).map_err(malformed)?);
        }
    }
    let labels = raw.labels.chunks_exact(2).filter_map(|pair| match pair {
        [key, value] => Some(((*key).to_owned(), (*value).to_owned())),
        _ => None,
    });
    Ok(Event {
        method: Method::from_bytes(raw.method.as_bytes()).map_err(malformed)?,
        url: CanonicalUrl::parse(raw.url).map_err(malformed)?,
        headers,
        labels: Labels::new(labels).map_err(malformed)?,
        due_at: raw.due_ms.map(Timestamp::from_millis),
        is_dated: *version == VERSION_DATED,
        expires_at: Timestamp::from_millis(raw.expires_ms),
        redriven: redriven.map(Box::new),
        // Shares the record's memory: bodies are most of what is in memory.
        body: record.slice_ref(raw.body.0),
    })
}

/// The id by which the event of this record is known, whose entry has the id `entry`. Without a look at the rest.
pub(crate) fn name(record: &[u8], entry: EventId) -> EventId {
    match split_redriven(record) {
        Ok((Some(redriven), _)) if !redriven.is_renamed => redriven.origin,
        // What does not decode keeps the name of its entry.
        Ok(_) | Err(_) => entry,
    }
}

/// How often the event of this record was redriven. Without a look at the rest.
pub(crate) fn redrives(record: &[u8]) -> u16 {
    split_redriven(record).ok().and_then(|(redriven, _)| redriven).map_or(0, |redriven| redriven.count)
}

/// What a record says of redrives; `None` of a plain one, and of one that does not decode.
pub(crate) fn redriven(record: &[u8]) -> Option<Redriven> {
    split_redriven(record).ok()?.0
}

/// The bytes with which a record says it.
pub(crate) fn redriven_part(record: &[u8]) -> Option<&[u8]> {
    let (redriven, rest) = split_redriven(record).ok()?;
    redriven?;
    record.get(..record.len().checked_sub(rest.len())?)
}

/// As [`redriven_part`], without what people wrote and without the URL, which is private where records are encrypted.
pub(crate) fn bare_redriven_part(record: &[u8]) -> Option<Vec<u8>> {
    let redriven = redriven(record)?;
    let mut part = Vec::new();
    encode_redriven(&Redriven { by: String::new(), from_url: None, ..redriven }, &mut part).ok()?;
    Some(part)
}

fn encode_redriven(redriven: &Redriven, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let from_url = redriven.from_url.as_deref().unwrap_or_default();
    let length = |text: &str| u16::try_from(text.len()).map_err(malformed);
    let has_url = if redriven.from_url.is_some() { HAS_FROM_URL } else { 0 };
    out.push(VERSION_REDRIVEN);
    out.extend_from_slice(&redriven.origin.to_bytes());
    out.push(has_url | if redriven.is_renamed { IS_RENAMED } else { 0 });
    out.extend_from_slice(&redriven.count.to_le_bytes());
    out.extend_from_slice(&redriven.at.as_millis().to_le_bytes());
    out.extend_from_slice(&length(&redriven.by)?.to_le_bytes());
    out.extend_from_slice(&length(from_url)?.to_le_bytes());
    out.extend_from_slice(redriven.by.as_bytes());
    out.extend_from_slice(from_url.as_bytes());
    Ok(())
}

/// What a record says of redrives, and the rest of it.
fn split_redriven(record: &[u8]) -> Result<(Option<Redriven>, &[u8]), RecordError> {
    let Some((&VERSION_REDRIVEN, rest)) = record.split_first() else { return Ok((None, record)) };
    let short = || RecordError::Malformed("it ends within what is known of redrives".to_owned());
    let (head, rest) = rest.split_first_chunk::<REDRIVEN_BYTES>().ok_or_else(short)?;
    let mut head = Head(head);
    let origin = EventId::from_bytes(head.take().ok_or_else(short)?);
    let [flags] = head.take().ok_or_else(short)?;
    let count = u16::from_le_bytes(head.take().ok_or_else(short)?);
    let at = Timestamp::from_millis(u64::from_le_bytes(head.take().ok_or_else(short)?));
    let by_bytes = u16::from_le_bytes(head.take().ok_or_else(short)?);
    let url_bytes = u16::from_le_bytes(head.take().ok_or_else(short)?);
    let (by, rest) = rest.split_at_checked(by_bytes.into()).ok_or_else(short)?;
    let (from_url, rest) = rest.split_at_checked(url_bytes.into()).ok_or_else(short)?;
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).map_err(malformed);
    let from_url = if flags & HAS_FROM_URL == 0 { None } else { Some(text(from_url)?) };
    let redriven =
        Redriven { origin, is_renamed: flags & IS_RENAMED != 0, count, at, by: text(by)?, from_url };
    Ok((Some(redriven), rest))
}

/// Bytes of fixed lengths, taken one after the other.
struct Head<'a>(&'a [u8]);

impl Head<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }
}

fn malformed(error: impl std::fmt::Display) -> RecordError {
    RecordError::Malformed(error.to_string())
}

#[cfg(test)]
pub(crate) mod testing {
    use super::{Redriven, VERSION, encode_redriven};

    /// The beginning of a record that was redriven so, and nothing behind it that decodes.
    pub(crate) fn redriven_record(redriven: &Redriven) -> Vec<u8> {
        let mut out = Vec::new();
        encode_redriven(redriven, &mut out).expect("short texts");
        out.push(VERSION);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_bytes(b"\xe9").expect("opaque bytes"));
        Event {
            method: Method::POST,
            url: CanonicalUrl::handed_in("https://h.org./a%2fb?b=%20c%zz").expect("valid"),
            headers,
            body: Bytes::from_static(b"{\"x\":1}\0\xff"),
            labels: Labels::new([("org".to_owned(), "ACME".to_owned())]).expect("valid"),
            due_at: Some(Timestamp::from_millis(5)),
            is_dated: false,
            expires_at: Timestamp::from_millis(9),
            redriven: None,
        }
    }

    #[test]
    fn a_record_reads_back_equal_and_shares_its_body() {
        let record = encode(&event()).expect("encodes");
        assert_eq!(decode(&record), Ok(event()));
        let dated = Event { is_dated: true, ..event() };
        assert_eq!(decode(&encode(&dated).expect("encodes")), Ok(dated));
        let plain = Event { due_at: None, body: Bytes::new(), headers: HeaderMap::new(), ..event() };
        assert_eq!(decode(&encode(&plain).expect("encodes")), Ok(plain));
    }

    #[test]
    fn a_redriven_event_keeps_its_name_and_what_is_known_of_it() {
        let origin = EventId::new(7, 8);
        let redriven = Redriven {
            origin,
            is_renamed: false,
            count: 2,
            at: Timestamp::from_millis(11),
            by: "on call".to_owned(),
            from_url: Some("https://old.org/a".to_owned()),
        };
        for (is_renamed, from_url) in [(false, None), (true, Some("https://old.org/a".to_owned()))] {
            let redriven = Redriven { is_renamed, from_url, ..redriven.clone() };
            let redriven = Event { redriven: Some(Box::new(redriven)), is_dated: is_renamed, ..event() };
            let record = encode(&redriven).expect("encodes");
            assert_eq!(decode(&record), Ok(redriven.clone()));
            let entry = EventId::new(9, 1);
            let known = if is_renamed { entry } else { origin };
            assert_eq!((name(&record, entry), redriven.name(entry), redrives(&record)), (known, known, 2));
            for cut in 0..record.len() {
                assert!(decode(&record.slice(..cut)).is_err(), "cut at {cut}");
            }
        }
        let plain = encode(&event()).expect("encodes");
        assert_eq!((name(&plain, origin), redrives(&plain)), (origin, 0));
    }

    #[test]
    fn redrives_on_disk_stay_readable() {
        // Written by the first version that has them; must decode for ever.
        let mut old = b"\x03".to_vec();
        old.extend_from_slice(&EventId::new(7, 8).to_bytes());
        old.extend_from_slice(b"\x02\x02\0\x0b\0\0\0\0\0\0\0\x03\0\x11\0opshttps://old.org/x");
        old.extend_from_slice(b"\x01\x97\xa4POST\xb1https://h.org/a?b\x90\x92\xa3org\xa1A\xc0\x09\xc4\x02hi");
        let redriven = decode(&Bytes::from(old)).expect("the fixture").redriven.expect("redriven");
        assert_eq!((redriven.origin, redriven.count, redriven.is_renamed), (EventId::new(7, 8), 2, false));
        assert_eq!((redriven.by.as_str(), redriven.from_url.as_deref()), ("ops", Some("https://old.org/x")));
        assert_eq!(redriven.at, Timestamp::from_millis(11));
    }

    #[test]
    fn the_first_format_stays_readable() {
        // Written by the first release; must decode for ever.
        let old =
            b"\x01\x97\xa4POST\xb1https://h.org/a?b\x92\xc4\x01x\xc4\x011\x92\xa3org\xa1A\xc0\x09\xc4\x02hi";
        let event = decode(&Bytes::from_static(old)).expect("the fixture");
        assert_eq!(event.url.as_str(), "https://h.org/a?b");
        assert_eq!(event.url.called().as_str(), "https://h.org/a?b", "the form in which it was kept");
        assert_eq!(event.labels.get("org"), Some("A"));
        assert_eq!(&event.body[..], b"hi");
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let record = encode(&event()).expect("encodes");
        assert_eq!(decode(&Bytes::from_static(b"\x09")), Err(RecordError::Version(9)));
        for cut in 0..record.len() {
            assert!(decode(&record.slice(..cut)).is_err(), "cut at {cut}");
        }
    }
}
