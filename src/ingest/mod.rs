//! The doors for events: HTTP and pipes. An event is read once, checked once, made durable, then answered for.
//!
//! ```text
//! http (one, list) ─┐   cloudevents: attributes to a call
//! ndjson ── batch ──┼─> decode ─> intake: egress, route, trial, queue.accept ─> answer
//! stdin  ── batch ──┘
//! ```
//!
//! Must not know: what happens behind the queue, who listens, what signals mean.

mod accepted;
mod answer;
mod asked;
mod batch;
mod cloudevents;
mod decode;
mod diagnose;
mod digest;
mod doc;
mod door;
mod ended;
mod http;
mod intake;
mod lines;
mod ndjson;
mod problems;
mod prospects;
mod route;
pub(crate) mod stdin;
mod trial;
mod tried;
mod unmatched;
mod wire;

#[cfg(test)]
mod tests;

pub(crate) use answer::StateBody;
pub(crate) use asked::AskedCall;
pub(crate) use cloudevents::{Target, Targets};
pub(crate) use doc::api_doc;
pub(crate) use door::{is_for_events, is_stream};
pub(crate) use ended::{EndBody, no_event};
pub(crate) use http::{event_id, routes};
pub(crate) use intake::{Intake, IntakeParts};
pub(crate) use prospects::{AboutPolicies, Doomed, Refusals, UsageHeaders};
pub(crate) use route::{CallRouter, Defaults, EgressCheck, EndpointOf, NoRoute, Unmatched};
pub(crate) use tried::{AttemptBody, attempts, attempts_at};
