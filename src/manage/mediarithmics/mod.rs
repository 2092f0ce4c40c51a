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
mod hears;
mod objects;
mod options;
mod routes;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use axum::Router;
use utoipa::openapi::OpenApi;

use crate::clock::Clock;
use crate::delivery::Hears;
use crate::event::PolicyId;
use crate::manage::desk::Desk;
use crate::manage::dialect::{Derived, Dialect, Parts, Source, Unreadable};
use crate::manage::{Dice, Options};
use crate::policy::{Book, Policies};

pub(crate) use options::MediarithmicsOptions;
pub(crate) use routes::router;

/// The name of the origin of this dialect's policies.
pub(crate) const ORIGIN: &str = "mediarithmics";

/// The throttlings of mediarithmics' plugin versions, as a dialect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mediarithmics;

impl Dialect for Mediarithmics {
    fn name(&self) -> &'static str {
        ORIGIN
    }

    fn labels(&self) -> &'static [&'static str] {
        &["plugin_version", "datamart", "organisation", "container"]
    }

    fn names(&self, policy: &PolicyId) -> bool {
        policy.as_str().starts_with("mics.")
    }

    fn sources(&self) -> &'static [Source] {
        &[
            Source { label: "plugin_version", header: None, otherwise: "nowhere: no throttling applies" },
            Source {
                label: "datamart",
                header: None,
                otherwise: "nowhere: no throttling of a datamart applies",
            },
            Source {
                label: "organisation",
                header: None,
                otherwise: "nowhere: no throttling of an organisation applies",
            },
            Source { label: "container", header: None, otherwise: "host and port of the url" },
        ]
    }

    fn config<'p>(&self, policy: &'p PolicyId) -> Option<&'p str> {
        policy.as_str().strip_prefix("mics.")
    }

    fn routes(&self, options: &Options, parts: Parts) -> Router {
        let Parts { policies, clock, random } = parts;
        router(MediarithmicsApi::new(policies, options.mediarithmics.clone(), clock, random))
    }

    fn api_doc(&self) -> OpenApi {
        doc::api_doc()
    }

    fn derive(&self, book: &Book) -> Result<Derived, Unreadable> {
        derive::derive(book)
    }

    fn hears(&self) -> Option<&'static dyn Hears> {
        Some(&Self)
    }
}

/// What the routes work on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MediarithmicsApi {
    desk: Desk,
    options: Arc<MediarithmicsOptions>,
    /// Makes the ids by which errors can be found again.
    dice: Dice,
}

impl MediarithmicsApi {
    /// The routes over these policies, under the dialect's options.
    #[must_use]
    pub(crate) fn new(
        policies: Policies,
        options: MediarithmicsOptions,
        clock: Clock,
        random: fastrand::Rng,
    ) -> Self {
        let desk = Desk::new(&Mediarithmics, policies, clock, options.drain_window);
        Self { desk, options: Arc::new(options), dice: Dice::new(random) }
    }
}
