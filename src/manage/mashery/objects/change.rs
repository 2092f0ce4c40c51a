//! Objects and what is within them put and removed, all of it or nothing.
//!
//! Must not know: how requests and answers look.

use serde_json::{Map, Value};

use crate::manage::Dice;
use crate::manage::mashery::APIKEY_CHARS;
use crate::manage::mashery::errors::Refusal;
use crate::manage::mashery::objects::catalogue::Catalogue;
use crate::manage::mashery::objects::place::{children, in_plan, stored_id};
use crate::manage::mashery::objects::record::{ONLY_LISTED, Record};
use crate::manage::mashery::objects::{origin, unreadable};
use crate::manage::mashery::wire::{Draft, Kind, merged};
use crate::policy::Book;

/// A draft with what a new object gets: made up before the edit of the book, which may run several times.
pub(in crate::manage::mashery) struct Planned {
    kind: Kind,
    /// The id that the draft names.
    named: Option<String>,
    edit: Map<String, Value>,
    /// The id of a new object.
    id: String,
    /// The apikey of a new key that names none.
    apikey: String,
    within: Vec<Self>,
}

impl Planned {
    pub(in crate::manage::mashery) fn new(draft: Draft, dice: &Dice) -> Self {
        let Draft { kind, id: named, edit, within } = draft;
        let within = within.into_iter().map(|draft| Self::new(draft, dice)).collect();
        // A name for limits to be told apart by; nothing is guarded by it.
        let apikey = dice.letters(APIKEY_CHARS);
        Self { kind, named, edit, id: dice.uuid(), apikey, within }
    }
}

/// Creates an object below `parent`, with all that is within it; one that stands for another and is there already is
/// changed. Returns its stored id with its record.
///
/// # Errors
/// The rule that is broken; the book must not be used then.
pub(in crate::manage::mashery) fn create(
    book: &mut Book,
    planned: &Planned,
    parent: Option<&str>,
    now: &str,
) -> Result<(String, Record), Refusal> {
    let mut edit = Edit { book, now, touched: Vec::new() };
    let known = edit.known_in_plan(planned, parent)?;
    let put = edit.put(planned, parent, known)?;
    edit.check()?;
    Ok(put)
}

/// Changes an object and what is within it: objects within that are named by their ids are changed, others are created, and
/// those that are not named stay.
///
/// # Errors
/// The rule that is broken; the book must not be used then.
pub(in crate::manage::mashery) fn update(
    book: &mut Book,
    planned: &Planned,
    known: (String, Record),
    now: &str,
) -> Result<(String, Record), Refusal> {
    let mut edit = Edit { book, now, touched: Vec::new() };
    let parent = known.1.parent.clone();
    let put = edit.put(planned, parent.as_deref(), Some(known))?;
    edit.check()?;
    Ok(put)
}

/// Removes an object with all that is within it.
///
/// # Errors
/// 409 while others refer to it: their owners would find them gone without anybody having said so.
pub(in crate::manage::mashery) fn remove(book: &mut Book, kind: Kind, id: &str) -> Result<(), Refusal> {
    Catalogue::of(book).ok_or_else(unreadable)?.is_free(kind, id)?;
    let mut gone = vec![(kind, id.to_owned())];
    let mut looked_at = 0;
    while let Some((kind, id)) = gone.get(looked_at).cloned() {
        looked_at += 1;
        if let Some((_, inner)) = kind.within() {
            let inside = children(book, inner, Some(&id))?;
            gone.extend(inside.into_iter().map(|(id, _)| (inner, id.to_owned())));
        }
    }
    for (kind, id) in gone {
        book.remove_element(&origin(), kind.stored_as(), &id);
    }
    Ok(())
}

/// A change of several objects under way.
struct Edit<'e> {
    book: &'e mut Book,
    now: &'e str,
    /// What was put, to be checked beside all others at the end.
    touched: Vec<(Kind, String)>,
}

