//! Priorities: how the starts under a limit are divided among the events that wait for it.
//!
//! Must not know: limits, lanes, who waits.

/// How urgent an event is, compared with the others that wait for the same limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// Eight starts for each one of low priority.
    High,
    /// Four starts for each one of low priority: that of events that name none.
    #[default]
    Normal,
    /// One start while the others take theirs; it is never passed over for good.
    Low,
}

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// What a member that names one has to be.
    pub(crate) const RULE: &str = "must be high, normal or low";

    /// The word that events, lanes and metrics use.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The priority of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.word() == word)
    }

    /// Its place in lists that have one for each.
    #[must_use]
    pub(crate) const fn place(self) -> usize {
        self as usize
    }

    /// How many starts it gets while those of low priority get one.
    #[must_use]
    pub(crate) const fn weight(self) -> u64 {
        match self {
            Self::High => 8,
            Self::Normal => 4,
            Self::Low => 1,
        }
    }
}
