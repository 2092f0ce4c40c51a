//! What a count has found, in a text that is sent back to confirm a change of them.
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
    /// What came later is not confirmed.
    pub counted_at: Timestamp,
    /// How many were meant.
    pub matched: u64,
    /// There may have been more.
    pub is_at_least: bool,
}

impl Confirmation {
    /// The text of this finding for a request that asks for `what`.
    pub(super) fn text(self, what: &str) -> String {
        let (at, matched, more) = (self.counted_at.as_millis(), self.matched, u64::from(self.is_at_least));
        let digest = digest128(format!("{at} {matched} {more} {what}").as_bytes());
        format!("{at:x}-{matched:x}-{more:x}-{digest:x}")
    }

    /// `None` when it is no confirmation of this.
    pub(super) fn read(text: &str, what: &str) -> Option<Self> {
        let mut parts = text.splitn(4, '-').map(|part| u64::from_str_radix(part, 16));
        let (at, matched, more) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
        let read = Self { counted_at: Timestamp::from_millis(at), matched, is_at_least: more == 1 };
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
        let made = Confirmation { counted_at: clock.now(), matched: 17, is_at_least: false };
        let text = made.text("cancel a");
        assert_eq!(Confirmation::read(&text, "cancel a"), Some(made));
        assert_eq!(Confirmation::read(&text, "cancel b"), None);
        for (from, to) in [("-11-", "-12-"), ("-0-", "-1-")] {
            let other = text.replacen(from, to, 1);
            assert!(other != text && Confirmation::read(&other, "cancel a").is_none(), "another finding");
        }
        for wrong in ["", "-", "x-1-0-1", "1-1", "1-1-0"] {
            assert_eq!(Confirmation::read(wrong, "cancel a"), None, "{wrong}");
        }
        clock.advance(CONFIRMED_WITHIN);
        assert!(made.holds(&clock));
        clock.advance(Duration::from_millis(1));
        assert!(!made.holds(&clock));
    }
}
