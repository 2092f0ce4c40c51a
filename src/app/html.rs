//! Pages for people: plain HTML without scripts and without anything to fetch, which a terminal browser shows as well.
//!
//! Must not know: what is on them.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, header};

const STYLE: &str = "body{font:16px/1.5 sans-serif;max-width:60em;margin:1em auto;padding:0 1em}\
    pre,code{font-family:monospace;background:#8881}pre{padding:.5em;overflow-x:auto}\
    table{border-collapse:collapse}td,th{padding:.1em .8em .1em 0;text-align:left;vertical-align:top}\
    h3{border-top:1px solid #8888;padding-top:.5em}";

/// Nothing is loaded, run, sent or framed; the style stands in the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// A whole page of a title, which is text, and a body of HTML.
pub(super) fn page(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<style>{STYLE}</style>\n</head>\n<body>\n\
         {body}</body>\n</html>\n"
    )
}

/// An answer with a page, which may load, run and send nothing.
pub(super) fn respond(page: impl Into<Bytes>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, page.into()).into_response()
}

/// Text as it stands in HTML.
pub(super) fn escaped(text: &str) -> String {
    // The ampersand first: later it would escape what the others have put in.
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
