//! Lanes: the unit of order and fairness. A lane is named by the policy generations that govern its entries,
//! so that everything in it waits for the same limits, also after a restart.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a policy: 1 to 64 of letters, digits, `_`, `-`, `.`; unique over all dialects.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(Arc<str>);

/// A policy id or a lane key that breaks its form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// Not a policy id.
    #[error("a policy id is 1 to {} letters, digits, '_', '-' or '.', not {given:?}", PolicyId::MAX_BYTES)]
    PolicyId {
        /// As given.
        given: String,
    },
    /// Not a lane key.
    #[error("{given:?} is not a lane key")]
    Key {
        /// As given.
        given: String,
    },
}

impl PolicyId {
    /// Longest id, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Checks the form.
    ///
    /// # Errors
    /// [`LaneError::PolicyId`] when it is empty, too long or has other characters.
    pub fn parse(text: &str) -> Result<Self, LaneError> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if text.is_empty() || text.len() > Self::MAX_BYTES || !plain {
            return Err(LaneError::PolicyId { given: text.chars().take(Self::MAX_BYTES).collect() });
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// One deployed life of a policy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PolicyRef {
    /// The policy.
    pub policy: PolicyId,
    /// Which of its deployed lives, from 1.
    pub generation: u32,
}

/// The name of a lane at rest and in the API: `policy@generation`, several joined by `+` in sorted order,
/// or `-` for entries that no policy governs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneKey(Arc<str>);

impl LaneKey {
    /// Longest key, in bytes: what the journal's block head can hold.
    pub const MAX_BYTES: usize = 1024;

    /// Takes a key as it is: its meaning is checked by [`Lane::parse`].
    ///
    /// # Errors
    /// [`LaneError::Key`] when it is empty, longer than [`LaneKey::MAX_BYTES`] or has control characters.
    pub fn new(text: &str) -> Result<Self, LaneError> {
        if text.is_empty() || text.len() > Self::MAX_BYTES || text.chars().any(char::is_control) {
            return Err(LaneError::Key { given: text.chars().take(80).collect() });
        }
        Ok(Self(text.into()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A lane with its meaning: which policy generations govern it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lane {
    key: LaneKey,
    policies: Arc<[PolicyRef]>,
}

impl Lane {
    /// Most policies that may govern one event.
    pub const MAX_POLICIES: usize = 12;

    /// The lane of the entries that these generations govern together; order and repetition do not matter.
    ///
    /// # Errors
    /// [`LaneError::Key`] when there are more than [`Lane::MAX_POLICIES`].
    pub fn of(mut policies: Vec<PolicyRef>) -> Result<Self, LaneError> {
        policies.sort_unstable();
        policies.dedup();
        let parts: Vec<String> =
            policies.iter().map(|part| format!("{}@{}", part.policy, part.generation)).collect();
        let text = if parts.is_empty() { "-".to_owned() } else { parts.join("+") };
        if policies.len() > Self::MAX_POLICIES {
            return Err(LaneError::Key { given: text });
        }
        Ok(Self { key: LaneKey::new(&text)?, policies: policies.into() })
    }

    /// Reads a lane back from its key.
    ///
    /// # Errors
    /// [`LaneError`] when the key was not made by [`Lane::of`].
    pub fn parse(key: &LaneKey) -> Result<Self, LaneError> {
        let wrong = || LaneError::Key { given: key.to_string() };
        if key.as_str() == "-" {
            return Self::of(Vec::new());
        }
        let mut policies = Vec::new();
        for part in key.as_str().split('+') {
            let (policy, generation) = part.rsplit_once('@').ok_or_else(wrong)?;
            let generation = u32::from_str(generation).map_err(|_| wrong())?;
            policies.push(PolicyRef { policy: PolicyId::parse(policy)?, generation });
        }
        let lane = Self::of(policies)?;
        if lane.key == *key { Ok(lane) } else { Err(wrong()) }
    }

    /// Its name.
    #[must_use]
    pub fn key(&self) -> &LaneKey {
        &self.key
    }

    /// The generations that govern it, sorted.
    #[must_use]
    pub fn policies(&self) -> &[PolicyRef] {
        &self.policies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(policy: &str, generation: u32) -> PolicyRef {
        PolicyRef { policy: PolicyId::parse(policy).expect("valid"), generation }
    }

    #[test]
    fn a_key_leads_back_to_its_lane() {
        let lane = Lane::of(vec![part("b", 2), part("a", 1), part("b", 2)]).expect("valid");
        assert_eq!(lane.key().as_str(), "a@1+b@2");
        assert_eq!(Lane::parse(lane.key()), Ok(lane));
        let free = Lane::of(Vec::new()).expect("valid");
        assert_eq!(free.key().as_str(), "-");
        assert_eq!(Lane::parse(free.key()), Ok(free));
    }

    #[test]
    fn foreign_keys_are_refused() {
        for key in ["a", "a@x", "b@1+a@1", "a@1+a@1", "a b@1"] {
            let key = LaneKey::new(key).expect("a key by form");
            assert!(Lane::parse(&key).is_err(), "{key}");
        }
    }
}
