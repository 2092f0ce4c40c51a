//! Entries that are lost: each is settled durably, through the journal, like one that was delivered.
//!
//! Must not know: why they are lost.

use std::sync::mpsc::Sender;

use tokio::sync::oneshot;

use super::SETTLED_PART;
use super::commit::PlacedSettlement;
use super::ids::Home;
use super::shared::Shared;
use super::writer::Request;
use crate::store::StoreError;
use crate::store::embedded::index::keys::DueKey;
use crate::store::embedded::journal::{Settled, What};

/// Settles entries as lost.
#[derive(Clone, Copy)]
pub(super) struct LossSettler<'s> {
    pub shared: &'s Shared,
    /// To the writer, which puts every settlement on record.
    pub requests: &'s Sender<Request>,
}

/// The settlement of an entry as lost.
pub(super) fn decision(lane: u32, home: Home, from_due_ms: Option<u64>) -> PlacedSettlement {
    (lane, home.block, Settled { why: None, index: home.index, from_due_ms, what: What::Lost })
}

impl LossSettler<'_> {
    /// Settles entries as lost, in parts that fit a commit. Returns when all of them are durable.
    pub(super) fn settle(&self, lost: &[PlacedSettlement]) -> Result<(), StoreError> {
        let mut waiting = Vec::new();
        for part in lost.chunks(SETTLED_PART) {
            self.shared.figures.writable()?;
            let (reply, answer) = oneshot::channel();
            let request = Request::Settle { decisions: part.to_vec(), letters: Vec::new(), reply };
            self.requests.send(request).map_err(|_| self.gone())?;
            // All parts are sent before the first answer is awaited, so that they share a sync.
            waiting.push(answer);
        }
        for answer in waiting {
            answer.blocking_recv().map_err(|_| self.gone())??;
        }
        Ok(())
    }

    /// Entries of a lane that were put off, as settlements.
    pub(super) fn put_off(
        &self,
        lane: u32,
        is_meant: impl Fn(&DueKey, &Home) -> bool,
    ) -> Result<Vec<PlacedSettlement>, StoreError> {
        let mut found = Vec::new();
        let walked = self.shared.reader.due(lane, |due, _| {
            let home = Home { block: due.block, index: due.index };
            if is_meant(&due, &home) {
                found.push(decision(lane, home, Some(due.due_ms)));
            }
            std::ops::ControlFlow::Continue(())
        });
        walked.map_err(|error| self.shared.index_error(&error))?;
        Ok(found)
    }

    fn gone(&self) -> StoreError {
        self.shared.figures.writable().err().unwrap_or(StoreError::Closed)
    }
}
