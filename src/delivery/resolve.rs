//! Between the connector and the names: hands out addresses only when every one of them may be called.
//!
//! The connector uses these very addresses and resolves no second time, so that a changed answer gains nothing.
//!
//! Must not know: where addresses come from, events.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

use super::EgressGuard;
use crate::names::Names;

/// The resolver of the connector.
#[derive(Clone)]
pub(super) struct GuardedNames {
    pub(super) names: Names,
    pub(super) egress: EgressGuard,
}

impl GuardedNames {
    /// The addresses of a name, at least one. A name that has one foot inside is not trusted with the other: one denied
    /// address denies all.
    pub(super) async fn judged(&self, name: &str) -> Result<Arc<[IpAddr]>, Box<dyn Error + Send + Sync>> {
        let found = self.names.addresses(name).await?;
        debug_assert!(!found.is_empty(), "a name that resolves has an address");
        for address in found.iter() {
            self.egress.check(*address)?;
        }
        Ok(found)
    }
}

impl Service<Name> for GuardedNames {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guarded = self.clone();
        Box::pin(async move {
            let found = guarded.judged(name.as_str()).await?;
            // The connector puts the port of the url in place of 0.
            let found: Vec<SocketAddr> = found.iter().map(|address| (*address, 0).into()).collect();
            Ok(found.into_iter())
        })
    }
}
