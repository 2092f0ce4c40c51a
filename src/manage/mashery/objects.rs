//! Objects in the policy book: finding them below their parents, changing and showing them, the policies that they amount
//! to.

pub(super) mod catalogue;
pub(super) mod change;
pub(super) mod place;
pub(super) mod record;
pub(super) mod show;

use tracing::error;

use crate::clock::Timestamp;
use crate::manage::dialect::{Derived, Unreadable, all_active};
use crate::manage::mashery::ORIGIN;
use crate::manage::mashery::derive::derive;
use crate::manage::mashery::errors::Refusal;
use crate::manage::mashery::objects::catalogue::Catalogue;
use crate::policy::{Book, Origin};

pub(super) use place::Place;

/// The policies that all objects amount to.
///
/// # Errors
/// [`Unreadable`] when the objects do not read.
pub(super) fn derive_all(book: &Book) -> Result<Derived, Unreadable> {
    let policies = Catalogue::of(book).as_ref().and_then(derive);
    policies.map(all_active).ok_or_else(unreadable_object)
}

/// What is said of a stored object that does not read.
pub(super) fn unreadable_object() -> Unreadable {
    Unreadable { object: "a stored object of the mashery dialect".to_owned() }
}

/// Times as they are shown: UTC, whole seconds.
pub(super) fn show_time(at: Timestamp) -> String {
    // The wall clock is far below both bounds.
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    let time = chrono::DateTime::from_timestamp_millis(millis).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The origin of this dialect's policies and elements.
pub(super) fn origin() -> Origin {
    Origin::new(ORIGIN)
}

fn unreadable() -> Refusal {
    error!("a stored object of the mashery dialect does not read");
    Refusal::internal()
}
