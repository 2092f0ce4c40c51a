//! Which functions a call may be (contract.md 5): by verb and path, then by the member `action` of its query, then by the
//! members of its body. What is still open then is for its caller to decide.
//!
//! Must not know: any account.

use std::borrow::Cow;
use std::collections::BTreeSet;

use http::Method;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::event::Call;
use crate::manage::place::segments;
use crate::manage::responsys::objects::catalogue::{Api, catalogue};

/// Whether a path is one of the API, of whichever interface and version, behind whatever prefix.
pub(in crate::manage::responsys) fn is_of_the_api(path: &str) -> bool {
    Resource::of(path).is_some()
}

/// The functions that a call may be, in the order of the catalogue; none for a call that is no function's.
pub(in crate::manage::responsys) fn functions(call: &Call<'_>) -> Vec<&'static Api> {
    let Some(resource) = Resource::of(call.url.path()) else { return Vec::new() };
    let by_path = resource.functions(call.method);
    if by_path.len() < 2 {
        return by_path;
    }
    let by_action = of_action(by_path, call);
    if by_action.len() < 2 { by_action } else { of_body(by_action, call.body) }
}

/// What a path says: the interface, and the segments behind the version.
struct Resource<'p> {
    interfaces: &'static [&'static str],
    segments: Vec<&'p str>,
}

impl<'p> Resource<'p> {
    fn of(path: &'p str) -> Option<Self> {
        // Most calls of other systems end here.
        if !path.contains("/rest") {
            return None;
        }
        // What follows a semicolon names nothing: servers of this kind leave it out of the path.
        let named = |segment: &'p str| segment.split_once(';').map_or(segment, |(name, _)| name);
        let mut rest = segments(path).map(named);
        while let Some(segment) = rest.next() {
            let mut ahead = rest.clone();
            if segment != "rest" {
                continue;
            }
            let interfaces = ahead.next().and_then(interfaces);
            if let (Some(interfaces), Some(true)) = (interfaces, ahead.next().map(is_version)) {
                return Some(Self { interfaces, segments: ahead.collect() });
            }
        }
        None
    }

    /// Those of the first interface that has some; of several templates that fit the most literal one.
    fn functions(&self, method: &Method) -> Vec<&'static Api> {
        // A server answers HEAD with what is behind GET.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let of_interface = |interface: &&str| {
            let fits = |api: &&Api| {
                api.interface == *interface && api.verb == method.as_str() && api.fits(&self.segments)
            };
            catalogue().iter().filter(fits).collect::<Vec<_>>()
        };
        let fitting = self.interfaces.iter().map(of_interface).find(|fitting| !fitting.is_empty());
        let mut fitting = fitting.unwrap_or_default();
        let most = fitting.iter().map(|api| api.literals()).max();
        fitting.retain(|api| Some(api.literals()) == most);
        fitting
    }
}

/// The interfaces of the catalogue in which the functions of this one are, in the order in which they are looked for: what
/// is asked for asynchronously is the same function, and what only the plain interface lists is limited there.
fn interfaces(name: &str) -> Option<&'static [&'static str]> {
    match name {
        "api" | "asyncApi" => Some(&["api"]),
        "haApi" | "haAsyncApi" => Some(&["haApi", "api"]),
        _ => None,
    }
}

fn is_version(segment: &str) -> bool {
    let number = segment.strip_prefix('v').unwrap_or_default();
    number.starts_with(|c: char| c.is_ascii_digit())
        && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Those that the query asks for, if it asks for one of them.
fn of_action(fitting: Vec<&'static Api>, call: &Call<'_>) -> Vec<&'static Api> {
    let members = call.url.as_url().query_pairs();
    let asked: BTreeSet<String> = members
        .filter(|(name, _)| name == "action")
        .map(|(_, value)| value.trim().to_ascii_lowercase())
        .collect();
    let is_asked = |api: &&Api| api.action.is_some_and(|action| asked.contains(action));
    if fitting.iter().any(is_asked) { fitting.into_iter().filter(is_asked).collect() } else { fitting }
}

