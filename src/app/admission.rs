//! The dispatcher keeps the limits that the doors try calls against.
//!
//! Must not know: HTTP, how limits count.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::dispatch::{DispatchHandle, Refusal};
use crate::event::{Lane, LaneKey};
use crate::ingest::{Admission, OverLimit};
use crate::limit::LimiterFigures;

impl Admission for DispatchHandle {
    fn promise(&self, lanes: Vec<Lane>) -> BoxFuture<'_, Option<Vec<Result<bool, OverLimit>>>> {
        let over = |Refusal { policy, kind, free_at }| OverLimit { policy, kind, free_at };
        async move {
            let tried = DispatchHandle::promise(self, lanes).await?;
            Some(tried.into_iter().map(|tried| tried.map_err(over)).collect())
        }
        .boxed()
    }

    fn withdraw(&self, lanes: Vec<LaneKey>) {
        DispatchHandle::withdraw(self, lanes);
    }

    fn used(&self, lane: Lane) -> BoxFuture<'_, Vec<LimiterFigures>> {
        async move { self.report(lane).await.map(|report| report.limits).unwrap_or_default() }.boxed()
    }
}
