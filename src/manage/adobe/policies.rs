//! The policies that configs amount to, and their names.
//!
//! A policy has the name of its config, unless the rest of an earlier config for the same calls still drains when the config
//! is deployed: then it takes the name of that policy and goes on with its limits, so that the endpoint never sees the sum of
//! both. The earlier config may be gone, or get a new name for its next deploy.
//!
//! Must not know: what a config says, what a policy limits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::event::PolicyId;
use crate::manage::adobe::api::Collection;
use crate::manage::adobe::objects::{self, Record};
use crate::manage::dialect::{Derived, Unreadable};
use crate::policy::{Book, Origin, Policy, Spec, Wanted};

/// The policies of one config, each with what comes behind the uid in its own name.
pub(in crate::manage) type Parts = Vec<(&'static str, Wanted)>;

/// Names of policies by what comes behind the uid in their own names, where they have others.
pub(in crate::manage) type Names = BTreeMap<String, String>;

/// The policies of all configs, the oldest config first.
pub(in crate::manage) fn derive<C: Collection>(book: &Book) -> Result<Derived, Unreadable> {
    let (mut policies, mut not_idle, mut idle) = (Derived::new(), BTreeSet::new(), BTreeSet::new());
    let origin = Origin::new(C::DIALECT.name());
    for (uid, value) in objects::values::<C>(book) {
        let names = names_in(value);
        for (part, wanted) in C::wanted(uid, &objects::read::<C>(uid, value))? {
            let id = PolicyId::parse(&name_of(&names, uid, part))
                .map_err(|_| Unreadable { object: format!("the stored {} {uid:?}", C::CALLED) })?;
            if wanted != Wanted::Idle {
                not_idle.insert(id.clone());
            }
            let wanted = with_config(wanted, uid, active(book, &origin, &id));
            policies.push((id, wanted));
        }
    }
    // Of configs that have had one name, one at most has it now.
    policies
        .retain(|(id, wanted)| *wanted != Wanted::Idle || !not_idle.contains(id) && idle.insert(id.clone()));
    Ok(policies)
}

/// Names the policies of a config that is about to be deployed as `record` says. Names that are made from `spare`, a uid
/// that nobody has, are taken where another config has the name of this one.
pub(in crate::manage) fn name<C: Collection>(
    book: &Book,
    uid: &str,
    spare: &str,
    record: &mut Record<C::Config>,
) -> Result<(), Unreadable> {
    let others = active_names::<C>(book, uid)?;
    let origin = Origin::new(C::DIALECT.name());
    for (part, wanted) in C::wanted(uid, &Ok(record.clone()))? {
        let Wanted::Active(spec) = wanted else { continue };
        let (own, current) = (format!("{uid}{part}"), name_of(&record.names, uid, part));
        let is_rest = |policy: &Policy| *policy.origin() == origin && is_rest_of(policy, &spec);
        let continued = continued(book, &current, &others, is_rest);
        let mut wishes = continued.into_iter().chain([current, own.clone()]);
        let name = wishes.find(|name| !others.contains(name)).unwrap_or_else(|| format!("{spare}{part}"));
        if name == own {
            record.names.remove(part);
        } else {
            record.names.insert(part.to_owned(), name);
        }
    }
    Ok(())
}

/// The name of the policy that goes on with a deploy: the `current` one where it is active or a rest, or else another rest.
fn continued(
    book: &Book,
    current: &str,
    others: &BTreeSet<String>,
    is_rest: impl Fn(&Policy) -> bool,
) -> Option<String> {
    let known = PolicyId::parse(current).ok().and_then(|id| book.known(&id));
    // What is active goes on as it is, also with other calls.
    let goes_on = |policy: &Policy| policy.lifecycle().active().is_some() || is_rest(policy);
    if !others.contains(current) && known.is_some_and(goes_on) {
        return Some(current.to_owned());
    }
    let rest = book.after(None).find(|(id, policy)| !others.contains(id.as_str()) && is_rest(policy));
    rest.map(|(id, _)| id.as_str().to_owned())
}

/// Its name does not say which config it is of: it may be that of another one. Also where no more is known than what is
/// `active`.
fn with_config(wanted: Wanted, uid: &str, active: Option<&Spec>) -> Wanted {
    let of = |spec: Spec| Wanted::Active(Arc::new(Spec { config: Some(uid.into()), ..spec }));
    match (wanted, active) {
        (Wanted::Active(spec), _) => of(Arc::unwrap_or_clone(spec)),
        (Wanted::AsItIs, Some(active)) if active.config.is_none() => of(active.clone()),
        (wanted, _) => wanted,
    }
}

/// What a policy of this origin says now, while it is active.
fn active<'b>(book: &'b Book, origin: &Origin, id: &PolicyId) -> Option<&'b Spec> {
    let policy = book.get(id).filter(|policy| policy.origin() == origin)?;
    policy.lifecycle().active().and(policy.ruling())
}

/// The name of a policy of a config.
pub(in crate::manage) fn name_of(names: &Names, uid: &str, part: &str) -> String {
    names.get(part).cloned().unwrap_or_else(|| format!("{uid}{part}"))
}

/// The names of the policies of all configs but one, as far as something of them is active.
fn active_names<C: Collection>(book: &Book, but: &str) -> Result<BTreeSet<String>, Unreadable> {
    let mut active = BTreeSet::new();
    for (uid, value) in objects::values::<C>(book).into_iter().filter(|(uid, _)| *uid != but) {
        let names = names_in(value);
        let parts = C::wanted(uid, &objects::read::<C>(uid, value))?;
        let parts = parts.into_iter().filter(|(_, wanted)| *wanted != Wanted::Idle);
        active.extend(parts.map(|(part, _)| name_of(&names, uid, part)));
    }
    Ok(active)
}

/// Whether nothing of a policy is active any more and what is left of it is calls that this spec governs too.
fn is_rest_of(policy: &Policy, spec: &Spec) -> bool {
    let generations = policy.lifecycle().generations();
    let drains = !generations.is_empty() && policy.lifecycle().active().is_none();
    drains && policy.ruling().is_some_and(|ruling| governs_the_same(ruling, spec))
}

/// Whether two specs are about the same urls and labels; which methods they list makes no difference to the endpoint.
fn governs_the_same(one: &Spec, other: &Spec) -> bool {
    let calls = |spec: &Spec| -> Vec<_> {
        spec.clauses.iter().map(|clause| (clause.pattern.clone(), clause.labels.clone())).collect()
    };
    calls(one) == calls(other)
}

/// Also those of a config that cannot be read otherwise: its policies must not end for that.
fn names_in(value: &Value) -> Names {
    let names = value.get("names").and_then(Value::as_object);
    let text = |(part, name): (&String, &Value)| Some((part.clone(), name.as_str()?.to_owned()));
    names.into_iter().flatten().filter_map(text).collect()
}
