//! A call that somebody asks about and does not hand in, with the labels that the door would find: its own ones, and those
//! that its request carries for all events.
//!
//! Must not know: who asks, how answers are written.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::clock::Clock;
use crate::event::{Call, CanonicalUrl, Event, Labels, Priority, TraceContext};
use crate::ingest::decode::{Decoded, Decoder, OfRequest};
use crate::ingest::route::CallRouter;
use crate::problem::{Problem, codes};

/// The header by which a request names the priority of those of its events that name none.
pub(crate) const PRIORITY_HEADER: &str = "tidegate-priority";

/// A call that is not handed in.
#[derive(Debug)]
pub(crate) struct AskedCall(Decoded);

impl AskedCall {
    /// The event that it would be; its labels are those that are known without looking into the call.
    pub(crate) const fn event(&self) -> &Event {
        &self.0.event
    }

    /// The priority that it would have.
    pub(crate) const fn priority(&self) -> Priority {
        self.0.priority
    }

    /// What can be read from it.
    pub(crate) fn call(&self) -> Call<'_> {
        self.0.call()
    }
}

impl CallRouter {
    /// What a request with these headers says about all of its events.
    ///
    /// # Errors
    /// The problem of a header that is a label of the events and cannot be read as one.
    pub(super) fn of_request(&self, headers: &HeaderMap) -> Result<OfRequest, Box<Problem>> {
        let carried = (self.carried)(headers)?;
        let trace = TraceContext::of(headers);
        let priority = priority(headers)?;
        if carried.is_empty() {
            return Ok(OfRequest { trace, labels: None, priority });
        }
        let labels = Labels::new(carried.into_iter().map(|(label, value)| (label.to_owned(), value)));
        let labels = labels.and_then(|labels| labels.or(self.defaults.labels.iter())).map_err(|error| {
            let detail =
                format!("a header of the request that is a label of its events breaks a rule: {error}");
            Box::new(Problem::of(codes::INVALID_HEADER, detail))
        })?;
        Ok(OfRequest { trace, labels: Some(Arc::new(labels)), priority })
    }

    /// An event as producers write it, that came with a request with these headers.
    ///
    /// # Errors
    /// The problem with which the door would refuse it before it looks for a lane.
    pub(crate) fn asked_event(
        &self,
        request: &HeaderMap,
        text: &Bytes,
        clock: &Clock,
    ) -> Result<AskedCall, Box<Problem>> {
        let mut decoder = Decoder::new(self.defaults.clone(), clock).within(self.of_request(request)?);
        decoder.decode(text, text, None).map(AskedCall)
    }

    /// A call without a body, that came with a request with these headers.
    ///
    /// # Errors
    /// The problem of a header of the request, or of labels that are too many together with its own ones.
    pub(crate) fn asked_call(
        &self,
        request: &HeaderMap,
        (method, url): (Method, CanonicalUrl),
        headers: HeaderMap,
        (own, priority): (Labels, Option<Priority>),
        clock: &Clock,
    ) -> Result<AskedCall, Box<Problem>> {
        let of_request = self.of_request(request)?;
        let priority = priority.unwrap_or(of_request.priority);
        let fallback = of_request.labels.unwrap_or_else(|| self.defaults.labels.clone());
        let labels = own.or(fallback.iter()).map_err(|error| {
            let detail =
                format!("its labels break a rule together with those that events have by default: {error}");
            Box::new(Problem::of(codes::INVALID_PARAMETER, detail).field("label.KEY", error.to_string()))
        })?;
        // As the door does with an event that names no life of its own.
        let expires_at = clock.now() + self.defaults.max_ttl;
        let body = Bytes::new();
        let event = Event {
            method,
            url,
            headers,
            body,
            labels,
            due_at: None,
            is_dated: false,
            expires_at,
            redriven: None,
        };
        Ok(AskedCall(Decoded { event, own, fallback, priority, dedup: None }))
    }
}

/// The priority that a request names for those of its events that name none.
fn priority(headers: &HeaderMap) -> Result<Priority, Box<Problem>> {
    let mut given = headers.get_all(PRIORITY_HEADER).iter();
    let Some(value) = given.next() else { return Ok(Priority::Normal) };
    let known = value.to_str().ok().and_then(Priority::parse).filter(|_| given.next().is_none());
    known.ok_or_else(|| {
        let detail = format!("the header {PRIORITY_HEADER} {}, once", Priority::RULE);
        Box::new(Problem::of(codes::INVALID_HEADER, detail))
    })
}
