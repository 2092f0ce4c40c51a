//! What a parser of URLs repairs without a word (WHATWG URL 4.4): its author and its endpoint may mean two addresses.
//!
//! Must not know: how a URL is parsed.

use url::Url;

use super::UrlError;

/// Segments that a parser resolves, in every spelling of theirs.
const DOTS: [&str; 6] = [".", "..", "%2e", ".%2e", "%2e.", "%2e%2e"];

/// Refuses a text that `parsed` was made from by repairs.
///
/// # Errors
/// [`UrlError`] names the rule and how to write what was meant.
pub(super) fn refuse(text: &str, parsed: &Url) -> Result<(), UrlError> {
    let refused = |rule, way_out| Err(UrlError::Ambiguous { rule, way_out });
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return refused(
            "a url must not have control characters, tabs or line breaks",
            "leave them out or escape them, a tab as %09",
        );
    }
    if text.starts_with(' ') || text.ends_with(' ') {
        return refused("a url must not have blanks around it", "leave them out");
    }
    let whole = text.split('#').next().unwrap_or(text);
    let before_query = whole.split('?').next().unwrap_or(whole);
    if before_query.contains('\\') {
        return refused(
            "a url must not have a backslash before its query",
            "write a slash, or %5C in the path",
        );
    }
    let is_scheme = |scheme: &str| scheme.eq_ignore_ascii_case(parsed.scheme());
    let Some((_, rest)) = before_query.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        return refused(
            "a url must have two slashes behind its scheme",
            "write http://host/path or https://host/path",
        );
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err(UrlError::UserInfo);
    }
    if authority.is_empty() || authority.starts_with(':') {
        return refused("a url must name a host", "write it behind the two slashes");
    }
    if parsed.port() == Some(0) {
        return refused("a url must not name port 0", "name the port that the endpoint listens on, or none");
    }
    if parsed.host_str().is_some_and(|host| host.contains("..")) {
        return refused("a host must not have an empty label", "leave out the second dot");
    }
    if path.split('/').any(|segment| DOTS.iter().any(|dots| segment.eq_ignore_ascii_case(dots))) {
        return refused(
            "a url must not have . or .. as a segment of its path, escaped as %2e or not",
            "write the path that it leads to",
        );
    }
    Ok(())
}
