//! Which labels a call of a plugin has (contract.md 5) when its event does not carry them: from the places that an
//! operator names.
//!
//! Must not know: what the throttlings allow.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use crate::manage::dialect::Implies;
use crate::manage::place::{Place, segments};

/// What calls to these endpoints imply by the places of labels; `None` without endpoints, when nothing is throttled.
pub(super) fn implies(places: Vec<(&'static str, Place)>, endpoints: &[String]) -> Option<Implies> {
    if endpoints.is_empty() {
        return None;
    }
    // By their last segment, so that most calls of other systems are told by one look.
    let ends: HashSet<String> = endpoints.iter().map(|path| last(path).to_owned()).collect();
    Some(Arc::new(move |call| {
        if !ends.contains(last(call.url.path())) {
            return Vec::new();
        }
        let found =
            |(label, place): &(&'static str, Place)| Some((*label, place.find(call).map(Cow::into_owned)?));
        places.iter().filter_map(found).collect()
    }))
}

/// The last segment of a path; empty for the root.
fn last(path: &str) -> &str {
    segments(path).last().unwrap_or_default()
}
