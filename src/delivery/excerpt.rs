//! The beginning of an answer as text, for people, where that is asked for. What may be a credential is masked: the
//! values of headers and members whose names say so, and every value that the request itself carried as a secret.
//!
//! Must not know: where excerpts go.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::response::Parts;

use super::CallOptions;
use crate::event::{AnswerExcerpt, CanonicalUrl};

/// Most bytes of head and body together.
const EXCERPT_MAX_BYTES: usize = 2048;
/// Most of them for the head, so that some are left for the body.
const HEAD_MAX_BYTES: usize = 1024;
/// The longest secret that is looked for; of a longer one its beginning.
const SECRET_MAX_BYTES: usize = 2048;
/// What is shorter may stand anywhere by chance.
const SECRET_MIN_BYTES: usize = 4;
/// How much of a body is kept until it is masked: a secret that begins within the excerpt is seen whole.
pub(super) const READ_BYTES: usize = EXCERPT_MAX_BYTES + SECRET_MAX_BYTES;
/// What stands for a credential.
const MASK: &str = "***";

/// Names that contain one of these, in small letters, have credentials for values.
const TELLING: [&str; 14] = [
    "cookie",
    "authoriz",
    "authent",
    "oauth",
    "auth-",
    "auth_",
    "token",
    "secret",
    "passw",
    "credential",
    "session",
    "signature",
    "api-key",
    "apikey",
];

/// The secrets of one call.
pub(super) struct Mask(Vec<Vec<u8>>);

impl Mask {
    /// Of a request with these headers, made as the options say.
    pub(super) fn of(url: &CanonicalUrl, headers: &HeaderMap, options: &CallOptions) -> Self {
        let mut mask = Self(Vec::new());
        for (name, value) in headers {
            if value.is_sensitive() || is_telling(name.as_str()) {
                mask.add_value(value.as_bytes());
            }
        }
        // Also those that are not sent with this call.
        let configured = options.headers.values().filter(|value| value.is_sensitive());
        configured.for_each(|value| mask.add_value(value.as_bytes()));
        options.signing.iter().for_each(|secret| mask.add(secret.in_base64().as_bytes()));
        if let Some(authorization) = options.proxy.as_ref().and_then(|proxy| proxy.authorization()) {
            mask.add_value(authorization.as_bytes());
        }
        let query = url.path_and_query().split_once('?').map_or("", |(_, query)| query);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            if is_telling(name) {
                mask.add(value.as_bytes());
            }
        }
        // The longer ones first: one may be the beginning of another.
        mask.0.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        mask
    }

    /// The whole value, what follows its scheme, and what that says in Base64.
    fn add_value(&mut self, value: &[u8]) {
        self.add(value);
        let Some(space) = value.iter().position(|byte| *byte == b' ') else { return };
        let behind = value.get(space + 1..).unwrap_or_default();
        self.add(behind);
        if let Ok(plain) = STANDARD.decode(behind) {
            let colon = plain.iter().position(|byte| *byte == b':');
            colon.into_iter().for_each(|colon| self.add(plain.get(colon + 1..).unwrap_or_default()));
            self.add(&plain);
        }
    }

    fn add(&mut self, secret: &[u8]) {
        if secret.len() >= SECRET_MIN_BYTES {
            self.0.push(secret.get(..SECRET_MAX_BYTES).unwrap_or(secret).to_vec());
        }
    }

    /// The beginning of an answer, of whose body these first bytes came.
    pub(super) fn excerpt(&self, parts: &Parts, body: &[u8], is_whole: bool) -> AnswerExcerpt {
        let mut lines = Vec::new();
        for (name, value) in &parts.headers {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.extend_from_slice(b": ");
            let shown = if is_telling(name.as_str()) { MASK.as_bytes() } else { value.as_bytes() };
            lines.extend_from_slice(shown);
            lines.push(b'\n');
        }
        // Of a header that is no text the readable part.
        let lines = String::from_utf8_lossy(&lines).into_owned();
        let (head, is_head_cut) = self.masked(lines.as_bytes(), HEAD_MAX_BYTES);
        let text = text_of(body);
        let (body_text, is_body_cut) = match text {
            Some(text) => self.masked(text.as_bytes(), EXCERPT_MAX_BYTES.saturating_sub(head.len())),
            None => (String::new(), !body.is_empty()),
        };
        AnswerExcerpt {
            status: parts.status.as_u16(),
            head,
            body: Some(body_text).filter(|text| !text.is_empty()),
            is_cut: is_head_cut || is_body_cut || !is_whole,
        }
    }

    /// What begins within the first `most` bytes, the secrets masked, and whether there was more. Never longer than they.
    fn masked(&self, text: &[u8], most: usize) -> (String, bool) {
        let mut out = Vec::new();
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty() && at < most) {
            // The end of what came may lie within a secret.
            let secret = self.0.iter().find(|secret| {
                rest.starts_with(secret) || (rest.len() >= SECRET_MIN_BYTES && secret.starts_with(rest))
            });
            let taken = secret.map_or(1, Vec::len);
            match secret {
                Some(_) => out.extend_from_slice(MASK.as_bytes()),
                None => out.extend(rest.first()),
            }
            at += taken;
        }
        let masked = mask_members(&String::from_utf8_lossy(&out));
        let mut end = masked.len().min(most);
        while !masked.is_char_boundary(end) {
            end -= 1;
        }
        (masked.get(..end).unwrap_or_default().to_owned(), at < text.len() || end < masked.len())
    }
}

