//! Why operations of both APIs fail, once: which failure a body, a bound and faults come to. Their codes and texts are those
//! of each API.
//!
//! Must not know: the codes and texts of either API.

use std::fmt::Debug;

use crate::manage::adobe::body::BodyError;
use crate::manage::adobe::envelope::Facts;

/// Every failure of an operation that the service itself reports. `Own` are the ones of one API alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manage) enum Failure<Own> {
    /// The body is JSON, but no config at all.
    InvalidPayload,
    /// The body is not JSON, or breaks off.
    NotJson,
    /// The body is longer than what is read.
    TooLarge,
    /// No such config exists for the organisation and sandbox of the request.
    NotFound,
    /// Delete without force of a deployed config.
    DeleteForbidden,
    /// Delete failed in a way that no other code names.
    Delete,
    /// Deploy failed, also because the config has faults.
    Deploy,
    /// Deploy would make more policies than there may be.
    DeployLimit,
    /// Undeploy failed in a way that no other code names.
    Undeploy,
    /// Get, list or canDeploy failed in a way that no other code names.
    Get,
    /// Create failed in a way that no other code names.
    Create,
    /// The organisation has as many configs as it may have, or there are as many as there may be.
    CreateLimit,
    /// The config has faults, and such ones are not created.
    CreateFaults,
    /// Update failed in a way that no other code names.
    Update,
    /// The config would have faults, and such ones are not saved.
    UpdateFaults,
    /// What only one of the APIs has.
    Own(Own),
}

/// The failures that only one API has, and the codes and texts of all failures there.
pub(in crate::manage) trait Failures: Copy + Debug + Send + Sync {
    /// What the envelope says about a failure.
    fn facts(failure: Failure<Self>) -> Facts;
}

impl<Own> Failure<Own> {
    /// As which failure the same operation reports that a bound of the policy book is reached.
    pub(in crate::manage) fn at_a_bound(self) -> Self {
        match self {
            // The others keep their own code; the message names the bound all the same.
            Self::Create => Self::CreateLimit,
            Self::Deploy => Self::DeployLimit,
            other => other,
        }
    }
}

impl<Own> From<BodyError> for Failure<Own> {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::TooLarge,
            BodyError::NotJson => Self::NotJson,
            BodyError::Invalid => Self::InvalidPayload,
        }
    }
}

impl<Own: Failures> From<Failure<Own>> for Facts {
    fn from(failure: Failure<Own>) -> Self {
        Own::facts(failure)
    }
}
