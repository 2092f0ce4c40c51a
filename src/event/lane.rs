//! Lanes: the unit of order and fairness. A lane is named by the policy generations that govern its entries, by
//! the values of the labels that tell their limits apart, and by the host and port that its calls go to, so that
//! everything in it waits for the same limits and the same endpoint, also after a restart.
//!
//! The host stands in the key like a label of a name that no label has, and so does the priority of its entries unless it
//! is the normal one. Versions before they were there read such a key as one with a further label, and this version reads
//! keys without them: lanes whose calls go to any host, and lanes of normal priority.
//!
//! Must not know: what limits are, where entries rest.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use crate::event::{Labels, Priority, digest128};

/// The name of a policy: 1 to 64 of letters, digits, `_`, `-`, `.`; unique over all dialects.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(Arc<str>);

/// A policy id or a lane key that breaks its form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// The text is not a policy id.
    #[error("a policy id is 1 to {} letters, digits, '_', '-' or '.', not {given:?}", PolicyId::MAX_BYTES)]
    PolicyId {
        /// The text as given, cut at the longest length.
        given: String,
    },
    /// The text is not a lane key.
    #[error("{given:?} is not a lane key")]
    Key {
        /// The text as given; it may be cut.
        given: String,
    },
    /// More policies than one event can have.
    #[error(
        "{given} policies govern the event, at most {} can; let fewer patterns overlap",
        Lane::MAX_POLICIES
    )]
    TooManyPolicies {
        /// How many policies would govern it.
        given: usize,
    },
    /// Policies and labels together make too long a name.
    #[error(
        "the name of the lane would have {given} bytes, at most {} are taken; use fewer or shorter policy ids and \
         scope labels",
        LaneKey::MAX_BYTES
    )]
    TooLong {
        /// How many bytes the name would have.
        given: usize,
    },
}

impl PolicyId {
    /// The longest id of a policy, in bytes.
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

    /// The id as text, as it was parsed.
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
    /// The id of the policy that was deployed.
    pub policy: PolicyId,
    /// Which of its deployed lives, from 1.
    pub generation: u32,
}

/// What introduces the host in a key. No label has this name, and it is sorted after all of them.
const HOST: &str = ";~host=";
/// What introduces the priority in a key, before the host. No label has this name either.
const PRIORITY: &str = ";~priority=";
/// What introduces the number of a lane that hosts share. No host begins with it: there it is escaped.
const SHARED: char = '~';

