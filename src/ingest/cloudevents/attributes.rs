//! The attributes of a CloudEvent as a request carries them: as headers (binary mode) or as members of a JSON object
//! (structured and batched mode).
//!
//! Must not know: which attributes there are, and what they mean.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde_json::value::RawValue;

use crate::event::json_pointer;
use crate::ingest::diagnose::not_json;
use crate::ingest::wire::{Pairs, Text};
use crate::problem::{Problem, codes};

/// The headers of attributes begin so.
pub(super) const PREFIX: &str = "ce-";
/// The attribute that is `Content-Type` in binary mode.
const CONTENT_TYPE_NAME: &str = "datacontenttype";
/// The attributes whose type is that of texts; only extensions may have another one.
const TEXTS: [&str; 8] =
    ["specversion", "id", "source", "type", "datacontenttype", "dataschema", "subject", "time"];

/// What a CloudEvent says of itself, each value in its canonical text, and the rules that it breaks so far.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a> {
    pub(super) values: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    pub(super) faults: Faults,
}

/// Attributes and the rules that they break: the first [`Problem::MAX_ERRORS`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Faults(Vec<(String, String)>);

impl Faults {
    /// `name` is an attribute, or empty for the CloudEvent as a whole.
    pub(super) fn add(&mut self, name: &str, rule: impl Into<String>) {
        self.add_at(json_pointer((!name.is_empty()).then_some(name)), rule);
    }

