//! The shapes of what the desk answers about doubts.
//!
//! Must not know: what is decided about them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::ops::doubts::verbs_of;
use crate::store::doubts::{Doubt, DoubtHold, DoubtKind};

/// A page of open doubts, the oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = DoubtList)]
pub(in crate::ops) struct DoubtList {
    pub(super) doubts: Vec<DoubtBody>,
    #[schema(required)]
    pub(super) next_cursor: Option<String>,
}

/// Something that the store could not establish.
#[derive(Serialize, ToSchema)]
#[schema(as = Doubt)]
pub(in crate::ops) struct DoubtBody {
    /// Number of the doubt, unique in this data directory.
    id: u64,
    /// What is in doubt: `unread`, `lost`, `uncertain`, `generation`, `book`, `document`, `usages`, `clock`,
    /// `rollback`, `files` or `account`.
    kind: &'static str,
    /// Which file, lane, policy or clock.
    subject: String,
    /// What was found, in a sentence for people.
    detail: String,
    /// What an operator can do about it.
    way_out: String,
    /// How many events it concerns: exactly, or `at_most`.
    events: u64,
    /// `events` is the most that it can be; otherwise it is exact.
    at_most: bool,
    /// When it was found, as an RFC 3339 date.
    #[schema(value_type = String, format = "date-time")]
    since: String,
    /// What is held meanwhile: `store`, `lanes`, `time` or `nothing`.
    holds: &'static str,
    /// Whether an operator has seen it: it is no longer reported by `/readyz` and the metrics.
    acknowledged: bool,
    /// The verbs that apply to it.
    verbs: Vec<&'static str>,
}

/// What became of a doubt that was decided about.
#[derive(Serialize, ToSchema)]
#[schema(as = DoubtDecision)]
pub(in crate::ops) struct DecisionBody {
    /// Whether the doubt has ended by the decision.
    pub(super) ended: bool,
    /// The doubt, while it is open.
    #[schema(required)]
    pub(super) doubt: Option<DoubtBody>,
}

/// What was given up, for good.
#[derive(Serialize, ToSchema)]
#[schema(as = DoubtGivenUp)]
pub(in crate::ops) struct GivenUpBody {
    /// How many events were settled as lost.
    pub(super) given_up: u64,
}

impl DoubtBody {
    pub(super) fn of(doubt: &Doubt) -> Self {
        Self {
            id: doubt.id,
            kind: doubt.kind.word(),
            subject: doubt.subject.clone(),
            detail: doubt.detail.clone(),
            way_out: doubt.way_out.clone(),
            events: doubt.events,
            // What a crash has left uncertain has an upper bound; every other count is exact.
            at_most: doubt.kind == DoubtKind::Uncertain,
            since: Timestamp::from_millis(doubt.since_ms).to_string(),
            holds: match doubt.kind.holds() {
                DoubtHold::Store => "store",
                DoubtHold::Lanes => "lanes",
                DoubtHold::Time => "time",
                DoubtHold::Nothing => "nothing",
            },
            acknowledged: doubt.acknowledged,
            verbs: verbs_of(doubt.kind).iter().map(|verb| verb.word()).collect(),
        }
    }
}
