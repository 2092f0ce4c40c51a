//! Event ids: time-ordered UUIDs (version 7 layout) that the store hands out when an event is durable.
//!
//! The bits below the time are the store's business: they let an id lead to its entry without an index.
//! For everybody else an id is opaque, unique, and ordered like the acceptance of the events.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::clock::Timestamp;

/// The name of one event, the same on the wire (`webhook-id`), in the API and in logs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u128);

impl EventId {
    /// Bits of freedom below the time: twelve beside the version and sixty-two beside the variant.
    pub const TAIL_BITS: u32 = 74;

    /// Builds the id of an event accepted at `accepted_ms` (Unix milliseconds, 48 bits are kept) whose
    /// remaining 74 bits are `tail`. Larger tails sort later within a millisecond.
    #[must_use]
    pub const fn new(accepted_ms: u64, tail: u128) -> Self {
        debug_assert!(tail >> Self::TAIL_BITS == 0, "bits that the id would lose");
        let high = (tail >> 62) & 0xfff;
        let low = tail & ((1 << 62) - 1);
        let time = (accepted_ms as u128 & 0xffff_ffff_ffff) << 80;
        Self(time | (0x7 << 76) | (high << 64) | (0b10 << 62) | low)
    }

    /// The 74 bits that the store put in.
    #[must_use]
    pub const fn tail(self) -> u128 {
        (((self.0 >> 64) & 0xfff) << 62) | (self.0 & ((1 << 62) - 1))
    }

    /// When the event was accepted, to the millisecond.
    #[must_use]
    pub const fn accepted_at(self) -> Timestamp {
        Timestamp::from_millis((self.0 >> 80) as u64)
    }

    /// The sixteen bytes, big-endian: byte order is acceptance order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// From the sixteen bytes. Any value is taken: an id that leads nowhere is simply not found.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event id is a UUID such as 0198c4f0-5f3a-7c00-8000-000000000001")]
pub struct ParseIdError;

impl FromStr for EventId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        Uuid::try_parse(text).map(|uuid| Self(uuid.as_u128())).map_err(|_| ParseIdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_time_and_tail_and_reads_as_uuid_v7() {
        let tail = (0xabc << 62) | 0x1234_5678_9abc_def0;
        let id = EventId::new(1_700_000_000_123, tail);
        assert_eq!(id.tail(), tail);
        assert_eq!(id.accepted_at(), Timestamp::from_millis(1_700_000_000_123));
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(Uuid::try_parse(&text).map(|uuid| uuid.get_version_num()), Ok(7));
        assert_eq!(EventId::from_bytes(id.to_bytes()), id);
    }

    #[test]
    fn ids_sort_by_time_then_tail() {
        assert!(EventId::new(1, 2) < EventId::new(1, 1 << 70));
        assert!(EventId::new(1, (1 << 74) - 1) < EventId::new(2, 0));
    }
}
