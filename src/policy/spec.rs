//! What a policy says once it is valid: which calls it governs and what it allows them.

use std::num::NonZeroU32;
use std::time::Duration;

use http::Method;

use crate::event::Labels;
use crate::policy::UrlPattern;

/// A valid limit configuration. Only a policy that has one can be deployed.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Which addresses.
    pub pattern: UrlPattern,
    /// Which verbs; never empty.
    pub methods: Vec<Method>,
    /// Which labels an event must carry, all of them.
    pub labels: Vec<LabelCondition>,
    /// What is allowed.
    pub limits: Limits,
    /// What happens when there is no room.
    pub family: Family,
}

/// A label that an event must carry with exactly this value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelCondition {
    /// The label.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Whether an event without the label fulfils the condition too: the value is the label's default
    /// (such as `service`, which is `action` when it is absent; contracts.md, "Decided" 4).
    pub or_absent: bool,
}

impl LabelCondition {
    /// The label must be there with this value.
    #[must_use]
    pub fn equals(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), or_absent: false }
    }

    /// The label must have this value or be absent.
    #[must_use]
    pub fn equals_or_absent(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), or_absent: true }
    }

    /// Whether labels fulfil it.
    #[must_use]
    pub fn holds(&self, labels: &Labels) -> bool {
        labels.get(&self.key).map_or(self.or_absent, |value| value == self.value)
    }
}

/// Waiting limits hold an event until there is room; refusing ones turn it away (contracts.md, "Decided" 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Hold it in its lane.
    Wait,
    /// Turn it away.
    Refuse,
}

/// The limits of one policy; `None` means unlimited.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Limits {
    /// Starts per second.
    pub pace: Option<Pace>,
    /// Calls in flight.
    pub slots: Option<NonZeroU32>,
    /// The longest an attempt may take.
    pub timeout: Option<Duration>,
}

/// Starts per second: a decimal from one per day to a million per second.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Pace(f64);

/// A limit that is none.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// A pace outside its range.
    #[error("a pace lies between one per day (0.0000116) and {} per second, not {given}", Pace::MAX)]
    Pace {
        /// As given.
        given: f64,
    },
}

impl Pace {
    /// The slowest pace: one start per day.
    pub const MIN: f64 = 1.0 / 86_400.0;
    /// The fastest pace.
    pub const MAX: f64 = 1_000_000.0;

    /// Checks the range.
    ///
    /// # Errors
    /// [`SpecError::Pace`] when it is not a number or lies outside [`Pace::MIN`] to [`Pace::MAX`].
    pub fn per_second(starts: f64) -> Result<Self, SpecError> {
        if (Self::MIN..=Self::MAX).contains(&starts) {
            Ok(Self(starts))
        } else {
            Err(SpecError::Pace { given: starts })
        }
    }

    /// Starts per second.
    #[must_use]
    pub const fn starts_per_second(self) -> f64 {
        self.0
    }
}
