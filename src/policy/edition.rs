//! The edition of a policy: a short text that differs between its states, for `ETag`.
//!
//! Must not know: who asks, what for.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::policy::Policy;
use crate::policy::document::spec::encode_spec;

impl Policy {
    /// A hash of the active spec and the active generation, in 16 hex digits: each change of one of them changes it, a
    /// restart, a pause or an event does not. `None` once the policy was deleted. Another version of tidegate may compute
    /// another one for the same state.
    #[must_use]
    pub fn edition(&self) -> Option<String> {
        // For its author it is gone, although it still drains.
        if self.is_deleted {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        // Policies once had a record, which was null where clients ask for editions: theirs go on to hold.
        (self.origin.as_str(), self.lifecycle.active(), "null").hash(&mut hasher);
        // Texts and numbers always serialise.
        let ruling = self.ruling().and_then(|spec| serde_json::to_string(&encode_spec(spec)).ok());
        ruling.hash(&mut hasher);
        Some(format!("{:016x}", hasher.finish()))
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::policy::testing::{id, spec};
    use crate::policy::{Book, DRAIN_WINDOW, Origin, Pause};

    #[test]
    fn each_state_has_its_own_and_pauses_change_none() {
        let (mut book, one) = (Book::default(), id("a"));
        let edition = |book: &Book| book.known(&id("a")).and_then(|policy| policy.edition());
        let mut seen = Vec::new();
        book.rest(&Origin::api(), &one, Timestamp::ZERO, DRAIN_WINDOW).expect("free");
        seen.push(edition(&book));
        book.put(&Origin::api(), &one, spec("https://h.org/*", 1.0)).expect("idle");
        seen.push(edition(&book));
        book.put(&Origin::api(), &one, spec("https://h.org/*", 2.0)).expect("deployed");
        seen.push(edition(&book));
        let pause = Pause { reason: "x".to_owned(), since: Timestamp::ZERO, until: None };
        book.pause(&one, pause).expect("known");
        assert_eq!(edition(&book).as_ref(), seen.last().and_then(Option::as_ref));
        book.rest(&Origin::api(), &one, Timestamp::ZERO, DRAIN_WINDOW).expect("deployed");
        book.put(&Origin::api(), &one, spec("https://h.org/*", 2.0)).expect("idle");
        seen.push(edition(&book));
        assert!(seen.iter().all(Option::is_some), "{seen:?}");
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count, "all differ");
        book.remove(&one, Timestamp::ZERO, DRAIN_WINDOW).expect("authored");
        assert_eq!(edition(&book), None);
    }
}
