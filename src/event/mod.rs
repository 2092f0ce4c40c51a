//! The nouns that every room shares: events, entries, lanes, outcomes, settlements, ids.
//!
//! Plain data with private fields where a rule holds; parsed at the doors, trusted inside. None of it
//! derives serde: wire and disk formats are separate types in the rooms that own them.
//!
//! Must not know: how an event arrives, is stored, limited or sent.

mod attempt;
mod call;
mod digest;
mod entry;
mod form;
mod headers;
mod id;
mod labels;
mod lane;
mod method;
mod name_failure;
mod outcome;
mod pointer;
mod priority;
mod query;
mod reason;
mod redriven;
mod shortage;
#[cfg(test)]
pub(crate) mod testing;
mod trace;
mod tries;
mod url;
mod wait;
mod why;

pub(crate) use attempt::{AnswerExcerpt, AttemptDetail, Follows, NamedTime, Noticed, Word};
pub(crate) use call::Call;
pub(crate) use digest::digest128;
pub(crate) use entry::Entry;
pub use entry::Event;
pub(crate) use form::form_pairs;
pub(crate) use headers::forbidden_header;
pub use id::EventId;
pub(crate) use labels::LabelError;
pub use labels::Labels;
pub(crate) use lane::LaneError;
pub use lane::{Lane, LaneKey, PolicyId, PolicyRef};
pub(crate) use method::parse_method;
pub(crate) use name_failure::NameFailure;
pub(crate) use outcome::Cause;
pub use outcome::{Outcome, Settlement};
pub(crate) use pointer::json_pointer;
pub use priority::Priority;
pub(crate) use query::encoded;
pub use reason::Reason;
pub(crate) use redriven::Redriven;
pub(crate) use shortage::Shortage;
pub(crate) use trace::TraceContext;
pub use tries::Tries;
pub use url::CanonicalUrl;
pub(crate) use url::UrlError;
pub(crate) use wait::{Said, Wait};
pub(crate) use why::{Facts, Limited, Why};
