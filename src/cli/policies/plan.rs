//! From the policies of a file and those of the daemon to what is to be done, and how a person reads it. Pure.
//!
//! Must not know: how a change is made.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::cli::output::{Cell, Colour, TextTable, left};
use crate::cli::policies::fetched::FetchedPolicy;

/// The origin whose policies are changed.
const API: &str = "api";

/// What is to be done so that the daemon has the policies of a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Plan {
    /// In the order of the file; deletions at the end.
    pub(super) steps: Vec<PlanStep>,
    /// Policies of the file that the daemon has already.
    pub(super) unchanged: usize,
    /// Policies of the API that the file does not have, when they stay.
    pub(super) not_listed: Vec<String>,
    /// Policies of the file that another origin has, with other members.
    pub(super) conflicts: Vec<Conflict>,
}

/// One change, after which one policy is as the file says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct PlanStep {
    pub(super) id: String,
    pub(super) action: Action,
    /// The members that differ, such as `window.calls`, with their values.
    pub(super) differs: Vec<Difference>,
    /// What the daemon is to have.
    #[serde(skip)]
    pub(super) definition: Value,
    /// The state that was read; `None`: there was none.
    #[serde(skip)]
    pub(super) etag: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Create,
    Update,
    Delete,
}

/// One member that differs, with both of its values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Difference {
    pub(super) member: String,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

/// A policy that is not the API's to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Conflict {
    pub(super) id: String,
    pub(super) origin: String,
}

impl Action {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    const fn colour(self) -> Colour {
        match self {
            Self::Create => Colour::Good,
            Self::Update => Colour::Warning,
            Self::Delete => Colour::Bad,
        }
    }
}

impl Plan {
    /// `wanted` are the definitions of the file, each with its id, which are unique. With `prune`, policies of the API
    /// that are not among them are deleted.
    pub(super) fn of(wanted: &[(String, Value)], listed: &[FetchedPolicy], prune: bool) -> Self {
        let found: BTreeMap<&str, &FetchedPolicy> =
            listed.iter().map(|policy| (policy.id.as_str(), policy)).collect();
        let mut plan =
            Self { steps: Vec::new(), unchanged: 0, not_listed: Vec::new(), conflicts: Vec::new() };
        for (id, definition) in wanted {
            plan.want(id, definition, found.get(id.as_str()).copied());
        }
        let ids: BTreeSet<&str> = wanted.iter().map(|(id, _)| id.as_str()).collect();
        debug_assert_eq!(ids.len(), wanted.len(), "two policies of one id in a file");
        let is_ours = |policy: &&FetchedPolicy| policy.origin == API && policy.etag.is_some();
        for policy in listed.iter().filter(is_ours).filter(|policy| !ids.contains(policy.id.as_str())) {
            if prune {
                let before = policy.definition.as_ref();
                plan.add(&policy.id, Action::Delete, (before, None), policy.etag.clone());
            } else {
                plan.not_listed.push(policy.id.clone());
            }
        }
        plan
    }

    fn want(&mut self, id: &str, definition: &Value, found: Option<&FetchedPolicy>) {
        match found {
            Some(policy) if policy.definition.as_ref() == Some(definition) && policy.etag.is_some() => {
                self.unchanged += 1;
            }
            // After the comparison: a policy of another origin that says the same is no conflict.
            Some(policy) if policy.origin != API => {
                self.conflicts.push(Conflict { id: id.to_owned(), origin: policy.origin.clone() });
            }
            Some(FetchedPolicy { definition: before, etag: Some(etag), .. }) => {
                self.add(id, Action::Update, (before.as_ref(), Some(definition)), Some(etag.clone()));
            }
            // What is left of it only drains.
            Some(_) | None => self.add(id, Action::Create, (None, Some(definition)), None),
        }
    }

