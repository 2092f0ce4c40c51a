//! Adobe Journey Optimizer's Throttling API (`throttlingConfigs`; contract.md, adobe/contract.md).
//!
//! A config is an element of the policy book with its authoring state, and a policy of the same name, which is active
//! while the config is deployed and idle or drains otherwise.
//!
//! Choices where the contract is open, beyond those it decides itself:
//!
//! - A refused payload (106) comes in the envelope of the operation errors with `code` 106, HTTP 400; one that
//!   is too long the same with HTTP 413.
//! - A verb that is no HTTP method of the list is a semantic fault, 106 in `canDeploy.errors`.
//! - An update of a deployed config with semantic faults is saved; the last valid values go on ruling.
//! - Configs belong to the organisation: every production sandbox of it sees them; another organisation's
//!   are not found.
//! - A config shows the members of a deployed one (`version`, their order) while `hasBeenDeployed` is true.
//!
//! Must not know: how limits are kept, what waits in the queue.
#![doc = include_str!("contract.md")]

mod check;
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

use axum::Router;
use utoipa::openapi::OpenApi;

use crate::clock::Clock;
use crate::event::PolicyId;
use crate::manage::Options;
use crate::manage::adobe::envelope::Voice;
use crate::manage::adobe::{Authoring, ORG_SOURCE, SERVICE_SOURCE};
use crate::manage::dialect::{Derived, Dialect, Parts, Source, Unreadable, is_uuid};
use crate::policy::{Book, Policies};

pub(crate) use options::ThrottlingOptions;
pub(crate) use routes::router;

/// The name of the origin of this dialect's elements and policies.
pub(crate) const ORIGIN: &str = "throttling";

/// Adobe Journey Optimizer's Throttling API, as a dialect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Throttling;

impl Dialect for Throttling {
    fn name(&self) -> &'static str {
        ORIGIN
    }

    fn labels(&self) -> &'static [&'static str] {
        &["org", "service"]
    }

    fn names(&self, policy: &PolicyId) -> bool {
        is_uuid(policy.as_str())
    }

    fn sources(&self) -> &'static [Source] {
        &[ORG_SOURCE, SERVICE_SOURCE]
    }

    fn routes(&self, options: &Options, parts: Parts) -> Router {
        let Parts { policies, clock, random } = parts;
        router(ThrottlingApi::new(policies, options.throttling.clone(), clock, random))
    }

    fn asks_with_post(&self) -> &'static [&'static str] {
        &["/list/throttlingConfigs"]
    }

    fn api_doc(&self) -> OpenApi {
        doc::api_doc()
    }

    fn derive(&self, book: &Book) -> Result<Derived, Unreadable> {
        derive::derive(book)
    }
}

/// What the routes work on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ThrottlingApi {
    authoring: Authoring,
    options: Arc<ThrottlingOptions>,
}

impl ThrottlingApi {
    /// The routes over these policies, under the dialect's options.
    #[must_use]
    pub(crate) fn new(
        policies: Policies,
        options: ThrottlingOptions,
        clock: Clock,
        random: fastrand::Rng,
    ) -> Self {
        let voice = Voice { error_as_object: options.error_as_object, ..VOICE };
        let authoring = Authoring::new(&Throttling, policies, options.adobe.clone(), voice, clock, random);
        Self { authoring, options: Arc::new(options) }
    }
}

/// How the refusals of this API are worded.
const VOICE: Voice = Voice {
    context: "tidegate.manage.throttling",
    schema: |_, sandbox| format!("{COLLECTION}${sandbox}"),
    error_as_object: false,
};

/// The name of the collection of configs in paths.
const COLLECTION: &str = "throttlingConfigs";
