//! Where in a call a value stands: in a header, in a member of the query, in a segment of the path, or in the host.
//!
//! Must not know: what the value is for.

use std::borrow::Cow;
use std::str::FromStr;

use http::HeaderName;

use crate::event::Call;
use crate::policy::decoded;

/// A place of calls, as an operator names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The header of this name.
    Header(HeaderName),
    /// The first member of the query with this name.
    Query(String),
    /// The segment of the path with this number, the first being 1; empty ones do not count.
    Segment(usize),
    /// The name of the host, without the port.
    Host,
}

/// Why a text names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be \"header NAME\", \"query NAME\", \"path N\" with the number of a segment from 1, or \"host\""
)]
pub struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        if text == "host" {
            return Ok(Self::Host);
        }
        match text.split_once(' ') {
            Some(("header", name)) => name.parse().map(Self::Header).map_err(|_| NoPlace),
            Some(("query", name)) if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            Some(("path", number)) => {
                number.parse().ok().filter(|number| *number > 0).map(Self::Segment).ok_or(NoPlace)
            }
            _ => Err(NoPlace),
        }
    }
}

impl Place {
    /// What stands there, in the spelling that is meant; `None` where nothing does, or nothing that is text.
    pub(super) fn find<'c>(&self, call: &Call<'c>) -> Option<Cow<'c, str>> {
        let url = call.url.as_url();
        let found = match self {
            Self::Header(name) => Cow::from(call.headers.get(name)?.to_str().ok()?.trim()),
            Self::Query(name) => url.query_pairs().find(|(key, _)| key == name)?.1,
            Self::Segment(number) => {
                let segment = segments(call.url.path()).nth(number.checked_sub(1)?)?;
                match decoded(segment) {
                    Cow::Borrowed(_) => Cow::from(segment),
                    Cow::Owned(bytes) => Cow::from(String::from_utf8(bytes).ok()?),
                }
            }
            Self::Host => Cow::from(url.host_str()?),
        };
        // An empty value is how forms send that they have none.
        (!found.is_empty()).then_some(found)
    }
}

/// The segments of a path without the empty ones: repeated slashes, and one at the end, are another spelling.
pub(super) fn segments(path: &str) -> impl Iterator<Item = &str> + Clone {
    path.split('/').filter(|segment| !segment.is_empty())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;
    use crate::event::Labels;
    use crate::policy::testing::url;

    fn found(place: &str, to: &str) -> Option<String> {
        let (url, labels) = (url(to), Labels::default());
        let mut headers = HeaderMap::new();
        headers.insert("x-mart", HeaderValue::from_static(" 1162 "));
        headers.insert("x-empty", HeaderValue::from_static(""));
        headers.insert("x-bytes", HeaderValue::from_bytes(b"\xff").expect("valid"));
        let call = Call {
            method: &Method::POST,
            url: &url,
            headers: &headers,
            body: b"",
            own: &labels,
            fallback: &labels,
        };
        place.parse::<Place>().expect(place).find(&call).map(Cow::into_owned)
    }

    #[test]
    fn a_value_is_found_in_each_place_however_it_is_spelled() {
        for (place, to, expected) in [
            ("header x-mart", "http://h/", Some("1162")),
            ("header X-Mart", "http://h/", Some("1162")),
            ("header x-empty", "http://h/", None),
            ("header x-bytes", "http://h/", None),
            ("header x-none", "http://h/", None),
            ("query mart", "http://h/x?a=1&mart=1162", Some("1162")),
            ("query mart", "http://h/x?mart=1%31%362&mart=2", Some("1162")),
            ("query mart", "http://h/x?mart=a+b%26c", Some("a b&c")),
            ("query mart", "http://h/x?Mart=1162", None),
            ("query mart", "http://h/x?mart=", None),
            ("path 2", "http://h/plugins/1502/v1/x", Some("1502")),
            ("path 2", "http://h//plugins///1%3502/v1/x", Some("1502")),
            ("path 2", "http://h/plugins/a%2Fb/v1/x", Some("a/b")),
            ("path 2", "http://h/plugins/%FF/x", None),
            ("path 9", "http://h/plugins/1502/v1/x", None),
            ("host", "http://Plugin-7.Example.ORG.:8080/x", Some("plugin-7.example.org")),
        ] {
            assert_eq!(found(place, to).as_deref(), expected, "{place} of {to}");
        }
    }

    #[test]
    fn what_names_no_place_is_refused() {
        for text in [
            "",
            "header",
            "header ",
            "header a b",
            "query",
            "query ",
            "path",
            "path 0",
            "path x",
            "hosts",
            "body x",
        ] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text:?}");
        }
    }
}
