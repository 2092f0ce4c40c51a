//! Waits that an endpoint imposes because it is busy or over a limit of its own: what it said, and for how long.
//!
//! Must not know: how such an answer is recognised, what is done meanwhile.

use std::time::Duration;

/// What an endpoint says when it turns a call away for now (mashery/contract.md 2, mediarithmics/contract.md 4, responsys/contract.md 3). A bounded set: it is
/// used in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Busy {
    /// Mashery: too many calls per second of one key.
    DeveloperOverQps,
    /// Mashery: the quota of one key is used up.
    DeveloperOverRate,
    /// Mashery: too many calls per second of all keys.
    ServiceOverQps,
    /// Responsys: too many calls of one function in this minute.
    ApiLimit,
    /// Responsys: the capacity of the whole account is used up for these ten minutes.
    Capacity,
    /// mediarithmics: the plugin says when it wants the next message.
    NextMessage,
}

impl Busy {
    /// The endpoint's own word for it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::DeveloperOverQps => "ERR_403_DEVELOPER_OVER_QPS",
            Self::DeveloperOverRate => "ERR_403_DEVELOPER_OVER_RATE",
            Self::ServiceOverQps => "ERR_403_SERVICE_OVER_QPS",
            Self::ApiLimit => "API_LIMIT_EXCEEDED",
            Self::Capacity => "INTERNAL_CAPACITY_LIMIT_EXCEEDED",
            Self::NextMessage => "x-mics-next-msg-delay",
        }
    }

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::DeveloperOverQps => "developer_over_qps",
            Self::DeveloperOverRate => "developer_over_rate",
            Self::ServiceOverQps => "service_over_qps",
            Self::ApiLimit => "api_limit",
            Self::Capacity => "capacity",
            Self::NextMessage => "next_message",
        }
    }
}

/// How long to leave an endpoint alone, and why. Neither too short to be a wait nor longer than a lane may be held
/// at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    busy: Busy,
    length: Duration,
}

impl Wait {
    /// No wait is shorter: an endpoint that asks for none is not called without a pause.
    pub const SHORTEST: Duration = Duration::from_millis(100);
    /// No wait is longer. Whoever is still busy then says so again.
    pub const LONGEST: Duration = Duration::from_secs(60 * 60);

    /// The wait that was asked for, held within [`Wait::SHORTEST`] and [`Wait::LONGEST`].
    #[must_use]
    pub fn new(busy: Busy, asked: Duration) -> Self {
        Self { busy, length: asked.clamp(Self::SHORTEST, Self::LONGEST) }
    }

    /// What the endpoint said.
    #[must_use]
    pub const fn busy(&self) -> Busy {
        self.busy
    }

    /// For how long nothing is sent, from the end of the call.
    #[must_use]
    pub const fn length(&self) -> Duration {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_pause_and_ends() {
        for (asked_ms, wanted_ms) in [(0, 100), (99, 100), (100, 100), (1_500, 1_500), (3_600_001, 3_600_000)]
        {
            let wait = Wait::new(Busy::NextMessage, Duration::from_millis(asked_ms));
            assert_eq!(wait.length(), Duration::from_millis(wanted_ms));
        }
        assert_eq!(Wait::new(Busy::ApiLimit, Duration::MAX).length(), Wait::LONGEST);
    }
}
