//! How much the book may hold. An author of policies can name any number of organisations, plugins or accounts, and
//! every policy costs memory, a share of each change and series of metrics.
//!
//! A change that adds beyond a bound is refused as a whole; what the book holds already stays, and may be changed and
//! removed, also where it is more than a bound that was lowered since.
//!
//! Must not know: how a refusal is worded in a dialect.

use std::collections::BTreeMap;

use crate::policy::{Book, Origin};

/// How much one book may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most policies. One that drains counts, and each generation of one counts.
    pub policies: usize,
    /// Most of them of one origin.
    pub policies_per_dialect: usize,
    /// Most elements of one kind, for kinds that have no lower bound of their own.
    pub elements_per_kind: usize,
    /// Most bytes of the stored form. Four times as many could not be read again.
    pub book_bytes: usize,
}

/// The bound that a change would exceed, with the way out for the author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExceededBound {
    /// The book has as many policies as it may have.
    #[error(
        "there are {most} policies, as many as manage.max_policies allows (idle ones count, and an undeployed one \
         until it has drained); delete some or raise the setting"
    )]
    Policies {
        /// Most policies that there may be in all.
        most: usize,
    },
    /// The origin has as many policies as it may have.
    #[error(
        "{} has {most} policies, as many as manage.max_policies_per_dialect allows (idle ones count, and an \
         undeployed one until it has drained); delete some or raise the setting", called(.origin)
    )]
    OfDialect {
        /// The origin that has too many policies.
        origin: Origin,
        /// Most policies that one origin may have.
        most: usize,
    },
    /// The origin has as many elements of one kind as it may have.
    #[error("{} has {most} objects of this kind, as many as it may have; delete some", called(.origin))]
    Elements {
        /// The origin that has too many elements of one kind.
        origin: Origin,
        /// Most elements of one kind that one origin may have.
        most: usize,
    },
    /// The stored form would be longer than it may be.
    #[error(
        "all policies together take more than {most} bytes, the most that is kept; delete or shorten some"
    )]
    Bytes {
        /// Most bytes of the stored form.
        most: usize,
    },
}

fn called(origin: &Origin) -> String {
    if *origin == Origin::file() {
        "the configuration file".to_owned()
    } else if *origin == Origin::api() {
        "PUT /v1/policies/{id}".to_owned()
    } else {
        format!("the dialect {}", origin.as_str())
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            policies: 10_000,
            policies_per_dialect: 5_000,
            elements_per_kind: 10_000,
            book_bytes: 64 * 1024 * 1024,
        }
    }
}

impl Bounds {
    /// Whether a change keeps them.
    ///
    /// # Errors
    /// The first bound that `after` exceeds and exceeds by more than `before`.
    pub(super) fn check(&self, before: &Book, after: &Book) -> Result<(), ExceededBound> {
        let (before, after) = (Census::of(before), Census::of(after));
        // A bound may have been lowered since: what is there stays, and a change that adds nothing is taken.
        let is_beyond = |before: usize, after: usize, most: usize| after > most && after > before;
        // The narrower bound first, because it names the origin that has to delete some.
        for (origin, count) in &after.policies {
            let most = self.policies_per_dialect;
            if is_beyond(before.policies.get(origin).copied().unwrap_or(0), *count, most) {
                return Err(ExceededBound::OfDialect { origin: (*origin).clone(), most });
            }
        }
        if is_beyond(before.all_policies(), after.all_policies(), self.policies) {
            return Err(ExceededBound::Policies { most: self.policies });
        }
        for (kind, count) in &after.elements {
            let most = self.elements_per_kind;
            if is_beyond(before.elements.get(kind).copied().unwrap_or(0), *count, most) {
                return Err(ExceededBound::Elements { origin: kind.0.clone(), most });
            }
        }
        Ok(())
    }

    /// Whether a stored form of `after` bytes is kept where one of `before` bytes, measured only if needed, is kept now.
    ///
    /// # Errors
    /// [`ExceededBound::Bytes`], or what measuring met.
    pub(super) fn check_bytes<E: From<ExceededBound>>(
        &self,
        before: impl FnOnce() -> Result<usize, E>,
        after: usize,
    ) -> Result<(), E> {
        if after > self.book_bytes && after > before()? {
            return Err(ExceededBound::Bytes { most: self.book_bytes }.into());
        }
        Ok(())
    }
}

/// How much of each a book holds.
struct Census<'b> {
    policies: BTreeMap<&'b Origin, usize>,
    elements: BTreeMap<(&'b Origin, &'b str), usize>,
}

impl<'b> Census<'b> {
    fn of(book: &'b Book) -> Self {
        let mut census = Self { policies: BTreeMap::new(), elements: BTreeMap::new() };
        for policy in book.policies.values() {
            // Each generation has lanes and is stored, until it has drained.
            let lives = policy.lifecycle.generations().len().max(1);
            *census.policies.entry(&policy.origin).or_default() += lives;
        }
        for (name, _) in book.elements.iter() {
            *census.elements.entry((&name.origin, &*name.kind)).or_default() += 1;
        }
        census
    }

