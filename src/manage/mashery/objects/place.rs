//! Where a path points: at the objects of one kind below a parent, or at one of them.
//!
//! Must not know: what objects say.

use std::collections::HashMap;

use crate::manage::mashery::errors::Refusal;
use crate::manage::mashery::objects::record::Record;
use crate::manage::mashery::objects::{origin, unreadable};
use crate::manage::mashery::wire::Kind;
use crate::manage::mashery::wire::ways::Way;
use crate::policy::Book;

/// A way with the ids that a path has in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::manage::mashery) struct Place {
    way: &'static Way,
    /// The ids of the path by the names of its parts.
    ids: HashMap<String, String>,
}

/// The id under which an object is stored: in a plan that of the plan goes before that of what it stands for, which may be
/// in several plans.
pub(in crate::manage::mashery) fn stored_id(plan: &str, stands_for: &str) -> String {
    format!("{plan}.{stands_for}")
}

/// The plan of what is in one, and the id that it is shown with.
pub(in crate::manage::mashery) fn in_plan(id: &str) -> Option<(&str, &str)> {
    id.split_once('.')
}

impl Place {
    pub(in crate::manage::mashery) fn new(way: &'static Way, ids: HashMap<String, String>) -> Self {
        Self { way, ids }
    }

    /// What is found here.
    pub(in crate::manage::mashery) const fn kind(&self) -> Kind {
        self.way.kind
    }

    /// The id that the path names last, if it names one object.
    pub(in crate::manage::mashery) fn shown_id(&self) -> Option<&str> {
        self.ids.get(self.kind().in_path()).map(String::as_str)
    }

    /// The id of what the objects here belong to; `None` where they are found without it.
    pub(in crate::manage::mashery) fn parent(&self) -> Option<String> {
        self.way.through.last().and_then(|kind| self.id(*kind))
    }

    /// Whether all that the path goes through is there, each below the one before.
    ///
    /// # Errors
    /// 404.
    pub(in crate::manage::mashery) fn ancestors(&self, book: &Book) -> Result<(), Refusal> {
        let mut parent = None;
        for kind in self.way.through {
            let id = self.id(*kind).ok_or_else(Refusal::not_found)?;
            below(book, *kind, &id, parent.as_deref())?;
            parent = Some(id);
        }
        Ok(())
    }

    /// The one object, with its id.
    ///
    /// # Errors
    /// 404 when it is not there or belongs to another parent.
    pub(in crate::manage::mashery) fn find(&self, book: &Book) -> Result<(String, Record), Refusal> {
        self.ancestors(book)?;
        let id = self.id(self.kind()).ok_or_else(Refusal::not_found)?;
        let record = below(book, self.kind(), &id, self.parent().as_deref())?;
        Ok((id, record))
    }

    /// All objects here with their ids, oldest first.
    ///
    /// # Errors
    /// 500 when a record does not read.
    pub(in crate::manage::mashery) fn children<'b>(
        &self,
        book: &'b Book,
    ) -> Result<Vec<(&'b str, Record)>, Refusal> {
        children(book, self.kind(), self.parent().as_deref())
    }

    /// The id under which the object of this kind on the path is stored.
    fn id(&self, kind: Kind) -> Option<String> {
        let id = self.ids.get(kind.in_path())?;
        match kind.stands_for() {
            None => Some(id.clone()),
            Some(_) => Some(stored_id(self.ids.get(Kind::Plan.in_path())?, id)),
        }
    }
}

/// The objects of a kind that belong to `parent`, or all of them, oldest first.
///
/// # Errors
/// 500 when a record does not read.
pub(in crate::manage::mashery) fn children<'b>(
    book: &'b Book,
    kind: Kind,
    parent: Option<&str>,
) -> Result<Vec<(&'b str, Record)>, Refusal> {
    let all = book.elements(&origin(), kind.stored_as()).into_iter();
    // Looked at before they are read: a list with what is within it asks once for each of its objects.
    let here = all.filter(|(_, value)| parent.is_none() || Record::parent_of(value) == parent);
    here.map(|(id, value)| Ok((id, Record::read(value).ok_or_else(unreadable)?))).collect()
}

/// An object of this kind that belongs to `parent`, or to anyone.
fn below(book: &Book, kind: Kind, id: &str, parent: Option<&str>) -> Result<Record, Refusal> {
    let value = book.element(&origin(), kind.stored_as(), id);
    let record = Record::read(value.ok_or_else(Refusal::not_found)?).ok_or_else(unreadable)?;
    // An id of another parent is not found: a path must not reach into a service that it does not name.
    let is_here = parent.is_none() || record.parent.as_deref() == parent;
    if is_here { Ok(record) } else { Err(Refusal::not_found()) }
}
