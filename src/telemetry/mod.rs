//! The vocabulary of metrics and logs: every name with its unit and help, one struct per thing that happens,
//! the recorder that renders them, how log lines look, and the output that they leave by.
//!
//! Must not know: decisions. It counts what others decided. Labels are bounded sets (policy ids, outcomes,
//! causes), never a URL, a host or an event id.

mod ambiguous;
mod answers;
mod attempts;
mod changes;
mod connections;
mod defects;
mod descriptors;
mod events;
mod gauges;
mod infos;
mod journald;
mod kept;
mod lanes;
mod letters;
pub(crate) mod logging;
pub mod names;
pub(crate) mod output;
mod panics;
mod policies;
mod printable;
mod recorder;
mod requests;
mod series;
mod slowed;
mod spans;
#[cfg(test)]
pub(crate) mod testing;
mod tokens;
mod zero;

pub(crate) use ambiguous::CallAmbiguous;
pub(crate) use answers::{AnswerAmended, AnswerTimeIgnored};
pub(crate) use attempts::AttemptsNoted;
pub(crate) use changes::EventsChanged;
pub(crate) use connections::{ConnectionsClosed, ConnectionsOpen, ConnectionsRefused};
pub(crate) use defects::Defect;
pub(crate) use defects::{defect, found as defect_found};
pub(crate) use descriptors::{DescriptorShortage, DescriptorsAllotted};
pub use events::{AttemptFinished, EntryCompleted, EventSource, EventsEnqueued, QueueWaited};
pub(crate) use events::{
    ClockAnomaly, ConfigReloaded, DispatchLag, EventEnded, EventsRecovered, EventsRejected, LifeSettled,
    LimitViolated, LimiterWorked, NameAsked, NameLookedUp, RetryScheduled, StoreFailed, StoreOperation,
    policy_list, policy_names,
};
pub(crate) use gauges::{Gauges, PolicyGauges, Snapshot};
pub(crate) use infos::{PolicyInfo, name_policies};
pub use lanes::LaneSeries;
pub(crate) use letters::{LettersRemoved, OutcomesPosted};
pub(crate) use panics::count_panics;
pub use policies::set_policies;
pub(crate) use policies::{max_policies, series_of};
pub(crate) use printable::{printable, printable_lines};
pub use recorder::install;
pub(crate) use recorder::{MetricsHandle, RecorderError};
pub(crate) use requests::RequestAnswered;
pub(crate) use slowed::RateHalved;
pub(crate) use spans::TraceSpans;
pub(crate) use tokens::{TokenAsked, TokensMissing};
pub(crate) use zero::{EndpointWords, endpoints_may_say};
