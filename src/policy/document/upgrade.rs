//! Formats 1 to 4 of the book. There a policy could have a record of its author's with an authoring state: it was the
//! author's object and what followed from it in one. From format 5 on objects are elements, and their policies are derived
//! from them; each such record becomes an element here, with its state in the member `life`, as objects keep it:
//!
//! ```text
//! { .., "life": { "updated": bool, "deployed": { "config": record's "config" | null, "outdated": bool } | null } }
//! ```
//!
//! `config` is what follows from the record and is active. It is `null` where that is not known: the record was changed
//! after the deploy, perhaps to something with faults, so that the spec of the policy alone says what is active.
//!
//! Generations, pauses, ids and the order of policies stay what they are.
//!
//! Must not know: what records say beside that.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::policy::document::spec::SpecV3;
use crate::policy::document::{ElementV3, GenerationV1, PauseV2, PolicyV5};

/// The kind of the elements that records of policies become.
const KIND: &str = "config";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyV1 {
    id: String,
    origin: String,
    order: u64,
    record: Value,
    deleted: bool,
    ruling: Option<SpecV3>,
    #[serde(default)]
    pause: Option<PauseV2>,
    state: StateV1,
    before_deploy: StateV1,
    deployed: bool,
    generations: Vec<GenerationV1>,
    next_generation: u32,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum StateV1 {
    Created,
    Updated,
    Deployed,
}

impl PolicyV1 {
    /// The policy, and the element that its record becomes.
    pub(super) fn upgrade(self) -> (PolicyV5, Option<ElementV3>) {
        let life = self.life();
        let Self { id, origin, order, record, deleted, ruling, pause, generations, next_generation, .. } =
            self;
        // A deleted policy only drains, and its author's object is gone. A policy that is not derived from an object
        // has no record.
        let element = (!deleted && !record.is_null()).then(|| ElementV3 {
            origin: origin.clone(),
            kind: KIND.to_owned(),
            id: id.clone(),
            order,
            record: with_life(record, life),
        });
        (PolicyV5 { id, origin, order, deleted, ruling, pause, generations, next_generation }, element)
    }

    fn life(&self) -> Value {
        // While it is deployed, `state` tells of edits since the deploy; what it was before stands in `before_deploy`.
        let is_updated = if self.deployed { self.before_deploy } else { self.state } == StateV1::Updated;
        let deployed = self.deployed.then(|| {
            let is_outdated = self.state == StateV1::Updated;
            let is_known = !is_outdated && self.ruling.is_some();
            let config = self.record.get("config").filter(|_| is_known);
            json!({ "config": config, "outdated": is_outdated })
        });
        json!({ "updated": is_updated, "deployed": deployed })
    }
}

/// A record that is no object was not written by any version; it is taken over as it is.
fn with_life(mut record: Value, life: Value) -> Value {
    if let Some(members) = record.as_object_mut() {
        members.insert("life".to_owned(), life);
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgraded(state: &str, before: &str, deployed: bool, ruling: bool) -> Value {
        let ruling = ruling.then(|| json!({"pace": 1.0, "family": "wait"}));
        let policy = json!({
            "id": "a", "origin": "x", "order": 7, "record": {"config": {"n": 1}, "by": "b"}, "deleted": false,
            "ruling": ruling, "state": state, "before_deploy": before, "deployed": deployed,
            "generations": [], "next_generation": 3,
        });
        let policy: PolicyV1 = serde_json::from_value(policy).expect("a policy");
        let (policy, element) = policy.upgrade();
        assert_eq!((policy.order, policy.next_generation), (7, 3));
        let ElementV3 { origin, kind, id, order, mut record } = element.expect("a record");
        assert_eq!((&*origin, &*kind, &*id, order), ("x", "config", "a", 7));
        let life = record.as_object_mut().and_then(|members| members.remove("life")).expect("a life");
        assert_eq!(record, json!({"config": {"n": 1}, "by": "b"}));
        life
    }

    #[test]
    fn each_authoring_state_becomes_its_life() {
        let life = |updated: bool, deployed: Value| json!({"updated": updated, "deployed": deployed});
        let active = |outdated: bool, config: Value| json!({"config": config, "outdated": outdated});
        let config = json!({"n": 1});
        for (state, before, deployed, ruling, expected) in [
            ("created", "created", false, false, life(false, Value::Null)),
            ("updated", "created", false, false, life(true, Value::Null)),
            ("created", "created", false, true, life(false, Value::Null)),
            ("deployed", "created", true, true, life(false, active(false, config.clone()))),
            ("deployed", "updated", true, true, life(true, active(false, config))),
            ("updated", "updated", true, true, life(true, active(true, Value::Null))),
            ("deployed", "created", true, false, life(false, active(false, Value::Null))),
        ] {
            assert_eq!(upgraded(state, before, deployed, ruling), expected, "{state} {before} {deployed}");
        }
    }
}
