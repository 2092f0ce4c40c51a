//! What an operator may set about this dialect.

use std::ops::RangeInclusive;

use crate::manage::adobe::AdobeOptions;

/// Options of the Throttling API. The default is what the contract documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThrottlingOptions {
    /// What both of Adobe's APIs share.
    pub adobe: AdobeOptions,
    /// The smallest `maxThroughput`, in calls per second.
    pub throughput_min: u32,
    /// The largest `maxThroughput`, in calls per second.
    pub throughput_max: u32,
    /// How many configs an organisation may have.
    pub max_configs_per_org: usize,
    /// Send `error` as an object instead of JSON text in a string (adobe/contract.md 5).
    pub error_as_object: bool,
}

impl ThrottlingOptions {
    /// The range of `maxThroughput`, both ends included.
    pub(super) const fn throughput(&self) -> RangeInclusive<u32> {
        self.throughput_min..=self.throughput_max
    }
}

impl Default for ThrottlingOptions {
    fn default() -> Self {
        Self {
            adobe: AdobeOptions::default(),
            throughput_min: 200,
            throughput_max: 5_000,
            max_configs_per_org: 1,
            error_as_object: false,
        }
    }
}