    pub(super) fn add_at(&mut self, pointer: String, rule: impl Into<String>) {
        if self.0.len() < Problem::MAX_ERRORS {
            self.0.push((pointer, rule.into()));
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_problem(self) -> Box<Problem> {
        let told: Vec<_> =
            self.0.iter().map(|(at, rule)| format!("{} {rule}", at.trim_start_matches('/'))).collect();
        let problem = Problem::of(codes::INVALID_EVENT, told.join("; ").trim_start().to_owned());
        Box::new(self.0.into_iter().fold(problem, |problem, (at, rule)| problem.field(at, rule)))
    }
}

impl<'a> Attributes<'a> {
    /// The attributes of a request in binary mode: the headers that begin with `ce-`, and `Content-Type`.
    pub(super) fn of_headers(headers: &HeaderMap) -> Attributes<'static> {
        let mut found = Attributes::default();
        for header in headers.keys() {
            let Some(name) = header.as_str().strip_prefix(PREFIX) else { continue };
            let mut values = headers.get_all(header).iter();
            match (values.next().map(|value| unescaped(value.as_bytes())), values.next()) {
                _ if name == "data" => {
                    found.faults.add(name, "is no attribute; in binary mode the data is the body");
                }
                _ if name == CONTENT_TYPE_NAME => {
                    found
                        .faults
                        .add(name, "is the header Content-Type in binary mode; leave ce-datacontenttype out");
                }
                (Some(Ok(value)), None) => found.insert(name.to_owned().into(), value.into()),
                (Some(Err(rule)), None) => found.faults.add(name, rule),
                _ => found.faults.add(name, "is given twice; give it once"),
            }
        }
        let mut kinds = headers.get_all(CONTENT_TYPE).iter();
        // In binary mode `Content-Type` is the attribute `datacontenttype`, and like every attribute it is given once.
        match (kinds.next().map(HeaderValue::to_str), kinds.next()) {
            (None, _) => {}
            (Some(Ok(value)), None) => found.insert(CONTENT_TYPE_NAME.into(), value.to_owned().into()),
            (Some(Err(_)), None) => {
                found.faults.add(CONTENT_TYPE_NAME, "must be a media type such as application/json");
            }
            _ => found.faults.add(CONTENT_TYPE_NAME, "is given twice; give it once"),
        }
        found
    }

    /// The attributes of a CloudEvent in the JSON format. A text that is no JSON object is refused.
    pub(super) fn of_json(text: &'a str) -> Result<Self, Box<Problem>> {
        let members: Pairs<'a, &'a RawValue> = match serde_json::from_str(text) {
            Ok(members) => members,
            Err(error) if error.is_data() => {
                let mut faults = Faults::default();
                faults.add(
                    "",
                    "a CloudEvent must be a JSON object; send a list as application/cloudevents-batch+json",
                );
                return Err(faults.into_problem());
            }
            Err(error) => return Err(Box::new(not_json(&error.to_string()))),
        };
        let (mut found, mut has_data) = (Self::default(), false);
        for (name, value) in members.0 {
            let value = value.get();
            match &*name {
                "data" | "data_base64" if has_data => {
                    found.faults.add(&name, "is data beside other data; give data or data_base64, once");
                }
                "data" => has_data = true,
                "data_base64" => {
                    has_data = true;
                    // It is checked and not kept: the call carries the CloudEvent on as it came.
                    let bytes = serde_json::from_str::<Text<'_>>(value).ok();
                    if bytes.and_then(|text| STANDARD.decode(text.as_bytes()).ok()).is_none() {
                        found.faults.add(&name, "is not base64 (RFC 4648, padded)");
                    }
                }
                _ => match canonical(&name, value) {
                    Ok(Some(value)) => found.insert(name.0, value),
                    Ok(None) => {}
                    Err(rule) => found.faults.add(&name, rule),
                },
            }
        }
        Ok(found)
    }

    fn insert(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if name.is_empty() || !name.bytes().all(is_plain) {
            let rule = "is no name of an attribute, which has lower-case letters and digits only";
            return self.faults.add(&name, rule);
        }
        match self.values.entry(name) {
            Entry::Occupied(known) => self.faults.add(known.key(), "is given twice; give it once"),
            Entry::Vacant(place) => {
                place.insert(value);
            }
        }
    }
}

/// The text of a JSON value that an attribute may have; `None` for null, which is the same as no attribute.
fn canonical<'v>(name: &str, value: &'v str) -> Result<Option<Cow<'v, str>>, &'static str> {
    match value.as_bytes().first() {
        Some(b'"') => serde_json::from_str(value).map(|Text(text)| Some(text)).map_err(|_| "is no text"),
        // The value is well-formed JSON: what begins with this letter is `null`.
        Some(b'n') => Ok(None),
        // Another type is another value: 1 and "1" would be the same idempotency key.
        _ if TEXTS.contains(&name) => Err("must be text; put the value into quotation marks"),
        Some(b't' | b'f') => Ok(Some(value.into())),
        // CloudEvents has integers of 32 bits and no other numbers.
        _ if value.parse::<i32>().is_ok() => Ok(Some(value.into())),
        _ => Err("must be text, true, false or an integer of 32 bits; write other values as text"),
    }
}

/// The text of a header's value: without quotation marks around it, its percent-encoding undone once.
fn unescaped(value: &[u8]) -> Result<String, &'static str> {
    let value = unquoted(value)?;
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value.into_iter();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let code = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        out.push(code.ok_or("has a % without two hexadecimal digits; write a percent sign as %25")?);
    }
    String::from_utf8(out).map_err(|_| "is not UTF-8 once its percent-encoding is undone")
}