    fn add(
        &mut self,
        id: &str,
        action: Action,
        (before, after): (Option<&Value>, Option<&Value>),
        etag: Option<String>,
    ) {
        let differs = differences(before, after);
        let definition = after.cloned().unwrap_or_default();
        self.steps.push(PlanStep { id: id.to_owned(), action, differs, definition, etag });
    }

    /// Whether policies are deleted and the file has none: it may be another file than was meant, or empty by mistake.
    pub(super) fn is_only_deletions(&self) -> bool {
        let is_deletion = |step: &PlanStep| step.action == Action::Delete;
        let has_none = self.unchanged == 0 && self.conflicts.is_empty() && self.steps.iter().all(is_deletion);
        has_none && !self.steps.is_empty()
    }

    /// Whether the daemon has what the file says.
    pub(super) fn is_same(&self) -> bool {
        self.steps.is_empty() && self.conflicts.is_empty()
    }

    /// How many changes there are of one kind.
    pub(super) fn count(&self, action: Action) -> usize {
        self.steps.iter().filter(|step| step.action == action).count()
    }

    /// The changes and the conflicts, a row for each.
    pub(super) fn table(&self) -> TextTable {
        let mut table = TextTable::new(&[left("CHANGE"), left("POLICY"), left("MEMBERS")]);
        for step in &self.steps {
            let action = Cell::coloured(step.action.word(), Some(step.action.colour()));
            table.row([action, step.id.as_str().into(), step.members().into()]);
        }
        for Conflict { id, origin } in &self.conflicts {
            let way_out = format!("belongs to {}; change it there or name it otherwise", called(origin));
            table.row([Cell::coloured("conflict", Some(Colour::Bad)), id.as_str().into(), way_out.into()]);
        }
        table
    }

    /// What the file does not have and pruning would delete.
    pub(super) fn kept(&self) -> Option<String> {
        let names = self.not_listed.join(", ");
        (!names.is_empty()).then(|| format!("not in the file, and kept without --prune: {names}"))
    }

    /// The conflicts in a sentence; `None` when there are none.
    pub(super) fn conflicting(&self) -> Option<String> {
        let owned = |Conflict { id, origin }: &Conflict| format!("{id} belongs to {}", called(origin));
        let owned: Vec<String> = self.conflicts.iter().map(owned).collect();
        (!owned.is_empty()).then(|| {
            let owned = owned.join(", ");
            format!(
                "nothing was changed: {owned}; change policies where they were made, or name them otherwise"
            )
        })
    }
}

impl PlanStep {
    /// Of an update what was and is to be, of others what they have.
    fn members(&self) -> String {
        let text = |value: &Option<Value>| value.as_ref().map_or_else(|| "none".to_owned(), Value::to_string);
        let shown = |difference: &Difference| {
            let Difference { member, before, after } = difference;
            match self.action {
                Action::Create => format!("{member} {}", text(after)),
                Action::Update => format!("{member} {} -> {}", text(before), text(after)),
                Action::Delete => format!("{member} {}", text(before)),
            }
        };
        // The name has a column of its own.
        let others = self.differs.iter().filter(|difference| difference.member != "name");
        others.map(shown).collect::<Vec<_>>().join(", ")
    }
}

fn called(origin: &str) -> String {
    if origin == "file" { "the configuration file".to_owned() } else { format!("the dialect {origin}") }
}

/// The members that differ, tables member by member, in the order of their names.
fn differences(before: Option<&Value>, after: Option<&Value>) -> Vec<Difference> {
    let (mut was, mut is) = (BTreeMap::new(), BTreeMap::new());
    spread("", before, &mut was);
    spread("", after, &mut is);
    let members: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let differing = members.into_iter().filter(|member| was.get(*member) != is.get(*member));
    let difference = |member: &String| {
        let value = |values: &BTreeMap<String, &Value>| values.get(member).map(|value| (*value).clone());
        Difference { member: member.clone(), before: value(&was), after: value(&is) }
    };
    differing.map(difference).collect()
}

