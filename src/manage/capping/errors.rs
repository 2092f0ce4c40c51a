//! Codes and messages of refused operations (adobe/contract.md 5, contract.md 3).

use http::StatusCode;

use crate::manage::adobe::envelope::{Facts, internal};
use crate::manage::adobe::errors::{self, Failures};

/// This API has no failures of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manage) enum Own {}

/// Why an operation of this API fails.
pub(in crate::manage) type Failure = errors::Failure<Own>;

impl Failures for Own {
    fn facts(failure: Failure) -> Facts {
        const REFUSED: StatusCode = StatusCode::BAD_REQUEST;
        const BROKEN: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
        const INVALID: &str = "capping config: can't create endpoint config: invalid payload";
        let (status, code, message) = match failure {
            Failure::InvalidPayload | Failure::CreateFaults | Failure::UpdateFaults => (BROKEN, 111, INVALID),
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
            Failure::DeployLimit => (REFUSED, 1453, "Can't deploy endpoint config: too many policies"),
            Failure::Undeploy => (BROKEN, 1454, "Can't undeploy endpoint config: unexpected error occurs"),
            Failure::Get => (BROKEN, 1455, "Can't get endpoint config: unexpected error occurs"),
            Failure::CreateLimit => (
                REFUSED,
                1456,
                "Can't create endpoint config: the organisation has as many as capping.max_configs_per_org allows; delete \
                 some or raise the setting",
            ),
            // No code of the contract is known for these two.
            Failure::Create | Failure::Update => return internal(),
            Failure::Own(none) => match none {},
        };
        Facts::of(status, code, message)
    }
}
