//! The shapes that members of the objects may have, each with its rule in words.
//!
//! Must not know: which object has which member.

use serde_json::{Map, Value};

use crate::event::CanonicalUrl;
use crate::policy::{PatternError, UrlPattern};

/// What a member may hold, with the rule that a value has to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manage::mashery) enum Shape {
    /// One line, 1 to 255 bytes without control characters.
    Name,
    /// The same without blanks: what a label can equal.
    ApiKey,
    /// Any text of at most this many bytes, lines and tabs included.
    Text {
        /// The most bytes that the text may have.
        max_bytes: usize,
    },
    /// True or false, and no text or number in their place.
    Flag,
    /// A whole number within two bounds, both included.
    Number {
        /// The smallest number that is taken.
        min: i64,
        /// The largest number that is taken.
        max: i64,
    },
    /// One of these words, in this spelling.
    Word(&'static [&'static str]),
    /// A list of short texts, in any number up to the bound of lists.
    Texts,
    /// A list of HTTP verbs, in any case.
    Verbs,
    /// A list of objects, each with an `address`.
    Domains,
    /// The same; each address is a host with or without a port, and there is one at least.
    PublicDomains,
    /// The beginning of a path, without wildcard, query and fragment.
    PathAlias,
    /// An object with an `id`; its other members are not kept.
    Reference,
}

/// Most items of a list in an object.
const ITEMS_MAX: usize = 64;
/// Most public domains: each makes two patterns for every rule of its endpoint.
const PUBLIC_DOMAINS_MAX: usize = 16;
/// Longest name, in bytes; a label may have one more.
const NAME_BYTES_MAX: usize = 255;
/// Longest path alias, in bytes: with its domain it stays far below the longest url.
const ALIAS_BYTES_MAX: usize = 512;
/// The verbs of `supportedHttpMethods`, as V3 spells them.
pub(in crate::manage::mashery) const VERBS: [&str; 7] =
    ["get", "post", "put", "patch", "delete", "head", "options"];

impl Shape {
    /// The value as it is kept.
    ///
    /// # Errors
    /// The rule that is broken, in words that follow the member's name.
    pub(in crate::manage::mashery) fn check(self, value: &Value) -> Result<Value, String> {
        match self {
            Self::Name => name(value).map(Value::from),
            Self::ApiKey => {
                let key = name(value)?;
                let plain = !key.chars().any(char::is_whitespace);
                plain.then(|| Value::from(key)).ok_or_else(|| "must not contain blanks".to_owned())
            }
            Self::Text { max_bytes } => text(value, max_bytes).map(Value::from),
            Self::Flag => match value {
                Value::Bool(flag) => Ok(Value::Bool(*flag)),
                _ => Err("must be true or false".to_owned()),
            },
            Self::Number { min, max } => {
                let number = value.as_i64().filter(|number| (min..=max).contains(number));
                number.map(Value::from).ok_or_else(|| format!("must be a whole number from {min} to {max}"))
            }
            Self::Word(words) => {
                let word = value.as_str().filter(|word| words.contains(word));
                word.map(Value::from).ok_or_else(|| format!("must be one of {}", words.join(", ")))
            }
            Self::Texts => list(value, ITEMS_MAX, |item| text(item, NAME_BYTES_MAX).map(Value::from)),
            Self::Verbs => list(value, VERBS.len(), |item| {
                let verb = item.as_str().filter(|verb| VERBS.iter().any(|v| v.eq_ignore_ascii_case(verb)));
                verb.map(Value::from).ok_or_else(|| format!("must list any of {}", VERBS.join(", ")))
            }),
            Self::Domains => list(value, ITEMS_MAX, |item| domain(item, |_| Ok(()))),
            Self::PublicDomains => match list(value, PUBLIC_DOMAINS_MAX, |item| domain(item, host))? {
                Value::Array(items) if items.is_empty() => Err("must name one domain at least".to_owned()),
                domains => Ok(domains),
            },
            Self::PathAlias => alias(value).map(Value::from),
            Self::Reference => {
                let id = value.get("id").ok_or("must be an object with an id")?;
                Ok(object("id", name(id).map_err(|rule| format!("has an id that {rule}"))?))
            }
        }
    }
}

