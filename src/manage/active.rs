//! The one way in which a change of objects changes what is active: the policies that all objects of the dialect amount to
//! become its policies in the book, in their order, and no others.
//!
//! Must not know: any one dialect.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::manage::dialect::{Dialect, Unreadable};
use crate::policy::{Book, Origin, SyncError, SyncReport};

/// Why the policies of a dialect are not what its objects amount to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotActive {
    /// An object cannot be read: all policies stay as they are, so that nothing becomes unlimited unseen.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// A name is taken by another origin.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

/// Makes the policies of a dialect those that its objects amount to. A policy that is gone drains for `drain_window`
/// from `now`.
///
/// # Errors
/// [`NotActive`]; the book must not be used then.
pub(super) fn activate(
    dialect: &dyn Dialect,
    book: &mut Book,
    now: Timestamp,
    drain_window: Duration,
) -> Result<SyncReport, NotActive> {
    let Some(list) = dialect.derive(book)? else { return Ok(SyncReport::default()) };
    let report = book.sync(&Origin::new(dialect.name()), &list, now, drain_window)?;
    book.put_in_order(list.iter().map(|(id, _)| id));
    Ok(report)
}
