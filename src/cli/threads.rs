//! Whether the system grants the threads that tidegate needs, found out before anything depends on them: the runtime ends
//! the process with a panic when it cannot start one of its own.
//!
//! Must not know: what the threads are for.

use std::num::NonZero;
use std::sync::RwLock;
use std::thread::{self, Builder};

use crate::cli::exit::Failure;

/// Beside one thread per processor: those of the store, of the log and of calls that may block.
const BESIDE_WORKERS: usize = 8;

/// Starts as many threads as are needed, all at the same time, and lets them end.
///
/// # Errors
/// [`Failure`] that names the count and the limits to raise.
pub(super) fn check() -> Result<(), Failure> {
    let needed = thread::available_parallelism().map_or(1, NonZero::get) + BESIDE_WORKERS;
    let gate = RwLock::new(());
    thread::scope(|scope| {
        // Each waits at the gate until all are started: the limit is on threads that exist at a time.
        let closed = gate.write();
        let wait = || drop(gate.read());
        let started = (0..needed).try_for_each(|_| Builder::new().spawn_scoped(scope, wait).map(drop));
        drop(closed);
        started.map_err(|error| {
            Failure::new(format!(
                "cannot start {needed} threads: {error}; raise the limit on processes and threads (ulimit -u, \
                 TasksMax= of the unit, pids.max of the cgroup)"
            ))
        })
    })
}
