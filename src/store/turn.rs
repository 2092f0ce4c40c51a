//! The turn of a batch that waits for the writer: until the writer has taken it, its caller may withdraw it.
//!
//! Both sides decide by one compare-and-swap, so that a withdrawn batch is never written and a batch that was taken
//! is never reported as not kept.
//!
//! Must not know: what is in the batch, how long its caller waits.

use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// Shared by the caller of an append and the writer.
#[derive(Debug, Default)]
pub struct AppendTurn(AtomicU8);

impl AppendTurn {
    /// The writer takes the batch, or a further part of one that it has. False when it was withdrawn: nothing of
    /// it may be written.
    pub fn take(&self) -> bool {
        // A batch in several parts is taken several times: only a withdrawal refuses.
        self.0.compare_exchange(WAITING, TAKEN, Ordering::AcqRel, Ordering::Acquire) != Err(WITHDRAWN)
    }

    /// The caller withdraws the batch. False when the writer has it already: it may become durable.
    pub fn withdraw(&self) -> bool {
        self.0.compare_exchange(WAITING, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire) != Err(TAKEN)
    }

    /// Whether the caller has withdrawn the batch, finally.
    pub fn is_withdrawn(&self) -> bool {
        self.0.load(Ordering::Acquire) == WITHDRAWN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_either_taken_or_withdrawn() {
        let taken = AppendTurn::default();
        assert!(taken.take() && taken.take(), "its further parts as well");
        assert!(!taken.withdraw() && !taken.is_withdrawn());
        let withdrawn = AppendTurn::default();
        assert!(withdrawn.withdraw() && withdrawn.is_withdrawn());
        assert!(!withdrawn.take());
    }

    #[test]
    fn of_two_at_once_exactly_one_wins() {
        for _ in 0..200 {
            let turn = AppendTurn::default();
            let (taken, withdrawn) = std::thread::scope(|scope| {
                let writer = scope.spawn(|| turn.take());
                let caller = scope.spawn(|| turn.withdraw());
                (writer.join().expect("no panic"), caller.join().expect("no panic"))
            });
            assert_ne!(taken, withdrawn);
        }
    }
}
