//! Objects as they are shown: their members, what the system adds, and what is within them where that is asked for.
//!
//! Must not know: how requests ask.

use serde_json::{Map, Value, json};

use crate::manage::mashery::derive::effective::Effective;
use crate::manage::mashery::errors::Refusal;
use crate::manage::mashery::objects::place::{children, in_plan};
use crate::manage::mashery::objects::record::{Named, Owner, PackageKey, Plan, Record, Service};
use crate::manage::mashery::objects::{origin, unreadable};
use crate::manage::mashery::wire::Kind;
use crate::policy::Book;

/// An object with all its members; `wanted` are the paths of members that are asked for, by which those are shown that are
/// not shown otherwise.
///
/// # Errors
/// 500 when a record does not read.
pub(in crate::manage::mashery) fn show(
    book: &Book,
    kind: Kind,
    id: &str,
    record: &Record,
    wanted: &[&[String]],
) -> Result<Map<String, Value>, Refusal> {
    let mut shown = Map::new();
    let mut shown_id = id;
    if let Some(other) = kind.stands_for() {
        shown_id = in_plan(id).map_or(id, |(_, id)| id);
        shown = read(book, other, shown_id)?.members;
    }
    shown.extend(record.members.clone());
    for (name, value) in [("id", shown_id), ("created", &record.created), ("updated", &record.updated)] {
        shown.insert(name.to_owned(), Value::from(value));
    }
    match kind {
        // What counts for a key follows from its service or plan too, so it is worked out each time and not stored.
        Kind::PackageKey => show_key(book, record, &mut shown)?,
        Kind::Application => {
            if let Some(member) = &record.parent {
                let member = read(book, Kind::Member, member)?;
                shown
                    .extend(member.members.get("username").map(|name| ("username".to_owned(), name.clone())));
            }
        }
        _ => {}
    }
    let Some((name, inner)) = kind.within() else { return Ok(shown) };
    let paths = wanted.iter().filter_map(|path| path.split_first()).filter(|(first, _)| *first == name);
    let below: Vec<&[String]> = paths.map(|(_, rest)| rest).collect();
    if !below.is_empty() {
        let inside = children(book, inner, Some(id))?;
        let inside =
            inside.iter().map(|(id, record)| show(book, inner, id, record, &below).map(Value::Object));
        shown.insert(name.to_owned(), Value::Array(inside.collect::<Result<_, _>>()?));
    }
    Ok(shown)
}

fn show_key(book: &Book, record: &Record, shown: &mut Map<String, Value>) -> Result<(), Refusal> {
    let key: PackageKey = record.view().ok_or_else(unreadable)?;
    let mut limits = match key.owner().ok_or_else(unreadable)? {
        Owner::Service(id) => {
            let service: Service = read(book, Kind::Service, id)?.view().ok_or_else(unreadable)?;
            shown.insert("service".to_owned(), json!({"id": id, "name": service.name}));
            Effective::of(&key, &service).rows(service.rate_limit_period)
        }
        Owner::Plan { package, plan: id } => {
            let plan: Plan = read(book, Kind::Plan, id)?.view().ok_or_else(unreadable)?;
            let of: Named = read(book, Kind::Package, package)?.view().ok_or_else(unreadable)?;
            shown.insert("package".to_owned(), json!({"id": package, "name": of.name}));
            shown.insert("plan".to_owned(), json!({"id": id, "name": plan.name}));
            let mut rows = Effective::in_plan(&key, &plan).rows(plan.rate_limit_period);
            for (stored, _) in children(book, Kind::PlanService, Some(id))? {
                let (_, service) = in_plan(stored).ok_or_else(unreadable)?;
                let service: Service = read(book, Kind::Service, service)?.view().ok_or_else(unreadable)?;
                rows.extend(Effective::left_to(&key, &plan, &service).rows(service.rate_limit_period));
            }
            rows
        }
    };
    // Several services of a plan may say the same.
    limits.dedup();
    shown.insert("limits".to_owned(), Value::Array(limits));
    Ok(())
}

fn read(book: &Book, kind: Kind, id: &str) -> Result<Record, Refusal> {
    book.element(&origin(), kind.stored_as(), id).and_then(Record::read).ok_or_else(unreadable)
}
