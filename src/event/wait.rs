//! Waits that an endpoint imposes because it is busy or over a limit of its own: what it said, and for how long.
//!
//! Must not know: how such an answer is recognised, what is done meanwhile.

use std::time::Duration;

/// What an endpoint says when it turns a call away, in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Said {
    /// The endpoint's own word for it, as operators read it.
    pub code: &'static str,
    /// The same as the value of a metric label. Those who hear endpoints know a bounded set of them.
    pub label: &'static str,
}

/// How long to leave an endpoint alone, and why. Neither too short to be a wait nor without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    said: Said,
    length: Duration,
}

impl Wait {
    /// No wait is shorter: an endpoint that asks for none is not called without a pause.
    pub const SHORTEST: Duration = Duration::from_millis(100);
    /// No wait is longer: a year. The life of the event whose call was answered bounds it further.
    pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

    /// The wait that was asked for, held within [`Wait::SHORTEST`] and [`Wait::LONGEST`].
    #[must_use]
    pub fn new(said: Said, asked: Duration) -> Self {
        // An endpoint's word is taken, but it neither makes tidegate spin nor stops a lane for ever.
        Self { said, length: asked.clamp(Self::SHORTEST, Self::LONGEST) }
    }

    /// The words of the endpoint, by which it is reported.
    #[must_use]
    pub const fn said(&self) -> Said {
        self.said
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
    use crate::event::testing::{API_LIMIT, NEXT_MESSAGE};

    #[test]
    fn a_wait_is_a_pause_and_ends() {
        for (asked_ms, wanted_ms) in [(0, 100), (99, 100), (100, 100), (1_500, 1_500), (7_200_000, 7_200_000)]
        {
            let wait = Wait::new(NEXT_MESSAGE, Duration::from_millis(asked_ms));
            assert_eq!(wait.length(), Duration::from_millis(wanted_ms));
        }
        assert_eq!(Wait::new(API_LIMIT, Duration::MAX).length(), Wait::LONGEST);
    }
}
