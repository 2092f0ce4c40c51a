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
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::Service;

use super::client::DeliveryError;
use super::heads::{Report, Screened};
use super::resolve::GuardedNames;

/// How long a connection is silent before it is tried whether the other side is still there, and between two tries.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Tries without an answer that end a connection.
const KEEPALIVE_TRIES: u32 = 3;
/// For how long what was sent may stay unacknowledged.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

type Tcp = HttpConnector<GuardedNames>;
type BoxError = Box<dyn Error + Send + Sync>;

/// Makes connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<Tcp>,
    /// The longest for all of it.
    within: Duration,
    speaks_http2: bool,
    report: Report,
}

/// What connections are made with.
pub(super) struct ConnectOptions<'a> {
    /// Which names may be called, and where they are.
    pub(super) names: GuardedNames,
    /// The longest for resolving, connecting and the TLS handshake together.
    pub(super) within: Duration,
    /// Certificates in PEM form that are trusted beside those of the system.
    pub(super) extra_ca_pem: Option<&'a [u8]>,
    /// Whether HTTP/2 is spoken without being negotiated.
    pub(super) speaks_http2: bool,
    /// Hears of heads that had to be mended.
    pub(super) report: Report,
}

impl Connector {
    /// Sets up TLS; connects to nothing yet.
    ///
    /// # Errors
    /// [`DeliveryError`] when certificates cannot be loaded.
    pub(super) fn new(options: ConnectOptions<'_>) -> Result<Self, DeliveryError> {
        let ConnectOptions { names, within, extra_ca_pem, speaks_http2, report } = options;
        let mut tcp = HttpConnector::new_with_resolver(names);
        // TLS is the business of the connector around it.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(within));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(KEEPALIVE_TRIES));
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls(extra_ca_pem)?)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(tcp);
        Ok(Self { https, within, speaks_http2, report })
    }
}

/// Certificates are always verified, by those of the system and the extra ones.
fn tls(extra_ca_pem: Option<&[u8]>) -> Result<ClientConfig, DeliveryError> {
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let extra: Vec<CertificateDer<'static>> = match extra_ca_pem {
        Some(pem) => {
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            found.map_err(|error| DeliveryError::ExtraCa(Box::new(error)))?
        }
        None => Vec::new(),
    };
    let client = |error: rustls::Error| DeliveryError::Client(Box::new(error));
    let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider)).map_err(client)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(client)?
        // The verifier of the platform: nothing is left out by it.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
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
        Box::pin(async move {
            let connection = timeout(within, made)
                .await
                .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok(Screened::new(connection, speaks_http2, &host, report))
        })
    }
}