/// The name of a lane at rest and in the API: `policy@generation`, several joined by `+` in sorted order,
/// or `-` for entries that no policy governs; then `;label=value` for each label that counts, in key order; then
/// `;~priority=high` or `;~priority=low`, if it is one of these; then `;~host=host:port`, or `;~host=~n` for the n-th share of the hosts that have no lane of their own.
/// Values and hosts are percent-encoded, and long ones cut and told apart by a digest.
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

    /// The key as text, as it stands on the disk.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key without its host: lanes whose limits and priority are the same have the same.
    #[must_use]
    pub fn without_host(&self) -> &str {
        self.parts().0
    }

    /// The priority of the entries in it.
    #[must_use]
    pub fn priority(&self) -> Priority {
        split_priority(self.without_host()).1.unwrap_or_default()
    }

    /// The key of the lane that differs from this one in its priority alone; `None` where it would be too long.
    #[must_use]
    pub fn with_priority(&self, priority: Priority) -> Option<Self> {
        let (limits, host) = self.parts();
        let (limits, _) = split_priority(limits);
        let mut key = String::with_capacity(self.0.len() + PRIORITY.len() + 4);
        key.push_str(limits);
        if priority != Priority::Normal {
            key.push_str(PRIORITY);
            key.push_str(priority.word());
        }
        if let Some(host) = host {
            key.push_str(HOST);
            key.push_str(host);
        }
        Self::new(&key).ok()
    }

    /// The host and port of a lane that is for one host alone, as they stand in the key.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.parts().1.filter(|host| !host.starts_with(SHARED))
    }

    fn parts(&self) -> (&str, Option<&str>) {
        match self.0.split_once(HOST) {
            Some((rest, host)) => (rest, Some(host)),
            None => (&self.0, None),
        }
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

/// The part of a key before its priority, and the priority if one stands there.
fn split_priority(key: &str) -> (&str, Option<Priority>) {
    let split = key.rsplit_once(PRIORITY);
    match split.and_then(|(limits, word)| Some((limits, Priority::parse(word)?))) {
        Some((limits, priority)) => (limits, Some(priority)),
        None => (key, None),
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
    /// The same of a host with its port.
    const MAX_PLAIN_HOST_BYTES: usize = 128;
    /// What is left of a longer one, before its digest.
    const CUT_BYTES: usize = 24;
    /// Lanes among which hosts without one of their own are divided, for each set of limits.
    const SHARES: u128 = 64;

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
        let values = names.iter().filter_map(|name| Some(((*name).into(), encode_label(&value(name)?))));
        let lane = Self::assemble(policies, values.collect())?;
        debug_assert_eq!(Self::parse(&lane.key).as_ref(), Ok(&lane), "the key alone is kept");
        Ok(lane)
    }

    /// The part of this lane whose calls go to one host, given as `host:port`; this lane where the name would be too
    /// long.
    #[must_use]
    pub fn at(&self, host: &str) -> Self {
        let lane = self.with_host(&encode(host, is_plain_in_host, Self::MAX_PLAIN_HOST_BYTES));
        debug_assert_eq!(Self::parse(&lane.key).as_ref(), Ok(&lane), "the key alone is kept");
        lane
    }

    /// The part of this lane for entries of this priority.
    ///
    /// # Errors
    /// [`LaneError::TooLong`].
    pub fn of_priority(&self, priority: Priority) -> Result<Self, LaneError> {
        let too_long = || LaneError::TooLong { given: self.key.0.len() + PRIORITY.len() + 4 };
        let key = self.key.with_priority(priority).ok_or_else(too_long)?;
        Ok(Self { key, ..self.clone() })
    }

    /// The priority of the entries in it.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.key.priority()
    }

    /// The part of this lane in which the calls to this host stand together with those to some others.
    #[must_use]
    pub fn shared_at(&self, host: &str) -> Self {
        self.with_host(&format!("{SHARED}{}", digest128(host.as_bytes()) % Self::SHARES))
    }

    fn with_host(&self, host: &str) -> Self {
        match LaneKey::new(&format!("{}{HOST}{host}", self.key.without_host())) {
            Ok(key) => Self { key, ..self.clone() },
            // Too long with its host: its calls stand with those to all hosts. That is less fair, but nothing is
            // refused.
            Err(_) => self.clone(),
        }
    }

    fn assemble(mut policies: Vec<PolicyRef>, labels: Vec<(Box<str>, Box<str>)>) -> Result<Self, LaneError> {
        // One order, so that the same policies are the same lane however they were found.
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
    /// [`LaneError`] when the key was not made by one of the functions above.
    pub fn parse(key: &LaneKey) -> Result<Self, LaneError> {
        let wrong = || LaneError::Key { given: key.to_string() };
        let (limits, host) = key.parts();
        let (limits, priority) = split_priority(limits);
        let mut parts = limits.split(';');
        let governed_by = parts.next().unwrap_or_default();
        let mut policies = Vec::new();
        for part in governed_by.split('+').filter(|_| governed_by != "-") {
            let (policy, generation) = part.rsplit_once('@').ok_or_else(wrong)?;
            let generation = u32::from_str(generation).map_err(|_| wrong())?;
            policies.push(PolicyRef { policy: PolicyId::parse(policy)?, generation });
        }
        let labels: Option<Vec<(Box<str>, Box<str>)>> =
            parts.map(|part| part.split_once('=').map(|(name, value)| (name.into(), value.into()))).collect();
        // Strictly ascending, as they are written: a label that stood twice would have two values.
        let labels = labels.filter(|labels| labels.is_sorted_by(|a, b| a.0 < b.0)).ok_or_else(wrong)?;
        let lane = Self::assemble(policies, labels)?.of_priority(priority.unwrap_or_default())?;
        let lane = match host {
            Some(host) if is_encoded_host(host) => lane.with_host(host),
            Some(_) => return Err(wrong()),
            None => lane,
        };
        // Only the form that is written is a key: another spelling would be a second lane under the same counters.
        if lane.key == *key { Ok(lane) } else { Err(wrong()) }
    }

    /// Its name, from which all of it can be read again.
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

    /// Whether a label of this name and value tells it apart.
    #[must_use]
    pub fn has_label(&self, name: &str, value: &str) -> bool {
        self.labels().any(|(known, here)| known == name && here == &*encode_label(value))
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
        let encoded: Vec<(&str, Box<str>)> =
            pairs.map(|(name, value)| (&**name, encode_label(value))).collect();
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
fn encode_label(value: &str) -> Box<str> {
    encode(value, is_plain, Lane::MAX_PLAIN_BYTES)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Also what separates the port from the host, and the parts of an IPv6 address.
fn is_plain_in_host(byte: u8) -> bool {
    is_plain(byte) || matches!(byte, b':' | b'[' | b']')
}

fn is_encoded_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| is_plain_in_host(byte) || matches!(byte, b'%' | b'~'))
}

fn encode(value: &str, is_plain: impl Fn(u8) -> bool, most_bytes: usize) -> Box<str> {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a text never fails.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    if encoded.len() > most_bytes {
        // All of it is ASCII.
        encoded.truncate(Lane::CUT_BYTES);
        // Of the value itself: values that are cut to the same text stay apart.
        let _ = write!(encoded, "~{:032x}", digest128(value.as_bytes()));
    }
    encoded.into()
}

#[cfg(test)]
mod tests;
