//! A change that the store did not answer in time, as the dialects report it: each in the shape of its own refusals, with
//! status 503, `Retry-After`, and one of the two words that the daemon's own routes use as codes.
//!
//! Must not know: any dialect's envelope.

use axum::response::Response;
use http::{HeaderValue, header};

use crate::policy::Late;

/// Seconds after which the change may be asked for again.
const RETRY_AFTER_SECONDS: u64 = 5;

/// The text of the refusal. It begins with the word, for envelopes whose codes are those of the contract.
pub(super) const fn text(late: Late) -> &'static str {
    match late {
        Late::NotMade => {
            "store_slow: the disk does not take the change at present; nothing was changed, repeat it later"
        }
        Late::Unknown => {
            "outcome_unknown: the disk has not confirmed the change in time; it may become active, look before \
             repeating it"
        }
    }
}

/// Adds `Retry-After` to the refusal, in whole seconds.
pub(super) fn retry_later(mut response: Response) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    response
}
