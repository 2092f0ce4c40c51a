//! Policies: limit configurations in tidegate's own terms, whichever dialect they came through.
//!
//! ```text
//! dialect -> Policies::change(|book| ..) -> Book -> document (compare-and-set) -> Runtime (published)
//! ```
//!
//! The [`Book`] is the truth: the policies of all origins, and the objects of the dialects that theirs are derived from.
//! The [`Runtime`] is the immutable snapshot of what is active. A change is all or nothing and is active when the call that
//! makes it returns. An origin says what it [wants](Wanted) of its policies; their generations, drains and pauses are kept
//! here, the same for all.
//!
//! Must not know: how limits are kept, what a dialect's wire looks like, axum.

mod book;
mod bounds;
mod clause;
mod document;
mod edition;
mod elements;
mod follow;
mod generations;
mod kept;
mod lifecycle;
mod limits;
mod matcher;
mod most_literal;
mod pattern;
mod runtime;
mod scope;
mod search;
mod service;
mod spec;
mod sync;
#[cfg(test)]
pub(crate) mod testing;
mod written;

pub(crate) use book::Policy;
pub use book::{Book, BookError, Origin, Pause};
pub(crate) use bounds::{Bounds, ExceededBound};
pub use clause::Clause;
pub(crate) use clause::{LabelCondition, Segment, decoded};
pub(crate) use document::{check_stored, empty_stored};
pub(crate) use follow::Follower;
pub(crate) use generations::Generations;
pub(crate) use lifecycle::{DRAIN_WINDOW, GenerationState, Lifecycle};
// All of it: a new kind of limit needs no line here.
pub use limits::*;
pub(crate) use matcher::{Candidate, MatchVerdict, Member, Miss};
pub(crate) use most_literal::{MostLiteral, is_tie};
pub(crate) use pattern::PatternError;
pub use pattern::UrlPattern;
pub(crate) use runtime::{PolicyChange, Runtime, RuntimePolicy};
pub use scope::Scope;
pub(crate) use service::ChangeError;
pub use service::Policies;
pub use spec::{Family, Spec};
pub(crate) use spec::{Overlap, Overrides, RefusalCodes};
pub(crate) use sync::{Put, SyncError, SyncReport, Wanted};
pub(crate) use written::{Fault, Given, MEMBERS, Members, nearest, read_name, read_spec, write};

use crate::event::LaneError;
use crate::store::StoreError;

/// Why policies could not be read, changed or applied. What a caller did wrong is a [`BookError`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum PolicyError {
    /// The store refused to read or write the book.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored book was written by a newer version.
    #[error(
        "the policy book has format {found}; this version reads up to {known}: start a version that reads it"
    )]
    Format {
        /// The format that the stored book has.
        found: u32,
        /// The newest format that this version reads.
        known: u32,
    },
    /// The stored book does not decode or breaks a rule.
    #[error("the policy book does not decode: {reason}")]
    Document {
        /// What was found instead, in words.
        reason: String,
    },
    /// Patterns that begin alike are too large together to be matched in one pass.
    #[error("the url patterns of all deployed policies are too large together: {reason}")]
    TooLarge {
        /// What the compiler of the patterns reports.
        reason: String,
    },
    /// More kinds of origin are deployed than one event's lane can name.
    #[error(
        "policies of {given} origins are deployed, at most {} can govern one event",
        crate::event::Lane::MAX_POLICIES
    )]
    TooManyOrigins {
        /// How many groups of competing policies there are.
        given: usize,
    },
    /// The change would exceed a bound; nothing of it was made.
    #[error(transparent)]
    Full(#[from] ExceededBound),
    /// The name of a policy or of a lane breaks a rule.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// Other writers kept changing the book in between.
    #[error("the policy book was changed by others {attempts} times in a row")]
    Contended {
        /// How often the change was tried.
        attempts: u32,
    },
}

/// What is known of a change that the store did not make, or did not confirm, in the time that its caller waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// It was withdrawn before it was handed to the store, or the system is short of what the store needs for it: nothing
    /// of it is kept.
    NotMade,
    /// The store has it and may still make it.
    Unknown,
}

impl PolicyError {
    /// What is known of the change if it may be repeated; `None` when it failed for another reason.
    #[must_use]
    pub const fn late(&self) -> Option<Late> {
        match self {
            Self::Store(StoreError::Slow | StoreError::Shortage { .. } | StoreError::Unread { .. }) => {
                Some(Late::NotMade)
            }
            Self::Store(StoreError::OutcomeUnknown) => Some(Late::Unknown),
            _ => None,
        }
    }
}
