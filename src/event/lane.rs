//! Lanes: the unit of order and fairness. A lane is named by the policy generations that govern its entries and
//! by the values of the labels that tell their limits apart, so that everything in it waits for the same limits,
//! also after a restart.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use crate::event::{Labels, digest128};

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
    /// More policies than one event can have.
    #[error(
        "{given} policies govern the event, at most {} can; let fewer patterns overlap",
        Lane::MAX_POLICIES
    )]
    TooManyPolicies {
        /// How many.
        given: usize,
    },
    /// Policies and labels together make too long a name.
    #[error(
        "the name of the lane would have {given} bytes, at most {} are taken; use fewer or shorter policy ids and \
         scope labels",
        LaneKey::MAX_BYTES
    )]
    TooLong {
        /// How many bytes.
        given: usize,
    },
}

impl LaneError {
    /// The stable code and the title by which an event without a lane is refused.
    #[must_use]
    pub const fn problem(&self) -> (&'static str, &'static str) {
        match self {
            Self::TooManyPolicies { .. } => ("too_many_policies", "Too many policies govern the call"),
            Self::TooLong { .. } | Self::PolicyId { .. } | Self::Key { .. } => {
                ("lane_too_long", "What governs the call has too long a name")
            }
        }
    }
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
    /// The id of the policy.
    pub policy: PolicyId,
    /// Which of its deployed lives, from 1.
    pub generation: u32,
}

/// The name of a lane at rest and in the API: `policy@generation`, several joined by `+` in sorted order,
/// or `-` for entries that no policy governs; then `;label=value` for each label that counts, in key order.
/// Values are percent-encoded, and long ones cut and told apart by a digest.
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

/// A lane with its meaning: which policy generations govern it, and under which labels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lane {
    key: LaneKey,
    policies: Arc<[PolicyRef]>,
    /// As they stand in the key.
    labels: Arc<[(Box<str>, Box<str>)]>,
}

impl Lane {
    /// Most policies that may govern one event.
    pub const MAX_POLICIES: usize = 12;
    /// Longest encoded value of a label that stands in a key as it is.
    const MAX_PLAIN_BYTES: usize = 64;
    /// What is left of a longer one, before its digest.
    const CUT_BYTES: usize = 24;

    /// The lane of the entries that these generations govern together, whatever their labels; order and
    /// repetition do not matter.
    ///
    /// # Errors
    /// [`LaneError::TooManyPolicies`], [`LaneError::TooLong`].
    pub fn of(policies: Vec<PolicyRef>) -> Result<Self, LaneError> {
        Self::scoped(policies, &Labels::default(), &[])
    }

    /// The same for entries whose labels of these names have the values that `labels` has; names without a value
    /// are left out.
    ///
    /// # Errors
    /// [`LaneError::TooManyPolicies`], [`LaneError::TooLong`].
    pub fn scoped(policies: Vec<PolicyRef>, labels: &Labels, names: &[&str]) -> Result<Self, LaneError> {
        Self::with_values(policies, names, |name| labels.get(name).map(Cow::from))
    }

    /// The same with values of any length and from anywhere.
    ///
    /// # Errors
    /// [`LaneError::TooManyPolicies`], [`LaneError::TooLong`].
    pub fn with_values<'v>(
        policies: Vec<PolicyRef>,
        names: &[&str],
        value: impl Fn(&str) -> Option<Cow<'v, str>>,
    ) -> Result<Self, LaneError> {
        let mut names = names.to_vec();
        names.sort_unstable();
        names.dedup();
        let values = names.iter().filter_map(|name| Some(((*name).into(), encode(&value(name)?))));
        Self::assemble(policies, values.collect())
    }

    fn assemble(mut policies: Vec<PolicyRef>, labels: Vec<(Box<str>, Box<str>)>) -> Result<Self, LaneError> {
        policies.sort_unstable();
        policies.dedup();
        if policies.len() > Self::MAX_POLICIES {
            return Err(LaneError::TooManyPolicies { given: policies.len() });
        }
        let mut key = String::with_capacity(48 * policies.len().max(1));
        for (nth, PolicyRef { policy, generation }) in policies.iter().enumerate() {
            let joint = if nth == 0 { "" } else { "+" };
            // Writing to a text never fails.
            let _ = write!(key, "{joint}{policy}@{generation}");
        }
        if policies.is_empty() {
            key.push('-');
        }
        for (name, value) in &labels {
            let _ = write!(key, ";{name}={value}");
        }
        if key.len() > LaneKey::MAX_BYTES {
            return Err(LaneError::TooLong { given: key.len() });
        }
        Ok(Self { key: LaneKey::new(&key)?, policies: policies.into(), labels: labels.into() })
    }

    /// Reads a lane back from its key.
    ///
    /// # Errors
    /// [`LaneError`] when the key was not made by [`Lane::of`] or [`Lane::scoped`].
    pub fn parse(key: &LaneKey) -> Result<Self, LaneError> {
        let wrong = || LaneError::Key { given: key.to_string() };
        let mut parts = key.as_str().split(';');
        let governed_by = parts.next().unwrap_or_default();
        let mut policies = Vec::new();
        for part in governed_by.split('+').filter(|_| governed_by != "-") {
            let (policy, generation) = part.rsplit_once('@').ok_or_else(wrong)?;
            let generation = u32::from_str(generation).map_err(|_| wrong())?;
            policies.push(PolicyRef { policy: PolicyId::parse(policy)?, generation });
        }
        let labels: Option<Vec<(Box<str>, Box<str>)>> =
            parts.map(|part| part.split_once('=').map(|(name, value)| (name.into(), value.into()))).collect();
        let labels = labels.filter(|labels| labels.is_sorted_by(|a, b| a.0 < b.0)).ok_or_else(wrong)?;
        let lane = Self::assemble(policies, labels)?;
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

    /// The labels that tell it apart, by name, with their values as they stand in the key.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The part of its labels that these names pick, `a=1;b=2`: what tells the counters of one policy apart.
    /// Labels that the lane does not have are left out.
    #[must_use]
    pub fn scope_key(&self, names: &[Box<str>]) -> Box<str> {
        joined(self.labels().filter(|(name, _)| names.iter().any(|picked| **picked == **name)))
    }

    /// The key that [`Lane::scope_key`] makes of these labels with these values, in the order of the labels' names.
    #[must_use]
    pub fn key_of_scope<'a>(pairs: impl Iterator<Item = (&'a Box<str>, &'a Box<str>)>) -> Box<str> {
        let encoded: Vec<(&str, Box<str>)> = pairs.map(|(name, value)| (&**name, encode(value))).collect();
        joined(encoded.iter().map(|(name, value)| (*name, &**value)))
    }
}