    fn all_policies(&self) -> usize {
        self.policies.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::clock::Timestamp;
    use crate::policy::testing::{id, spec};
    use crate::policy::{BookError, DRAIN_WINDOW};

    const NOW: Timestamp = Timestamp::from_millis(1_000);
    const BOUNDS: Bounds =
        Bounds { policies: 5, policies_per_dialect: 3, elements_per_kind: 2, book_bytes: 100 };

    fn book(rows: &[(&str, &str)]) -> Book {
        let mut book = Book::default();
        for (origin, name) in rows {
            book.rest(&Origin::new(origin), &id(name), NOW, DRAIN_WINDOW).expect("free");
        }
        book
    }

    fn after(
        before: &Book,
        edit: impl FnOnce(&mut Book) -> Result<(), BookError>,
    ) -> Result<(), ExceededBound> {
        let mut after = before.clone();
        edit(&mut after).expect("possible");
        BOUNDS.check(before, &after)
    }

    fn create(origin: &'static str, name: &'static str) -> impl FnOnce(&mut Book) -> Result<(), BookError> {
        move |book| book.rest(&Origin::new(origin), &id(name), NOW, DRAIN_WINDOW).map(drop)
    }

    fn deploy(book: &mut Book, name: &str) -> Result<(), BookError> {
        book.put(&Origin::new("x"), &id(name), spec("https://h/*", 1.0)).map(drop)
    }

    #[test]
    fn a_dialect_and_all_of_them_have_their_bounds() {
        let of_one = book(&[("x", "a"), ("x", "b")]);
        assert_eq!(after(&of_one, create("x", "c")), Ok(()), "the last one");
        let of_one = book(&[("x", "a"), ("x", "b"), ("x", "c")]);
        let beyond = ExceededBound::OfDialect { origin: Origin::new("x"), most: 3 };
        assert_eq!(after(&of_one, create("x", "d")), Err(beyond.clone()));
        assert!(beyond.to_string().starts_with("the dialect x has 3 policies, as many as manage.max_"));
        assert_eq!(after(&of_one, create("y", "d")), Ok(()), "another dialect has room");
        let of_all = book(&[("x", "a"), ("x", "b"), ("y", "c"), ("y", "d"), ("z", "e")]);
        assert_eq!(after(&of_all, create("z", "f")), Err(ExceededBound::Policies { most: 5 }));
    }

    #[test]
    fn what_is_there_already_may_be_changed_and_removed() {
        let more: Vec<(&str, &str)> = ["a", "b", "c", "d", "e", "f", "g"].map(|name| ("x", name)).to_vec();
        let more = book(&more);
        assert_eq!(after(&more, |book| deploy(book, "a")), Ok(()));
        assert_eq!(after(&more, |book| book.remove(&id("a"), NOW, DRAIN_WINDOW)), Ok(()));
        let exchanged = |book: &mut Book| {
            book.remove(&id("a"), NOW, DRAIN_WINDOW)?;
            create("x", "h")(book)
        };
        assert_eq!(after(&more, exchanged), Ok(()), "no more than before");
        assert!(after(&more, create("x", "h")).is_err());
    }

    #[test]
    fn generations_count_until_they_have_drained() {
        let mut lives = book(&[("x", "a")]);
        for _ in 0..3 {
            deploy(&mut lives, "a").expect("idle");
            lives.rest(&Origin::new("x"), &id("a"), NOW, DRAIN_WINDOW).expect("deployed");
        }
        let again = |book: &mut Book| deploy(book, "a");
        assert_eq!(
            after(&lives, again),
            Err(ExceededBound::OfDialect { origin: Origin::new("x"), most: 3 }),
            "deployed and undeployed in a circle"
        );
        lives.expire(NOW + DRAIN_WINDOW);
        assert_eq!(after(&lives, again), Ok(()));
    }

    #[test]
    fn elements_have_a_bound_for_each_kind() {
        let mut before = Book::default();
        for name in ["1", "2"] {
            before.put_element(&Origin::new("x"), "k", name, Value::Null);
        }
        let put = |kind: &'static str, name: &'static str| {
            move |book: &mut Book| {
                book.put_element(&Origin::new("x"), kind, name, Value::from("new"));
                Ok(())
            }
        };
        assert_eq!(after(&before, put("k", "2")), Ok(()), "it is replaced");
        assert_eq!(after(&before, put("l", "3")), Ok(()), "of another kind");
        let beyond = ExceededBound::Elements { origin: Origin::new("x"), most: 2 };
        assert_eq!(after(&before, put("k", "3")), Err(beyond));
    }

    #[test]
    fn the_stored_form_may_shrink_towards_its_bound() {
        let check =
            |before: usize, after: usize| BOUNDS.check_bytes(|| Ok::<_, ExceededBound>(before), after);
        assert_eq!(check(0, 100), Ok(()));
        assert_eq!(check(99, 101), Err(ExceededBound::Bytes { most: 100 }));
        assert_eq!(check(102, 101), Ok(()));
    }
}
