//! Who may settle what a store hands out, take what it keeps, and record what limits use.
//!
//! Must not know: which entries those are, how a store gives epochs.

use super::StoreError;

/// One opening of a store by one process, among all that there were. Of two the later one has the greater epoch; what
/// the earlier one has decided since is refused, so that a process that does not know yet that it was replaced does no
/// harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The epoch of the store at this opening; it grows from opening to opening.
    pub epoch: u64,
}

impl Owner {
    /// Whether `owner`, who wants to change something, is this one, to whom it belongs.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it is another one.
    pub(super) fn check(self, owner: Self) -> Result<(), StoreError> {
        if owner == self {
            return Ok(());
        }
        Err(StoreError::Fenced { epoch: owner.epoch, present: self.epoch })
    }
}
