//! What an operator decides about a doubt, carried out by whoever holds what is in doubt.
//!
//! Must not know: HTTP, the command line.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::ops::{DecisionError, Decisions, DoubtDesk};
use crate::queue::Queue;
use crate::store::doubts::Doubt;

/// The desk of the doubts over a queue.
pub(super) fn doubt_desk(queue: &Queue) -> DoubtDesk {
    DoubtDesk { doubts: queue.doubts(), decisions: Arc::new(Deciding) }
}

/// Carries out decisions.
struct Deciding;

impl Decisions for Deciding {
    fn retry<'a>(&'a self, doubt: &'a Doubt) -> BoxFuture<'a, Result<(), DecisionError>> {
        async move { Err(not_here(doubt)) }.boxed()
    }

    fn give_up<'a>(&'a self, doubt: &'a Doubt) -> BoxFuture<'a, Result<u64, DecisionError>> {
        async move { Err(not_here(doubt)) }.boxed()
    }

    fn confirm<'a>(&'a self, doubt: &'a Doubt) -> BoxFuture<'a, Result<(), DecisionError>> {
        async move { Err(not_here(doubt)) }.boxed()
    }
}

/// The desk asks only for what [`crate::ops::verbs_of`] lists.
fn not_here(doubt: &Doubt) -> DecisionError {
    DecisionError(format!("nobody decides about doubts of the kind {}", doubt.kind.word()))
}
