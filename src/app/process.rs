//! What the process asks of the system for itself.
//!
//! Must not know: what the process does.

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask};
use tracing::warn;

/// Keeps bodies of events with this process. Every file is made private, and no core dump is written: the limit keeps
/// files from being written, the flag also those helpers away to which some systems hand dumps regardless of the limit.
pub(crate) fn keep_private() {
    umask(Mode::RWXG | Mode::RWXO);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let done = setrlimit(Resource::Core, none)
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable).map(drop));
    if let Err(error) = done {
        warn!(%error, "core dumps could not be forbidden");
    }
}
