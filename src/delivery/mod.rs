//! Delivery: one call over the network, and what its answer means.
//!
//! Must not know: the queue, limits, policies.

mod aged;
mod asked;
mod begun;
mod classify;
mod client;
mod connect;
mod credentials;
mod egress;
mod excerpt;
mod guards;
mod heads;
mod hears;
mod noticed;
mod options;
mod others;
mod proxy;
mod request;
mod resolve;
mod setup;
mod shortages;
mod signing;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod times;
mod tls;
mod withheld;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use tokio_util::sync::CancellationToken;

use crate::event::{CanonicalUrl, EventId, Noticed, Outcome};

pub(crate) use asked::retry_after;
pub use client::HttpDeliverer;
pub(crate) use client::install_provider;
pub use credentials::Readiness;
pub(crate) use credentials::{Credentials, TokenSource};
pub(crate) use egress::BlockedAddress;
pub use egress::EgressGuard;
pub(crate) use hears::{Answer, Hears, Words, until_edge};
pub(crate) use options::CallOptions;
pub(crate) use proxy::ProxyOptions;
pub use setup::DeliveryOptions;
pub(crate) use setup::{Deadlines, DeliveryError};
pub(crate) use signing::SigningSecret;
pub(crate) use tls::{TlsFiles, TlsOptions};

/// One attempt to make, complete with everything that goes out.
#[derive(Clone)]
pub struct Call {
    /// The id of its entry, which says when it was accepted.
    pub id: EventId,
    /// Goes out as `webhook-id`, the same for every attempt and after a redrive.
    pub name: EventId,
    /// Which attempt this is, from 1, without those that cost none; goes out as `tidegate-attempt`.
    pub attempt: u16,
    /// The verb of the request, as the producer gave it.
    pub method: Method,
    /// The address to call: parsed once, at the door.
    pub url: CanonicalUrl,
    /// The producer's headers; tidegate's own replace those of the same name.
    pub headers: HeaderMap,
    /// The body of the request; may be empty.
    pub body: Bytes,
    /// The longest the whole attempt may take; `None` means the configured default.
    pub timeout: Option<Duration>,
    /// What is set for its endpoint; `None` where nothing is.
    pub options: Option<Arc<CallOptions>>,
}

/// How an attempt has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What became of it.
    pub outcome: Outcome,
    /// What was remarkable about its answer.
    pub noticed: Option<Box<Noticed>>,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, noticed: None }
    }
}

/// Applies what was prepared. Attempts that begin afterwards go by it; those under way end as they began.
pub(crate) type Turnover = Box<dyn FnOnce() + Send>;

/// Makes calls. The future does everything: it starts when it is first polled and never fails in any other
/// way than by its [`Outcome`].
pub trait Deliver: Send + Sync + 'static {
    /// Makes one attempt: at most one request reaches the endpoint.
    fn attempt(&self, call: Call) -> BoxFuture<'static, Outcome>;

    /// The same, with what was remarkable about the answer.
    fn attempt_noticing(&self, call: Call) -> BoxFuture<'static, Ended> {
        let attempt = self.attempt(call);
        Box::pin(async move { attempt.await.into() })
    }

    /// Whether calls that are made like this may start now, as far as their credentials go. What they lack is asked for as
    /// long as [`Deliver::keep_tokens`] runs.
    fn readiness(&self, options: &Arc<CallOptions>) -> Readiness {
        let _nothing_is_lacking = options;
        Readiness::Ready
    }

    /// Asks for the tokens that calls lack or will soon lack, until `cancelled`. To be run once.
    fn keep_tokens(&self, cancelled: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(cancelled.cancelled_owned())
    }

    /// Prepares to make calls under another guard, without any connection that was made under the present one.
    ///
    /// # Errors
    /// [`DeliveryError`] when there can be no client for it; nothing has changed then.
    fn under(&self, egress: EgressGuard) -> Result<Turnover, DeliveryError> {
        let _nothing_is_guarded = egress;
        Ok(Box::new(|| {}))
    }

    /// Prepares to give up connections that have reached an age, of those that are set for endpoints; `None` while none has.
    /// Until it was called for an age, the calls with it share the connections of all others.
    ///
    /// # Errors
    /// [`DeliveryError`] when there can be no client for further connections; nothing has changed then.
    fn renew(&self, ages: &BTreeSet<Duration>) -> Result<Option<Turnover>, DeliveryError> {
        let _nothing_is_kept = ages;
        Ok(None)
    }

    /// Whether calls are held because a guard denies their address, in a sentence; `None` where none is.
    fn egress_state(&self) -> Option<String> {
        None
    }

    /// How names are resolved at present, in a sentence; `None` where none are.
    fn name_state(&self) -> Option<String> {
        None
    }
}