fn name(value: &Value) -> Result<&str, String> {
    let fits =
        |text: &&str| (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    let rule = || format!("must be text of 1 to {NAME_BYTES_MAX} bytes without control characters");
    value.as_str().filter(fits).ok_or_else(rule)
}

fn text(value: &Value, max_bytes: usize) -> Result<&str, String> {
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    let fits = |text: &&str| text.len() <= max_bytes && text.chars().all(plain);
    let rule = || format!("must be text of at most {max_bytes} bytes without control characters");
    value.as_str().filter(fits).ok_or_else(rule)
}

fn list(value: &Value, max: usize, check: impl Fn(&Value) -> Result<Value, String>) -> Result<Value, String> {
    match value {
        Value::Array(items) if items.len() <= max => {
            items.iter().map(check).collect::<Result<Vec<Value>, String>>().map(Value::Array)
        }
        _ => Err(format!("must be a list of at most {max} items")),
    }
}

/// Other members of a domain are not kept.
fn domain(item: &Value, check: impl Fn(&str) -> Result<(), String>) -> Result<Value, String> {
    let address = item.get("address").ok_or("must list objects with an address")?;
    let address = name(address).map_err(|rule| format!("has an address that {rule}"))?;
    check(address)?;
    Ok(object("address", address))
}

/// The address is a host with or without a port and nothing else.
fn host(address: &str) -> Result<(), String> {
    // The parser would take these as the end of the host or as user information.
    let bare = !address.contains(['/', '\\', '?', '#', '@']);
    match UrlPattern::parse(&format!("http://{address}/")) {
        Ok(_) if bare => Ok(()),
        Err(PatternError::WildcardInHost | PatternError::WildcardInPort) => {
            Err(format!("has an address with a wildcard: {address:?}"))
        }
        _ => Err(format!("has an address that is no host[:port]: {address:?}")),
    }
}

/// `*` would be a wildcard and `?` or `#` would end the path.
fn alias(value: &Value) -> Result<&str, String> {
    let alias = text(value, ALIAS_BYTES_MAX)?;
    let has_foreign = alias.contains(|c: char| c.is_control() || matches!(c, '*' | '?' | '#'));
    if !alias.starts_with('/') || has_foreign {
        return Err("must begin with / and be without *, ?, # and control characters".to_owned());
    }
    match CanonicalUrl::parse(&format!("http://h{alias}")) {
        Ok(_) => Ok(alias),
        Err(error) => Err(format!("is no path: {error}")),
    }
}

fn object(name: &str, value: &str) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), Value::from(value))]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(shape: Shape, value: &Value) -> String {
        shape.check(value).expect_err(&value.to_string())
    }

    #[test]
    fn what_fits_is_kept_as_it_was_sent() {
        let kept = [
            (Shape::Name, json!("List users")),
            (Shape::ApiKey, json!("k-1_2.3")),
            (Shape::Text { max_bytes: 9 }, json!("a\n\tb")),
            (Shape::Text { max_bytes: 9 }, json!("")),
            (Shape::Flag, json!(false)),
            (Shape::Number { min: -1, max: 5 }, json!(-1)),
            (Shape::Word(&["day", "hour"]), json!("hour")),
            (Shape::Texts, json!(["a", ""])),
            (Shape::Verbs, json!(["GET", "post", "Options"])),
            (Shape::Domains, json!([])),
            (Shape::PublicDomains, json!([{"address": "api.example.com"}, {"address": "h:8443"}])),
            (Shape::PublicDomains, json!([{"address": "[::1]:80"}])),
            (Shape::PathAlias, json!("/v1/ü")),
            (Shape::Reference, json!({"id": "7"})),
        ];
        for (shape, value) in kept {
            assert_eq!(shape.check(&value), Ok(value.clone()), "{shape:?}");
        }
        let more = json!([{"address": "h", "bid": 1}]);
        assert_eq!(Shape::Domains.check(&more), Ok(json!([{"address": "h"}])), "what is unknown is not kept");
        assert_eq!(Shape::Reference.check(&json!({"id": "7", "name": "x"})), Ok(json!({"id": "7"})));
    }

    #[test]
    fn what_does_not_fit_is_told_its_rule() {
        for value in [json!(""), json!("a\u{7}"), json!(7), json!(null), json!("x".repeat(256))] {
            assert!(refused(Shape::Name, &value).contains("1 to 255 bytes"), "{value}");
        }
        assert!(refused(Shape::ApiKey, &json!("a b")).contains("blanks"));
        assert!(refused(Shape::Text { max_bytes: 2 }, &json!("abc")).contains("at most 2 bytes"));
        assert!(refused(Shape::Text { max_bytes: 9 }, &json!("\u{0}")).contains("control"));
        assert!(refused(Shape::Flag, &json!("true")).contains("true or false"));
        for value in [json!(0), json!(11), json!(1.0), json!("1"), json!(u64::MAX)] {
            let rule = refused(Shape::Number { min: 1, max: 10 }, &value);
            assert_eq!(rule, "must be a whole number from 1 to 10", "{value}");
        }
        assert_eq!(refused(Shape::Word(&["a", "b"]), &json!("A")), "must be one of a, b");
        assert!(refused(Shape::Texts, &json!("a")).contains("a list"));
        assert!(refused(Shape::Texts, &json!(vec!["a"; 65])).contains("at most 64"));
        assert!(refused(Shape::Verbs, &json!(["get", "trace"])).contains("any of get, post"));
        assert!(refused(Shape::Domains, &json!(["h"])).contains("address"));
        assert!(refused(Shape::PublicDomains, &json!([])).contains("one domain at least"));
        for address in ["h/x", "h?x", "me@h", "h:99999", "http://h", "a b", "", "[::1", "h#"] {
            let rule = refused(Shape::PublicDomains, &json!([{"address": address}]));
            assert!(rule.contains("address"), "{address}: {rule}");
        }
        for address in ["*.example.com", "h:*"] {
            assert!(refused(Shape::PublicDomains, &json!([{"address": address}])).contains("wildcard"));
        }
        for alias in ["v1", "/v*", "/v?", "/v#", "", &"/x".repeat(300)] {
            refused(Shape::PathAlias, &json!(alias));
        }
        assert!(refused(Shape::Reference, &json!("7")).contains("object with an id"));
    }
}
