//! Descriptors: how the limit on them is shared out, and where they, or memory, ran short.

use metrics::{counter, gauge};

use crate::telemetry::names;

/// What may take descriptors, and how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DescriptorsAllotted {
    /// The use: `store`, `names`, `connections` or `calls`.
    pub used_for: &'static str,
    /// The most descriptors that this use may take.
    pub count: u64,
}

impl DescriptorsAllotted {
    /// Shows it as a gauge, for this use.
    pub(crate) fn emit(&self) {
        // Beyond 2^32 the exact figure does not matter.
        let count = u32::try_from(self.count).map_or(f64::from(u32::MAX), f64::from);
        gauge!(names::DESCRIPTORS_ALLOTTED.name, "use" => self.used_for).set(count);
    }
}

/// The system refused a descriptor or memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DescriptorShortage {
    /// `accept` (connections of the doors) or `store` (files).
    pub at: &'static str,
}

impl DescriptorShortage {
    /// Adds one to the counter of this place.
    pub(crate) fn emit(&self) {
        counter!(names::SHORTAGES.name, "at" => self.at).increment(1);
    }

    /// Shows the counter before the first one.
    pub(crate) fn show(&self) {
        counter!(names::SHORTAGES.name, "at" => self.at).increment(0);
    }
}
