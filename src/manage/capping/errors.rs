//! Codes and messages of refused operations (adobe/contract.md 5, contract.md 3).

use http::StatusCode;

use crate::manage::adobe::api::Operations;
use crate::manage::adobe::body::BodyError;
use crate::manage::adobe::envelope::{Facts, Failures, internal};

/// Every failure of an operation that the service itself reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manage) enum Failure {
    /// The body is JSON, but no config; also a config whose faults are refused.
    InvalidPayload,
    /// The body is not JSON, or breaks off.
    NotJson,
    /// The body is longer than what is read.
    TooLarge,
    /// No such config in this sandbox of the organisation.
    NotFound,
    /// Delete without force of a deployed one.
    DeleteForbidden,
    /// Delete failed in an unexpected way.
    Delete,
    /// Deploy failed, also because the config has faults.
    Deploy,
    /// Undeploy failed in an unexpected way.
    Undeploy,
    /// Get failed in an unexpected way.
    Get,
    /// Create failed in an unexpected way.
    Create,
    /// The organisation has as many configs as it may have, or there are as many as there may be.
    CreateLimit,
    /// Deploy would make more policies than there may be.
    DeployLimit,
    /// Update failed in an unexpected way.
    Update,
}

impl From<Failure> for Facts {
    fn from(failure: Failure) -> Self {
        const BROKEN: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
        const INVALID: &str = "capping config: can't create endpoint config: invalid payload";
        let (status, code, message) = match failure {
            Failure::InvalidPayload => (BROKEN, 111, INVALID),
            Failure::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, 111, INVALID),
            Failure::NotJson => {
                (BROKEN, 112, "capping config: can't create endpoint config: expecting a JSON payload")
            }
            Failure::NotFound => (StatusCode::NOT_FOUND, 1450, "endpoint config not found"),
            Failure::DeleteForbidden => {
                (BROKEN, 1451, "Can't delete a deployed endpoint config. Undeploy it before deleting it")
            }
            Failure::Delete => (BROKEN, 1452, "Can't delete endpoint config: unexpected error occurs"),
            Failure::Deploy => (BROKEN, 1453, "Can't deploy endpoint config: unexpected error occurs"),
            Failure::Undeploy => (BROKEN, 1454, "Can't undeploy endpoint config: unexpected error occurs"),
            Failure::Get => (BROKEN, 1455, "Can't get endpoint config: unexpected error occurs"),
            Failure::CreateLimit => (
                StatusCode::BAD_REQUEST,
                1456,
                "Can't create endpoint config: the organisation has as many as capping.max_configs_per_org allows; delete \
                 some or raise the setting",
            ),
            Failure::DeployLimit => {
                (StatusCode::BAD_REQUEST, 1453, "Can't deploy endpoint config: too many policies")
            }
            // No code of the contract is known for these two.
            Failure::Create | Failure::Update => return internal(),
        };
        Self { status, code, message: message.into() }
    }
}

impl Failures for Failure {
    fn at_a_bound(self) -> Self {
        match self {
            // The others keep their own code; the message names the bound all the same.
            Self::Create => Self::CreateLimit,
            Self::Deploy => Self::DeployLimit,
            other => other,
        }
    }
}

impl Operations for Failure {
    const NOT_FOUND: Self = Self::NotFound;
    const CREATE_LIMIT: Self = Self::CreateLimit;
    const CREATE: Self = Self::Create;
    const GET: Self = Self::Get;
    const UPDATE: Self = Self::Update;
    const DELETE: Self = Self::Delete;
    const DELETE_FORBIDDEN: Self = Self::DeleteForbidden;
    const DEPLOY: Self = Self::Deploy;
    const UNDEPLOY: Self = Self::Undeploy;

    fn of_faults(self) -> Self {
        Self::InvalidPayload
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::TooLarge,
            BodyError::NotJson => Self::NotJson,
            BodyError::Invalid => Self::InvalidPayload,
        }
    }
}
