//! The labels that calls imply, asked of every dialect whose objects in the policy book look at calls.
//!
//! Must not know: any one dialect, what becomes of the labels.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;

use crate::manage::dialect::{Dialect, Implies};
use crate::manage::{Options, all};
use crate::policy::{Book, Policies};

/// The labels that a call implies, of all dialects, by the policy book as it is when a call is looked at.
pub(crate) fn implied(options: &Options, policies: &Policies) -> Implies {
    let (options, policies) = (options.clone(), policies.clone());
    let readers = ArcSwap::from_pointee(Readers::default());
    Arc::new(move |call| {
        let book = policies.book();
        let mut known = readers.load_full();
        if !known.are_of(&book) {
            // Several calls may find this out at once: each makes the same readers.
            known = Arc::new(known.renewed(&options, &book));
            readers.store(Arc::clone(&known));
        }
        let own = known.list.iter().flat_map(|(dialect, implies)| {
            let of_dialect = move |(key, _): &(&'static str, String)| dialect.labels().contains(key);
            implies.iter().flat_map(move |implies| implies(call)).filter(of_dialect)
        });
        own.collect()
    })
}

/// What looks at calls under one state of the book.
#[derive(Default)]
struct Readers {
    /// Weak, so that a book that was changed is not kept in memory for its sake.
    book: Weak<Book>,
    list: Vec<(&'static dyn Dialect, Option<Implies>)>,
}

impl Readers {
    fn are_of(&self, book: &Arc<Book>) -> bool {
        // The memory of a book is not given to another one while somebody refers to it, also weakly.
        std::ptr::eq(self.book.as_ptr(), Arc::as_ptr(book))
    }

    fn renewed(&self, options: &Options, book: &Arc<Book>) -> Self {
        let list = all().iter().map(|dialect| match dialect.implies(options, book) {
            Ok(implies) => (*dialect, implies),
            Err(error) => {
                tracing::warn!(dialect = dialect.name(), %error, "calls are looked at as before");
                let before = self.list.iter().find(|(known, _)| known.name() == dialect.name());
                (*dialect, before.and_then(|(_, implies)| implies.clone()))
            }
        });
        Self { book: Arc::downgrade(book), list: list.collect() }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};
    use serde_json::{Value, json};

    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::event::{Call, Labels};
    use crate::policy::Origin;
    use crate::policy::testing::{TestDocuments, url};

    #[tokio::test]
    async fn calls_are_looked_at_by_the_book_as_it_is_and_as_before_where_it_cannot_be_read() {
        let clock = Clock::manual(Timestamp::ZERO);
        let policies = Policies::open(Arc::new(TestDocuments::default()), clock).await.expect("opens");
        let implied = implied(&Options::default(), &policies);
        let labels = || {
            let (url, none) = (url("https://h.test/rest/api/v1.3/lists"), Labels::default());
            let (method, headers) = (Method::GET, HeaderMap::new());
            implied(&Call {
                method: &method,
                url: &url,
                headers: &headers,
                body: b"",
                own: &none,
                fallback: &none,
            })
        };
        let put = async |account: Option<Value>| {
            let origin = Origin::new("responsys");
            let edit = |book: &mut Book| {
                match &account {
                    Some(account) => book.put_element(&origin, "account", "acme", account.clone()),
                    None => drop(book.remove_element(&origin, "account", "acme")),
                }
                Ok::<(), std::convert::Infallible>(())
            };
            policies.change(edit).await.expect("stored");
        };
        assert_eq!(labels(), [], "nothing is looked at");
        // As a version stored it that knew no users.
        put(Some(json!({"name": "acme", "limits": {}, "blocked": []}))).await;
        let found = [("api", "retrieveProfileLists".to_owned())];
        assert_eq!(labels(), found);
        put(Some(json!(7))).await;
        assert_eq!(labels(), found, "as before");
        put(None).await;
        assert_eq!(labels(), []);
    }
}
