//! Which calls were under way when a process ended without a stop: by that an event is found that ends processes.
//!
//! - A process that follows an orderly stop marks nothing. One that follows another end marks each call before it starts.
//! - A mark costs one write that is not synced: it survives the end of the process, and no power cut, after which nobody
//!   is suspected.
//! - What cannot be read, or was left by another start of the machine, suspects nobody.
//!
//! Must not know: how suspects are tried, what becomes of them.

use crate::event::EventId;

/// In how many ends of a process in a row an event has to be under way, the last time alone among the suspected, until it
/// is set aside.
pub(crate) const ENDS_MAX: u8 = 3;

/// What an end of the process before left behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlightsFound {
    /// Calls are to be marked: the process before has ended without a stop.
    pub marks: bool,
    /// The process before marked nothing, so that any event that is older than this start may have been under way.
    pub any_was: bool,
    /// Entries whose calls were under way, each with how many ends in a row it was so.
    pub under_way: Vec<(EventId, u8)>,
    /// Entries that are not to be tried any more.
    pub set_aside: Vec<EventId>,
}

/// Where calls are marked. No method waits or fails: what cannot be written is as if it had not been asked for.
pub trait FlightMarks: Send + Sync + 'static {
    /// What the process before left behind.
    fn found(&self) -> FlightsFound;

    /// A call is about to start, of an entry that was under way in so many ends of a process in a row.
    fn begun(&self, entry: EventId, ends: u8);

    /// A call that goes on is suspected no longer.
    fn cleared(&self, entry: EventId);

    /// The call has ended, whatever came of it, or an entry that was set aside has reached its end.
    fn ended(&self, entry: EventId);

    /// The process has lasted: its end will be a first one.
    fn calm(&self);

    /// The process stops in good order.
    fn stopped(&self);
}
