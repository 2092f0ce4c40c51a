//! What a count of events has found, in a text that is sent back to confirm a change of them.
//!
//! Must not know: what is counted.

use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::event::digest128;

/// How long a confirmation holds.
pub(super) const CONFIRMED_WITHIN: Duration = Duration::from_secs(600);

/// What a count has found, in a text that holds for the same request alone. It guards against mistakes and keeps nobody out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Confirmation {
    /// What was accepted later is not confirmed.
    pub counted_at: Timestamp,
    /// How many events were meant.
    pub matched: u64,
}

impl Confirmation {
    /// The text of this finding for a request that asks for `what`.
    pub(super) fn text(self, what: &str) -> String {
        let (at, matched) = (self.counted_at.as_millis(), self.matched);
        let digest = digest128(format!("{at} {matched} {what}").as_bytes());
        format!("{at:x}-{matched:x}-{digest:x}")
    }

    /// `None` when it is no confirmation of this.
    pub(super) fn read(text: &str, what: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-').map(|part| u64::from_str_radix(part, 16));
        let (at, matched) = (parts.next()?.ok()?, parts.next()?.ok()?);
        let read = Self { counted_at: Timestamp::from_millis(at), matched };
        (read.text(what) == text).then_some(read)
    }

    /// Whether it is young enough.
    pub(super) fn holds(self, clock: &Clock) -> bool {
        clock.now().since(self.counted_at) <= CONFIRMED_WITHIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmation_holds_for_the_same_request_and_ten_minutes() {
        let clock = Clock::manual(Timestamp::from_millis(1_000_000));
        let made = Confirmation { counted_at: clock.now(), matched: 17 };
        let text = made.text("cancel a");
        assert_eq!(Confirmation::read(&text, "cancel a"), Some(made));
        assert_eq!(Confirmation::read(&text, "cancel b"), None);
        let more = text.replacen("-11-", "-12-", 1);
        assert!(more != text && Confirmation::read(&more, "cancel a").is_none(), "another number");
        for wrong in ["", "-", "x-1-1", "1-1"] {
            assert_eq!(Confirmation::read(wrong, "cancel a"), None, "{wrong}");
        }
        clock.advance(CONFIRMED_WITHIN);
        assert!(made.holds(&clock));
        clock.advance(Duration::from_millis(1));
        assert!(!made.holds(&clock));
    }
}
