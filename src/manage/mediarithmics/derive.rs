//! Throttlings to specs (contract.md 4, 5).

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Number;

use crate::event::PolicyId;
use crate::manage::dialect::{Derived, Unreadable};
use crate::manage::mediarithmics::objects::{Record, Scope as Level, THROTTLING, Throttling, origin};
use crate::policy::{Book, Clause, Family, LabelCondition, Limits, Overlap, Pace, Scope, Spec, UrlPattern};

/// An endpoint as a pattern that only itself fits, or the rule that it breaks.
pub(super) fn endpoint(given: &str) -> Result<UrlPattern, &'static str> {
    const WILD: &str = "is compared as a whole: it must have no * and no braces";
    if !given.starts_with('/') {
        return Err("must start with /");
    }
    // The query of a call is not compared, and a fragment is never sent.
    if given.contains(['?', '#']) {
        return Err("must be a path without query and fragment");
    }
    if given.contains(['*', '{', '}']) {
        return Err(WILD);
    }
    let pattern = UrlPattern::any_host(given)
        .map_err(|_| "must be the path of a url, without blanks and control characters")?;
    // Escaped braces would come back as a wildcard.
    if pattern.as_str().contains("{}") { Err(WILD) } else { Ok(pattern) }
}

/// The name of the policy of a throttling; `None` when the id does not fit into one.
pub(super) fn policy_id(id: &str) -> Option<PolicyId> {
    PolicyId::parse(&format!("mics.{id}")).ok()
}

/// The policies of all throttlings in the book.
///
/// # Errors
/// [`Unreadable`]: what one that cannot be read limits must not become unlimited unseen.
pub(super) fn derive(book: &Book) -> Result<Derived, Unreadable> {
    let with_config = |id: &str, record: &Record| Some(Spec { config: Some(id.into()), ..spec(record)? });
    each(book, |id, record| Some((policy_id(id)?, with_config(id, record)?.into())))
}

/// The endpoints of all throttlings in the book.
///
/// # Errors
/// [`Unreadable`] names a throttling that cannot be read.
pub(super) fn endpoints(book: &Book) -> Result<Vec<String>, Unreadable> {
    // As patterns spell them, which is how the paths of calls are spelled.
    let path = |record: &Record| {
        let pattern = endpoint(&record.throttling.plugin_endpoint).ok()?;
        Some(pattern.as_str().trim_start_matches("*://*").to_owned())
    };
    each(book, |_, record| path(record))
}

fn each<T>(book: &Book, make: impl Fn(&str, &Record) -> Option<T>) -> Result<Vec<T>, Unreadable> {
    let made = |(id, value): (&str, &serde_json::Value)| {
        let made = Record::read(value).and_then(|record| make(id, &record));
        made.ok_or_else(|| Unreadable { object: format!("the stored throttling {id:?}") })
    };
    book.elements(&origin(), THROTTLING).into_iter().map(made).collect()
}

/// The patterns of the paths that are an endpoint: itself, or what ends with it, both with a slash at the end or without.
fn paths(given: &str) -> Option<Vec<UrlPattern>> {
    let bare = given.trim_end_matches('/');
    if bare.is_empty() {
        // The root ends every path: behind a prefix nothing could be told from it.
        return Some(vec![endpoint(given).ok()?]);
    }
    // Each is checked as it was given, so that only what is added here is a wildcard.
    endpoint(bare).ok()?;
    let spellings = [bare.to_owned(), format!("{bare}/"), format!("/*{bare}"), format!("/*{bare}/")];
    spellings.iter().map(|path| UrlPattern::any_host(path).ok()).collect()
}

/// `None` when the record breaks a rule, which those that were checked never do.
fn spec(record: &Record) -> Option<Spec> {
    let Throttling { scope, throttling_key, plugin_endpoint, max_qps, max_concurrency, timeout_ms } =
        &record.throttling;
    let mut labels = vec![LabelCondition::equals("plugin_version", &record.version_id)];
    if let Some(label) = scope.key_label() {
        // A throttling of one organisation or datamart without its key would govern those of all others.
        labels.push(LabelCondition::equals(label, throttling_key.as_deref()?));
    }
    let clause = |pattern| Clause { labels: labels.clone(), ..Clause::of(pattern) };
    let clauses = paths(plugin_endpoint)?.into_iter().map(clause).collect();
    let limits = Limits {
        pace: match max_qps {
            Some(number) => Some(pace(number)?),
            None => None,
        },
        slots: match max_concurrency {
            Some(calls) => Some(NonZeroU32::new(*calls)?),
            None => None,
        },
        timeout: timeout_ms.map(|timeout_ms| Duration::from_millis(timeout_ms.into())),
        ..Limits::default()
    };
    let scope = match scope {
        // An event without the label goes to the instance that its host and port name.
        Level::Container => Scope::new(&["container"]).ok()?.with_host("container"),
        // The labels of the clause have one value each.
        Level::Global | Level::Organisation | Level::Datamart => Scope::default(),
    };
    // All throttlings that fit apply together (contract.md 4); calls over them wait.
    let spec = Spec { family: Family::Wait, overlap: Overlap::All, scope, ..Spec::new(clauses, limits) };
    Some(spec.called(plugin_endpoint))
}

/// The pace of `max_qps` starts per second; 0.5 is one start every two seconds. `None` outside the range of a pace.
pub(super) fn pace(max_qps: &Number) -> Option<Pace> {
    Pace::per_second(max_qps.as_f64()?).ok()
}
