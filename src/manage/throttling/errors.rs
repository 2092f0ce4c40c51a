//! Codes and messages (contract.md 3).

use http::StatusCode;

use crate::manage::adobe::api::Operations;
use crate::manage::adobe::body::BodyError;
use crate::manage::adobe::envelope::{Facts, Failures};

/// Every failure of an operation that the service itself reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manage) enum Failure {
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
    /// Update of a config that counts as deployed while no policy of it is active.
    UpdateNotActive,
    /// Update failed, also because faults are refused.
    Update,
    /// A sandbox that is not for production.
    NonProdSandbox,
    /// Create failed, also because faults are refused.
    Create,
    /// The organisation has its config already, or there are as many policies as there may be.
    CreateLimit,
    /// Deploy would make more policies than there may be.
    DeployLimit,
    /// Deploy of a config that is deployed already.
    AlreadyDeployed,
    /// No such config in this organisation.
    NotFound,
    /// Undeploy of one that is not deployed.
    NotDeployed,
    /// The body is no config at all.
    InvalidPayload,
    /// The body is longer than what is read.
    TooLarge,
}

impl Failure {
    /// The status, the code and the message of each failure.
    const fn facts(self) -> (StatusCode, u32, &'static str) {
        const REFUSED: StatusCode = StatusCode::BAD_REQUEST;
        const BROKEN: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
        match self {
            Self::InvalidPayload => (REFUSED, 106, "throttling config: invalid payload"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, 106, "throttling config: invalid payload"),
            Self::DeleteForbidden => {
                (REFUSED, 1456, "Can't delete a deployed throttling config. Undeploy it before deleting it")
            }
            Self::Delete => (BROKEN, 1457, "Can't delete throttling config: unexpected error occurs"),
            Self::Deploy => (BROKEN, 1458, "Can't deploy throttling config: unexpected error occurs"),
            Self::Undeploy => (BROKEN, 1459, "Can't undeploy throttling config: unexpected error occurs"),
            Self::Get => (BROKEN, 1460, "Can't get throttling config: unexpected error occurs"),
            Self::UpdateNotActive => {
                (REFUSED, 1461, "Can't update throttling config: runtime version is not active")
            }
            Self::Update => (BROKEN, 1462, "Can't update throttling config: unexpected error occurs"),
            Self::NonProdSandbox => {
                (REFUSED, 1463, "Operation not allowed on throttling config: non prod sandbox")
            }
            Self::Create => (BROKEN, 1464, "Can't create throttling config: unexpected error occurs"),
            Self::CreateLimit => {
                (REFUSED, 1465, "Can't create throttling config: only one config allowed per org")
            }
            Self::DeployLimit => (REFUSED, 1458, "Can't deploy throttling config: too many policies"),
            Self::AlreadyDeployed => (REFUSED, 14466, "Can't deploy throttling config: already deployed"),
            Self::NotFound => (StatusCode::NOT_FOUND, 14467, "throttling config not found"),
            Self::NotDeployed => (REFUSED, 14468, "Can't undeploy throttling config: not deployed yet"),
        }
    }
}

impl From<Failure> for Facts {
    fn from(failure: Failure) -> Self {
        let (status, code, message) = failure.facts();
        Self { status, code, message: message.into() }
    }
}

impl Failures for Failure {
    fn at_a_bound(self) -> Self {
        match self {
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
        self
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::TooLarge,
            BodyError::NotJson | BodyError::Invalid => Self::InvalidPayload,
        }
    }
}
