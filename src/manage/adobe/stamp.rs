//! Who did something and when, as it is stored and as `metadata` shows it (contract.md 3).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::manage::adobe::Identity;

/// Who did something and when, in the form in which both are shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::manage) struct Stamp {
    pub(in crate::manage) by: String,
    pub(in crate::manage) by_id: String,
    /// UTC with six decimals, as it is shown.
    pub(in crate::manage) at: String,
}

impl Stamp {
    pub(in crate::manage) fn of(identity: &Identity, at: Timestamp) -> Self {
        Self { by: identity.name.clone(), by_id: identity.id.clone(), at: show_time(at) }
    }
}

/// UTC with six decimals and `Z`, as the contract has it.
fn show_time(at: Timestamp) -> String {
    // Nanoseconds in 64 bits are far below the range of the calendar: neither fallback is ever taken.
    let micros = i64::try_from(at.as_nanos() / 1_000).unwrap_or(i64::MAX);
    let time = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// `metadata` in the order of the samples of create, update and get.
#[derive(Serialize, ToSchema)]
#[schema(as = AdobeMetadata)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage) struct Metadata<'a> {
    created_by: &'a str,
    created_by_id: &'a str,
    last_modified_by: &'a str,
    last_modified_by_id: &'a str,
    created_at: &'a str,
    last_modified_at: &'a str,
    #[serde(flatten)]
    deployed: Option<LastDeployed<'a>>,
}

/// `metadata` in the order of the sample of a deployed throttling config.
#[derive(Serialize, ToSchema)]
#[schema(as = AdobeDeployedMetadata)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage) struct DeployedMetadata<'a> {
    created_by: &'a str,
    created_by_id: &'a str,
    created_at: &'a str,
    last_modified_by: &'a str,
    last_modified_by_id: &'a str,
    last_modified_at: &'a str,
    #[serde(flatten)]
    deployed: Option<LastDeployed<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AdobeLastDeployed)]
#[serde(rename_all = "camelCase")]
struct LastDeployed<'a> {
    last_deployed_by: &'a str,
    last_deployed_by_id: &'a str,
    last_deployed_at: &'a str,
}

impl<'a> Metadata<'a> {
    pub(in crate::manage) fn of(
        created: &'a Stamp,
        modified: &'a Stamp,
        deployed: Option<&'a Stamp>,
    ) -> Self {
        Self {
            created_by: &created.by,
            created_by_id: &created.by_id,
            last_modified_by: &modified.by,
            last_modified_by_id: &modified.by_id,
            created_at: &created.at,
            last_modified_at: &modified.at,
            deployed: deployed.map(LastDeployed::of),
        }
    }
}

impl<'a> DeployedMetadata<'a> {
    pub(in crate::manage) fn of(
        created: &'a Stamp,
        modified: &'a Stamp,
        deployed: Option<&'a Stamp>,
    ) -> Self {
        Self {
            created_by: &created.by,
            created_by_id: &created.by_id,
            created_at: &created.at,
            last_modified_by: &modified.by,
            last_modified_by_id: &modified.by_id,
            last_modified_at: &modified.at,
            deployed: deployed.map(LastDeployed::of),
        }
    }
}

impl<'a> LastDeployed<'a> {
    fn of(stamp: &'a Stamp) -> Self {
        Self { last_deployed_by: &stamp.by, last_deployed_by_id: &stamp.by_id, last_deployed_at: &stamp.at }
    }
}
