//! What an operator may set about this dialect.

use http::StatusCode;

use crate::manage::adobe::AdobeOptions;

/// Options of the Capping API. The default is what the contract documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CappingOptions {
    /// What both of Adobe's APIs share.
    pub adobe: AdobeOptions,
    /// The status of a refused call in the dialect's own words: 429 or 409 (contract.md 4).
    pub status: StatusCode,
    /// A service without `strategy` is a fault, as in the first draft (contract.md 1).
    pub require_strategy: bool,
    /// How many configs an organisation may have, over all sandboxes.
    pub max_configs_per_org: usize,
}

impl Default for CappingOptions {
    fn default() -> Self {
        Self {
            adobe: AdobeOptions::default(),
            status: StatusCode::TOO_MANY_REQUESTS,
            require_strategy: false,
            max_configs_per_org: 100,
        }
    }
}
