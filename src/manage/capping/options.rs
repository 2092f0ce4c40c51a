//! What an operator may set about this dialect.

use crate::config::Config;
use crate::manage::adobe::AdobeOptions;

/// Options of the Capping API. The default is what the contract documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CappingOptions {
    /// What both of Adobe's APIs share.
    pub adobe: AdobeOptions,
    /// A service without `strategy` is a fault, as in the first draft (contract.md 1).
    pub require_strategy: bool,
    /// How many configs an organisation may have, over all sandboxes.
    pub max_configs_per_org: usize,
}

impl CappingOptions {
    /// As they are configured.
    pub(super) fn of(config: &Config) -> Self {
        let set = &config.dialects.capping;
        Self {
            adobe: AdobeOptions::of(config),
            require_strategy: set.require_strategy,
            max_configs_per_org: set.max_configs_per_org.get(),
        }
    }
}

impl Default for CappingOptions {
    fn default() -> Self {
        Self { adobe: AdobeOptions::default(), require_strategy: false, max_configs_per_org: 100 }
    }
}
