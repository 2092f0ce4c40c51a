//! Calls that need a token of their endpoint, between their permits and their starts.
//!
//! Must not know: how tokens are asked for, limits.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::delivery::{Deliver, Readiness};
use crate::dispatch::endpoints::Endpoints;
use crate::dispatch::input::{Ticket, TokenNeed};
use crate::dispatch::planner::Planner;

/// For how long a call with a permit is best not made, because there is no token for it; `None` where it may be made.
pub(super) fn lacks(
    planner: &Planner,
    deliver: &dyn Deliver,
    ticket: Ticket,
    endpoints: &Endpoints,
    now: Timestamp,
) -> Option<Duration> {
    // Most installations have no such endpoint.
    if !endpoints.have_credentials() {
        return None;
    }
    match planner.needs(ticket, endpoints, now) {
        TokenNeed::Nothing => None,
        TokenNeed::Waited(wait) => Some(wait),
        TokenNeed::Token(options) => match deliver.readiness(&options) {
            Readiness::Ready => None,
            Readiness::Wait(wait) => Some(wait),
        },
    }
}
