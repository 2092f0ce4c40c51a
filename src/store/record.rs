//! The disk form of an event: one version byte, then a MessagePack array. Separate from the inner
//! [`Event`], so that either can change without the other.
//!
//! Version 2 is the same for an event whose due time is a date that was given while the clock was in doubt.
//!
//! Version 1: `[method, url, headers, labels, due_ms | nil, expires_ms, body]`; headers and labels are flat
//! arrays of name, value, name, value. Due times are rounded up and expiry times down to a millisecond:
//! nothing is early, nothing outlives its time.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::{CanonicalUrl, Event, Labels};

const VERSION: u8 = 1;
/// Same members as version 1; the byte alone says that the due time is a date in doubt.
const VERSION_DATED: u8 = 2;

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
    out.push(if event.is_dated { VERSION_DATED } else { VERSION });
    rmp_serde::encode::write(&mut out, &record).map_err(|error| RecordError::Malformed(error.to_string()))?;
    Ok(out.into())
}

/// Reads a record back.
///
/// # Errors
/// [`RecordError`] when the bytes are of another version or break a rule.
pub fn decode(record: &Bytes) -> Result<Event, RecordError> {
    let (version, rest) = record.split_first().ok_or(RecordError::Version(0))?;
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
        // Shares the record's memory: bodies are most of what is in memory.
        body: record.slice_ref(raw.body.0),
    })
}

fn malformed(error: impl std::fmt::Display) -> RecordError {
    RecordError::Malformed(error.to_string())
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
