//! Dispatch: what is sent next, and what follows an attempt.
//!
//! The [`Planner`](planner::Planner) decides and knows no I/O; the [`Service`] runs it over the queue, the limits and the
//! delivery in one task. The same planner runs under a virtual clock in the simulation tests.
//!
//! Must not know: sockets, files, dialects.

mod ahead;
mod buffer;
mod endpoints;
mod follows;
mod groups;
mod handle;
mod hold;
mod input;
mod lanes;
mod mix;
mod planner;
mod renewals;
mod retry;
mod ruled;
mod rules;
mod service;
mod shares;
mod shortage_hold;
mod siblings;
mod slowdown;
mod stops;
mod suspects;
#[cfg(test)]
mod tests;
mod turns;
mod unread;
mod weights;
mod windows;

pub(crate) use endpoints::{Endpoint, Endpoints, EndpointsInForce};
pub(crate) use handle::{DispatchHandle, StateUsageFailed, UsageStatement};
pub(crate) use hold::{BreakerPolicy, Hold, HoldReason};
#[cfg(test)]
pub(crate) use input::{AttemptReport, Effect, Input, SettledEntry, Ticket};
pub(crate) use input::{PlannerFigures, PlannerOptions};
pub(crate) use mix::DueShare;
#[cfg(test)]
pub(crate) use planner::Planner;
pub(crate) use planner::report::{BlockedLimit, LaneReport};
pub(crate) use retry::RetryPolicy;
pub(crate) use rules::{RetryRules, StatusRule, StatusRules};
pub(crate) use service::{DispatcherParts, Service};
pub(crate) use slowdown::{SlowRate, SlowReason};
pub(crate) use stops::{Stop, StopTarget, Stops};