/// Those whose body this is, if it is that of one of them.
fn of_body(fitting: Vec<&'static Api>, body: &[u8]) -> Vec<&'static Api> {
    let Some(members) = members(body) else { return fitting };
    let has_its_body = |api: &&Api| api.has_body_of(&members);
    if fitting.iter().any(has_its_body) {
        fitting.into_iter().filter(has_its_body).collect()
    } else {
        fitting
    }
}

/// The names of the members of a JSON object; `None` for any other text.
fn members(body: &[u8]) -> Option<BTreeSet<Cow<'_, str>>> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = BTreeSet<Cow<'de, str>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut names = BTreeSet::new();
            while let Some((name, IgnoredAny)) = map.next_entry::<Cow<'de, str>, _>()? {
                names.insert(name);
            }
            Ok(names)
        }
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let names = reader.deserialize_map(Names).ok()?;
    reader.end().ok().map(|()| names)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::event::Labels;
    use crate::policy::testing::url;

    /// The names of the functions that a call may be.
    fn named(method: Method, to: &str, body: &str) -> Vec<&'static str> {
        let (url, labels, headers) = (url(to), Labels::default(), HeaderMap::new());
        let call = Call {
            method: &method,
            url: &url,
            headers: &headers,
            body: body.as_bytes(),
            own: &labels,
            fallback: &labels,
        };
        functions(&call).into_iter().map(|api| api.name).collect()
    }

    const HOST: &str = "https://rest001.example.org";
    const MEMBERS: &str = "/rest/api/v1.3/lists/L/members";

    #[test]
    fn verb_and_path_name_the_function_in_whatever_spelling() {
        for path in [
            MEMBERS,
            "/rest/api/v1.1/lists/L/members/",
            "//rest//api/v1.3///lists/L/members//",
            "/rest/api/v1.3/lists/a%20b/members?qa=e&id=1&fs=all&more=1",
            "/gateway/responsys/rest/api/v1.3/lists/L/members",
            "/rest/asyncApi/v1.3/lists/L/members",
            "/rest;v=1/api/v1.3/lists/L/members;jsessionid=7",
            "/%72est/a%70i/v1.3/lists/L/%6dembers",
            "/rest/rest/api/v1.3/lists/L/members",
        ] {
            let to = format!("{HOST}{path}");
            assert_eq!(named(Method::GET, &to, ""), ["retrieveListRecipients"], "{path}");
            assert_eq!(named(Method::HEAD, &to, ""), ["retrieveListRecipients"], "{path}");
            assert_eq!(named(Method::DELETE, &to, ""), ["deleteListRecipients"], "{path}");
            assert!(named(Method::PATCH, &to, "").is_empty(), "{path}");
        }
        for path in [
            "/rest/api/lists/L/members",
            "/rest/api/v/lists/L/members",
            "/rest/other/v1.3/lists/L/members",
            "/rest/api/v1.3/Lists/L/members",
            "/rest/api/v1.3/lists/L/x/members",
            "/rest/api/v1.3/lists/members",
            "/lists/L/members",
        ] {
            assert!(named(Method::GET, &format!("{HOST}{path}"), "").is_empty(), "{path}");
        }
    }

    #[test]
    fn the_most_literal_template_names_the_function() {
        let get = |path: &str| named(Method::GET, &format!("{HOST}/rest/api/v1.3/{path}"), "");
        assert_eq!(get("lists/L/members/5"), ["retrieveListRecipientByRiid"]);
        assert_eq!(get("lists/L/members/count"), ["retrieveListRecipientsCount"]);
        assert_eq!(get("clDocs/contentlibrary/a/b.htm"), ["retrieveContentLibraryDocument"]);
        assert!(get("clDocs/").is_empty());
    }

    #[test]
    fn highly_available_functions_have_their_own_limit_and_else_that_of_the_plain_ones() {
        for interface in ["haApi", "haAsyncApi"] {
            let of =
                |path: &str, body| named(Method::POST, &format!("{HOST}/rest/{interface}/v1.3/{path}"), body);
            assert_eq!(of("lists/L/members", ""), ["HaMergeListRecipients"]);
            assert_eq!(of("campaigns/C/email", r#"{"recipientData":[]}"#), ["triggerEmailMessage"]);
        }
    }

    #[test]
    fn functions_that_share_a_path_are_told_apart_by_action_then_by_the_body() {
        const ALL: [&str; 3] =
            ["mergeListRecipients", "deleteMultipleListRecipients", "retrieveMultipleListRecipients"];
        let [merge, delete, get] = ALL;
        let by_ids = r#"{"queryAttribute":"e","ids":["a@example.org"]}"#;
        for (query, body, expected) in [
            ("", r#"{"recordData":{"fieldNames":[]},"mergeRule":{}}"#, &[merge][..]),
            ("?action=delete", "", &[delete]),
            ("?action=get", "", &[get]),
            ("?fs=all&action=DELETE&x=1", r#"{"recordData":{}}"#, &[delete]),
            ("?action=%64elete", "", &[delete]),
            ("?action=get&action=delete", "", &[delete, get]),
            ("?action=merge", r#"{"recordData":{}}"#, &[merge]),
            ("?Action=delete", r#"{"recordData":{}}"#, &[merge]),
            ("", r#"{"fieldList":["a"],"ids":["1"],"queryAttribute":"e"}"#, &[get]),
            ("", by_ids, &[delete, get]),
            ("", r#"{"\u0072ecordData":{}}"#, &[merge]),
            ("", r#"{"recordData":{},"ids":[]}"#, &ALL),
            ("", "", &ALL),
            ("", "recordData", &ALL),
            ("", r#"{"recordData":{}} x"#, &ALL),
            ("", r#"[{"recordData":{}}]"#, &ALL),
            ("", r#"{"other":1}"#, &ALL),
        ] {
            assert_eq!(
                named(Method::POST, &format!("{HOST}{MEMBERS}{query}"), body),
                expected,
                "{query} {body}"
            );
        }
        let of = |path: &str, body: &str| named(Method::POST, &format!("{HOST}/rest/api/v1.3/{path}"), body);
        let email = "campaigns/C/email";
        assert_eq!(of(email, r#"{"mergeTriggerRecordData":{},"mergeRule":{}}"#), ["mergeTriggerEmail"]);
        assert_eq!(of(email, r#"{"recordData":{},"triggerData":[]}"#), ["mergeTriggerEmail"]);
        assert_eq!(of(email, r#"{"recipientData":[]}"#), ["triggerEmailMessage"]);
        let table = "folders/F/suppData/T/members";
        assert_eq!(of(table, r#"{"recordData":{},"insertOnNoMatch":true}"#), ["mergeTableRecordsWithPk"]);
        assert_eq!(of(table, r#"{"recordData":{},"matchColumnNames":["A"]}"#), ["mergeTableRecords"]);
        let extension = "lists/L/listExtensions/P/members";
        assert_eq!(
            of(extension, r#"{"recordData":{},"matchColumnName1":"RIID"}"#),
            ["mergeProfileExtensionRecipients"]
        );
    }

    /// Every function can be told from all others, but where the body of one is that of another as well.
    #[test]
    fn each_function_is_found_by_its_own_template() {
        for api in catalogue() {
            let path = api.resource_path.replace(['{', '}'], "");
            let action = api.action.map(|action| format!("?action={action}")).unwrap_or_default();
            let to = format!("{HOST}/rest/{}/v1.3/{path}{action}", api.interface);
            let body = match api.name {
                "mergeListRecipients" | "mergeProfileExtensionRecipients" | "mergeTableRecordsWithPk" => {
                    r#"{"recordData":{}}"#
                }
                "mergeTableRecords" => r#"{"recordData":{},"matchColumnNames":[]}"#,
                "mergeTriggerEmail" => r#"{"mergeTriggerRecordData":{}}"#,
                "triggerEmailMessage" => r#"{"recipientData":[]}"#,
                _ => "",
            };
            let method = api.method().expect("a verb");
            assert_eq!(named(method, &to, body), [api.name], "{to}");
        }
    }
}
