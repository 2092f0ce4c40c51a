//! Labels: the small flat map of text by which an event names its organisation, key, datamart and so on.

use std::fmt;

/// A checked, sorted map of text to text.
#[derive(Clone, PartialEq, Eq, Default, Hash)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

/// Why a set of labels is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// There are more labels than [`Labels::MAX`].
    #[error("at most {} labels are taken, {given} were given", Labels::MAX)]
    TooMany {
        /// How many labels the event had.
        given: usize,
    },
    /// A key that is empty, too long or has characters beyond letters, digits, `_`, `-` and `.`.
    #[error("label key {key:?} must be 1 to {} letters, digits, '_', '-' or '.'", Labels::MAX_KEY_BYTES)]
    Key {
        /// The key as it was given, cut at the longest length.
        key: String,
    },
    /// A value that is too long or has control characters.
    #[error(
        "the value of label {key:?} must be at most {} bytes without control characters",
        Labels::MAX_VALUE_BYTES
    )]
    Value {
        /// The key whose value it is.
        key: String,
    },
    /// One key has two values, or the same twice.
    #[error("label {key:?} is given twice")]
    Repeated {
        /// The key that is given twice.
        key: String,
    },
}

impl Labels {
    /// The label by whose value the lanes of one policy are split further, so that each value gets its turn.
    pub const FAIRNESS_KEY: &str = "fairness_key";
    /// Most labels that one event may have.
    pub const MAX: usize = 32;
    /// The longest key of a label, in bytes.
    pub const MAX_KEY_BYTES: usize = 64;
    /// The longest value of a label, in bytes.
    pub const MAX_VALUE_BYTES: usize = 256;

    /// Checks and sorts.
    ///
    /// # Errors
    /// The first rule that a label breaks.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, LabelError> {
        let mut pairs: Vec<(Box<str>, Box<str>)> =
            pairs.into_iter().map(|(key, value)| (key.into_boxed_str(), value.into_boxed_str())).collect();
        if pairs.len() > Self::MAX {
            return Err(LabelError::TooMany { given: pairs.len() });
        }
        for (key, value) in &pairs {
            if !Self::is_key(key) {
                // Cut, so that the answer stays small whatever was sent.
                return Err(LabelError::Key { key: key.chars().take(Self::MAX_KEY_BYTES).collect() });
            }
            if value.len() > Self::MAX_VALUE_BYTES || value.chars().any(char::is_control) {
                return Err(LabelError::Value { key: key.to_string() });
            }
        }
        // Sorted once: `get` searches by halves, and a key that is repeated has its like beside it.
        pairs.sort_unstable();
        if let Some([(key, _), _]) = pairs.windows(2).find_map(|pair| match pair {
            [a, b] if a.0 == b.0 => Some([a, b]),
            _ => None,
        }) {
            return Err(LabelError::Repeated { key: key.to_string() });
        }
        Ok(Self(pairs.into_boxed_slice()))
    }

    /// The same with `others` for the keys that it lacks; of several with one key the first counts.
    ///
    /// # Errors
    /// The first rule that a label breaks.
    pub(crate) fn or<'l>(
        &self,
        others: impl IntoIterator<Item = (&'l str, &'l str)>,
    ) -> Result<Self, LabelError> {
        let mut pairs: Vec<(&str, &str)> = self.iter().collect();
        for (key, value) in others {
            if pairs.iter().all(|(have, _)| *have != key) {
                pairs.push((key, value));
            }
        }
        Self::new(pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())))
    }

    /// Whether a text can be a key.
    #[must_use]
    pub fn is_key(text: &str) -> bool {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        !text.is_empty() && text.len() <= Self::MAX_KEY_BYTES && plain
    }

    /// The value of this key; `None` when the event does not have it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(have, _)| (**have).cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| &**value)
    }

    /// All labels, in ascending order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Result<Labels, LabelError> {
        Labels::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn lookup_is_by_exact_key() {
        let labels = labels(&[("org", "ACME"), ("api_key", "k1")]).expect("valid");
        assert_eq!(labels.get("org"), Some("ACME"));
        assert_eq!(labels.get("Org"), None);
        assert_eq!(labels.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["api_key", "org"]);
    }

    #[test]
    fn others_count_for_the_keys_that_are_missing_alone() {
        let given = labels(&[("org", "ACME"), ("api_key", "k1")]).expect("valid");
        let filled = given.or([("org", "OTHER"), ("account", "a"), ("account", "b")]).expect("valid");
        assert_eq!(Ok(filled), labels(&[("org", "ACME"), ("api_key", "k1"), ("account", "a")]));
        assert!(matches!(given.or([("account", "a\n")]), Err(LabelError::Value { key }) if key == "account"));
    }

    #[test]
    fn each_rule_names_the_label() {
        assert!(matches!(labels(&[("", "x")]), Err(LabelError::Key { .. })));
        assert!(matches!(labels(&[("a b", "x")]), Err(LabelError::Key { .. })));
        assert!(matches!(labels(&[("a", "x\n")]), Err(LabelError::Value { .. })));
        assert!(matches!(labels(&[("a", "1"), ("a", "2")]), Err(LabelError::Repeated { .. })));
        let many: Vec<_> = (0..33).map(|n| (format!("k{n}"), String::new())).collect();
        assert_eq!(Labels::new(many), Err(LabelError::TooMany { given: 33 }));
    }
}
