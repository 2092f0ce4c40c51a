//! From a [`Call`] to the outgoing request: the producer's headers, those that are set for its endpoint over them, then
//! tidegate's own over all.
//!
//! Must not know: how the request travels.

use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Uri};

use super::begun::{Begun, NotedBody};
use super::{Call, signing};
use crate::clock::Timestamp;

/// The event's id, the same for every attempt (Standard Webhooks).
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// Unix seconds of this attempt (Standard Webhooks).
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// That both and the body come from whoever knows the secret (Standard Webhooks).
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// Which attempt this is, from 1.
const ATTEMPT: HeaderName = HeaderName::from_static("tidegate-attempt");
/// How much is signed without giving way to others, in bytes over all secrets: some tens of microseconds.
const SIGNED_AT_ONCE_BYTES: usize = 32 * 1024;
/// Who calls, where the producer does not say.
const SELF: HeaderValue = HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION")));

/// Whether it takes long to build the request, because much is to be signed: each secret reads the whole body.
pub(super) fn is_long_to_build(call: &Call) -> bool {
    let secrets = call.options.as_ref().map_or(0, |options| options.signing.len());
    secrets.saturating_mul(call.body.len()) > SIGNED_AT_ONCE_BYTES
}

/// Builds the request of an attempt made at the wall time `at`. The host comes from the URL, the length from
/// the body; `user-agent` and `accept` are tidegate's own unless the producer gave them; a body of unknown kind is
/// `application/octet-stream`; everything else, `traceparent` included, goes out as it was given. `begun` learns when it
/// begins to be written. `None` for a URL that no request can be made for.
pub(super) fn build(call: Call, at: Timestamp, begun: &Begun) -> Option<Request<NotedBody>> {
    debug_assert!(call.attempt > 0, "attempts count from 1");
    let uri: Uri = call.url.called().as_str().parse().ok()?;
    let mut headers = call.headers;
    if let Some(options) = &call.options {
        options.add_to(&mut headers);
    }
    let (id, seconds) = (call.name.to_string(), at.as_millis() / 1000);
    let secrets = call.options.as_ref().map_or(&[][..], |options| &options.signing);
    if let Some(signature) = signing::signature(secrets, &id, seconds, &call.body) {
        headers.insert(WEBHOOK_SIGNATURE, signature);
    }
    // A printed id is plain ASCII: the value is always valid.
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(WEBHOOK_ID, id);
    }
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
    headers.insert(ATTEMPT, HeaderValue::from(call.attempt));
    if !call.body.is_empty() {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
    } else if matches!(call.method, Method::POST | Method::PUT | Method::PATCH) {
        // The client names no length for an empty body, and some servers answer 411 to that (RFC 9110 8.6).
        headers.insert(CONTENT_LENGTH, HeaderValue::from(0_u16));
    }
    headers.entry(USER_AGENT).or_insert(SELF);
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    let mut request = Request::new(NotedBody::new(call.body, begun.clone()));
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (call.method, uri, headers);
    Some(request)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::{HeaderMap, Method};

    use super::*;
    use crate::delivery::CallOptions;
    use crate::event::{CanonicalUrl, EventId};

    fn call(headers: &[(&'static str, &'static str)], body: &'static str) -> Call {
        let headers: HeaderMap = headers
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        Call {
            id: EventId::new(1_700_000_000_001, 6),
            name: EventId::new(1_700_000_000_000, 5),
            attempt: 3,
            method: Method::PUT,
            url: CanonicalUrl::parse("https://h.org/a%2fb?q=1").expect("valid"),
            headers,
            body: Bytes::from_static(body.as_bytes()),
            timeout: None,
            options: None,
        }
    }

    #[test]
    fn own_headers_win_over_the_producers() {
        let call =
            call(&[("webhook-id", "forged"), ("tidegate-attempt", "9"), ("traceparent", "00-1-2-01")], "x");
        let id = call.name.to_string();
        let request =
            build(call, Timestamp::from_millis(1_700_000_123_999), &Begun::default()).expect("a request");
        let headers = request.headers();
        assert_eq!(headers["webhook-id"], id.as_str());
        assert_eq!(headers["webhook-timestamp"], "1700000123");
        assert_eq!(headers["tidegate-attempt"], "3");
        assert_eq!(headers["traceparent"], "00-1-2-01");
        assert_eq!(request.uri().to_string(), "https://h.org/a%2fb?q=1");
        assert_eq!(request.method(), Method::PUT);
    }

    #[test]
    fn headers_of_the_endpoint_take_the_place_of_the_producers() {
        let mut of_endpoint = HeaderMap::new();
        for value in ["1", "2"] {
            of_endpoint.append("x-set", HeaderValue::from_static(value));
        }
        let mut call = call(&[("x-set", "producer"), ("x-own", "kept")], "x");
        call.options = Some(Arc::new(CallOptions { headers: of_endpoint, ..CallOptions::default() }));
        let request = build(call, Timestamp::ZERO, &Begun::default()).expect("a request");
        let values = |name| request.headers().get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values("x-set"), ["1", "2"]);
        assert_eq!(values("x-own"), ["kept"]);
    }

    #[test]
    fn a_kind_is_named_only_for_a_body_that_has_none() {
        let kind = |headers, body| {
            let request = build(call(headers, body), Timestamp::ZERO, &Begun::default()).expect("a request");
            request.headers().get(CONTENT_TYPE).cloned()
        };
        assert_eq!(kind(&[], "x").expect("set"), "application/octet-stream");
        assert_eq!(kind(&[("content-type", "text/csv")], "x").expect("kept"), "text/csv");
        assert_eq!(kind(&[], ""), None);
    }
}
