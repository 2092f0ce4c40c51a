//! Events and entries: the HTTP call that a producer hands in, and the same call at rest in the queue.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::clock::Timestamp;
use crate::event::{CanonicalUrl, EventId, Labels, LaneKey, Redriven, Tries};

/// One HTTP call, checked at the door.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// The verb of the call, in capitals.
    pub method: Method,
    /// Where it goes: the one form that is matched, checked and sent.
    pub url: CanonicalUrl,
    /// The producer's headers, hop-by-hop ones already refused.
    pub headers: HeaderMap,
    /// The body as it will be sent.
    pub body: Bytes,
    /// The labels by which policies match and limits count.
    pub labels: Labels,
    /// Not to be sent before; `None` means at once.
    pub due_at: Option<Timestamp>,
    /// `due_at` is a date that was given while the wall clock was in doubt: no correction moves it, and it is not sent
    /// before the doubt has ended.
    pub is_dated: bool,
    /// No attempt starts at or after this moment.
    pub expires_at: Timestamp,
    /// What is kept of its redrives; `None` for an event that never was a dead letter.
    pub redriven: Option<Box<Redriven>>,
}

impl Event {
    /// The id by which people and endpoints know the event whose entry has the id `entry`.
    #[must_use]
    pub fn name(&self, entry: EventId) -> EventId {
        self.redriven
            .as_ref()
            .filter(|redriven| !redriven.is_renamed)
            .map_or(entry, |redriven| redriven.origin)
    }
}

/// Bodies and header values stay out of logs: only their sizes are shown.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .field("labels", &self.labels)
            .field("due_at", &self.due_at)
            .field("is_dated", &self.is_dated)
            .field("expires_at", &self.expires_at)
            .field("redriven", &self.redriven)
            .finish()
    }
}

/// An event at rest, as the dispatcher takes it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The id under which it was accepted. After a redrive the event is known by another one: see [`Event::name`].
    pub id: EventId,
    /// The lane in which it stands.
    pub lane: LaneKey,
    /// Tries already made and recorded; those that a busy endpoint put off, or a shortage of ours, are not counted.
    pub tries: Tries,
    /// The moment for which it was put off, by its producer or by a retry; `None` in the lane's plain order.
    pub due_at: Option<Timestamp>,
    /// The call to make, with the end of its life.
    pub event: Event,
}

impl Entry {
    /// The id by which people and endpoints know the event, the same for every attempt.
    #[must_use]
    pub(crate) fn name(&self) -> EventId {
        self.event.name(self.id)
    }
}
