//! Connections through a proxy, by CONNECT: tidegate finds the addresses of the endpoint and judges them, and the proxy is
//! told to connect to that very address. The name in TLS and in `Host` is that of the endpoint all the same.
//!
//! Must not know: requests, TLS.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tower::Service;

use super::resolve::GuardedNames;
use super::{classify, heads};
use crate::event::CanonicalUrl;

/// The longest answer of a proxy to CONNECT.
const ANSWER_MAX_BYTES: usize = 16 * 1024;
/// Most addresses of a name that the proxy is asked for, one after the other.
const ADDRESSES_MAX: usize = 4;

type BoxError = Box<dyn Error + Send + Sync>;

/// The proxy that the calls to an endpoint go through.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyOptions {
    /// The proxy itself, over plain HTTP.
    at: Uri,
    /// The value of `proxy-authorization`. Never shown.
    authorization: Option<Box<str>>,
    /// Whether the proxy is told names and finds their addresses itself, which nobody judges here.
    pub resolves: bool,
}

/// The credentials are left out, so that no log line shows them.
impl fmt::Debug for ProxyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyOptions").field("at", &self.at).field("resolves", &self.resolves).finish()
    }
}

/// The proxy did not make the connection; nothing has reached the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum ProxyError {
    /// It answered with another status than 2xx.
    #[error("the proxy answers {0}")]
    Refused(u16),
    /// It cannot be reached, or does not answer in time.
    #[error("the proxy cannot be reached, or does not answer")]
    Away,
    /// What it answered is no answer to CONNECT.
    #[error("the answer of the proxy cannot be read")]
    Unreadable,
}

impl ProxyOptions {
    /// From an address as `http://proxy.example.org:3128` and credentials as `user:password`.
    ///
    /// # Errors
    /// Says which rule the address breaks.
    pub(crate) fn new(text: &str, credentials: Option<&str>, resolves: bool) -> Result<Self, String> {
        let url = CanonicalUrl::handed_in(text).map_err(|error| error.to_string())?;
        let is_plain = text.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("http://"));
        if !is_plain || url.path_and_query() != "/" {
            return Err("must be http:// with a host and a port, as http://proxy.example.org:3128".to_owned());
        }
        let at = url.called().as_str().parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        let authorization = credentials.map(|text| format!("Basic {}", STANDARD.encode(text)).into());
        Ok(Self { at, authorization, resolves })
    }

    /// The URL of the proxy, without its credentials.
    pub(super) fn url(&self) -> String {
        self.at.to_string()
    }

    /// The value of `proxy-authorization`, if there is one.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(self.authorization.as_deref()?).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Host and port, for people.
    #[must_use]
    pub fn address(&self) -> &str {
        self.at.authority().map_or("", http::uri::Authority::as_str)
    }
}

/// How TCP connections come about: at once, or through a proxy. Cheap to clone.
#[derive(Clone)]
pub(super) struct Route {
    /// To the endpoint, or to the proxy, which the guard has no say about: the operator has named it.
    pub(super) tcp: HttpConnector<GuardedNames>,
    /// The proxy, and the names of endpoints.
    pub(super) through: Option<(Arc<ProxyOptions>, GuardedNames)>,
    /// The longest until a connection is made, or the proxy has made it.
    pub(super) within: Duration,
}

impl Service<Uri> for Route {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<TokioIo<TcpStream>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Some((proxy, names)) = self.through.clone() else {
            let made = self.tcp.call(to);
            return Box::pin(async move { made.await.map_err(Into::into) });
        };
        let tcp = self.tcp.clone();
        // Before the end of all that this is part of, so that it is seen what was waited for.
        let end = Instant::now() + self.within;
        Box::pin(through(tcp, proxy, names, to, end))
    }
}

async fn through(
    tcp: HttpConnector<GuardedNames>,
    proxy: Arc<ProxyOptions>,
    names: GuardedNames,
    to: Uri,
    end: Instant,
) -> Result<TokioIo<TcpStream>, BoxError> {
    let host = to.host().unwrap_or_default();
    let is_https = to.scheme() == Some(&http::uri::Scheme::HTTPS);
    let port = to.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let targets = targets(&proxy, &names, host, port).await?;
    match timeout_at(end, first_of(tcp, &proxy, &targets)).await {
        Ok(Err(error)) => Err(of_proxy(error)),
        Ok(made) => made,
        Err(_elapsed) => Err(ProxyError::Away.into()),
    }
}

/// A connection to the first of these that the proxy can reach.
async fn first_of(
    mut tcp: HttpConnector<GuardedNames>,
    proxy: &ProxyOptions,
    targets: &[String],
) -> Result<TokioIo<TcpStream>, BoxError> {
    let mut last: BoxError = Box::new(io::Error::from(io::ErrorKind::AddrNotAvailable));
    for target in targets {
        // Where the proxy itself is away no other address changes that.
        let stream = tcp.call(proxy.at.clone()).await?.into_inner();
        match connect(stream, target, proxy.authorization.as_deref()).await {
            Ok(stream) => return Ok(TokioIo::new(stream)),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// What fails on the way to the proxy is said of the proxy: its name is not that of the endpoint, nor is its silence. A
/// shortage of our own stays one.
fn of_proxy(error: BoxError) -> BoxError {
    let answered = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let says_it = answered.is_some_and(|error| error.is::<ProxyError>());
    // Without the sources, which nobody is to take for those of the endpoint.
    if says_it || classify::is_shortage(&*error) { error } else { ProxyError::Away.into() }
}

/// What the proxy is asked to connect to, in this order; every address has been judged.
async fn targets(
    proxy: &ProxyOptions,
    names: &GuardedNames,
    host: &str,
    port: u16,
) -> Result<Vec<String>, BoxError> {
    let with_port = |address: IpAddr| std::net::SocketAddr::from((address, port)).to_string();
    if let Ok(literal) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        names.egress.check(literal)?;
        return Ok(vec![with_port(literal)]);
    }
    if proxy.resolves {
        return Ok(vec![format!("{host}:{port}")]);
    }
    let found = names.judged(host).await?;
    Ok(found.iter().take(ADDRESSES_MAX).map(|address| with_port(*address)).collect())
}

async fn connect(mut stream: TcpStream, target: &str, authorization: Option<&str>) -> io::Result<TcpStream> {
    let credentials =
        authorization.map(|value| format!("proxy-authorization: {value}\r\n")).unwrap_or_default();
    let request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n{credentials}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let mut space = [0; 1024];
    let end = loop {
        let read = stream.read(&mut space).await?;
        let seen = answer.len();
        answer.extend_from_slice(space.get(..read).unwrap_or_default());
        match heads::end(&answer, seen) {
            Some(end) => break end,
            None if read == 0 || answer.len() > ANSWER_MAX_BYTES => {
                return Err(io::Error::other(ProxyError::Unreadable));
            }
            None => {}
        }
    };
    match heads::status_of(&answer) {
        // Nothing may come before the endpoint was asked for something.
        Some(200..=299) if end == answer.len() => Ok(stream),
        Some(status) if !(200..=299).contains(&status) => Err(io::Error::other(ProxyError::Refused(status))),
        _ => Err(io::Error::other(ProxyError::Unreadable)),
    }
}