fn joined<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Box<str> {
    let mut key = String::new();
    for (name, value) in labels {
        let joint = if key.is_empty() { "" } else { ";" };
        // Writing to a text never fails.
        let _ = write!(key, "{joint}{name}={value}");
    }
    key.into()
}

/// The value of a label as it stands in a key: without the characters that have a meaning there.
fn encode(value: &str) -> Box<str> {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    if encoded.len() > Lane::MAX_PLAIN_BYTES {
        // All of it is ASCII.
        encoded.truncate(Lane::CUT_BYTES);
        let _ = write!(encoded, "~{:032x}", digest128(value.as_bytes()));
    }
    encoded.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(policy: &str, generation: u32) -> PolicyRef {
        PolicyRef { policy: PolicyId::parse(policy).expect("valid"), generation }
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))).expect("valid")
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
    fn labels_that_count_stand_in_the_key() {
        let given = labels(&[("org", "A B;c=1"), ("datamart", "7"), ("user", "x")]);
        let lane =
            Lane::scoped(vec![part("a", 1)], &given, &["org", "datamart", "org", "none"]).expect("valid");
        assert_eq!(lane.key().as_str(), "a@1;datamart=7;org=A%20B%3Bc%3D1");
        assert_eq!(&*lane.scope_key(&["org".into()]), "org=A%20B%3Bc%3D1");
        assert_eq!(&*lane.scope_key(&["datamart".into(), "none".into()]), "datamart=7");
        assert_eq!(&*lane.scope_key(&[]), "");
        assert_eq!(Lane::parse(lane.key()), Ok(lane));
    }

    #[test]
    fn long_values_stay_short_and_different() {
        let key = |value: &str| {
            let lane = Lane::scoped(Vec::new(), &labels(&[("k", value)]), &["k"]).expect("valid");
            assert_eq!(Lane::parse(lane.key()).as_ref(), Ok(&lane));
            lane.key().to_string()
        };
        let (a, b) = (key(&format!("{}a", "x".repeat(200))), key(&format!("{}b", "x".repeat(200))));
        assert_ne!(a, b);
        assert_eq!(a.len(), "-;k=".len() + 24 + 1 + 32);
        assert_eq!(key(&"x".repeat(64)), format!("-;k={}", "x".repeat(64)));
    }

    #[test]
    fn what_cannot_be_named_is_refused_with_its_size() {
        let many = (0..13).map(|n| part(&format!("p{n}"), 1)).collect();
        assert_eq!(Lane::of(many), Err(LaneError::TooManyPolicies { given: 13 }));
        let long = (0..12).map(|n| part(&format!("{n:064}"), u32::MAX)).collect();
        let given = labels(&[("k", &"x".repeat(250)), ("l", &"y".repeat(250)), ("m", &"z".repeat(250))]);
        let refused = Lane::scoped(long, &given, &["k", "l", "m"]);
        assert!(matches!(refused, Err(LaneError::TooLong { given: 1025.. })), "{refused:?}");
    }

    #[test]
    fn foreign_keys_are_refused() {
        for key in ["a", "a@x", "b@1+a@1", "a@1+a@1", "a b@1", "a@1;x", "-+a@1", "a@1;b=1;a=1"] {
            let key = LaneKey::new(key).expect("a key by form");
            assert!(Lane::parse(&key).is_err(), "{key}");
        }
    }
}
