//! The nouns that every room shares: events, entries, lanes, outcomes, settlements, ids.
//!
//! Plain data with private fields where a rule holds; parsed at the doors, trusted inside. None of it
//! derives serde: wire and disk formats are separate types in the rooms that own them.
//!
//! Must not know: how an event arrives, is stored, limited or sent.

mod digest;
mod entry;
mod headers;
mod id;
mod labels;
mod lane;
mod method;
mod name_failure;
mod outcome;
mod pointer;
mod shortage;
#[cfg(test)]
pub mod testing;
mod trace;
mod tries;
mod url;
mod wait;

pub use digest::digest128;
pub use entry::{Entry, Event};
pub use headers::forbidden_header;
pub use id::EventId;
pub use labels::{LabelError, Labels};
pub use lane::{Lane, LaneError, LaneKey, PolicyId, PolicyRef};
pub use method::parse_method;
pub use name_failure::NameFailure;
pub use outcome::{Cause, Outcome, Settlement};
pub use pointer::json_pointer;
pub use shortage::Shortage;
pub use trace::TraceContext;
pub use tries::Tries;
pub use url::{CanonicalUrl, UrlError};
pub use wait::{Said, Wait};
