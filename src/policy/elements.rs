//! Elements: what a dialect stores that is not itself a policy, such as a service to which endpoints belong. They stand in
//! the book beside the policies that are derived from them, so that both change together or not at all.
//!
//! Must not know: what elements mean.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use serde_json::Value;

use crate::policy::kept::Kept;
use crate::policy::{Book, Origin};

/// Names an element; the order puts those of one kind side by side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ElementName {
    pub(super) origin: Origin,
    pub(super) kind: Arc<str>,
    pub(super) id: Arc<str>,
}

/// One element, as its dialect stores it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Element {
    /// Place in the order of creation.
    pub(super) order: u64,
    pub(super) record: Value,
}

/// All elements, shared with the copies of the book.
pub(super) type Elements = BTreeMap<ElementName, Kept<Element>>;

impl ElementName {
    fn new(origin: &Origin, kind: &str, id: &str) -> Self {
        Self { origin: origin.clone(), kind: kind.into(), id: id.into() }
    }
}

impl Book {
    /// The record of one element; `None` where there is no such one.
    #[must_use]
    pub fn element(&self, origin: &Origin, kind: &str, id: &str) -> Option<&Value> {
        self.elements.get(&ElementName::new(origin, kind, id)).map(|element| &element.record)
    }

    /// The elements of one kind with their ids, oldest first.
    #[must_use]
    pub fn elements(&self, origin: &Origin, kind: &str) -> Vec<(&str, &Value)> {
        // No id sorts before the empty text: the range begins with the first element of the kind.
        let from = ElementName::new(origin, kind, "");
        let of_kind = self.elements.range(&from..).take_while(|(name, _)| {
            let ElementName { origin, kind, .. } = &from;
            name.origin == *origin && name.kind == *kind
        });
        let mut found: Vec<_> =
            of_kind.map(|(name, element)| (element.order, &*name.id, &element.record)).collect();
        found.sort_unstable_by_key(|(order, ..)| *order);
        found.into_iter().map(|(_, id, record)| (id, record)).collect()
    }

    /// Adds an element at the end of the order, or replaces the record of one that is there.
    pub fn put_element(&mut self, origin: &Origin, kind: &str, id: &str, record: Value) {
        match self.elements.entry(ElementName::new(origin, kind, id)) {
            Entry::Occupied(mut known) => {
                // An edit copies the element: not where the record is the same.
                if known.get().record != record {
                    known.get_mut().edit().record = record;
                }
            }
            Entry::Vacant(place) => {
                place.insert(Kept::new(Element { order: self.next_order, record }));
                self.next_order = self.next_order.saturating_add(1);
            }
        }
    }

    /// Takes an element out; `false` when it was not there.
    pub fn remove_element(&mut self, origin: &Origin, kind: &str, id: &str) -> bool {
        self.elements.remove(&ElementName::new(origin, kind, id)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_listed_by_kind_in_the_order_of_their_creation() {
        let (x, y) = (Origin::new("x"), Origin::new("y"));
        let mut book = Book::default();
        for (origin, kind, id) in [(&x, "b", "2"), (&x, "a", "9"), (&y, "a", "1"), (&x, "a", "3")] {
            book.put_element(origin, kind, id, Value::from(id));
        }
        book.put_element(&x, "a", "9", Value::from("again"));
        let ids = |book: &Book, kind: &str| {
            book.elements(&x, kind).iter().map(|(id, _)| (*id).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&book, "a"), ["9", "3"]);
        assert_eq!(book.element(&x, "a", "9"), Some(&Value::from("again")));
        assert!(book.remove_element(&x, "a", "9") && !book.remove_element(&x, "a", "9"));
        assert_eq!(
            (ids(&book, "a"), ids(&book, "b"), ids(&book, "")),
            (vec!["3".into()], vec!["2".into()], vec![])
        );
    }
}
