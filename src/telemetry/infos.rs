//! What policies are called and whose they are: a series for each policy with series of its own, always 1, so that other
//! series can be joined with names that people know.
//!
//! Must not know: what a policy is, where its name comes from.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use metrics::{Key, Label, gauge};

use crate::telemetry::{names, policies, recorder};

/// What a policy is called and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PolicyInfo<'a> {
    /// Its id, which is its label.
    pub policy: &'a str,
    /// What people call it; empty where its id is all.
    pub name: &'a str,
    /// The dialect that it comes from, `file` or `api`.
    pub system: &'a str,
}

/// The names and systems that are shown, by policy.
type Shown = BTreeMap<Box<str>, (Box<str>, Box<str>)>;

static SHOWN: Mutex<Shown> = Mutex::new(Shown::new());

/// Shows what these policies are called, and no others. To be called after [`policies::set_policies`].
pub(crate) fn name_policies<'a>(present: impl Iterator<Item = PolicyInfo<'a>>) {
    let own = present.filter(|info| policies::has_own_series(info.policy));
    let next: Shown = own.map(|info| (info.policy.into(), (info.name.into(), info.system.into()))).collect();
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    for (policy, info) in shown.iter().filter(|(policy, info)| next.get(*policy) != Some(*info)) {
        // Series end with their policy; that of a name that is gone would stand beside the new one.
        recorder::end_gauge(&key(policy, info));
    }
    for (policy, (name, system)) in &next {
        gauge!(
            names::POLICY_INFO.name,
            "policy" => policy.to_string(), "name" => name.to_string(), "system" => system.to_string()
        )
        .set(1.0);
    }
    *shown = next;
}

fn key(policy: &str, (name, system): &(Box<str>, Box<str>)) -> Key {
    let label = |key: &'static str, value: &str| Label::new(key, value.to_owned());
    Key::from_parts(
        names::POLICY_INFO.name,
        vec![label("policy", policy), label("name", name), label("system", system)],
    )
}
