//! The one way in which objects of a dialect change: an edit of the book, and with it the policies that all objects of the
//! dialect then amount to, in their order, and no others; both or neither.
//!
//! Must not know: any one dialect, how it words a refusal.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::manage::dialect::{Derived, Dialect, Unreadable};
use crate::policy::{
    Book, ChangeError, ExceededBound, Late, Origin, Policies, PolicyError, SyncError, SyncReport, Wanted,
};

/// Where the objects of one dialect are read and changed. Cheap to clone.
#[derive(Clone)]
pub(super) struct Desk {
    dialect: &'static dyn Dialect,
    policies: Policies,
    clock: Clock,
    drain_window: Duration,
}

/// Why the policies of a dialect are not what its objects amount to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotActive {
    /// An object cannot be read: all policies stay as they are, so that nothing becomes unlimited unseen.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// A name is taken by another origin.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

/// Why objects were not changed, or why that is not known.
#[derive(Debug)]
pub(super) enum NotChanged<E> {
    /// The edit refused, in the words of its dialect.
    Refused(E),
    /// What follows from it cannot be active.
    NotActive(NotActive),
    /// What follows from it is too large together with all other policies.
    TooLarge(PolicyError),
    /// It would exceed a bound of the book.
    Full(ExceededBound),
    /// The store has not answered in time: nothing is kept, or that is not known.
    Late(Late),
    /// The store cannot take it, for a reason that is logged.
    Failed,
}

/// What an edit of objects is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// What is active changes: the edit is made only if what all objects amount to can be.
    Active,
    /// Nothing that is active changes: the edit is made also where an object cannot be read.
    Idle,
}

/// Makes the policies of a dialect those that its objects amount to. A policy that is gone drains for `drain_window`
/// from `now`.
///
/// # Errors
/// [`NotActive`]; the book must not be used then.
pub(super) fn activate(
    dialect: &dyn Dialect,
    book: &mut Book,
    now: Timestamp,
    drain_window: Duration,
) -> Result<SyncReport, NotActive> {
    let list = dialect.derive(book)?;
    debug_assert!(
        list.iter().all(|(id, _)| dialect.names(id)),
        "others may take a name that it does not know"
    );
    debug_assert_eq!(
        unlisted(dialect, &list),
        BTreeSet::new(),
        "strict doors refuse a label that it does not list"
    );
    let report = book.sync(&Origin::new(dialect.name()), &list, now, drain_window)?;
    // An object that is deployed anew has a young policy: among equals its place in the list counts, not its age.
    book.put_in_order(list.iter().map(|(id, _)| id));
    Ok(report)
}

/// The labels that these policies look at and that the dialect does not list.
fn unlisted<'l>(dialect: &dyn Dialect, list: &'l Derived) -> BTreeSet<&'l str> {
    let specs = list.iter().filter_map(|(_, wanted)| match wanted {
        Wanted::Active(spec) => Some(&**spec),
        Wanted::Idle | Wanted::AsItIs => None,
    });
    let labels = specs.flat_map(|spec| {
        let of_clauses = spec.clauses.iter().flat_map(|clause| &clause.labels).map(|label| &*label.key);
        of_clauses.chain(spec.scope.labels().iter().map(|label| &**label))
    });
    labels.filter(|label| !dialect.labels().contains(label)).collect()
}

impl Desk {
    pub(super) const fn new(
        dialect: &'static dyn Dialect,
        policies: Policies,
        clock: Clock,
        drain_window: Duration,
    ) -> Self {
        Self { dialect, policies, clock, drain_window }
    }

    /// All objects as they are now, in one snapshot.
    pub(super) fn book(&self) -> Arc<Book> {
        self.policies.book()
    }

    /// The clock of the daemon, for the times that objects show.
    pub(super) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Changes objects and what they make active.
    ///
    /// # Errors
    /// [`NotChanged`]. What is nobody's fault but the system's is logged.
    pub(super) async fn change<T, E>(
        &self,
        mut edit: impl FnMut(&mut Book) -> Result<T, E>,
    ) -> Result<T, NotChanged<E>> {
        self.change_with(|book| Ok((edit(book)?, Effect::Active))).await
    }

