//! The `[[policy]]` blocks of the configuration file: from values with their places to checked policies. Every
//! member that breaks a rule is a problem of its own, with its line and its range.
//!
//! Must not know: which members there are, how policies become active.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::layers::{ConfigBlock, ConfigMember, Layers, POLICY};
use crate::config::{ConfigError, ConfigPlace, ConfigProblem};
use crate::event::PolicyId;
use crate::policy::{Fault, Given, MEMBERS, Members, Spec, read_name, read_spec, write};
use crate::telemetry::defect;

/// A policy of the configuration file.
#[derive(Debug, Clone, PartialEq)]
pub struct FilePolicy {
    /// Its id, unique in the file.
    pub name: PolicyId,
    /// What it governs and allows; shared with the policy that is made active.
    pub spec: Arc<Spec>,
}

impl FilePolicy {
    /// The policies of a text that has `[[policy]]` blocks, whatever settings stand beside them; `called` is the name
    /// of the text in problems. Any label may be named.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems of the blocks, of the syntax and of names that are unknown.
    pub fn read_all(text: &str, called: &std::path::Path) -> Result<Vec<Self>, ConfigError> {
        let mut problems = Vec::new();
        let layers = Layers::of_text(text, called, &mut problems);
        let found = policies(layers.blocks(POLICY).iter(), None, &mut problems);
        if problems.is_empty() { Ok(found) } else { Err(ConfigError { problems }) }
    }

    /// Its members as JSON, in one canonical spelling.
    #[must_use]
    pub fn definition(&self) -> serde_json::Value {
        // What the file has said can be said again; texts and numbers always make a value.
        let members = write(&self.name, &self.spec);
        defect!(unless members.is_some(), "a policy of the file that no block can say");
        let members = members.unwrap_or_default();
        serde_json::to_value(members).unwrap_or_default()
    }
}

/// A `[[policy]]` block with these members, which are those of [`FilePolicy::definition`]. Others are left out.
#[must_use]
pub(crate) fn policy_block(definition: &serde_json::Value) -> String {
    let mut block = "[[policy]]\n".to_owned();
    for name in MEMBERS {
        if let Some(Ok(value)) = definition.get(name).map(toml::Value::try_from) {
            block.push_str(&format!("{name} = {value}\n"));
        }
    }
    block
}

/// Checks all blocks and notes every problem. With `known`, other labels are problems.
pub(super) fn policies<B: Borrow<ConfigBlock>>(
    blocks: impl Iterator<Item = B>,
    known: Option<&BTreeSet<String>>,
    problems: &mut Vec<ConfigProblem>,
) -> Vec<FilePolicy> {
    let mut found = Vec::new();
    let mut names: BTreeMap<PolicyId, ConfigPlace> = BTreeMap::new();
    for (at, block) in blocks.enumerate() {
        let block: &ConfigBlock = block.borrow();
        let members = members(block);
        // By its number until its name is known to be one.
        let mut called = format!("policy {}", at + 1);
        let mut note = |called: &str, fault: Fault| problems.push(problem(block, called, fault));
        let name = read_name(&members).map_err(|fault| note(&called, fault)).ok();
        if let Some(name) = &name {
            called = format!("policy {:?}", name.as_str());
            let place = place(block, &["name".to_owned()]);
            match names.get(name) {
                Some(first) => {
                    let detail = format!("must be unique; the policy at {first} has it already");
                    note(&called, Fault { path: vec!["name".to_owned()], detail });
                }
                None => drop(names.insert(name.clone(), place)),
            }
        }
        match read_spec(&members, known) {
            Ok(spec) => found.extend(name.map(|name| FilePolicy { name, spec: Arc::new(spec) })),
            Err(faults) => faults.into_iter().for_each(|fault| note(&called, fault)),
        }
    }
    found
}

/// The members of a block, in the order of the text.
pub(super) fn members(block: &ConfigBlock) -> Members {
    let member = |ConfigMember { name, value, within, .. }: &ConfigMember| {
        let given = within.as_ref().map_or_else(|| given(value), |within| Given::Table(members(within)));
        (name.clone(), given)
    };
    Members(block.members.iter().map(member).collect())
}

fn given(value: &toml::Value) -> Given {
    match value {
        toml::Value::String(text) => Given::Text(text.clone()),
        toml::Value::Integer(number) => Given::Integer(*number),
        toml::Value::Float(number) => Given::Float(*number),
        toml::Value::Boolean(flag) => Given::Flag(*flag),
        toml::Value::Array(values) => Given::List(values.iter().map(given).collect()),
        toml::Value::Table(rows) => {
            Given::Table(Members(rows.iter().map(|(name, value)| (name.clone(), given(value))).collect()))
        }
        toml::Value::Datetime(_) => Given::Other("datetime"),
    }
}

pub(super) fn problem(block: &ConfigBlock, called: &str, fault: Fault) -> ConfigProblem {
    let field = fault.field();
    let subject = if field.is_empty() { called.to_owned() } else { format!("{called}: {field}") };
    ConfigProblem { place: place(block, &fault.path), subject, detail: fault.detail }
}

/// Where a member stands, or what it would be part of.
pub(super) fn place(block: &ConfigBlock, path: &[String]) -> ConfigPlace {
    let Some((first, rest)) = path.split_first() else { return block.place.clone() };
    let Some(member) = block.members.iter().find(|member| member.name == *first) else {
        return block.place.clone();
    };
    // Its own block begins where it stands.
    member.within.as_ref().map_or_else(|| member.place.clone(), |within| place(within, rest))
}

#[cfg(test)]
mod tests;
