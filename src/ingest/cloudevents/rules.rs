//! The rules for the attributes of CloudEvents 1.0, and the attributes that say what tidegate is to call.
//!
//! Must not know: how attributes are carried.

use std::borrow::Cow;
use std::collections::BTreeMap;

use url::form_urlencoded;

use crate::clock::Timestamp;
use crate::ingest::cloudevents::attributes::Attributes;
use crate::ingest::cloudevents::targets::Target;
use crate::ingest::wire::{Pairs, Text, WireEvent};
use crate::telemetry::defect;

/// The attributes that every CloudEvent has.
pub(super) const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// The attribute that names what is called.
pub(super) const URL: &str = "tidegateurl";
/// Longest part of a source that is repeated, in characters.
const SHOWN_CHARS: usize = 128;

/// The attributes of the call, and the members of an event that they stand for.
const CALL: [(&str, &str); 7] = [
    ("tidegateurl", "url"),
    ("tidegatemethod", "method"),
    ("tidegatelabels", "labels"),
    ("tidegatedueat", "due_at"),
    ("tidegatedelayseconds", "delay_seconds"),
    ("tidegatettlseconds", "ttl_seconds"),
    ("tidegatepriority", "priority"),
];

/// Adds the rules that attributes break by themselves. `has_target` says whether something is to be called.
pub(super) fn check(Attributes { values, faults }: &mut Attributes<'_>, has_target: bool) {
    for name in REQUIRED.into_iter().filter(|name| !values.contains_key(*name)) {
        faults.add(name, "is missing; every CloudEvent has specversion, id, source and type");
    }
    if !has_target {
        let source = values.get("source").map_or_else(String::new, |source| {
            let shown: String = source.chars().take(SHOWN_CHARS).collect();
            format!(" {shown:?}")
        });
        let rule = format!(
            "is missing, and no [[cloudevents]] block of the configuration file is for the source{source}; name the http or \
             https address to call, or add such a block and send SIGHUP"
        );
        faults.add(URL, rule);
    }
    for (name, value) in values.iter() {
        if let Some(rule) = broken_rule(name, value) {
            faults.add(name, rule);
        }
    }
}

fn broken_rule(name: &str, value: &str) -> Option<&'static str> {
    let is_uri = |text: &str| !text.is_empty() && text.bytes().all(is_of_uri);
    // Unicode keeps them out of what is interchanged.
    let is_none = |c: char| matches!(u32::from(c), 0xfdd0..=0xfdef) || u32::from(c) & 0xfffe == 0xfffe;
    Some(match name {
        // For every attribute: `key` relies on a source and an id without line ends.
        _ if value.chars().any(char::is_control) => "has control characters",
        _ if value.chars().any(is_none) => "has code points that are no characters, such as U+FFFF",
        "specversion" if value != "1.0" => "must be 1.0",
        "id" | "type" | "subject" if value.is_empty() => "must not be empty",
        "source" if !is_uri(value) => {
            "must be a URI or a reference such as /shop/orders, with other characters percent-encoded"
        }
        "dataschema" if !(is_uri(value) && has_scheme(value)) => "must be a URI with a scheme",
        "time" if Timestamp::parse(value).is_none() => {
            "must be an RFC 3339 time such as 2030-01-31T08:00:00Z"
        }
        "datacontenttype" if !is_media_type(value) => "must be a media type such as application/json",
        "tidegatedelayseconds" | "tidegatettlseconds" if value.parse::<f64>().is_err() => {
            "must be a number of seconds"
        }
        _ if name.starts_with("tidegate") && CALL.iter().all(|(known, _)| *known != name) => {
            "is unknown; known are tidegateurl, tidegatemethod, tidegatelabels, tidegatedueat, tidegatedelayseconds, \
             tidegatettlseconds and tidegatepriority"
        }
        _ => return None,
    })
}

const fn is_of_uri(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'/' | b':' | b';' | b'=' | b'?'..=b'@' | b'[' | b']' | b'_' | b'~')
}

fn has_scheme(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    scheme.is_some_and(|scheme| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(is_plain)
    })
}

fn is_media_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is_token = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

