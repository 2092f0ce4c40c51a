//! Members as they were given, whatever language they were written in, and what is wrong with them.
//!
//! Must not know: which members there are.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::event::json_pointer;

/// Longest part of a name or a wrong value that is repeated, in characters.
const MAX_QUOTED: usize = 80;
/// 2^53: above it a float cannot represent every whole number.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// A value as it was given, in the types that JSON and TOML share.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Given {
    /// A text, with its escapes undone.
    Text(String),
    /// A whole number within 64 bits.
    Integer(i64),
    /// Another number, or one that is too large for a whole one.
    Float(f64),
    /// True or false.
    Flag(bool),
    /// A list of values of any types.
    List(Vec<Self>),
    /// A table or object with its members.
    Table(Members),
    /// A value of a type that no member has.
    Other(&'static str),
}

/// The members of a table in the order in which they were given. One that is `null` in JSON is left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Members(pub Vec<(String, Given)>);

/// A member that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The member, and the member of that; empty for all of them together.
    pub path: Vec<String>,
    /// The rule, with what was given.
    pub detail: String,
}

impl Given {
    /// A number, whole where it can be.
    #[must_use]
    pub(crate) fn number(number: f64) -> Self {
        // Exact: it has no fraction and is below 2^53.
        if number.fract() == 0.0 && number.abs() < MAX_WHOLE {
            Self::Integer(number as i64)
        } else {
            Self::Float(number)
        }
    }

    /// The value as a fault repeats it.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) if number.is_nan() => "nan".to_owned(),
            Self::Float(number) => format!("{number:?}"),
            Self::Flag(flag) => flag.to_string(),
            Self::List(_) => "a value of type array".to_owned(),
            Self::Table(_) => "a value of type table".to_owned(),
            Self::Other(kind) => format!("a value of type {kind}"),
        }
    }
}

impl Members {
    /// The first member of this name; `None` where there is none.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> Option<&Given> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, given)| given)
    }

    /// The names of the members that the two do not have alike, in the order of their names.
    #[must_use]
    pub(crate) fn differing(&self, other: &Self) -> Vec<String> {
        let names = self.0.iter().chain(&other.0).map(|(name, _)| name);
        let mut names: Vec<String> =
            names.filter(|name| self.get(name) != other.get(name)).cloned().collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Fault {
    /// The member as the configuration file names it, such as `window.calls`.
    #[must_use]
    pub(crate) fn field(&self) -> String {
        let parts = self.path.iter().map(|part| clipped(part).escape_debug().to_string());
        parts.collect::<Vec<_>>().join(".")
    }

    /// The JSON pointer to the member (RFC 6901).
    #[must_use]
    pub(crate) fn pointer(&self) -> String {
        json_pointer(self.path.iter().map(String::as_str))
    }
}

pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", clipped(text))
}

fn clipped(text: &str) -> String {
    text.chars().take(MAX_QUOTED).collect()
}

impl Serialize for Given {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::List(values) => values.serialize(serializer),
            Self::Table(members) => members.serialize(serializer),
            // Only `null` of JSON and dates of TOML: none of them is ever written back.
            Self::Other(_) => serializer.serialize_unit(),
        }
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, given) in &self.0 {
            map.serialize_entry(name, given)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Given::deserialize(deserializer)? {
            Given::Table(members) => Ok(members),
            _ => Err(D::Error::custom("not an object")),
        }
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

/// Keeps what a map gives twice: a reader of values would take the last one.
struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Given, E> {
        Ok(Given::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Given, E> {
        Ok(Given::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Given, E> {
        Ok(i64::try_from(number).map_or(Given::Float(number as f64), Given::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Given, E> {
        Ok(Given::number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Given, E> {
        Ok(Given::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Given, E> {
        Ok(Given::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Given, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Given::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Given, A::Error> {
        let mut members = Vec::new();
        while let Some((name, given)) = entries.next_entry::<String, Given>()? {
            // `null` means what an absent member means: its default.
            if given != Given::Other("null") {
                members.push((name, given));
            }
        }
        Ok(Given::Table(Members(members)))
    }
}
