//! The throttlings of mediarithmics' plugin versions (contract.md).
//!
//! Choices where the contract is open, beyond those it decides itself:
//!
//! - Any plugin and version may have throttlings: tidegate keeps no list of plugins. A throttling is found only under
//!   the plugin and version it was created under.
//! - All faults of a body are told in one answer, each with its member, its rule and the range.
//! - `plugin_endpoint` is a path without query, fragment and wildcards. It governs the calls whose path it is, and those
//!   whose path ends with it: a plugin may stand behind a prefix. A slash at the end makes no difference.
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
mod implies;
mod objects;
mod options;
mod routes;
#[cfg(test)]
mod tests;
mod wire;

use axum::Router;
use utoipa::openapi::OpenApi;

use crate::delivery::Hears;
use crate::event::PolicyId;
use crate::manage::Options;
use crate::manage::dialect::{Derived, Dialect, Implies, Parts, Source, Unreadable};
use crate::policy::Book;

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
            Source {
                label: "plugin_version",
                implied: Some("the place of the call that `mediarithmics.plugin_version_in` names"),
                header: None,
                otherwise: "nowhere: no throttling applies",
            },
            Source {
                label: "datamart",
                implied: Some("the place of the call that `mediarithmics.datamart_in` names"),
                header: None,
                otherwise: "nowhere: no throttling of a datamart applies",
            },
            Source {
                label: "organisation",
                implied: Some("the place of the call that `mediarithmics.organisation_in` names"),
                header: None,
                otherwise: "nowhere: no throttling of an organisation applies",
            },
            Source {
                label: "container",
                implied: Some("the place of the call that `mediarithmics.container_in` names"),
                header: None,
                otherwise: "host and port of the url",
            },
        ]
    }

    fn routes(&self, options: &Options, parts: Parts) -> Router {
        router(&options.mediarithmics, parts)
    }

    fn api_doc(&self) -> OpenApi {
        doc::api_doc()
    }

    fn derive(&self, book: &Book) -> Result<Derived, Unreadable> {
        derive::derive(book)
    }

    fn implies(&self, options: &Options, book: &Book) -> Result<Option<Implies>, Unreadable> {
        let places: Vec<_> = options.mediarithmics.places().collect();
        // Without a place the throttlings, of which there may be thousands, are not read.
        if places.is_empty() { Ok(None) } else { Ok(implies::implies(places, &derive::endpoints(book)?)) }
    }

    fn hears(&self) -> Option<&'static dyn Hears> {
        Some(&Self)
    }
}
