//! Clients for endpoints that are reached in a way of their own, over TLS as it is set for them or through a proxy: each has
//! connections of its own, which are given up at the age that is set for them.
//!
//! Must not know: how a client is made, which endpoints there are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::CallOptions;
use super::client::HttpClient;
use crate::clock::Timestamp;

/// The clients in use, made when they are first asked for; all were made under one guard.
#[derive(Default)]
pub(super) struct OtherClients {
    all: Mutex<Vec<Other>>,
}

/// A client for the calls that are made like this.
struct Other {
    options: Arc<CallOptions>,
    client: HttpClient,
    made_at: Timestamp,
}

impl Other {
    /// Whether its connections are not to be used any more at `now`.
    fn is_due(&self, now: Timestamp) -> bool {
        self.options.connection_max_age.is_some_and(|age| now.since(self.made_at) >= age)
    }
}

impl OtherClients {
    /// The client for calls that are made like this; `make` makes it at `now` where there is none.
    ///
    /// # Errors
    /// Those of `make`; nothing is kept then.
    pub(super) fn get<E>(
        &self,
        options: &Arc<CallOptions>,
        now: Timestamp,
        make: impl FnOnce() -> Result<HttpClient, E>,
    ) -> Result<HttpClient, E> {
        let mut all = self.all();
        if let Some(known) = all.iter().find(|known| Arc::ptr_eq(&known.options, options)) {
            return Ok(known.client.clone());
        }
        // What nobody else has any more is set no longer; its calls under way end as they began.
        all.retain(|known| Arc::strong_count(&known.options) > 1);
        let client = make()?;
        all.push(Other { options: Arc::clone(options), client: client.clone(), made_at: now });
        Ok(client)
    }

    /// Whether any of them has reached its age at `now`.
    pub(super) fn any_due(&self, now: Timestamp) -> bool {
        self.all().iter().any(|known| known.is_due(now))
    }

    /// Gives up those that have reached their age at `now`: the next call makes them anew, and their calls under way end
    /// as they began.
    pub(super) fn give_up_due(&self, now: Timestamp) {
        self.all().retain(|known| !known.is_due(now));
    }

    fn all(&self) -> MutexGuard<'_, Vec<Other>> {
        // Every change is complete before anything can panic.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
