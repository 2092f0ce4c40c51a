//! The throttlings of mediarithmics' plugin versions (contract.md).
//!
//! Choices where the contract is open, beyond those it decides itself:
//!
//! - Any plugin and version may have throttlings: tidegate keeps no list of plugins. A throttling is found only under
//!   the plugin and version it was created under.
//! - All faults of a body are told in one answer, each with its member, its rule and the range.
//! - `plugin_endpoint` is a path without query, fragment and wildcards, since it is compared as a whole.
//! - A throttling shows all its members; those without a value are `null`.
//! - Ids count up from 1001 over all plugins and are never given twice.
//! - HEAD is answered 405, as every verb that the contract does not have.
//!
//! Must not know: how limits are kept, what waits in the queue.
#![doc = include_str!("contract.md")]

mod derive;
mod doc;
mod errors;
mod objects;
mod options;
mod routes;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use crate::clock::Clock;
use crate::manage::Dice;
use crate::policy::Policies;

pub use doc::api_doc;
pub use options::MediarithmicsOptions;
pub use routes::router;

/// What the routes work on. Cheap to clone.
#[derive(Clone)]
pub struct MediarithmicsApi {
    policies: Policies,
    options: Arc<MediarithmicsOptions>,
    clock: Clock,
    /// Makes the ids of errors.
    dice: Dice,
}

impl MediarithmicsApi {
    /// Brings the parts together.
    #[must_use]
    pub fn new(
        policies: Policies,
        options: MediarithmicsOptions,
        clock: Clock,
        random: fastrand::Rng,
    ) -> Self {
        Self { policies, options: Arc::new(options), clock, dice: Dice::new(random) }
    }
}
