//! Whether the system grants the threads that tidegate needs, found out before anything depends on them: the runtime ends
//! the process with a panic when it cannot start one of its own. And those that it keeps from then on, so that work which
//! may block goes on when the system grants no more.
//!
//! Must not know: what the threads are for.

use std::num::NonZero;
use std::sync::{Arc, RwLock};
use std::thread::{self, Builder};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::cli::exit::Failure;

/// Threads for calls that may block, kept for as long as the process runs. Without one at rest, and with no other to be
/// had, such a call would wait for ever.
const KEPT: usize = 4;
/// Beside one thread per processor and those that are kept: those of the store, its index and the log.
const BESIDE_WORKERS: usize = 16;
/// Threads for calls that may block end after this much rest: never, because the runtime does not tell those that are
/// kept from others.
const REST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Starts as many threads as are needed, all at the same time, and lets them end.
///
/// # Errors
/// [`Failure`] that names the count and the limits to raise.
pub(super) fn check() -> Result<(), Failure> {
    let needed = thread::available_parallelism().map_or(1, NonZero::get) + KEPT + BESIDE_WORKERS;
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

/// A runtime that has the threads which it keeps.
///
/// # Errors
/// What the system says.
pub(super) fn runtime() -> std::io::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_keep_alive(REST).build()?;
    let gate = Arc::new(RwLock::new(()));
    // As above: a thread that has ended its work would do that of the next one as well.
    let closed = gate.write();
    for _ in 0..KEPT {
        let gate = Arc::clone(&gate);
        drop(runtime.spawn_blocking(move || drop(gate.read())));
    }
    drop(closed);
    Ok(runtime)
}