fn spread<'v>(name: &str, value: Option<&'v Value>, found: &mut BTreeMap<String, &'v Value>) {
    match value {
        Some(Value::Object(members)) => {
            for (member, value) in members {
                let name = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                spread(&name, Some(value), found);
            }
        }
        Some(value) => drop(found.insert(name.to_owned(), value)),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(id: &str, pace: u32) -> Value {
        json!({"name": id, "url": "https://h.org/*", "pace": pace, "window": {"calls": pace, "per_ms": 1000}})
    }

    fn listed(id: &str, origin: &str, pace: u32) -> FetchedPolicy {
        FetchedPolicy {
            id: id.to_owned(),
            origin: origin.to_owned(),
            state: "deployed".to_owned(),
            definition: Some(definition(id, pace)),
            etag: Some(format!("\"{pace}\"")),
            limits: None,
            generations: Vec::new(),
            hold: None,
            figures: None,
        }
    }

    fn wanted(rows: &[(&str, u32)]) -> Vec<(String, Value)> {
        rows.iter().map(|(id, pace)| ((*id).to_owned(), definition(id, *pace))).collect()
    }

    fn steps(plan: &Plan) -> Vec<(&str, Action, Option<&str>)> {
        plan.steps.iter().map(|step| (step.id.as_str(), step.action, step.etag.as_deref())).collect()
    }

    #[test]
    fn only_the_difference_is_to_be_done_and_to_the_state_that_was_read() {
        let found = [listed("a", API, 1), listed("b", API, 2), listed("c", API, 3), listed("f", "file", 4)];
        let plan = Plan::of(&wanted(&[("n", 5), ("b", 20), ("a", 1), ("f", 4)]), &found, false);
        assert_eq!(steps(&plan), [("n", Action::Create, None), ("b", Action::Update, Some("\"2\""))]);
        assert_eq!((plan.unchanged, &plan.not_listed, plan.is_same()), (2, &vec!["c".to_owned()], false));
        let differs: Vec<&str> = plan.steps[1].differs.iter().map(|one| one.member.as_str()).collect();
        assert_eq!(differs, ["pace", "window.calls"]);
        assert_eq!(plan.steps[1].members(), "pace 2 -> 20, window.calls 2 -> 20");
        assert!(plan.kept().is_some_and(|kept| kept.ends_with("without --prune: c")));
    }

    #[test]
    fn pruning_deletes_what_the_api_has_and_nothing_else() {
        let mut draining = listed("d", API, 1);
        (draining.etag, draining.definition) = (None, None);
        let found = [listed("a", API, 1), draining, listed("f", "file", 1), listed("t", "throttling", 1)];
        let plan = Plan::of(&[], &found, true);
        assert_eq!(steps(&plan), [("a", Action::Delete, Some("\"1\""))]);
        assert!(plan.not_listed.is_empty() && plan.count(Action::Delete) == 1);
        let kept = Plan::of(&[], &found, false);
        assert!(kept.is_same() && kept.not_listed == ["a"]);
    }

    #[test]
    fn what_others_own_is_a_conflict_and_what_drains_may_be_made_again() {
        let mut draining = listed("d", API, 1);
        (draining.etag, draining.definition) = (None, None);
        let mut of_dialect = listed("t", "throttling", 1);
        of_dialect.definition = None;
        let found = [draining, of_dialect, listed("f", "file", 1)];
        let plan = Plan::of(&wanted(&[("d", 1), ("t", 1), ("f", 2)]), &found, true);
        assert_eq!(steps(&plan), [("d", Action::Create, None)]);
        let conflicts: Vec<&str> = plan.conflicts.iter().map(|conflict| conflict.id.as_str()).collect();
        assert_eq!(conflicts, ["t", "f"]);
        let message = plan.conflicting().expect("conflicts");
        assert!(
            message.contains("t belongs to the dialect throttling, f belongs to the configuration file"),
            "{message}"
        );
        assert_eq!(Plan::of(&[], &[], true).conflicting(), None);
    }
}
