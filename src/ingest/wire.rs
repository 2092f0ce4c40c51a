//! An event as producers write it: one JSON object, the same at every door. Texts and the body borrow from
//! the bytes that were read.
//!
//! Unknown members, repeated members and wrong types are refused. `null` in an optional member other than
//! `body` counts as not given; a `body` of `null` is the JSON text `null`.
//!
//! Must not know: clocks, limits, policies, the queue. What a member may hold is [`super::decode`]'s business.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, Type};

use crate::telemetry::defect;

/// Names of the members that an event may have; any other one is refused.
pub(super) const MEMBERS: [&str; 12] = [
    "url",
    "method",
    "headers",
    "body",
    "body_text",
    "body_base64",
    "labels",
    "delay_seconds",
    "due_at",
    "ttl_seconds",
    "priority",
    "idempotency_key",
];

/// One event before any rule but its shape was checked. The text has to be an object: derived readers take
/// a list of the members' values too.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Event, description = "A call that is to be made. At most one of the three body members.")]
pub(super) struct WireEvent<'a> {
    /// Absolute http(s) URL without user name and password, called as it is given: what a parser of URLs would repair,
    /// such as `..` in the path or a backslash, is refused.
    #[serde(borrow)]
    #[schema(value_type = String, max_length = 2048, example = "https://api.example.org/orders")]
    pub url: Text<'a>,
    /// HTTP method of the call; POST when missing.
    #[serde(default, borrow)]
    #[schema(value_type = Option<String>, max_length = 32)]
    pub method: Option<Text<'a>>,
    /// Sent along, at most 64 values and 16 KiB. Hop-by-hop headers and those that tidegate sets are refused.
    #[serde(default, borrow)]
    #[schema(schema_with = headers_schema)]
    pub headers: Option<Pairs<'a, Values<'a>>>,
    /// Any JSON value, at most 32 levels deep, sent as JSON, byte by byte as it came.
    #[serde(default, borrow, deserialize_with = "given")]
    #[schema(value_type = Value)]
    pub body: Option<&'a RawValue>,
    /// Text that is sent as it is, in UTF-8.
    #[serde(default, borrow)]
    #[schema(value_type = Option<String>)]
    pub body_text: Option<Text<'a>>,
    /// Decoded (RFC 4648, padded) and sent.
    #[serde(default, borrow)]
    #[schema(value_type = Option<String>, content_encoding = "base64")]
    pub body_base64: Option<Text<'a>>,
    /// What limits look at, such as `org`.
    #[serde(default, borrow)]
    #[schema(value_type = Option<BTreeMap<String, String>>, nullable = false)]
    pub labels: Option<Pairs<'a, Text<'a>>>,
    /// Not before this many seconds from now; less than the event's life. Excludes `due_at`.
    #[serde(default)]
    #[schema(minimum = 0)]
    pub delay_seconds: Option<f64>,
    /// Not before this RFC 3339 time; one that has passed means now.
    #[serde(default, borrow)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due_at: Option<Text<'a>>,
    /// A shorter life than the configured one.
    #[serde(default)]
    #[schema(exclusive_minimum = 0)]
    pub ttl_seconds: Option<f64>,
    /// Starts under a limit that is contended are divided 8 : 4 : 1; `normal` when missing.
    #[serde(default, borrow)]
    #[schema(value_type = Option<String>, pattern = "^(high|normal|low)$")]
    pub priority: Option<Text<'a>>,
    /// The same key with the same content is accepted once.
    #[serde(default, borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256)]
    pub idempotency_key: Option<Text<'a>>,
}

/// An object whose values are text or lists of texts.
fn headers_schema() -> Schema {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let values = OneOfBuilder::new().item(text()).item(ArrayBuilder::new().items(text()));
    let values = values.title(Some("HeaderValues")).build();
    ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(Schema::from(values))).into()
}

/// Takes `null` as a body, where the usual reader of an option would take it as a missing member.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Text that borrows unless it has escapes, also inside of options and lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text<'a>(pub Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                // A text with escapes has to be unescaped into a copy.
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// An object in the order of its members, repeated ones included: the rules say what becomes of them.
#[derive(Debug)]
pub(super) struct Pairs<'a, V>(pub Vec<(Text<'a>, V)>);

impl<'de: 'a, 'a, V: Deserialize<'de>> Deserialize<'de> for Pairs<'a, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for PairsVisitor<V> {
            type Value = Vec<(Text<'de>, V)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                // A map would silently keep one of two members of a name.
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(PairsVisitor(PhantomData)).map(Pairs)
    }
}

/// The value of a header: one text, or several for a header that is sent several times.
#[derive(Debug)]
pub(super) enum Values<'a> {
    One(Text<'a>),
    Many(Vec<Text<'a>>),
}

impl<'a> Values<'a> {
    pub(super) fn as_slice(&self) -> &[Text<'a>] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Values<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValuesVisitor;
        impl<'de> Visitor<'de> for ValuesVisitor {
            type Value = Values<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a list of texts")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Values<'de>, E> {
                Ok(Values::One(Text(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Values<'de>, E> {
                Ok(Values::One(Text(Cow::Owned(text.to_owned()))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values<'de>, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Values::Many(values))
            }
        }
        // Not known beforehand: a text or a list. An untagged enum would copy the text and lose what was wrong.
        deserializer.deserialize_any(ValuesVisitor)
    }
}

/// Whether a JSON text nests deeper than `most` objects and lists. The text is known to be well-formed.
pub(super) fn deeper_than(json: &str, most: usize) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b'}' | b']' => {
                defect!(unless depth > 0, "well-formed JSON with a bracket that closes nothing");
                depth = depth.saturating_sub(1);
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<WireEvent<'_>, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn texts_and_body_borrow_from_the_line() {
        let line = r#"{"url":"http://a.test/","headers":{"x-a":"1","x-b":["2","3"]},"body":{"n" : 1e400}}"#;
        let event = parse(line).expect("valid");
        assert!(matches!(event.url.0, Cow::Borrowed(_)));
        assert_eq!(event.body.map(RawValue::get), Some(r#"{"n" : 1e400}"#));
        let headers = event.headers.expect("given").0;
        let values: Vec<usize> = headers.iter().map(|(_, values)| values.as_slice().len()).collect();
        assert_eq!(values, [1, 2]);
    }

    #[test]
    fn a_null_body_is_a_body_and_other_nulls_are_nothing() {
        let event = parse(r#"{"url":"u","body":null,"method":null,"labels":null}"#).expect("valid");
        assert_eq!(event.body.map(RawValue::get), Some("null"));
        assert!(event.method.is_none() && event.labels.is_none());
    }

    #[test]
    fn unknown_repeated_and_mistyped_members_are_refused() {
        for line in [
            r#"{"url":"u","colour":1}"#,
            r#"{"url":"u","url":"v"}"#,
            r#"{"url":1}"#,
            r#"{"url":"u","headers":{"a":1}}"#,
            r#"{"url":"u","headers":[]}"#,
            r#"{"method":"GET"}"#,
            "{\"url\":\"u\"} x",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn depth_counts_brackets_outside_of_texts() {
        assert!(!deeper_than(r#"[[{"a":"[[[[\"[[["}]]"#, 3));
        assert!(deeper_than("[[[[]]]]", 3));
        assert!(!deeper_than("[[],[],[],[]]", 2));
    }
}
