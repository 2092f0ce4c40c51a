//! Why an event ended, as answers say it.
//!
//! Must not know: how ends are kept.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::event::{Lane, PolicyRef};
use crate::ingest::prospects::{AboutPolicies, limit};
use crate::limit::LimitKind;
use crate::policy::Runtime;
use crate::problem::{About, LimitNumbers, NamedPolicy, Problem, codes};
use crate::queue::{End, KnownEnd};

/// Why an event ended; a member of which nothing is known is left out.
#[derive(Serialize, ToSchema)]
#[schema(as = EndOfEvent)]
pub(crate) struct EndBody {
    /// `held` when it expired while a doubt held its lane.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cause: Option<&'static str>,
    /// One of a closed set; an HTTP status as `http_404`.
    reason: String,
    /// The status of the last answer that the endpoint gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_status: Option<u16>,
    /// The policy that turned it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    policy: Option<NamedPolicy>,
    /// The limit of that policy that had no room.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    limit: Option<LimitNumbers>,
}

impl EndBody {
    /// With the policies as they are now: of one that is gone the id alone is known.
    pub(crate) fn of(known: &KnownEnd, runtime: &Runtime, about: &AboutPolicies) -> Self {
        let KnownEnd { end, why, lane } = known;
        let lane = lane.as_ref().and_then(|lane| Lane::parse(lane).ok());
        let part = lane.as_ref().zip(why.limited).and_then(|(lane, by)| part(lane, by.policy));
        let policy = part.and_then(|part| runtime.get(&part.policy));
        let kind = why.limited.map(crate::event::Limited::kind);
        Self {
            cause: End::cause(*end),
            reason: why.reason.word(),
            last_status: why.status,
            policy: part.map(|part| match policy {
                Some(policy) => about.policy(policy),
                None => NamedPolicy { id: part.policy.to_string(), name: None, system: None, config: None },
            }),
            limit: kind.map(|word| match (policy, &lane, LimitKind::of_word(word)) {
                (Some(policy), Some(lane), Some(kind)) => limit(policy, kind, lane),
                _ => LimitNumbers { kind: word, ..LimitNumbers::default() },
            }),
        }
    }
}

/// The problem of an id under which nothing is known.
///
/// `known_since` says from when on the end of every event is known; `None` when that is all of them.
pub(crate) fn no_event(known_since: Option<Timestamp>) -> Box<Problem> {
    let known_since = known_since.map(|since| since.to_string());
    let detail = known_since.as_ref().map_or_else(
        || "no event with this id, and the end of every event is known".to_owned(),
        |since| {
            format!(
                "no event with this id; of events that ended before {since} nothing may be known any more"
            )
        },
    );
    let problem = Problem::of(codes::EVENT_NOT_FOUND, detail);
    Box::new(problem.about(About { known_since, ..About::default() }))
}

fn part(lane: &Lane, place: Option<u8>) -> Option<&PolicyRef> {
    lane.policies().get(usize::from(place?))
}
