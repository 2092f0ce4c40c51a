//! Refusals of calls in the words of the dialect that the limit comes from.
//!
//! Must not know: why a limit had no room.

use crate::manage::mashery::refusal::Code;
use crate::problem::{Refused, Told};

/// What the system behind a limit says to a caller; `None` when it has no words of its own.
#[must_use]
pub fn tell(refused: &Refused<'_>) -> Option<Told> {
    match refused.origin {
        "mashery" => Some(Code::parse(refused.code)?.told(refused.retry_after_seconds)),
        _ => None,
    }
}