impl Edit<'_> {
    fn put(
        &mut self,
        planned: &Planned,
        parent: Option<&str>,
        known: Option<(String, Record)>,
    ) -> Result<(String, Record), Refusal> {
        let Planned { kind, edit, .. } = planned;
        let none = Map::new();
        let old = known.as_ref().map(|(_, record)| &record.members);
        let mut edit = edit.clone();
        if *kind == Kind::PackageKey {
            match (old, edit.get("apikey")) {
                // Set once; passed over and not refused: clients send back the whole object that they have read.
                (Some(_), _) => drop(edit.remove("apikey")),
                (None, None | Some(Value::Null)) => {
                    edit.insert("apikey".to_owned(), Value::from(planned.apikey.as_str()));
                }
                (None, Some(_)) => {}
            }
        }
        let mut members = merged(*kind, old.unwrap_or(&none), &edit)?;
        if *kind == Kind::PlanService && !planned.within.is_empty() {
            members.insert(ONLY_LISTED.to_owned(), Value::Bool(true));
        }
        if let (Kind::PackageKey, Some(old)) = (kind, old) {
            stays_with_its_owner(old, &members)?;
        }
        let (id, record) = match known {
            Some((id, old)) => (id, Record { members, updated: self.now.to_owned(), ..old }),
            None => {
                let (created, updated) = (self.now.to_owned(), self.now.to_owned());
                let parent = parent.map(str::to_owned);
                let id = self.new_id(planned, parent.as_deref())?;
                (id, Record { members, parent, created, updated })
            }
        };
        self.book.put_element(&origin(), kind.stored_as(), &id, record.write());
        self.touched.push((*kind, id.clone()));
        if *kind == Kind::PlanEndpoint {
            self.list_only(record.parent.as_deref())?;
        }
        for inside in &planned.within {
            let name = kind.within().map_or("", |(name, _)| name);
            let put = self.known(inside, &id).and_then(|known| self.put(inside, Some(&id), known));
            put.map_err(|refusal| refusal.within(name))?;
        }
        Ok((id, record))
    }

    /// From the first endpoint on that is put into a plan by itself, the service in the plan is no more than those that are
    /// put so: also when the last of them is taken out.
    fn list_only(&mut self, service: Option<&str>) -> Result<(), Refusal> {
        let Some(id) = service else { return Ok(()) };
        let kind = Kind::PlanService.stored_as();
        let value = self.book.element(&origin(), kind, id).ok_or_else(Refusal::not_found)?;
        let mut record = Record::read(value).ok_or_else(unreadable)?;
        record.members.insert(ONLY_LISTED.to_owned(), Value::Bool(true));
        self.book.put_element(&origin(), kind, id, record.write());
        Ok(())
    }

    /// The object within `parent` that a draft names, if it is there.
    fn known(&self, planned: &Planned, parent: &str) -> Result<Option<(String, Record)>, Refusal> {
        if planned.kind.stands_for().is_some() {
            return self.known_in_plan(planned, Some(parent));
        }
        let found = planned.named.as_ref().and_then(|id| self.read(planned.kind, id).transpose());
        let found = found.transpose()?;
        // The id of anything else is that of an object from which this one was copied.
        Ok(found.filter(|(_, record)| record.parent.as_deref() == Some(parent)))
    }

    fn known_in_plan(
        &self,
        planned: &Planned,
        parent: Option<&str>,
    ) -> Result<Option<(String, Record)>, Refusal> {
        if planned.kind.stands_for().is_none() {
            return Ok(None);
        }
        self.read(planned.kind, &self.new_id(planned, parent)?)
    }

    fn read(&self, kind: Kind, id: &str) -> Result<Option<(String, Record)>, Refusal> {
        let value = self.book.element(&origin(), kind.stored_as(), id);
        value.map(|value| Ok((id.to_owned(), Record::read(value).ok_or_else(unreadable)?))).transpose()
    }

    fn new_id(&self, planned: &Planned, parent: Option<&str>) -> Result<String, Refusal> {
        if planned.kind.stands_for().is_none() {
            return Ok(planned.id.clone());
        }
        let (Some(parent), Some(named)) = (parent, &planned.named) else { return Err(Refusal::not_found()) };
        // Of what lies deeper in a plan the parent begins with it.
        let plan = in_plan(parent).map_or(parent, |(plan, _)| plan);
        Ok(stored_id(plan, named))
    }

    /// The rules among objects, for all that was put.
    fn check(&self) -> Result<(), Refusal> {
        let catalogue = Catalogue::of(self.book).ok_or_else(unreadable)?;
        self.touched.iter().try_for_each(|(kind, id)| catalogue.check(*kind, id))
    }
}

/// Its calls were counted under the other one: a key that moved would begin as if unused.
fn stays_with_its_owner(old: &Map<String, Value>, next: &Map<String, Value>) -> Result<(), Refusal> {
    let moved = ["service", "package", "plan"].into_iter().find(|name| old.get(*name) != next.get(*name));
    moved.map_or(Ok(()), |name| {
        let rule = format!("cannot be changed: delete the key and create it for the other {name}");
        Err(Refusal::property(name, rule))
    })
}
