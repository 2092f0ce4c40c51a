//! One question for a token, over the network: to an address that the guard allows, without redirects and repetitions, in
//! bounded time and with a bounded answer.
//!
//! Must not know: when it is asked, what is done with the token.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Proxy, Response, redirect, retry};
use rustls::ClientConfig;

use super::answer::{self, Granted};
use super::{TokenFailure, TokenSource};
use crate::clock::Timestamp;
use crate::delivery::resolve::GuardedNames;
use crate::delivery::{EgressGuard, ProxyOptions, asked, classify};

/// The longest for the whole question, and for its connection.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// The longest that a token server may ask to be left alone.
const LONGEST_ALONE: Duration = Duration::from_secs(60 * 60);

/// How a token server is reached: as the endpoint is.
pub(in crate::delivery) struct TokenWay {
    pub(in crate::delivery) tls: ClientConfig,
    pub(in crate::delivery) names: GuardedNames,
    pub(in crate::delivery) proxy: Option<Arc<ProxyOptions>>,
}

/// Why there is no token, and how long the token server wants to be left alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FailedFetch {
    pub(super) failure: TokenFailure,
    pub(super) alone: Option<Duration>,
}

impl From<TokenFailure> for FailedFetch {
    fn from(failure: TokenFailure) -> Self {
        Self { failure, alone: None }
    }
}

/// Asks for a token; `wall` dates what the answer says of time.
///
/// # Errors
/// [`FailedFetch`] says why there is none, without anything that the token server wrote.
pub(super) async fn fetch(
    source: &TokenSource,
    way: TokenWay,
    wall: Timestamp,
) -> Result<Granted, FailedFetch> {
    check(source, &way).await?;
    let client = client(way)?;
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    if let Some((user, password)) = &source.basic {
        headers.insert(AUTHORIZATION, basic(user, password).ok_or(TokenFailure::Setup)?);
    }
    let request = client.post(source.url.as_url().clone()).headers(headers).body(form(&source.form));
    let response = request.send().await.map_err(|error| failure(&error))?;
    let (status, asked) = (response.status(), asked::retry_after(response.headers(), wall));
    let body = read(response).await?;
    let alone = asked.map(|asked| asked.min(LONGEST_ALONE));
    answer::read(source, status, &body).map_err(|failure| FailedFetch { failure, alone })
}

/// Whether the address may be called, as far as that is known before a connection is made: the connector judges names only,
/// and a proxy finds their addresses by itself.
async fn check(source: &TokenSource, way: &TokenWay) -> Result<(), TokenFailure> {
    let TokenWay { names, proxy, .. } = way;
    names.egress.check_literal(&source.url).map_err(|_| TokenFailure::Blocked)?;
    let is_handed_over = proxy.as_ref().is_none_or(|proxy| proxy.resolves);
    let host = source.url.as_url().host_str().unwrap_or_default();
    if is_handed_over || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    names.judged(host).await.map(drop).map_err(|error| kind(&*error).unwrap_or(TokenFailure::Unreachable))
}

fn client(way: TokenWay) -> Result<Client, TokenFailure> {
    let TokenWay { tls, names, proxy } = way;
    // The operator has named the proxy: the guard has no say about it.
    let names = match &proxy {
        Some(_) => GuardedNames { egress: EgressGuard::open(), ..names },
        None => names,
    };
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(GuardedResolver(names))
        .no_proxy()
        // A redirect would take the secret somewhere else.
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(WHOLE_TIMEOUT)
        // Questions are far apart.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
    if let Some(proxy) = proxy {
        let mut through = Proxy::all(proxy.url()).map_err(|_| TokenFailure::Setup)?;
        if let Some(authorization) = proxy.authorization() {
            through = through.custom_http_auth(authorization);
        }
        builder = builder.proxy(through);
    }
    builder.build().map_err(|_| TokenFailure::Setup)
}

/// Reads the whole answer.
async fn read(mut response: Response) -> Result<Vec<u8>, TokenFailure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        if body.len() + chunk.len() > ANSWER_MAX_BYTES {
            return Err(TokenFailure::Unreadable);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn failure(error: &reqwest::Error) -> TokenFailure {
    match kind(error) {
        Some(kind) => kind,
        None if error.is_timeout() => TokenFailure::Timeout,
        None => TokenFailure::Unreachable,
    }
}

/// What a failure is whose kind lies in its sources.
fn kind(error: &(dyn Error + 'static)) -> Option<TokenFailure> {
    if classify::is_blocked(error) {
        Some(TokenFailure::Blocked)
    } else {
        classify::is_shortage(error).then_some(TokenFailure::Shortage)
    }
}

/// User and password as a client of an authorization server shows them (RFC 6749 2.3.1): encoded as in a form first.
fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    let pair = STANDARD.encode(format!("{}:{}", encoded(user), encoded(password)));
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `application/x-www-form-urlencoded`, as the URL standard serialises it.
fn form(members: &[(String, String)]) -> String {
    let pair = |(name, value): &(String, String)| format!("{}={}", encoded(name), encoded(value));
    members.iter().map(pair).collect::<Vec<_>>().join("&")
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'*' | b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// The names that the client asks for, through the guard: it connects to these very addresses.
struct GuardedResolver(GuardedNames);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.0.clone();
        Box::pin(async move {
            let found = names.judged(name.as_str()).await?;
            // The port of the url comes in place of 0.
            let found: Vec<_> = found.iter().map(|address| (*address, 0).into()).collect();
            let found: Addrs = Box::new(found.into_iter());
            Ok(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_credentials_are_encoded_as_the_standards_have_it() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let members = [pair("grant_type", "client_credentials"), pair("scope", "a b"), pair("ü", "&=+%~*")];
        assert_eq!(form(&members), "grant_type=client_credentials&scope=a+b&%C3%BC=%26%3D%2B%25%7E*");
        let value = basic("client:one", "se cret").expect("a value");
        assert_eq!(value.to_str().ok(), Some(&*format!("Basic {}", STANDARD.encode("client%3Aone:se+cret"))));
        assert!(value.is_sensitive());
    }
}