    /// The same where the edit knows whether anything that is active changes.
    ///
    /// # Errors
    /// [`NotChanged`].
    pub(super) async fn change_with<T, E>(
        &self,
        mut edit: impl FnMut(&mut Book) -> Result<(T, Effect), E>,
    ) -> Result<T, NotChanged<E>> {
        // Read once, so that an edit that is repeated ends drains at the same time.
        let now = self.clock.now();
        let whole = |book: &mut Book| {
            let (answer, effect) = edit(book).map_err(NotChanged::Refused)?;
            // Also after an edit that changes nothing active: what all objects amount to is the only truth about the
            // policies.
            match activate(self.dialect, book, now, self.drain_window) {
                Ok(_) => Ok(answer),
                // Nothing of the policies was touched.
                Err(NotActive::Unreadable(_)) if effect == Effect::Idle => Ok(answer),
                Err(error) => Err(NotChanged::NotActive(error)),
            }
        };
        self.policies.change(whole).await.map_err(|error| self.logged(error))
    }

    fn logged<E>(&self, error: ChangeError<NotChanged<E>>) -> NotChanged<E> {
        let dialect = self.dialect.name();
        match error {
            ChangeError::Refused(refused) => {
                // Stored objects are at fault and not the request, so an operator has to see it.
                if let NotChanged::NotActive(error) = &refused {
                    tracing::error!(dialect, %error, "objects cannot be applied");
                }
                refused
            }
            // Not logged: a caller at a bound could fill the log.
            ChangeError::Failed(PolicyError::Full(bound)) => NotChanged::Full(bound),
            ChangeError::Failed(error) => {
                tracing::error!(dialect, %error, "an object was not changed");
                match error {
                    PolicyError::TooLarge { .. } | PolicyError::TooManyOrigins { .. } => {
                        NotChanged::TooLarge(error)
                    }
                    other => other.late().map_or(NotChanged::Failed, NotChanged::Late),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use utoipa::openapi::OpenApi;

    use super::*;
    use crate::event::PolicyId;
    use crate::manage::Options;
    use crate::manage::dialect::{Parts, Source, all_active};
    use crate::policy::testing::{id, spec_for};
    use crate::policy::{DRAIN_WINDOW, LabelCondition};

    /// Has one policy, named `shop.1`, for the events with the label `shop`.
    struct Shop {
        prefix: &'static str,
        labels: &'static [&'static str],
    }

    impl Dialect for Shop {
        fn name(&self) -> &'static str {
            "shop"
        }

        fn labels(&self) -> &'static [&'static str] {
            self.labels
        }

        fn names(&self, policy: &PolicyId) -> bool {
            policy.as_str().starts_with(self.prefix)
        }

        fn sources(&self) -> &'static [Source] {
            &[]
        }

        fn routes(&self, _: &Options, _: Parts) -> Router {
            Router::new()
        }

        fn api_doc(&self) -> OpenApi {
            OpenApi::default()
        }

        fn derive(&self, _: &Book) -> Result<Derived, Unreadable> {
            let label = LabelCondition::equals("shop", "1");
            Ok(all_active([(id("shop.1"), spec_for("https://h.org/*", 1.0, vec![label]))]))
        }
    }

    fn active(prefix: &'static str, labels: &'static [&'static str]) -> usize {
        let report = activate(&Shop { prefix, labels }, &mut Book::default(), Timestamp::ZERO, DRAIN_WINDOW);
        report.expect("active").added.len()
    }

    #[test]
    fn what_a_dialect_derives_becomes_active() {
        assert_eq!(active("shop.", &["shop"]), 1);
    }

    #[test]
    #[should_panic(expected = "others may take a name")]
    fn a_dialect_that_does_not_know_a_name_that_it_gives_is_found() {
        active("shops.", &["shop"]);
    }

    #[test]
    #[should_panic(expected = "strict doors refuse a label")]
    fn a_dialect_that_does_not_list_a_label_is_found() {
        active("shop.", &["org"]);
    }
}
