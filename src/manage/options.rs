//! What an operator may set about the dialects. The configuration is parsed into it.
//!
//! Must not know: where the values come from.

use crate::manage::capping::CappingOptions;
use crate::manage::mashery::MasheryOptions;
use crate::manage::mediarithmics::MediarithmicsOptions;
use crate::manage::responsys::ResponsysOptions;
use crate::manage::throttling::ThrottlingOptions;

/// The options of each dialect. The default is what the contracts document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Options of Adobe's Throttling API (`throttlingConfigs`).
    pub throttling: ThrottlingOptions,
    /// Options of Adobe's Capping API (`endpointConfigs`).
    pub capping: CappingOptions,
    /// Options of Mashery's call limiting under `/v3/rest`.
    pub mashery: MasheryOptions,
    /// Of the throttlings of mediarithmics' plugins.
    pub mediarithmics: MediarithmicsOptions,
    /// Options of Responsys' throttling limits and accounts.
    pub responsys: ResponsysOptions,
}
