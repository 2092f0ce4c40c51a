//! Adobe Journey Optimizer's Throttling API (`throttlingConfigs`; contracts.md sections 1 and 2).
//!
//! Choices where the contract is open, beyond those it decides itself:
//!
//! - A refused payload (106) comes in the envelope of the operation errors with `code` 106, HTTP 400; one of
//!   more than [`BODY_BYTES_MAX`] bytes the same with HTTP 413.
//! - A verb that is no HTTP method of the list is a semantic fault, 106 in `canDeploy.errors`.
//! - An update of a deployed config with semantic faults is saved; the last valid values go on ruling.
//! - Configs belong to the organisation: every production sandbox of it sees them; another organisation's
//!   are not found.
//! - A config shows the members of a deployed one (`version`, their order) while `hasBeenDeployed` is true.
//!
//! Must not know: how limits are kept, what waits in the queue.

mod doc;
mod errors;
#[cfg(test)]
mod in_force;
mod map;
mod options;
mod record;
mod request;
mod routes;
#[cfg(test)]
mod scenarios;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;
use crate::policy::Policies;

pub use doc::api_doc;
pub use options::{Identity, Sandbox, SandboxKind, ThrottlingOptions};
pub use request::BODY_BYTES_MAX;
pub use routes::router;

/// What the routes work on. Cheap to clone.
#[derive(Clone)]
pub struct ThrottlingApi {
    policies: Policies,
    options: Arc<ThrottlingOptions>,
    clock: Clock,
    /// Makes uids and request ids.
    random: Arc<Mutex<fastrand::Rng>>,
}

impl ThrottlingApi {
    /// Brings the parts together.
    #[must_use]
    pub fn new(policies: Policies, options: ThrottlingOptions, clock: Clock, random: fastrand::Rng) -> Self {
        Self { policies, options: Arc::new(options), clock, random: Arc::new(Mutex::new(random)) }
    }

    fn new_uid(&self) -> String {
        let bytes = self.random(|random| random.u128(..)).to_be_bytes();
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// 32 letters and digits.
    fn new_request_id(&self) -> String {
        self.random(|random| std::iter::repeat_with(|| random.alphanumeric()).take(32).collect())
    }

    fn random<T>(&self, take: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        // A generator is whole between any two calls, so a poisoned lock is harmless.
        take(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
