//! How the calls to one endpoint are made, where the operator has set something for it.
//!
//! Must not know: which calls these are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::{Credentials, ProxyOptions, SigningSecret, TlsOptions};

/// What is set for the calls to an endpoint. Nothing of it is kept with an event.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct CallOptions {
    /// Sent in place of the producer's headers of the same names; none belongs to the connection or to tidegate itself.
    pub headers: HeaderMap,
    /// Each signs the call; without one it is not signed.
    pub signing: Box<[SigningSecret]>,
    /// Credentials that have to be fetched; `None`: there are none but those of the headers.
    pub credentials: Option<Arc<Credentials>>,
    /// How TLS is spoken; `None` as to all others.
    pub tls: Option<Arc<TlsOptions>>,
    /// The proxy that the calls go through; `None`: they go straight to the endpoint.
    pub proxy: Option<Arc<ProxyOptions>>,
    /// Whether the beginning of its answers is kept with the attempts of events that had a failure.
    pub keep_answers: bool,
    /// Connections that are about this old are not used for further calls; `None`: they are as long as they last.
    pub connection_max_age: Option<Duration>,
}

impl CallOptions {
    /// Puts the headers of the endpoint in the place of the producer's.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        for name in self.headers.keys() {
            headers.remove(name);
        }
        for (name, value) in &self.headers {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// Values of headers may be credentials: only their names are shown.
impl fmt::Debug for CallOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.keys().map(http::HeaderName::as_str).collect();
        let secrets = self.signing.len();
        f.debug_struct("CallOptions")
            .field("headers", &names)
            .field("signing", &secrets)
            .field("credentials", &self.credentials.is_some())
            .field("tls", &self.tls)
            .field("proxy", &self.proxy)
            .field("keep_answers", &self.keep_answers)
            .field("connection_max_age", &self.connection_max_age)
            .finish()
    }
}
