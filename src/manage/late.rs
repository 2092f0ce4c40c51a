//! A change that the store did not answer in time, as the dialects tell it: each in the shape of its own refusals, with
//! status 503, `Retry-After`, and one of two words that the daemon's own routes use as codes.
//!
//! Must not know: any dialect's envelope.

use axum::response::Response;
use http::{HeaderValue, header};

use crate::policy::PolicyError;
use crate::store::StoreError;

/// What is known of a change that was not answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// It was withdrawn before it was handed to the store.
    NotMade,
    /// The store has it and may still make it.
    Unknown,
}

/// Seconds after which the change may be asked for again.
const RETRY_AFTER_SECONDS: u64 = 5;

impl Late {
    /// `None` when the change failed for another reason.
    pub(super) const fn of(error: &PolicyError) -> Option<Self> {
        match error {
            PolicyError::Store(StoreError::Slow) => Some(Self::NotMade),
            PolicyError::Store(StoreError::OutcomeUnknown) => Some(Self::Unknown),
            _ => None,
        }
    }

    /// In words, for envelopes whose codes are those of the contract.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::NotMade => {
                "store_slow: the disk does not answer in time; nothing was changed, repeat it later"
            }
            Self::Unknown => {
                "outcome_unknown: the disk has not confirmed the change in time; it may become active, look before \
                 repeating it"
            }
        }
    }

    /// Adds when to ask again.
    pub(super) fn retry_later(mut response: Response) -> Response {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        response
    }
}