/// The call that attributes ask for, as an event that has neither headers nor a body. What they do not say, `target`
/// does.
pub(super) fn call<'v>(
    values: &'v BTreeMap<Cow<'_, str>, Cow<'_, str>>,
    target: Option<&'v Target>,
) -> WireEvent<'v> {
    defect!(unless target.is_some() || values.contains_key(URL), "a call of a CloudEvent without an address");
    let borrowed = |text: &'v str| Text(Cow::Borrowed(text));
    let text = |name: &str| values.get(name).map(|value| borrowed(value));
    let number = |name: &str| values.get(name).and_then(|value| value.parse().ok());
    let given = values.get("tidegatelabels").map(|labels| form_urlencoded::parse(labels.as_bytes()));
    let mut labels: Vec<_> =
        given.into_iter().flatten().map(|(name, value)| (Text(name), Text(value))).collect();
    for (name, value) in target.into_iter().flat_map(|target| &target.labels) {
        if labels.iter().all(|(given, _)| **given != *name.as_str()) {
            labels.push((borrowed(name), borrowed(value)));
        }
    }
    let url = target.map(|target| borrowed(target.url.called().as_str()));
    WireEvent {
        // One of both is there: the caller has refused a CloudEvent that has neither an address nor a target.
        url: text(URL).or(url).unwrap_or(Text(Cow::Borrowed(""))),
        method: text("tidegatemethod").or(target.map(|target| borrowed(target.method.as_str()))),
        headers: None,
        body: None,
        body_text: None,
        body_base64: None,
        labels: Some(Pairs(labels)),
        delay_seconds: number("tidegatedelayseconds"),
        due_at: text("tidegatedueat"),
        ttl_seconds: number("tidegatettlseconds"),
        priority: text("tidegatepriority"),
        idempotency_key: None,
    }
}

/// The pointer to the attribute that stands for a member of an event.
pub(super) fn attribute(pointer: &str) -> String {
    let member = pointer.trim_start_matches('/').split('/').next().unwrap_or_default();
    let known = CALL.iter().find(|(_, known)| *known == member);
    known.map_or_else(|| pointer.to_owned(), |(name, _)| pointer.replacen(member, name, 1))
}

/// What names a CloudEvent: no two different ones of a source have the same id.
pub(super) fn key(values: &BTreeMap<Cow<'_, str>, Cow<'_, str>>) -> String {
    let value = |name: &str| values.get(name).map_or("", |value| &**value);
    // Neither has a line end: both were checked.
    format!("cloudevent\n{}\n{}", value("source"), value("id"))
}

/// The attributes that break a rule.
#[cfg(test)]
fn faults(text: &str) -> Vec<String> {
    let mut attributes = Attributes::of_json(text).expect("an object");
    let has_target = attributes.values.contains_key(URL);
    check(&mut attributes, has_target);
    let problem = attributes.faults.into_problem();
    problem.errors.into_iter().map(|error| error.pointer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str =
        r#"{"specversion":"1.0","id":"1","source":"/shop","type":"order","tidegateurl":"http://a.test/""#;

    #[test]
    fn what_every_cloudevent_has_is_asked_for() {
        assert_eq!(faults("{}"), ["/specversion", "/id", "/source", "/type", "/tidegateurl"]);
        assert_eq!(faults(&format!("{SOUND}}}")), [""; 0]);
    }

    #[test]
    fn each_attribute_has_its_rule() {
        for (name, sound, broken) in [
            ("subject", "a b", ""),
            ("time", "2030-01-31T08:00:00.5+01:00", "yesterday"),
            ("dataschema", "https://a.test/schema#1", "/schema"),
            ("datacontenttype", "text/plain; charset=utf-8", "text"),
            ("anything", "caf\u{e9} \u{1f600}", "a\\u0007b"),
            ("other", "\u{fffd}", "\u{fffe}"),
            ("more", "", "\u{1ffff}"),
            ("tidegatedelayseconds", "0.5", "soon"),
            ("tidegatelabels", "org=ACME", "\\u0085"),
        ] {
            assert_eq!(faults(&format!("{SOUND},\"{name}\":\"{sound}\"}}")), [""; 0], "{name}");
            assert_eq!(faults(&format!("{SOUND},\"{name}\":\"{broken}\"}}")), [format!("/{name}")], "{name}");
        }
        assert_eq!(faults(&format!("{SOUND},\"tidegateuri\":\"x\"}}")), ["/tidegateuri"]);
        let other = SOUND.replace("1.0", "0.3").replace("/shop", "a shop");
        let mut named = faults(&format!("{other}}}"));
        named.sort_unstable();
        assert_eq!(named, ["/source", "/specversion"]);
    }

    #[test]
    fn the_call_stands_in_attributes() {
        let text = format!(
            "{SOUND},\"tidegatemethod\":\"put\",\"tidegatelabels\":\"org=ACME&fairness_key=a%20b\",\"tidegatettlseconds\":60}}"
        );
        let attributes = Attributes::of_json(&text).expect("valid");
        let call = call(&attributes.values, None);
        assert_eq!(
            (&*call.url, call.method.as_deref(), call.ttl_seconds),
            ("http://a.test/", Some("put"), Some(60.0))
        );
        let labels: Vec<_> = call.labels.iter().flat_map(|labels| &labels.0).collect();
        let labels: Vec<_> = labels.into_iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(labels, [("org", "ACME"), ("fairness_key", "a b")]);
        assert_eq!(key(&attributes.values), "cloudevent\n/shop\n1");
        assert_eq!(attribute("/labels/org"), "/tidegatelabels/org");
        assert_eq!(attribute("/due_at"), "/tidegatedueat");
        assert_eq!(attribute("/other"), "/other");
    }
}
