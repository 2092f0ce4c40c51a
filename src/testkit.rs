//! What the integration tests and the benches take from the inside of the program: a clock that they set, seams to
//! replace, the parts that they measure. It is there with the feature `testkit` alone, which the package's dependency
//! on itself switches on for them; the program is built without.
//!
//! Each module is a part of the room of its name. What is `pub` in a room is named here, or belongs to something that
//! is; everything else is for this crate.
//!
//! Must not know: how it is used. It owns nothing.

/// Building and running all of it.
pub mod app {
    pub use crate::app::{App, Running, Seams, init_logging};
}

/// Time, and clocks that a test sets.
pub mod clock {
    pub use crate::clock::{Clock, Script, Timestamp};
}

/// File, environment and flags to one checked value.
pub mod config {
    pub use crate::config::{Config, DEFAULTS, File, Flag, Inputs};
}

/// One call over the network: what is asked for, and who makes it.
pub mod delivery {
    pub use crate::delivery::{Call, Deliver, DeliveryOptions, EgressGuard, HttpDeliverer, Readiness};
}

/// The nouns of an event's way: event, lane, outcome, settlement.
pub mod event {
    pub use crate::event::{
        CanonicalUrl, Event, EventId, Labels, Lane, LaneKey, Outcome, PolicyId, PolicyRef, Priority, Reason,
        Settlement, Tries,
    };
}

/// Permits: what may start now, and if not, when.
pub mod limit {
    pub use crate::limit::{Binding, Decision, Gate, Rules};
}

/// What the dialects hear in the answers of endpoints.
pub mod manage {
    pub use crate::manage::hears;
}

/// The chapters of the manual, as they are compiled in.
pub mod manual {
    pub use crate::manual::{CHAPTERS, Chapter, chapter};
}

/// Limit configurations, and the book that they stand in.
pub mod policy {
    pub use crate::policy::{
        Book, BookError, Clause, Family, Limits, Origin, Pace, Pause, Period, Policies, Quota, Scope, Spec,
        UrlPattern, Window,
    };
}

/// The codes of errors, with their statuses and titles.
pub mod problem {
    pub use crate::problem::codes;
}

/// The store, its parts and its models.
pub mod store {
    pub use crate::store::{
        Appended, DirectoryError, DocumentStore, EntryStore, Expect, Lookup, NewEntry, ReadLimit,
        SettleRequest, StoreError, StoredEntry, Usage, UsageFound, UsageStore, Version, record,
    };

    /// What the store could not establish.
    pub mod doubts {
        pub use crate::store::doubts::{DoubtKind, NewDoubt};
    }

    /// The store in a data directory: journal and index.
    pub mod embedded {
        pub use crate::store::embedded::{EmbeddedOptions, EmbeddedStore, KeyRing, Keys};

        /// The files of the journal, below the store.
        pub mod journal {
            pub use crate::store::embedded::journal::{
                BlockReader, Disk, Frame, FrameGroup, Journal, JournalOptions, MAX_BLOCK_ENTRIES, NewBlock,
                OsDisk, Position, Scan, Settled, SettledRun, What, scan,
            };
        }
    }
}

/// Metrics, and the names of all of them.
pub mod telemetry {
    pub use crate::telemetry::{
        AttemptFinished, EntryCompleted, EventSource, EventsEnqueued, LaneSeries, QueueWaited, install,
        names, set_policies,
    };
}
