//! What every request has to pass before a route sees it: one Host that is ours (DNS rebinding), no foreign Origin
//! (cross-site requests), no tunnel, no expectation that is not met. Unknown routes and verbs get problem answers.
//!
//! Must not know: connections, what the routes do.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, Uri, header};

use crate::app::listen::counted;
use crate::problem::{Problem, codes};

/// Names under which tidegate may be called.
#[derive(Debug, Clone)]
pub(crate) struct AllowedHosts(Arc<[String]>);

impl AllowedHosts {
    /// `localhost` and the loopback addresses, the bound address, and further names. Ports make no difference:
    /// a forwarded port is still the same machine.
    #[must_use]
    pub(crate) fn new(bound: SocketAddr, further: &[String]) -> Self {
        let bound = match bound {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        let own = ["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned(), bound];
        Self(own.into_iter().chain(further.iter().map(|name| name.to_ascii_lowercase())).collect())
    }

    fn has(&self, host: &str) -> bool {
        // Digits alone are a port: the end of `[::1]` is none.
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        self.0.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// Puts the guards before all routes of `router`.
pub(crate) fn guarded(router: Router, hosts: AllowedHosts) -> Router {
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(hosts, check))
        // The outermost layer: what the guard refuses is counted too.
        .layer(from_fn(counted::count))
}

async fn check(State(hosts): State<AllowedHosts>, request: Request, next: Next) -> Response {
    match judge(&hosts, request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => closing(problem.into_response()),
    }
}

/// A request that fails here comes from an unknown caller: its connection is not used again.
pub(super) fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The answer to a request whose shape is not served.
pub(super) fn malformed(rule: &str) -> Problem {
    Problem::of(codes::MALFORMED_REQUEST, rule)
}

/// What a client may expect of the server (RFC 9110, 10.1.1); hyper meets it.
const CONTINUE: &[u8] = b"100-continue";

fn judge(hosts: &AllowedHosts, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Box<Problem>> {
    if method == Method::CONNECT {
        let detail = "tidegate is no proxy and opens no tunnels; send the request itself";
        return Err(Box::new(Problem::of(codes::NOT_IMPLEMENTED, detail)));
    }
    let is_met = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(CONTINUE);
    if !headers.get_all(header::EXPECT).iter().all(is_met) {
        let detail = "the Expect header may be 100-continue and nothing else";
        return Err(Box::new(Problem::of(codes::EXPECTATION_FAILED, detail)));
    }
    let mut given = headers.get_all(header::HOST).iter();
    let host = match (given.next().map(HeaderValue::to_str), given.next()) {
        (Some(Ok(host)), None) if !host.is_empty() => host,
        _ => return Err(Box::new(malformed("exactly one Host header is needed"))),
    };
    if uri.authority().is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(host)) {
        return Err(Box::new(malformed("the address in the request line differs from the Host header")));
    }
    if !hosts.has(host) {
        let detail = "the Host header names another machine; call localhost or the listening address, or add the \
                      name to listen.hosts";
        return Err(Box::new(Problem::of(codes::FOREIGN_HOST, detail)));
    }
    let own = |origin: &HeaderValue| {
        origin.to_str().is_ok_and(|origin| {
            // tidegate serves no TLS, so that its own pages have this scheme.
            origin.strip_prefix("http://").is_some_and(|at| at.eq_ignore_ascii_case(host))
        })
    };
    if !headers.get_all(header::ORIGIN).iter().all(own) {
        let detail = "requests from pages of other origins are not served";
        return Err(Box::new(Problem::of(codes::FOREIGN_ORIGIN, detail)));
    }
    Ok(())
}

async fn not_found() -> Problem {
    let detail = "no such route; events are handed in at POST /v1/events";
    Problem::of(codes::NOT_FOUND, detail)
}

async fn method_not_allowed() -> Response {
    let detail = "the route exists but not with this method; see the Allow header";
    Problem::of(codes::METHOD_NOT_ALLOWED, detail).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(uri: &str, headers: &[(&'static str, &str)]) -> u16 {
        let hosts =
            AllowedHosts::new("127.0.0.2:7080".parse().expect("address"), &["Tide.Example".to_owned()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("value"));
        }
        judge(&hosts, &Method::GET, &uri.parse().expect("uri"), &map)
            .map_or_else(|problem| problem.status, |()| 200)
    }

    #[test]
    fn hosts_and_origins() {
        for (host, status) in [
            ("localhost", 200),
            ("LOCALHOST:7080", 200),
            ("127.0.0.1:1", 200),
            ("[::1]:7080", 200),
            ("127.0.0.2:7080", 200),
            ("tide.example:80", 200),
            ("127.0.0.3", 421),
            ("localhost.evil.test", 421),
            ("evil.test:7080", 421),
            ("localhost:evil", 421),
            ("", 400),
        ] {
            assert_eq!(verdict("/", &[("host", host)]), status, "{host}");
        }
        for (origin, status) in [
            ("http://localhost:7080", 200),
            ("http://localhost:7081", 403),
            ("https://localhost:7080", 403),
            ("http://evil.test", 403),
            ("null", 403),
        ] {
            assert_eq!(verdict("/", &[("host", "localhost:7080"), ("origin", origin)]), status, "{origin}");
        }
    }

    #[test]
    fn only_the_known_expectation_is_met() {
        for (expect, status) in [("100-continue", 200), ("100-Continue", 200), ("200-ok", 417), ("", 417)] {
            assert_eq!(verdict("/", &[("host", "localhost"), ("expect", expect)]), status, "{expect}");
        }
        let two = [("host", "localhost"), ("expect", "100-continue"), ("expect", "x")];
        assert_eq!(verdict("/", &two), 417);
    }

    #[test]
    fn one_host_that_agrees_with_the_request_line() {
        assert_eq!(verdict("/", &[]), 400);
        assert_eq!(verdict("/", &[("host", "localhost"), ("host", "localhost")]), 400);
        assert_eq!(verdict("http://localhost/", &[("host", "localhost")]), 200);
        assert_eq!(verdict("http://evil.test/", &[("host", "localhost")]), 400);
    }
}
