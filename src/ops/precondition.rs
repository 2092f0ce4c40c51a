//! `If-Match` and `If-None-Match` of a request that changes one thing (RFC 9110, section 13.1).
//!
//! Must not know: what is changed.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::problem::{Problem, codes};
use crate::telemetry::defect;

/// What a change asks of the state that it finds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Precondition {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

/// The entity tags that a header names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    /// `*`: any edition, as long as the thing is there.
    Any,
    /// Each as it was sent, quotes included.
    These(Vec<String>),
}

impl Precondition {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let tags = |name: HeaderName| Tags::read(headers, &name);
        Self { if_match: tags(header::IF_MATCH), if_none_match: tags(header::IF_NONE_MATCH) }
    }

    /// Whether a thing of this edition, or one that is not there, is what the change asks for.
    pub(super) fn holds(&self, edition: Option<&str>) -> bool {
        let names = |tags: &Tags, is_weak_enough: bool| match (tags, edition) {
            // What is not there has no tag, and `*` does not name it either.
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::These(tags), Some(edition)) => tags.iter().any(|tag| {
                // `If-Match` compares strongly, `If-None-Match` weakly (RFC 9110, 13.1.1 and 13.1.2).
                let tag = tag.strip_prefix("W/").filter(|_| is_weak_enough).unwrap_or(tag);
                tag == quoted(edition)
            }),
        };
        let is_matched = self.if_match.as_ref().is_none_or(|tags| names(tags, false));
        is_matched && !self.if_none_match.as_ref().is_some_and(|tags| names(tags, true))
    }
}

impl Tags {
    /// What cannot be read names nothing.
    fn read(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let mut given = headers.get_all(name).iter().peekable();
        given.peek()?;
        let texts = given.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        let tags: Vec<String> = texts.map(|tag| tag.trim().to_owned()).collect();
        Some(if tags == ["*"] { Self::Any } else { Self::These(tags) })
    }
}

/// The header value for an edition.
pub(super) fn etag(edition: &str) -> Option<HeaderValue> {
    let value = HeaderValue::try_from(quoted(edition));
    defect!(unless value.is_ok(), "an edition that is no header");
    value.ok()
}

/// An edition as an entity tag.
pub(super) fn quoted(edition: &str) -> String {
    format!("\"{edition}\"")
}

/// The problem of a change that has found another state; `found` is the edition there.
pub(super) fn failed(found: Option<&str>) -> Box<Problem> {
    let found = found.map_or_else(
        || "there is none at present".to_owned(),
        |edition| format!("it has the ETag {} at present", quoted(edition)),
    );
    let detail = format!("nothing was changed: {found}; read it again and decide anew");
    Box::new(Problem::of(codes::PRECONDITION_FAILED, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(pairs: &[(&'static str, &'static str)], edition: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Precondition::of(&headers).holds(edition)
    }

    #[test]
    fn a_change_finds_the_edition_that_it_names_or_is_not_made() {
        type Row = (&'static [(&'static str, &'static str)], Option<&'static str>, bool);
        let table: &[Row] = &[
            (&[], None, true),
            (&[], Some("a"), true),
            (&[("if-match", "\"a\"")], Some("a"), true),
            (&[("if-match", "\"a\"")], Some("b"), false),
            (&[("if-match", "\"a\"")], None, false),
            (&[("if-match", "\"b\" , \"a\"")], Some("a"), true),
            (&[("if-match", "\"b\""), ("if-match", "\"a\"")], Some("a"), true),
            (&[("if-match", "W/\"a\"")], Some("a"), false),
            (&[("if-match", "a")], Some("a"), false),
            (&[("if-match", "*")], Some("a"), true),
            (&[("if-match", "*")], None, false),
            (&[("if-match", "")], Some("a"), false),
            (&[("if-none-match", "*")], None, true),
            (&[("if-none-match", "*")], Some("a"), false),
            (&[("if-none-match", "W/\"a\"")], Some("a"), false),
            (&[("if-none-match", "\"a\"")], Some("b"), true),
            (&[("if-match", "\"a\""), ("if-none-match", "\"a\"")], Some("a"), false),
        ];
        for (pairs, edition, expected) in table {
            assert_eq!(holds(pairs, *edition), *expected, "{pairs:?} {edition:?}");
        }
    }
}
