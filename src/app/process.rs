//! What the process asks of the system for itself.
//!
//! Must not know: what the process does.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tracing::warn;

/// Sees to it that no core dump of this process is written: it would hold bodies of events. The limit keeps files from
/// being written; the flag keeps also those helpers away to which some systems hand dumps regardless of the limit.
pub fn forbid_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let done = setrlimit(Resource::Core, none)
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable).map(drop));
    if let Err(error) = done {
        warn!(%error, "core dumps could not be forbidden");
    }
}