/// A body that is text, as far as it came; `None` for another one.
fn text_of(body: &[u8]) -> Option<&str> {
    match std::str::from_utf8(body) {
        Ok(text) => Some(text),
        // It was cut within a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(body.get(..error.valid_up_to())?).ok()
        }
        Err(_) => None,
    }
}

fn is_telling(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace("api_", "api-");
    TELLING.iter().any(|part| name.contains(part))
}

/// Masks what stands behind names that tell of credentials: members of JSON, parameters, lines of headers.
fn mask_members(text: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_name) {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let end = from.find(|c| !is_name(c)).unwrap_or(from.len());
        let (name, behind) = from.split_at(end);
        out.push_str(name);
        rest = behind;
        if !is_telling(name) {
            continue;
        }
        let quotes = |text: &str| text.len() - text.trim_start_matches(['"', '\'', '\\', ' ', '\t']).len();
        let (closing, tail) = behind.split_at(quotes(behind));
        let Some(mark) = tail.chars().next().filter(|mark| matches!(mark, ':' | '=')) else { continue };
        let (opening, value) = tail.split_at(1 + quotes(tail.get(1..).unwrap_or_default()));
        out.push_str(closing);
        out.push_str(opening);
        let is_quoted = opening.contains(['"', '\'']);
        let ends = |c: char| match (is_quoted, mark) {
            (true, _) => matches!(c, '"' | '\'' | '\n'),
            (false, ':') => matches!(c, '\n' | '}' | ']' | '<'),
            _ => matches!(c, '\n' | ' ' | '&' | ';' | ',' | '"' | '<'),
        };
        let length = value.find(ends).unwrap_or(value.len());
        if length > 0 {
            out.push_str(MASK);
        }
        rest = value.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Response};
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::SigningSecret;
    use crate::delivery::testing::headers;
    use crate::event::CanonicalUrl;

    const SIGNING: &str = "whsec_bm9ib2R5IGtub3dzIHRoaXMgc2VjcmV0IQ==";

    fn mask() -> Mask {
        let url = CanonicalUrl::handed_in("https://h.example/x?api_key=canary-query&page=2").expect("a url");
        let sent = headers(&[
            ("authorization", "Basic dXNlcjpjYW5hcnktcGFzc3dvcmQ="),
            ("x-plain", "plain-value"),
            ("x-auth-token", "canary-token"),
        ]);
        let mut configured = HeaderMap::new();
        let mut value = HeaderValue::from_static("canary-configured");
        value.set_sensitive(true);
        configured.insert("x-team", value);
        let signing = [SigningSecret::parse(SIGNING).expect("a secret")].into();
        Mask::of(&url, &sent, &CallOptions { headers: configured, signing, ..CallOptions::default() })
    }

    fn parts(head: &[(&'static str, &'static str)]) -> Parts {
        let mut response = Response::new(());
        *response.headers_mut() = headers(head);
        *response.status_mut() = http::StatusCode::BAD_GATEWAY;
        response.into_parts().0
    }

    #[test]
    fn credentials_are_masked_wherever_they_stand() {
        let head = [
            ("set-cookie", "sid=canary-cookie"),
            ("www-authenticate", "Bearer canary-challenge"),
            ("x-echo", "Basic dXNlcjpjYW5hcnktcGFzc3dvcmQ="),
            ("server", "nginx"),
        ];
        let body = "{\"you_sent\": \"dXNlcjpjYW5hcnktcGFzc3dvcmQ=\", \"password\": \"canary-json\", \"page\": \"plain-value\",
            \"url\": \"/x?api_key=canary-query\", \"plain\": \"user:canary-password\", \"team\": \"canary-configured\",
            \"access_token\":\"canary-answer\", \"key\": \"bm9ib2R5IGtub3dzIHRoaXMgc2VjcmV0IQ==\"}
            Authorization: Bearer canary-line\ncanary-token";
        let excerpt = mask().excerpt(&parts(&head), body.as_bytes(), true);
        let shown = format!("{}{}", excerpt.head, excerpt.body.expect("text"));
        assert!(!shown.contains("canary") && !shown.contains("bm9ib2R5"), "{shown}");
        assert!(!shown.contains("dXNlcjpj"), "{shown}");
        for kept in ["server: nginx", "set-cookie: ***", "plain-value", "you_sent", "api_key=***"] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
        assert_eq!((excerpt.status, excerpt.is_cut), (502, false));
        // The control: without the mask it is all there.
        assert!(body.matches("canary").count() > 5);
    }

    #[test]
    fn a_secret_across_the_end_is_masked_and_another_body_than_text_is_left_out() {
        let filler = "x".repeat(2_040);
        let cut = mask().excerpt(&parts(&[]), format!("{filler}canary-token").as_bytes(), true);
        assert!(!cut.body.expect("text").contains("canary"));
        // The connection broke within it.
        let broken = mask().excerpt(&parts(&[]), b"you sent canary-t", false);
        assert_eq!((broken.body.as_deref(), broken.is_cut), (Some("you sent ***"), true));
        let packed = mask().excerpt(&parts(&[]), &[0x1f, 0x8b, 8, 0xff, 0xfe], true);
        assert_eq!((packed.body, packed.is_cut), (None, true));
        let half = mask().excerpt(&parts(&[]), "grüß".as_bytes().get(..3).expect("long"), false);
        assert_eq!(half.body.as_deref(), Some("gr"));
    }

    proptest! {
        #[test]
        fn an_excerpt_is_short_and_holds_no_secret(
            before in "\\PC{0,2100}", between in "[ -~]{0,40}", value in "\\PC{0,1200}",
        ) {
            let body = format!("{before}canary-token{between}canary-configured{between}");
            let mut parts = parts(&[]);
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                parts.headers.insert("x-any", value);
            }
            let excerpt = mask().excerpt(&parts, body.as_bytes(), true);
            let body = excerpt.body.unwrap_or_default();
            prop_assert!(excerpt.head.len() <= HEAD_MAX_BYTES && excerpt.head.len() + body.len() <= EXCERPT_MAX_BYTES);
            prop_assert!(!body.contains("canary-t") && !body.contains("canary-c"), "{}", body);
        }
    }
}
