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
    /// Of Adobe's Throttling API.
    pub throttling: ThrottlingOptions,
    /// Of Adobe's Capping API.
    pub capping: CappingOptions,
    /// Of Mashery's call limiting.
    pub mashery: MasheryOptions,
    /// Of the throttlings of mediarithmics' plugins.
    pub mediarithmics: MediarithmicsOptions,
    /// Of Responsys' throttling limits.
    pub responsys: ResponsysOptions,
}
