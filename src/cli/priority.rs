//! The priority of events, as arguments name it.

use clap::ValueEnum;

/// How starts under a contended limit are divided: 8 : 4 : 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PriorityArgument {
    High,
    Normal,
    Low,
}

impl PriorityArgument {
    /// The word that the API uses.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}
