//! Adobe Journey Orchestration's Capping API (`endpointConfigs`; contract.md, adobe/contract.md).
//!
//! A config is an element of the policy book with its authoring state; while it is deployed, each of its services is
//! a policy of its own, `<uid>.action` and `<uid>.dataSource`, that turns calls over the cap away.
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
//! - How a call over the cap is told beyond status and code is ours ([`tell`]).
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

use crate::clock::Clock;
use crate::manage::adobe::Authoring;
use crate::manage::adobe::envelope::Voice;
use crate::policy::Policies;

pub use doc::api_doc;
pub use options::CappingOptions;
pub use routes::router;
pub use says::tell;

/// What the routes work on. Cheap to clone.
#[derive(Clone)]
pub struct CappingApi {
    authoring: Authoring,
    require_strategy: bool,
    max_configs_per_org: usize,
}

impl CappingApi {
    /// Brings the parts together.
    #[must_use]
    pub fn new(policies: Policies, options: CappingOptions, clock: Clock, random: fastrand::Rng) -> Self {
        let CappingOptions { adobe, require_strategy, max_configs_per_org } = options;
        let authoring = Authoring::new(policies, adobe, VOICE, clock, random);
        Self { authoring, require_strategy, max_configs_per_org }
    }
}

/// The name of the origin of this dialect's elements and policies.
pub const ORIGIN: &str = "capping";

/// How refusals are worded.
const VOICE: Voice = Voice {
    context: "tidegate.manage.capping",
    schema: |org, sandbox| format!("{org}_{sandbox}_journeyVersions"),
    error_as_object: true,
};

/// The name of the collection in paths.
const COLLECTION: &str = "endpointConfigs";
