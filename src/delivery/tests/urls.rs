//! Requests at a server, whose own parser says what they ask for: no spelling leads to a target under another key.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::call;
use crate::clock::Timestamp;
use crate::delivery::begun::Begun;
use crate::delivery::{Call, request};
use crate::event::CanonicalUrl;

/// What the server's parser makes of the request for a URL: its host, and its target.
async fn arrives(url: CanonicalUrl) -> (String, String) {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let (seen, mut arrived) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let _ = seen.send((host.to_owned(), request.uri().to_string()));
        async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
    });
    let server = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
    let serving = tokio::spawn(server);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(near)).await.expect("a connection");
    let connected = tokio::spawn(connection);
    let call = Call { url, ..call("http://h/") };
    let mut request = request::build(call, Timestamp::ZERO, &Begun::default()).expect("a request");
    // As the client of the library does it for its connections.
    let host = request.uri().authority().expect("a host").as_str().parse().expect("a header");
    request.headers_mut().insert(HOST, host);
    let target = request.uri().path_and_query().expect("a path").as_str().parse().expect("a target");
    *request.uri_mut() = target;
    sender.send_request(request).await.expect("an answer");
    drop(sender);
    connected.await.expect("no panic").expect("it ends well");
    serving.abort();
    arrived.recv().await.expect("it arrived")
}

/// A target as servers that follow RFC 3986 6.2.2 compare it: escapes of plain characters undone, the others in capitals.
fn compared((host, target): (String, String)) -> (String, String) {
    let mut out = String::new();
    let mut rest = target.as_str();
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let hex = rest.get(at + 1..at + 3).filter(|hex| !hex.starts_with('+'));
        let hex = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(byte.into()),
            Some(byte) => out.push_str(&format!("%{byte:02X}")),
            // No escape: the character itself.
            None => out.push_str("%25"),
        }
        rest = &rest[at + if hex.is_some() { 3 } else { 1 }..];
    }
    out.push_str(rest);
    (host.trim_end_matches('.').to_owned(), out)
}

/// Spellings that are near each other, so that many of them mean the same.
fn spelling() -> impl Strategy<Value = String> {
    let host = prop_oneof!["h\\.org", "H\\.org", "h\\.org\\.", "h\\.org:80", "h\\.org:81", "%68\\.org"];
    (
        host,
        "/(a|%61|%41|A|%2f|%2F|/|%|%25|%zz|%2525|\\.\\.\\.|;|\\^|\\||\\[|~|%7e|%7E){0,3}",
        "(\\?(a|%61|%c3|%C3|\\{|`|'|%){0,2})?",
    )
        .prop_map(|(host, path, query)| format!("http://{host}{path}{query}"))
}

proptest! {
    #[test]
    fn urls_with_different_keys_never_reach_a_server_as_the_same_target(one in spelling(), other in spelling()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let read = |text: &str| CanonicalUrl::handed_in(text).map_err(|error| TestCaseError::reject(error.to_string()));
        let (one, other) = (read(&one)?, read(&other)?);
        let (first, second) =
            runtime.block_on(async { (arrives(one.clone()).await, arrives(other.clone()).await) });
        // Byte for byte what was handed in, as it was serialised.
        let target = &one.called()[url::Position::BeforePath..];
        prop_assert_eq!(&first.1, target);
        if one.as_str() != other.as_str() {
            prop_assert_ne!(compared(first), compared(second));
        }
    }
}

/// The control: keys that are the URLs as they are called would let one target have two of them.
#[tokio::test]
async fn spellings_of_one_target_differ_as_they_are_called() {
    for (one, other) in [
        ("http://h.org/%61", "http://h.org/a"),
        ("http://h.org/%2f", "http://h.org/%2F"),
        ("http://h.org./a", "http://h.org/a"),
        ("http://h.org/a%", "http://h.org/a%25"),
    ] {
        let [one, other] = [one, other].map(|text| CanonicalUrl::handed_in(text).expect(text));
        assert_ne!(one.called(), other.called());
        assert_eq!(one.as_str(), other.as_str());
        assert_eq!(compared(arrives(one).await), compared(arrives(other).await));
    }
}
