//! The scrub: a thread that reads what waits at a bounded rate, so that damage is found before it is needed. At most
//! one pass each hour over the blocks that hold something, in order; what is damaged, or cannot be read, is met as in
//! any other read, but entries that may have been handed out are left to their holder.
//!
//! Must not know: how blocks are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::fetch::Unreadable;
use super::ids::Home;
use super::lost::decision;
use super::reads::Reads;
use crate::store::StoreError;
use crate::store::embedded::journal::Position;

/// From the end of one pass to the begin of the next.
const PAUSE: Duration = Duration::from_secs(3600);
/// Blocks that are looked up at a time: few enough to cost no memory.
const BLOCKS_AT_ONCE: usize = 16_384;
/// The thread sleeps once its reads have earned a sleep of this length.
const SHORTEST_SLEEP: Duration = Duration::from_millis(50);
/// What a block costs beside its bytes.
const BLOCK_BYTES: u64 = 4096;

/// What the scrub thread owns.
pub(super) struct Scrub {
    pub reads: Reads,
    /// 0: only when it is asked for.
    pub bytes_per_second: u64,
    /// The segment that is being written: its blocks have just been made.
    pub active: Arc<AtomicU32>,
}

/// The store is being closed: the pass ended early and the thread ends as well.
struct Stopped;

impl Scrub {
    /// Runs until `asked` is closed. A request for a pass is answered when that pass has ended.
    pub(super) fn run(self, asked: &Receiver<oneshot::Sender<()>>) {
        let mut waiting = Vec::new();
        loop {
            if self.bytes_per_second > 0 || !waiting.is_empty() {
                match self.pass(asked, &mut waiting) {
                    Ok(Ok(())) => {}
                    // An error of the index: every other read meets and reports it as well.
                    Ok(Err(error)) => tracing::warn!(%error, "the scrub of waiting events ended early"),
                    Err(Stopped) => return,
                }
            }
            for done in waiting.drain(..) {
                // The caller may have gone away.
                let _: Result<(), ()> = oneshot::Sender::send(done, ());
            }
            match asked.recv_timeout(PAUSE) {
                Ok(done) => waiting.push(done),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn pass(
        &self,
        asked: &Receiver<oneshot::Sender<()>>,
        waiting: &mut Vec<oneshot::Sender<()>>,
    ) -> Result<Result<(), StoreError>, Stopped> {
        let shared = &self.reads.shared;
        let (mut after, mut earned) = (Position::default(), Duration::ZERO);
        loop {
            let found = match shared.reader.blocks_after(after, BLOCKS_AT_ONCE) {
                Ok(found) => found,
                Err(error) => return Ok(Err(self.reads.shared.index_error(&error))),
            };
            let active = self.active.load(Ordering::Acquire);
            let Some((last, _)) = found.last().copied() else { break };
            for (at, lane) in found.into_iter().filter(|(at, _)| at.segment < active) {
                if shared.figures.closed.load(Ordering::Acquire) {
                    return Err(Stopped);
                }
                let bytes = match self.look_at(lane, at) {
                    Ok(bytes) => bytes,
                    Err(error) => return Ok(Err(error)),
                };
                earned += self.time_for(bytes);
                if earned >= SHORTEST_SLEEP {
                    match asked.recv_timeout(std::mem::take(&mut earned)) {
                        Ok(done) => waiting.push(done),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return Err(Stopped),
                    }
                }
            }
            if last.segment >= active {
                break;
            }
            after = last;
        }
        self.reads.fetcher().end_settled_doubts();
        Ok(Ok(()))
    }

    fn time_for(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.max(1));
        let nanos = if self.bytes_per_second == 0 { 0 } else { nanos };
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Reads one block; returns how many bytes that took.
    fn look_at(&self, lane: u32, at: Position) -> Result<u64, StoreError> {
        let reads = &self.reads;
        if reads.shared.damaged.is_closed(at) || reads.shared.cache.holds(at) {
            // Reads get sound bytes from memory, or the damage is known.
            return Ok(0);
        }
        match reads.fetcher().block_from_disk(lane, at) {
            Ok(block) => return Ok(block.raw_bytes() as u64 + BLOCK_BYTES),
            Err(Unreadable::Failed(_) | Unreadable::Settled) => return Ok(BLOCK_BYTES),
            Err(Unreadable::Lost) => {}
        }
        // The block is declared: from now on nothing more of it is handed out.
        let handed_out = reads.shared.damaged.handed_out(lane);
        let now_ms = reads.shared.clock.now().as_millis();
        let is_free = |due_ms: u64| due_ms > now_ms && !handed_out.may_have_due(due_ms);
        let mut lost = reads.losses().put_off(lane, |due, _| due.block == at && is_free(due.due_ms))?;
        let row = reads.shared.reader.block(lane, at).map_err(|error| reads.shared.index_error(&error))?;
        let homes = (0..=u8::MAX).map(|index| Home { block: at, index });
        let ready = homes.filter(|home| row.is_some_and(|row| row.is_ready(home.index)));
        let ready = ready.filter(|home| !handed_out.may_have_plain(*home));
        lost.extend(ready.map(|home| decision(lane, home, None)));
        reads.losses().settle(&lost)?;
        Ok(BLOCK_BYTES)
    }
}