/// Older producers put quotation marks around a value, and a backslash before some characters in it.
fn unquoted(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    let Some(inner) = value.strip_prefix(b"\"") else { return Ok(value.to_vec()) };
    let unfinished = "begins with a quotation mark and does not end with one";
    let (mut out, mut rest) = (Vec::with_capacity(inner.len()), inner.iter());
    loop {
        match rest.next() {
            Some(b'"') if rest.as_slice().is_empty() => return Ok(out),
            Some(b'\\') => out.push(*rest.next().ok_or(unfinished)?),
            Some(b'"') | None => return Err(unfinished),
            Some(byte) => out.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn header_values_are_unquoted_and_percent_decoded_once() {
        let text = |value: &str| unescaped(value.as_bytes());
        assert_eq!(text("Euro%20%E2%82%AC%20%F0%9F%98%80").as_deref(), Ok("Euro \u{20ac} \u{1f600}"));
        assert_eq!(
            text("%2525%c3%a9%41").as_deref(),
            Ok("%25\u{e9}A"),
            "one round, any case, also the needless"
        );
        assert_eq!(text(r#""a \"b\" \\ %20""#).as_deref(), Ok("a \"b\" \\  "));
        assert_eq!(text("a\"b").as_deref(), Ok("a\"b"));
        for broken in ["100%", "%4", "%+1", "%C0%A0", "%ff", "\"open", "\"a\"b", "\"a\\"] {
            assert!(text(broken).is_err(), "{broken}");
        }
        assert_eq!(unescaped(b"caf\xc3\xa9").as_deref(), Ok("caf\u{e9}"));
        assert!(unescaped(b"caf\xe9").is_err());
    }

    proptest! {
        #[test]
        fn what_the_binding_encodes_is_decoded(text in any::<String>()) {
            let encoded = |c: char| match c {
                '"' | '%' => format!("%{:02X}", u32::from(c)),
                '!'..='~' => c.to_string(),
                _ => c.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect(),
            };
            let header: String = text.chars().map(encoded).collect();
            prop_assert_eq!(unescaped(header.as_bytes()), Ok(text));
        }

        #[test]
        fn any_bytes_are_text_or_refused(bytes in any::<Vec<u8>>()) {
            let _ = unescaped(&bytes);
        }
    }

    #[test]
    fn json_values_become_their_canonical_text() {
        let text = r#"{"id":"1","flag":true,"level":-7,"none":null,"data":{"a":[1.5]}}"#;
        let found = Attributes::of_json(text).expect("valid");
        let values: Vec<_> = found.values.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(values, [("flag", "true"), ("id", "1"), ("level", "-7")]);
        assert!(found.faults.is_empty());
    }

    #[test]
    fn what_is_no_attribute_is_named() {
        let text = r#"{"id":"1","id":"2","Upper":"x","a_b":"x","level":1.5,"big":2147483648,"list":[],
                       "data":1,"data_base64":"?","source":1,"type":true,"specversion":1.0,"time":0,"subject":[]}"#;
        let problem = Attributes::of_json(text).expect("an object").faults.into_problem();
        let named: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(
            named,
            [
                "/id",
                "/Upper",
                "/a_b",
                "/level",
                "/big",
                "/list",
                "/data_base64",
                "/source",
                "/type",
                "/specversion",
                "/time",
                "/subject"
            ]
        );
        let told = &problem.errors.last().expect("named").detail;
        assert_eq!(told, "must be text; put the value into quotation marks");
        let only_base64 = Attributes::of_json(r#"{"data_base64":"AA=="}"#).expect("an object");
        assert!(only_base64.faults.is_empty(), "the control: one of both");
        assert_eq!(Attributes::of_json("[]").expect_err("no object").code, "invalid_event");
        assert_eq!(Attributes::of_json("{").expect_err("no JSON").code, "invalid_json");
    }

    #[test]
    fn headers_are_read_but_for_the_ones_that_are_none() {
        let mut headers = HeaderMap::new();
        let known =
            [("ce-id", "1"), ("ce-subject", "a%20b"), ("content-type", "text/plain"), ("x-other", "x")];
        let broken = [
            ("ce-type", "a"),
            ("ce-type", "b"),
            ("ce-datacontenttype", "text/plain"),
            ("ce-x-y", "1"),
            ("ce-data", "x"),
        ];
        for (name, value) in known.into_iter().chain(broken) {
            headers.append(name, value.parse().expect("a value"));
        }
        let found = Attributes::of_headers(&headers);
        let values: Vec<_> = found.values.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(values, [("datacontenttype", "text/plain"), ("id", "1"), ("subject", "a b")]);
        let mut named: Vec<_> = found.faults.0.iter().map(|(at, _)| at.as_str()).collect();
        named.sort_unstable();
        assert_eq!(named, ["/data", "/datacontenttype", "/type", "/x-y"]);
    }
}
