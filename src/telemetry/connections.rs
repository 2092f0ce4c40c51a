//! What happens to the connections of the HTTP doors.

use metrics::{counter, gauge};

use crate::telemetry::names;

/// How many connections are open at the doors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionsOpen {
    /// Connections that serve every request, events included.
    pub ordinary: usize,
    /// Connections of the reserve, which serves everything but events.
    pub reserved: usize,
}

impl ConnectionsOpen {
    /// Shows both figures as gauges, by class.
    pub(crate) fn emit(&self) {
        // A few thousand at most, so the conversions are exact.
        let figure = |count: usize| u32::try_from(count).map_or(f64::MAX, f64::from);
        gauge!(names::CONNECTIONS.name, "class" => "ordinary").set(figure(self.ordinary));
        gauge!(names::CONNECTIONS.name, "class" => "reserved").set(figure(self.reserved));
    }
}

/// Connections that ended for one cause.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionsClosed {
    /// `done`, `idle`, `evicted`, `slow_head`, `slow_body`, `slow_reader`, `broken` or `stopping`.
    pub cause: &'static str,
    /// How many; zero shows the counter.
    pub count: u64,
}

impl ConnectionsClosed {
    /// Adds them to the counter of their cause.
    pub(crate) fn emit(&self) {
        counter!(names::CONNECTIONS_CLOSED.name, "cause" => self.cause).increment(self.count);
    }
}

/// Connections or their requests were refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionsRefused {
    /// The cause: `peer`, `full`, `reserved` or `evicted`.
    pub cause: &'static str,
    /// How many; zero shows the counter.
    pub count: u64,
}

impl ConnectionsRefused {
    /// Adds them to the counter of their cause.
    pub(crate) fn emit(&self) {
        counter!(names::CONNECTIONS_REFUSED.name, "cause" => self.cause).increment(self.count);
    }
}
