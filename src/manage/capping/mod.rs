//! Adobe Journey Orchestration's Capping API (`endpointConfigs`; contract.md, adobe/contract.md).
//!
//! A config is an element of the policy book with its authoring state; each of its services is a policy of its own,
//! `<uid>.action` and `<uid>.dataSource`, that turns calls over the cap away while it is deployed and is idle otherwise.
//!
//! Choices where the contract is open, beyond those it decides itself:
//!
//! - A refused payload (111, 112) comes in the envelope of the operation errors with that number as `code`, HTTP 500;
//!   one that is too long as 111 with HTTP 413. `orgId` of another organisation is such a payload, for nothing of it
//!   could be stored as sent; another `strategy` is a semantic fault.
//! - A verb or a `maxHttpConnections` that is none is a semantic fault, 111 in `canDeploy.errors`.
//! - The numeric codes besides 1451 are not public. The list of the Throttling API begins where this one ends, with
//!   the same operations in the same order, so 1452 to 1455 are taken for delete, deploy, undeploy and get; what no
//!   code is known for is 4000. 1450 (not found) and 1456 (too many configs) are
//!   ours.
//! - How a call over the cap is refused beyond status and code is ours (the module `says`).
//! - `deployedConfig` is shown while the config is deployed; `tenantId` is always `prod`.
//! - A config belongs to its organisation and sandbox; to others it does not exist.
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
mod says;
#[cfg(test)]
mod tests;
mod wire;

use axum::Router;
use utoipa::openapi::OpenApi;

use crate::clock::Clock;
use crate::event::PolicyId;
use crate::manage::adobe::envelope::Voice;
use crate::manage::adobe::{Authoring, ORG_SOURCE, SERVICE_SOURCE};
use crate::manage::dialect::{Derived, Dialect, Parts, Says, Source, Unreadable, is_uuid};
use crate::manage::{Dice, Options};
use crate::policy::{Book, Policies};

pub(crate) use options::CappingOptions;
pub(crate) use routes::router;

/// Adobe Journey Orchestration's Capping API, as a dialect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capping;

impl Dialect for Capping {
    fn name(&self) -> &'static str {
        ORIGIN
    }

    fn labels(&self) -> &'static [&'static str] {
        &["org", "sandbox", "service"]
    }

    fn names(&self, policy: &PolicyId) -> bool {
        let parts = policy.as_str().split_once('.');
        parts.is_some_and(|(uid, service)| is_uuid(uid) && matches!(service, "action" | "dataSource"))
    }

    fn sources(&self) -> &'static [Source] {
        &[
            ORG_SOURCE,
            Source {
                label: "sandbox",
                implied: None,
                header: Some("x-sandbox-name"),
                otherwise: "`labels.sandbox`",
            },
            SERVICE_SOURCE,
        ]
    }

    fn routes(&self, options: &Options, parts: Parts) -> Router {
        let Parts { policies, clock, random } = parts;
        router(CappingApi::new(policies, options.capping.clone(), clock, random))
    }

    fn asks_with_post(&self) -> &'static [&'static str] {
        &["/list/endpointConfigs"]
    }

    fn api_doc(&self) -> OpenApi {
        doc::api_doc()
    }

    fn derive(&self, book: &Book) -> Result<Derived, Unreadable> {
        derive::derive(book)
    }

    fn says(&self, options: &Options, _: &Dice) -> Option<Says> {
        let status = options.capping.status;
        Some(Box::new(move |refused| says::tell(refused, status)))
    }
}

/// What the routes work on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct CappingApi {
    authoring: Authoring,
    require_strategy: bool,
    max_configs_per_org: usize,
}

impl CappingApi {
    /// The routes over these policies, under the dialect's options.
    #[must_use]
    pub(crate) fn new(
        policies: Policies,
        options: CappingOptions,
        clock: Clock,
        random: fastrand::Rng,
    ) -> Self {
        // The status is that of refused calls, which `says` answers.
        let CappingOptions { adobe, status: _, require_strategy, max_configs_per_org } = options;
        let authoring = Authoring::new(&Capping, policies, adobe, VOICE, clock, random);
        Self { authoring, require_strategy, max_configs_per_org }
    }
}

/// The name of the origin of this dialect's elements and policies.
pub(crate) const ORIGIN: &str = "capping";

/// How the refusals of this API are worded.
const VOICE: Voice = Voice {
    context: "tidegate.manage.capping",
    schema: |org, sandbox| format!("{org}_{sandbox}_journeyVersions"),
    error_as_object: true,
};

/// The name of the collection of configs in paths.
const COLLECTION: &str = "endpointConfigs";
