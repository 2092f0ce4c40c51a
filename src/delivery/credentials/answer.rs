//! What a token server answers: a token and how long it is good for, or why there is none.
//!
//! Must not know: how it was asked, when a token is renewed.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::{TokenFailure, TokenSource};

/// What refusals may name as their reason (RFC 6749 5.2). Nothing else of an answer is shown.
const REASONS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];
/// No token is taken to be good for longer.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A token as it is sent.
#[derive(PartialEq, Eq)]
pub(super) struct Granted {
    /// The whole value of the header.
    pub(super) value: HeaderValue,
    /// From the question on, for so long.
    pub(super) lifetime: Duration,
}

/// Reads an answer with its complete body.
///
/// # Errors
/// [`TokenFailure`] says why there is no token in it.
pub(super) fn read(source: &TokenSource, status: StatusCode, body: &[u8]) -> Result<Granted, TokenFailure> {
    let members: Map<String, Value> = match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    if !status.is_success() {
        return Err(refusal(status.as_u16(), &members));
    }
    let token = members.get(&source.member).and_then(Value::as_str).filter(|token| !token.is_empty());
    let token = token.ok_or(TokenFailure::Unreadable)?;
    // A token of another type is not sent as this one would be (RFC 6749 7.1).
    let kind = members.get("token_type").and_then(Value::as_str);
    if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case(&source.scheme) && !source.scheme.is_empty()) {
        return Err(TokenFailure::Unreadable);
    }
    let text = match source.scheme.as_str() {
        "" => token.to_owned(),
        scheme => format!("{scheme} {token}"),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| TokenFailure::Unreadable)?;
    value.set_sensitive(true);
    Ok(Granted { value, lifetime: lifetime(&members).unwrap_or(source.lifetime).min(LONGEST) })
}

/// `expires_in`, in seconds, as a number or, as some servers have it, as text. What is missing, not positive or no number
/// says nothing.
fn lifetime(members: &Map<String, Value>) -> Option<Duration> {
    let seconds = match members.get("expires_in")? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|lifetime| !lifetime.is_zero())
}

fn refusal(status: u16, members: &Map<String, Value>) -> TokenFailure {
    let told = members.get("error").and_then(Value::as_str);
    match REASONS.into_iter().find(|reason| told == Some(*reason)) {
        Some(code) => TokenFailure::RefusedAs { status, code },
        None => TokenFailure::Refused(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing::token_source;

    fn read_as(scheme: &str, member: &str, status: u16, body: &str) -> Result<(String, u64), TokenFailure> {
        let source = TokenSource { scheme: scheme.to_owned(), member: member.to_owned(), ..token_source() };
        let status = StatusCode::from_u16(status).expect("a status");
        let granted = read(&source, status, body.as_bytes())?;
        assert!(granted.value.is_sensitive());
        Ok((granted.value.to_str().expect("ASCII").to_owned(), granted.lifetime.as_secs()))
    }

    #[test]
    fn a_token_is_read_with_its_life_and_without_one_has_the_usual() {
        let bearer = |body: &str| read_as("Bearer", "access_token", 200, body);
        for (body, lifetime) in [
            (r#"{"access_token": "t", "token_type": "bearer", "expires_in": 120}"#, 120),
            (r#"{"access_token": "t", "expires_in": "120"}"#, 120),
            (r#"{"access_token": "t"}"#, 3_600),
            (r#"{"access_token": "t", "expires_in": 0}"#, 3_600),
            (r#"{"access_token": "t", "expires_in": -5}"#, 3_600),
            (r#"{"access_token": "t", "expires_in": null}"#, 3_600),
            (r#"{"access_token": "t", "expires_in": "soon"}"#, 3_600),
            (r#"{"access_token": "t", "expires_in": 1e30}"#, 3_600),
            (r#"{"access_token": "t", "expires_in": 1e9}"#, LONGEST.as_secs()),
        ] {
            assert_eq!(bearer(body), Ok(("Bearer t".to_owned(), lifetime)), "{body}");
        }
        let login = r#"{"authToken": "t", "issuedAt": 1396045013000, "endPoint": "https://h.org"}"#;
        assert_eq!(read_as("", "authToken", 200, login), Ok(("t".to_owned(), 3_600)));
    }

    #[test]
    fn what_is_no_token_is_told_without_its_text() {
        let bearer = |status, body: &str| read_as("Bearer", "access_token", status, body).expect_err(body);
        for body in [
            "",
            "CANARY",
            "[]",
            "{}",
            r#"{"access_token": ""}"#,
            r#"{"access_token": 7}"#,
            r#"{"access_token": "a\nb"}"#,
            r#"{"access_token": "CANARY", "token_type": "mac"}"#,
        ] {
            assert_eq!(bearer(200, body), TokenFailure::Unreadable, "{body}");
        }
        let known = TokenFailure::RefusedAs { status: 401, code: "invalid_client" };
        assert_eq!(bearer(401, r#"{"error": "invalid_client", "error_description": "CANARY"}"#), known);
        assert_eq!(bearer(400, r#"{"error": "CANARY"}"#), TokenFailure::Refused(400));
        assert_eq!(bearer(302, "CANARY"), TokenFailure::Refused(302), "no redirect is followed");
        assert!(!known.to_string().contains("CANARY"));
    }
}
