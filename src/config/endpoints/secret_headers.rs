//! The member `secret_headers` of an `[[endpoint]]` block: headers whose values stand in files of their own.
//!
//! Must not know: when they are sent.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::refused_header;
use crate::config::blocks::BlockReader;
use crate::config::secrets::{self, SecretPlaces};
use crate::policy::Given;

/// Most of them in a block.
const MAX_HEADERS: usize = 16;

/// Adds them to the headers of the block. Without `secrets` only the form is checked.
pub(super) fn add(block: &mut BlockReader<'_>, secrets: Option<&SecretPlaces>, headers: &mut HeaderMap) {
    let listed =
        block.table("secret_headers", "secret_headers = { authorization = \"/etc/tidegate/crm.token\" }");
    if listed.len() > MAX_HEADERS {
        block.note(&["secret_headers"], format!("must have at most {MAX_HEADERS} headers"));
        return;
    }
    for (name, place) in listed {
        match one(name, place, secrets, headers) {
            Ok(Some((name, value))) => drop(headers.insert(name, value)),
            Ok(None) => {}
            Err(problem) => block.note(&["secret_headers", name], problem),
        }
    }
}

fn one(
    name: &str,
    place: &Given,
    secrets: Option<&SecretPlaces>,
    headers: &HeaderMap,
) -> Result<Option<(HeaderName, HeaderValue)>, String> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "is not a header name".to_owned())?;
    if let Some(rule) = refused_header(&parsed) {
        return Err(rule.to_owned());
    }
    if headers.contains_key(&parsed) {
        return Err("is given twice; leave it out of headers, or out of secret_headers".to_owned());
    }
    let Given::Text(place) = place else {
        return Err("must name a file or a credential that holds the whole value".to_owned());
    };
    let told = |problem: String| format!("{}: {problem}", secrets::shown(place));
    let Some(secrets) = secrets else { return secrets::check_form(place).map(|()| None).map_err(told) };
    let lines = secrets.lines(place).map_err(told)?;
    let [line] = lines.as_slice() else {
        return Err(told("must hold one line, which is the whole value, as Bearer and a token".to_owned()));
    };
    // Without the error: it may show the value.
    let value = HeaderValue::from_str(line);
    let mut value = value.map_err(|_| told("must be visible ASCII characters and spaces".to_owned()))?;
    value.set_sensitive(true);
    Ok(Some((parsed, value)))
}
