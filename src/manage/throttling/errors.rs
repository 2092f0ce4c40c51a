//! Codes and messages (contract.md 3).

use http::StatusCode;

use crate::manage::adobe::envelope::Facts;
use crate::manage::adobe::errors::{self, Failures};

/// The failures that this API alone has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manage) enum Own {
    /// Update of a config that counts as deployed while no policy of it is active.
    UpdateNotActive,
    /// A sandbox that is not for production.
    NonProdSandbox,
    /// Deploy of a config that is deployed already.
    AlreadyDeployed,
    /// Undeploy of one that is not deployed.
    NotDeployed,
}

/// Why an operation of this API fails.
pub(in crate::manage) type Failure = errors::Failure<Own>;

impl Failures for Own {
    fn facts(failure: Failure) -> Facts {
        const REFUSED: StatusCode = StatusCode::BAD_REQUEST;
        const BROKEN: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
        const INVALID: &str = "throttling config: invalid payload";
        let (status, code, message) = match failure {
            Failure::InvalidPayload | Failure::NotJson => (REFUSED, 106, INVALID),
            Failure::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, 106, INVALID),
            Failure::DeleteForbidden => {
                (REFUSED, 1456, "Can't delete a deployed throttling config. Undeploy it before deleting it")
            }
            Failure::Delete => (BROKEN, 1457, "Can't delete throttling config: unexpected error occurs"),
            Failure::Deploy => (BROKEN, 1458, "Can't deploy throttling config: unexpected error occurs"),
            Failure::DeployLimit => (REFUSED, 1458, "Can't deploy throttling config: too many policies"),
            Failure::Undeploy => (BROKEN, 1459, "Can't undeploy throttling config: unexpected error occurs"),
            Failure::Get => (BROKEN, 1460, "Can't get throttling config: unexpected error occurs"),
            Failure::Own(Own::UpdateNotActive) => {
                (REFUSED, 1461, "Can't update throttling config: runtime version is not active")
            }
            Failure::Update | Failure::UpdateFaults => {
                (BROKEN, 1462, "Can't update throttling config: unexpected error occurs")
            }
            Failure::Own(Own::NonProdSandbox) => {
                (REFUSED, 1463, "Operation not allowed on throttling config: non prod sandbox")
            }
            Failure::Create | Failure::CreateFaults => {
                (BROKEN, 1464, "Can't create throttling config: unexpected error occurs")
            }
            Failure::CreateLimit => {
                (REFUSED, 1465, "Can't create throttling config: only one config allowed per org")
            }
            Failure::Own(Own::AlreadyDeployed) => {
                (REFUSED, 14466, "Can't deploy throttling config: already deployed")
            }
            Failure::NotFound => (StatusCode::NOT_FOUND, 14467, "throttling config not found"),
            Failure::Own(Own::NotDeployed) => {
                (REFUSED, 14468, "Can't undeploy throttling config: not deployed yet")
            }
        };
        Facts::of(status, code, message)
    }
}
