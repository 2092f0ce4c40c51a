//! One place of a call where an endpoint says that a key or the name of a method stands.
//!
//! Must not know: which of the two it is.

use std::borrow::Cow;

use http::{HeaderName, header};
use serde_json::Value;

use crate::event::{Call, form_pairs};
use crate::policy::decoded;

/// Where it stands, in the words of the V3 API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spot {
    /// `request-parameters`: the first member of the query with this name.
    Parameter(String),
    /// `request-header`: the header of this name.
    Header(HeaderName),
    /// `request-body`: the member of this name of a form, or of an object in JSON.
    Body(String),
    /// `request-path`: the segments with these numbers, the first being 1, with blanks between them.
    Path(Vec<usize>),
}

impl Spot {
    /// `None` where tidegate cannot look, such as `custom`.
    pub(super) fn new(location: &str, name: &str) -> Option<Self> {
        match location {
            "request-parameters" => Some(Self::Parameter(name.to_owned())),
            "request-header" => name.trim().parse().ok().map(Self::Header),
            "request-body" => Some(Self::Body(name.to_owned())),
            "request-path" => {
                let numbers: Result<Vec<usize>, _> = name.split_whitespace().map(str::parse).collect();
                numbers.ok().filter(|numbers| !numbers.contains(&0)).map(Self::Path)
            }
            _ => None,
        }
    }

    /// What stands there; `None` where nothing does, or nothing that is text.
    pub(super) fn find<'c>(&self, call: &Call<'c>) -> Option<Cow<'c, str>> {
        let found = match self {
            Self::Parameter(name) => {
                let query = call.url.as_url().query()?;
                form_pairs(query.as_bytes()).find(|(key, _)| key == name)?.1
            }
            Self::Header(name) => Cow::from(call.headers.get(name)?.to_str().ok()?.trim()),
            Self::Body(name) => in_body(name, call)?,
            Self::Path(numbers) => {
                let texts = numbers.iter().map(|number| segments(call).nth(number.checked_sub(1)?));
                Cow::from(texts.collect::<Option<Vec<_>>>()?.join(" "))
            }
        };
        // An empty value is how forms send that they have none.
        (!found.is_empty()).then_some(found)
    }
}

/// What the segments of the path stand for, without the empty ones; one that is no text is empty.
pub(super) fn segments(call: &Call<'_>) -> impl Iterator<Item = String> {
    let segments = call.url.path().split('/').filter(|segment| !segment.is_empty());
    segments.map(|segment| String::from_utf8(decoded(segment).into_owned()).unwrap_or_default())
}

fn in_body<'c>(name: &str, call: &Call<'c>) -> Option<Cow<'c, str>> {
    let stated = call.headers.get(header::CONTENT_TYPE).and_then(|stated| stated.to_str().ok());
    let stated = stated.unwrap_or_default().trim_start().to_ascii_lowercase();
    if stated.starts_with("application/x-www-form-urlencoded") {
        return form_pairs(call.body).find(|(key, _)| key == name).map(|(_, value)| value);
    }
    // By its look and not by what it is stated to be: gateways look into bodies all the same.
    let is_object = call.body.trim_ascii_start().starts_with(b"{");
    let body: Value = is_object.then(|| serde_json::from_slice(call.body).ok()).flatten()?;
    match body.get(name)? {
        Value::String(text) => Some(Cow::from(text.clone())),
        Value::Number(number) => Some(Cow::from(number.to_string())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;
    use crate::event::Labels;
    use crate::policy::testing::url;

    fn found(location: &str, name: &str, to: &str, stated: &'static str, body: &str) -> Option<String> {
        let (url, labels) = (url(to), Labels::default());
        let mut headers = HeaderMap::new();
        headers.insert("x-key", HeaderValue::from_static(" k 1 "));
        headers.insert("content-type", HeaderValue::from_static(stated));
        let (own, fallback, body) = (&labels, &labels, body.as_bytes());
        let call = Call { method: &Method::GET, url: &url, headers: &headers, body, own, fallback };
        Spot::new(location, name)?.find(&call).map(Cow::into_owned)
    }

    #[test]
    fn a_value_is_found_in_each_place() {
        let form = "application/x-www-form-urlencoded;charset=utf-8";
        for (location, name, to, stated, body, expected) in [
            ("request-parameters", "k", "http://h/?a=1&k=x%31+y&k=z", "", "", Some("x1 y")),
            ("request-parameters", "k", "http://h/?K=x", "", "", None),
            ("request-parameters", "k", "http://h/?k=", "", "", None),
            ("request-parameters", "k", "http://h/", "", "", None),
            ("request-header", "X-Key", "http://h/", "", "", Some("k 1")),
            ("request-header", "x-none", "http://h/", "", "", None),
            ("request-header", "no header", "http://h/", "", "", None),
            ("request-body", "k", "http://h/", form, "a=1&k=%78", Some("x")),
            ("request-body", "k", "http://h/", "", "a=1&k=x", None),
            ("request-body", "k", "http://h/", "application/json", r#" {"k": "x"}"#, Some("x")),
            ("request-body", "k", "http://h/", "text/plain", r#"{"k": 7}"#, Some("7")),
            ("request-body", "k", "http://h/", "", r#"{"k": {}}"#, None),
            ("request-body", "k", "http://h/", "", r#"{"k": "#, None),
            ("request-path", "2", "http://h/v1//x%2F1/y", "", "", Some("x/1")),
            ("request-path", "1 3", "http://h/v1/x/y", "", "", Some("v1 y")),
            ("request-path", "4", "http://h/v1/x/y", "", "", None),
            ("request-path", "0", "http://h/v1", "", "", None),
            ("request-path", "one", "http://h/v1", "", "", None),
            ("custom", "k", "http://h/?k=x", "", "", None),
        ] {
            let found = found(location, name, to, stated, body);
            assert_eq!(found.as_deref(), expected, "{location} {name} of {to} {body}");
        }
    }
}
