//! The vocabulary of metrics and logs: every name with its unit and help, one struct per thing that happens,
//! the recorder that renders them, how log lines look, and the output that they leave by.
//!
//! Must not know: decisions. It counts what others decided. Labels are bounded sets (policy ids, outcomes,
//! causes), never a URL, a host or an event id.

mod connections;
mod defects;
mod descriptors;
mod events;
mod gauges;
mod journald;
mod kept;
pub mod logging;
pub mod names;
pub mod output;
mod panics;
mod policies;
mod printable;
mod recorder;
mod requests;
mod series;
mod spans;
#[cfg(test)]
pub(crate) mod testing;
mod zero;

pub use connections::{ConnectionsClosed, ConnectionsOpen, ConnectionsRefused};
pub use defects::Defect;
pub(crate) use defects::{defect, found as defect_found};
pub use descriptors::{DescriptorsAllotted, Shortage};
pub use events::{
    AttemptFinished, ClockAnomaly, ConfigReloaded, DispatchLag, EntryCompleted, EventsEnqueued,
    EventsRecovered, EventsRejected, LifeSettled, LimitViolated, LimiterWorked, NameAsked, NameLookedUp,
    QueueWaited, RetryScheduled, Source, StoreFailed, StoreOperation, policy_list, policy_names,
};
pub use gauges::{Gauges, PolicyGauges, Snapshot};
pub use panics::count_panics;
pub use policies::{max_policies, series_of, set_policies};
pub use printable::{printable, printable_lines};
pub use recorder::{MetricsHandle, RecorderError, install};
pub use requests::RequestAnswered;
pub use spans::TraceSpans;
pub use zero::{EndpointWords, endpoints_may_say};
