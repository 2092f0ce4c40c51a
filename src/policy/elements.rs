//! Elements: what a dialect stores that is not itself a policy, such as a service to which endpoints belong. They stand in
//! the book beside the policies that are derived from them, so that both change together or not at all.
//!
//! Must not know: what elements mean, what policies are.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use serde_json::Value;

use crate::policy::Origin;
use crate::policy::kept::Kept;

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

/// The elements of all origins, each shared with the copies of the book.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Elements {
    by_name: BTreeMap<ElementName, Kept<Element>>,
}

impl ElementName {
    pub(super) fn new(origin: &Origin, kind: &str, id: &str) -> Self {
        Self { origin: origin.clone(), kind: kind.into(), id: id.into() }
    }
}

impl Elements {
    pub(super) fn get(&self, name: &ElementName) -> Option<&Value> {
        self.by_name.get(name).map(|element| &element.record)
    }

    /// The elements of one kind with their ids, oldest first.
    pub(super) fn of_kind(&self, origin: &Origin, kind: &str) -> Vec<(&str, &Value)> {
        // No id sorts before the empty text: the range begins with the first element of the kind.
        let from = ElementName::new(origin, kind, "");
        let of_kind = self.by_name.range(&from..).take_while(|(name, _)| {
            let ElementName { origin, kind, .. } = &from;
            name.origin == *origin && name.kind == *kind
        });
        let mut found: Vec<_> =
            of_kind.map(|(name, element)| (element.order, &*name.id, &element.record)).collect();
        found.sort_unstable_by_key(|(order, ..)| *order);
        found.into_iter().map(|(_, id, record)| (id, record)).collect()
    }

    /// Replaces the record of an element, or adds one, which takes the next place in the order of the book.
    pub(super) fn put(&mut self, name: ElementName, record: Value, next_order: &mut u64) {
        match self.by_name.entry(name) {
            Entry::Occupied(mut known) => {
                // An edit copies the element: not where the record is the same.
                if known.get().record != record {
                    known.get_mut().edit().record = record;
                }
            }
            Entry::Vacant(place) => {
                place.insert(Kept::new(Element { order: *next_order, record }));
                *next_order = next_order.saturating_add(1);
            }
        }
    }

    /// Adds an element that keeps its place in the order; `false` when there is one of its name.
    pub(super) fn add(&mut self, name: ElementName, element: Element) -> bool {
        self.by_name.insert(name, Kept::new(element)).is_none()
    }

    pub(super) fn remove(&mut self, name: &ElementName) -> bool {
        self.by_name.remove(name).is_some()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ElementName, &Kept<Element>)> {
        self.by_name.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Book;

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
