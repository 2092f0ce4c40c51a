//! Why an event ended, with the facts that go with it, in a few bytes.
//!
//! Must not know: what policies and limits are.

use crate::event::Reason;

/// Why an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Why {
    /// The reason in a word.
    pub reason: Reason,
    /// The status of the last answer that the endpoint gave, as far as it is known.
    pub status: Option<u16>,
    /// The limit by which it was turned away, if it was.
    pub limited: Option<Limited>,
}

/// A limit by which an event was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// The place of its policy among those of the lane; `None` when the lane does not name it.
    pub policy: Option<u8>,
    /// The kind of limit, by its place in [`Limited::KINDS`].
    kind: u8,
}

/// What is known of an end beside the settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// The status of the answer to the attempt that led to it.
    pub status: Option<u16>,
    /// The limit by which it was turned away, if it was.
    pub limited: Option<Limited>,
}

impl Limited {
    /// The kinds of limits by their words. Their places are on the disk: new ones come at the end.
    pub const KINDS: [&'static str; 5] = ["pace", "window", "quota", "slots", "closed"];
    /// What stands for a policy that the lane does not name.
    const NO_POLICY: u8 = u8::MAX;

    /// A limit of this kind; `None` for a word that is no kind of limit.
    #[must_use]
    pub fn by(policy: Option<usize>, kind: &str) -> Option<Self> {
        let kind = Self::KINDS.iter().position(|word| *word == kind)?;
        let policy = policy.and_then(|place| u8::try_from(place).ok()).filter(|at| *at != Self::NO_POLICY);
        // There are a few kinds.
        Some(Self { policy, kind: u8::try_from(kind).ok()? })
    }

    /// The kind of limit in a word.
    #[must_use]
    pub fn kind(self) -> &'static str {
        Self::KINDS.get(usize::from(self.kind)).copied().unwrap_or_default()
    }
}

impl Why {
    /// That of a success whose status is not known any more.
    pub const DELIVERED: Self = Self { reason: Reason::Delivered, status: None, limited: None };

    /// The bytes of its kept form.
    pub const BYTES: usize = 6;

    /// Its kept form: the number of the reason (2), the status or 0 (2), the kind of limit from 1 on or 0 (1), the place of
    /// the policy or 255 (1).
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let [r0, r1] = self.reason.number().to_le_bytes();
        let [s0, s1] = self.status.unwrap_or_default().to_le_bytes();
        let kind = self.limited.map_or(0, |limited| limited.kind + 1);
        let policy = self.limited.and_then(|limited| limited.policy).unwrap_or(Limited::NO_POLICY);
        [r0, r1, s0, s1, kind, policy]
    }

    /// Takes it back; `None` when it says what this version does not know.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let [r0, r1, s0, s1, kind, policy] = bytes;
        let status = u16::from_le_bytes([s0, s1]);
        let limited = match kind.checked_sub(1) {
            None => None,
            Some(kind) if usize::from(kind) < Limited::KINDS.len() => {
                Some(Limited { policy: (policy != Limited::NO_POLICY).then_some(policy), kind })
            }
            Some(_) => return None,
        };
        let reason = Reason::from_number(u16::from_le_bytes([r0, r1]))?;
        Some(Self { reason, status: (status != 0).then_some(status), limited })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_form_comes_back_and_what_is_unknown_is_none() {
        let limited = Limited::by(Some(3), "window");
        let whole = Why { reason: Reason::Capped, status: Some(503), limited };
        let plain = Why { reason: Reason::Status(404), status: None, limited: None };
        let nameless = Why { reason: Reason::Closed, status: None, limited: Limited::by(None, "closed") };
        for why in [whole, plain, nameless] {
            assert_eq!(Why::from_bytes(why.to_bytes()), Some(why));
        }
        // Written by this version; must mean the same for ever.
        assert_eq!(whole.to_bytes(), [0xe9, 0x03, 0xf7, 0x01, 2, 3]);
        assert_eq!(Why::from_bytes([0xff, 0xff, 0, 0, 0, 255]), None);
        assert_eq!(Why::from_bytes([1, 0, 0, 0, 9, 255]), None);
        assert_eq!(Limited::by(None, "tide"), None);
        assert_eq!(limited.map(Limited::kind), Some("window"));
    }
}
