//! What blocks of the configuration file other than policies have in common: texts, numbers, tables, headers, names of
//! members. Every member that breaks a rule becomes a fault of its own.
//!
//! Must not know: which members a block has.

use std::ops::RangeInclusive;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::{Fault, Given, Members, nearest};

/// Most header values of a block, and the longest sum of their names and values in bytes: half of what an event may
/// have.
const MAX_HEADERS: usize = 32;
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// The members of a block, or of a table within one, and what was found wrong with them.
pub(super) struct BlockReader<'a> {
    pub(super) members: &'a Members,
    pub(super) faults: Vec<Fault>,
}

impl<'a> BlockReader<'a> {
    pub(super) fn new(members: &'a Members) -> Self {
        Self { members, faults: Vec::new() }
    }

    /// Notes the members that are none of `known`.
    pub(super) fn refuse_unknown(&mut self, known: &[&str]) {
        for (name, _) in &self.members.0 {
            if !known.contains(&name.as_str()) {
                let way_out = nearest(name, known.iter().copied()).map_or_else(
                    || format!("known are {}", known.join(", ")),
                    |name| format!("did you mean {name}?"),
                );
                self.note(&[name], format!("unknown member; {way_out}"));
            }
        }
    }

    pub(super) fn required_text(&mut self, name: &str, rule: &str) -> Option<&'a str> {
        match self.members.get(name) {
            Some(Given::Text(text)) => return Some(text),
            Some(_) => self.note(&[name], format!("must be text: {rule}")),
            None => self.note(&[name], format!("is missing: {rule}")),
        }
        None
    }

    /// A whole number that may be missing; `None` also where it is wrong, which is noted.
    pub(super) fn number(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let number = match self.members.get(name)? {
            Given::Integer(number) => u64::try_from(*number).ok().filter(|number| range.contains(number)),
            _ => None,
        };
        if number.is_none() {
            let (low, high) = (range.start(), range.end());
            self.note(&[name], format!("must be a whole number from {low} to {high}"));
        }
        number
    }

    /// True or false, which may be missing; `None` also where it is neither, which is noted.
    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        match self.members.get(name)? {
            Given::Flag(flag) => Some(*flag),
            _ => {
                self.note(&[name], "must be true or false");
                None
            }
        }
    }

    /// The members of a table that may be missing.
    pub(super) fn table(&mut self, name: &str, example: &str) -> &'a [(String, Given)] {
        match self.members.get(name) {
            None => &[],
            Some(Given::Table(members)) => &members.0,
            Some(_) => {
                self.note(&[name], format!("must be a table, as {example}"));
                &[]
            }
        }
    }

    /// The table `headers`; `why_not` says why a header may not be set here, if it may not.
    pub(super) fn headers(
        &mut self,
        example: &str,
        why_not: impl Fn(&HeaderName) -> Option<&'static str>,
    ) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let (mut count, mut bytes) = (0, 0);
        for (name, given) in self.table("headers", example) {
            let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
                self.note(&["headers", name], "is not a header name");
                continue;
            };
            if let Some(rule) = why_not(&parsed) {
                self.note(&["headers", name], rule);
                continue;
            }
            if headers.contains_key(&parsed) {
                self.note(&["headers", name], "is given twice; give a list of values under one name");
                continue;
            }
            let values = match given {
                Given::List(values) => values.as_slice(),
                one => std::slice::from_ref(one),
            };
            for value in values {
                // A value that is no text becomes one that no header may have, and is refused below with the same
                // words.
                let text = if let Given::Text(text) = value { text.as_str() } else { "\n" };
                match HeaderValue::from_str(text) {
                    Ok(mut value) => {
                        // It may be a credential.
                        value.set_sensitive(true);
                        (count, bytes) = (count + 1, bytes + name.len() + value.len());
                        headers.append(parsed.clone(), value);
                    }
                    Err(_) => {
                        let rule = "must be text, or a list of texts, of visible ASCII characters and spaces";
                        self.note(&["headers", name], rule);
                    }
                }
            }
        }
        if count > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
            let rule = format!("must have at most {MAX_HEADERS} values and {MAX_HEADER_BYTES} bytes in all");
            self.note(&["headers"], rule);
        }
        headers
    }

    /// Notes what was found wrong with the members of a table within.
    pub(super) fn note_within(&mut self, table: &str, faults: Vec<Fault>) {
        for Fault { path, detail } in faults {
            let path = std::iter::once(table.to_owned()).chain(path).collect();
            self.faults.push(Fault { path, detail });
        }
    }

    pub(super) fn note(&mut self, path: &[&str], detail: impl Into<String>) {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        self.faults.push(Fault { path, detail: detail.into() });
    }
}
