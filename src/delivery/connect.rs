//! How connections are made: names through the guard, TCP, TLS, and the heads of answers mended on the way in.
//!
//! Must not know: requests, what answers mean.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::Service;

use super::heads::{Heard, Report, Screened};
use super::proxy::Route;
use super::resolve::GuardedNames;
use super::{EgressGuard, ProxyOptions};

/// How long a connection is silent before it is tried whether the other side is still there, and between two tries.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Tries without an answer that end a connection.
const KEEPALIVE_TRIES: u32 = 3;
/// For how long what was sent may stay unacknowledged.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

type BoxError = Box<dyn Error + Send + Sync>;

/// Makes connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<Route>,
    /// The longest for all of it.
    within: Duration,
    speaks_http2: bool,
    heard: Heard,
    report: Report,
}

/// What connections are made with.
pub(super) struct ConnectOptions {
    /// Which names may be called, and where they are.
    pub(super) names: GuardedNames,
    /// The longest for resolving, connecting and the TLS handshake together.
    pub(super) within: Duration,
    /// The proxy that connections go through, if any.
    pub(super) proxy: Option<Arc<ProxyOptions>>,
    /// How TLS is spoken; which protocol over it is set here.
    pub(super) tls: ClientConfig,
    /// Whether HTTP/2 is spoken without being negotiated.
    pub(super) speaks_http2: bool,
    /// What answers may be judged by, beside what is usual.
    pub(super) heard: Heard,
    /// Hears of heads that had to be mended.
    pub(super) report: Report,
}

impl Connector {
    /// Connects to nothing yet.
    pub(super) fn new(options: ConnectOptions) -> Self {
        let ConnectOptions { names, within, proxy, tls, speaks_http2, heard, report } = options;
        let through = proxy.map(|proxy| (proxy, names.clone()));
        // The operator has named the proxy: the guard has no say about it.
        let reached =
            if through.is_some() { GuardedNames { egress: EgressGuard::open(), ..names } } else { names };
        let mut tcp = HttpConnector::new_with_resolver(reached);
        // TLS is the business of the connector around it.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(within));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(KEEPALIVE_TRIES));
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(Route { tcp, through, within });
        Self { https, within, speaks_http2, heard, report }
    }
}

impl Service<Uri> for Connector {
    type Response = Screened<MaybeHttpsStream<TokioIo<TcpStream>>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let host: Box<str> = to.host().unwrap_or_default().into();
        let made = self.https.call(to);
        let (within, speaks_http2, report) = (self.within, self.speaks_http2, self.report);
        let heard = Arc::clone(&self.heard);
        Box::pin(async move {
            let connection = timeout(within, made)
                .await
                .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok(Screened::new(connection, speaks_http2, &host, heard, report))
        })
    }
}
