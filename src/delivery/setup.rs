//! What the client for calls is set up with, once for the life of the process, and why that may fail.
//!
//! Must not know: how calls are made.

use std::sync::Arc;
use std::time::Duration;

use super::{EgressGuard, Hears};
use crate::names::NameOptions;

/// What the client is set up with, once for the life of the process.
#[derive(Debug, Clone)]
pub struct DeliveryOptions {
    /// Which addresses may be called, until another guard is applied.
    pub egress: EgressGuard,
    /// How names are resolved, and for how long.
    pub names: NameOptions,
    /// How long each attempt and its parts may take.
    pub deadlines: Deadlines,
    /// Unused connections kept per host; best as many as calls may be in flight to one.
    pub pool_max_idle_per_host: usize,
    /// Certificates in PEM form that are trusted beside those of the system: for private authorities.
    pub extra_ca_pem: Option<Vec<u8>>,
    /// Who is asked, in this order, whether an answer says that the endpoint is busy.
    pub hears: Arc<[&'static dyn Hears]>,
}

impl Default for DeliveryOptions {
    fn default() -> Self {
        Self {
            egress: EgressGuard::new(&[]),
            names: NameOptions::default(),
            deadlines: Deadlines::default(),
            pool_max_idle_per_host: 1024,
            extra_ca_pem: None,
            hears: Arc::default(),
        }
    }
}

/// How long one attempt and its parts may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// The longest for resolving, connecting and the TLS handshake together.
    pub connect: Duration,
    /// The longest from the start of the attempt to the complete response head.
    pub head: Duration,
    /// The longest for the whole attempt, unless the call says otherwise.
    pub total: Duration,
}

impl Default for Deadlines {
    /// 3 s to connect, 30 s for the head and for the whole attempt.
    fn default() -> Self {
        let whole = Duration::from_secs(30);
        Self { connect: Duration::from_secs(3), head: whole, total: whole }
    }
}

/// Why the client cannot be built; nothing of it is in use then.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The extra certificates are not a bundle in PEM form.
    #[error("the extra CA certificates are not PEM")]
    ExtraCa(#[source] BoxError),
    /// The client cannot be set up, for example because the system has no CA certificates.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] BoxError),
}

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
