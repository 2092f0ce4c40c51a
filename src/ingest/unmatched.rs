//! The refusal of a call that no deployed policy governs: which policies came closest, what keeps each from governing the
//! call, and the request that explains it.
//!
//! It costs about as much as the search for policies that it follows, and a bounded part beside: see
//! [`Runtime::misses`].
//!
//! Must not know: how policies are searched, how events come in.

use crate::event::{Event, encoded};
use crate::ingest::prospects::AboutPolicies;
use crate::policy::{Member, Miss, Runtime};
use crate::problem::{About, NearMiss, Problem, codes};

/// Longest value that is repeated, in characters: a list of refusals stays small whatever its events hold.
const SHOWN_CHARS_MAX: usize = 120;
/// Labels are named by the request that explains a call up to about this length of it, in bytes.
const EXPLAIN_BYTES_MAX: usize = 4096;

/// No deployed policy governs the event, and such events are refused.
pub(super) fn unmatched(event: &Event, runtime: &Runtime, about: &AboutPolicies) -> Problem {
    let Event { method, url, labels, .. } = event;
    let misses: Vec<NearMiss> = runtime
        .misses(method, url, labels)
        .into_iter()
        .filter_map(|miss| near_miss(miss, runtime, about))
        .collect();
    let closest = misses.first().map(|miss| {
        let NearMiss { policy, member, wants, .. } = miss;
        format!("; the closest one, {}, wants {member} to be {wants}", policy.id)
    });
    let detail = format!(
        "no deployed policy matches {method} {}{}; deploy one whose pattern, methods and labels do, or set \
         queue.unmatched = \"pass\"",
        url.without_query(),
        closest.unwrap_or_default()
    );
    let about = About { misses, explain: Some(explain(event)), ..About::default() };
    Problem::of(codes::UNMATCHED, detail).field("/url", "matches no deployed policy").about(about)
}

fn near_miss(miss: Miss, runtime: &Runtime, about: &AboutPolicies) -> Option<NearMiss> {
    let Miss { policy, member, given, wants } = miss;
    let label = match &member {
        Member::Label(name) => Some(name.clone()),
        Member::Url | Member::Method => None,
    };
    Some(NearMiss {
        policy: about.policy(runtime.get(&policy)?),
        member: match member {
            Member::Url => "url".to_owned(),
            Member::Method => "method".to_owned(),
            Member::Label(name) => format!("labels.{name}"),
        },
        without_label: label.filter(|_| given.is_none()).and_then(|label| (about.source_of)(&label)),
        given: given.map(|given| shown(&given)),
        wants: shown(&wants),
    })
}

fn shown(text: &str) -> String {
    let mut chars = text.chars();
    let mut shown: String = chars.by_ref().take(SHOWN_CHARS_MAX).collect();
    if chars.next().is_some() {
        shown.push('\u{2026}');
    }
    shown
}

/// The request that explains the call: with its labels, without its query, which may hold credentials.
fn explain(event: &Event) -> String {
    let url = encoded(event.url.without_query());
    let mut request = format!("/v1/explain?method={}&url={url}", encoded(event.method.as_str()));
    for (name, value) in event.labels.iter() {
        let label = format!("&label.{}={}", encoded(name), encoded(value));
        if request.len() + label.len() <= EXPLAIN_BYTES_MAX {
            request.push_str(&label);
        }
    }
    request
}
