//! Objects in the policy book: finding them below their parents, putting and removing them with what depends on them,
//! showing them.

pub(super) mod catalogue;
pub(super) mod record;

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use tracing::error;

use crate::clock::Timestamp;
use crate::manage::dialect::{Derived, Unreadable, all_active};
use crate::manage::mashery::ORIGIN;
use crate::manage::mashery::derive::derive;
use crate::manage::mashery::derive::effective::Effective;
use crate::manage::mashery::errors::Refusal;
use crate::manage::mashery::objects::catalogue::Catalogue;
use crate::manage::mashery::objects::record::{PackageKey, Record, Service};
use crate::manage::mashery::wire::Kind;
use crate::policy::{Book, Origin};

/// Where a path points: at the objects of one kind below a parent, or at one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    kind: Kind,
    /// The ids of the path by the names of its parts.
    ids: HashMap<String, String>,
}

impl Place {
    pub(super) fn new(kind: Kind, ids: HashMap<String, String>) -> Self {
        Self { kind, ids }
    }

    /// The id of what the objects here belong to.
    pub(super) fn parent(&self) -> Option<&str> {
        match self.kind {
            Kind::Service | Kind::PackageKey => None,
            Kind::Endpoint => self.id("service"),
            Kind::Method => self.id("endpoint"),
        }
    }

    /// Whether all that the path goes through is there, each below the one before.
    ///
    /// # Errors
    /// 404.
    pub(super) fn ancestors(&self, book: &Book) -> Result<(), Refusal> {
        let (service, endpoint) = (self.id("service"), self.id("endpoint"));
        match self.kind {
            Kind::Service | Kind::PackageKey => Ok(()),
            Kind::Endpoint => below(book, Kind::Service, service, None).map(|_| ()),
            Kind::Method => {
                below(book, Kind::Service, service, None)?;
                below(book, Kind::Endpoint, endpoint, service).map(|_| ())
            }
        }
    }

    /// The one object, with its id.
    ///
    /// # Errors
    /// 404 when it is not there or belongs to another parent.
    pub(super) fn find(&self, book: &Book) -> Result<(&str, Record), Refusal> {
        self.ancestors(book)?;
        // Every route of a kind has a part of this name.
        let id = self.id(match self.kind {
            Kind::Service => "service",
            Kind::Endpoint => "endpoint",
            Kind::Method => "method",
            Kind::PackageKey => "key",
        });
        let record = below(book, self.kind, id, self.parent())?;
        debug_assert!(id.is_some(), "only what the path names is found");
        Ok((id.unwrap_or_default(), record))
    }

    /// All objects here as they are shown, oldest first.
    ///
    /// # Errors
    /// 500 when a record does not read.
    pub(super) fn children(&self, book: &Book) -> Result<Vec<Map<String, Value>>, Refusal> {
        let mut shown = Vec::new();
        for (id, value) in book.elements(&origin(), self.kind.stored_as()) {
            let record = Record::read(value).ok_or_else(unreadable)?;
            if record.parent.as_deref() == self.parent() {
                shown.push(show(book, self.kind, id, &record)?);
            }
        }
        Ok(shown)
    }

    fn id(&self, part: &str) -> Option<&str> {
        self.ids.get(part).map(String::as_str)
    }
}

fn below(book: &Book, kind: Kind, id: Option<&str>, parent: Option<&str>) -> Result<Record, Refusal> {
    let value = id.and_then(|id| book.element(&origin(), kind.stored_as(), id));
    let record = Record::read(value.ok_or_else(Refusal::not_found)?).ok_or_else(unreadable)?;
    // An id of another parent is not found: a path must not reach into a service that it does not name.
    if record.parent.as_deref() == parent { Ok(record) } else { Err(Refusal::not_found()) }
}

/// Adds an object or replaces its record, if the rules among objects allow it.
///
/// # Errors
/// The rule that is broken; the book must not be used then.
pub(super) fn put(book: &mut Book, kind: Kind, id: &str, record: &Record) -> Result<(), Refusal> {
    // Before the check, which looks at all objects with this one among them. A book that fails it is thrown away.
    book.put_element(&origin(), kind.stored_as(), id, record.write());
    catalogue(book)?.check(kind, id)
}

/// Removes an object with the endpoints and methods in it.
///
/// # Errors
/// 409 while keys refer to a service: their owners would find them gone without anybody having said so.
pub(super) fn remove(book: &mut Book, kind: Kind, id: &str) -> Result<(), Refusal> {
    let catalogue = catalogue(book)?;
    let mut gone: Vec<(Kind, &str)> = vec![(kind, id)];
    match kind {
        Kind::Service => {
            let keys = catalogue.keys_of(id).count();
            if keys > 0 {
                let message = format!("{keys} package keys refer to this service; delete them first");
                return Err(Refusal::conflict(message));
            }
            for endpoint in catalogue.endpoints_of(id) {
                gone.push((Kind::Endpoint, &endpoint.id));
                gone.extend(catalogue.methods_of(&endpoint.id).map(|method| (Kind::Method, &*method.id)));
            }
        }
        Kind::Endpoint => {
            gone.extend(catalogue.methods_of(id).map(|method| (Kind::Method, &*method.id)));
        }
        Kind::Method | Kind::PackageKey => {}
    }
    for (kind, id) in gone {
        book.remove_element(&origin(), kind.stored_as(), id);
    }
    Ok(())
}

/// The policies that all objects amount to.
///
/// # Errors
/// [`Unreadable`] when the objects do not read.
pub(super) fn derive_all(book: &Book) -> Result<Derived, Unreadable> {
    let unreadable = || Unreadable { object: "a stored object of the mashery dialect".to_owned() };
    let read = Catalogue::read(|kind| book.elements(&origin(), kind.stored_as()));
    read.as_ref().and_then(derive).map(all_active).ok_or_else(unreadable)
}

/// An object with all its members.
///
/// # Errors
/// 500 when a record does not read.
pub(super) fn show(
    book: &Book,
    kind: Kind,
    id: &str,
    record: &Record,
) -> Result<Map<String, Value>, Refusal> {
    let mut shown = record.members.clone();
    for (name, value) in [("id", id), ("created", &record.created), ("updated", &record.updated)] {
        shown.insert(name.to_owned(), Value::from(value));
    }
    if kind == Kind::PackageKey {
        // What counts for a key follows from its service too, so it is worked out each time and not stored.
        let key: PackageKey = record.view().ok_or_else(unreadable)?;
        let service = book.element(&origin(), Kind::Service.stored_as(), &key.service.id);
        let service: Service =
            service.and_then(Record::read).and_then(|record| record.view()).ok_or_else(unreadable)?;
        shown.insert("limits".to_owned(), Effective::of(&key, &service).show(&service));
        shown.insert("service".to_owned(), json!({"id": key.service.id, "name": service.name}));
    }
    Ok(shown)
}

/// Times as they are shown: UTC, whole seconds.
pub(super) fn show_time(at: Timestamp) -> String {
    // The wall clock is far below both bounds.
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    let time = chrono::DateTime::from_timestamp_millis(millis).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn catalogue(book: &Book) -> Result<Catalogue, Refusal> {
    let origin = origin();
    Catalogue::read(|kind| book.elements(&origin, kind.stored_as())).ok_or_else(unreadable)
}

/// The origin of this dialect's policies and elements.
pub(super) fn origin() -> Origin {
    Origin::new(ORIGIN)
}

fn unreadable() -> Refusal {
    error!("a stored object of the mashery dialect does not read");
    Refusal::internal()
}
