//! Which requests the door for events takes, for callers that have to know it before a route sees them.
//!
//! Must not know: connections, deadlines.

use http::{Request, Uri};

use crate::ingest::http::reads_lines;

/// Path at which events are handed in; each can be looked up below it.
const EVENTS: &str = "/v1/events";

/// Whether the door for streamed lines will read the body, which it does with a deadline of its own. Nothing
/// less exact: a body that only claims to be streamed would be waited for without end.
#[must_use]
pub(crate) fn is_stream<B>(request: &Request<B>) -> bool {
    request.uri().path() == EVENTS && reads_lines(request.headers())
}

/// Whether a request hands in events or asks for one.
#[must_use]
pub(crate) fn is_for_events(uri: &Uri) -> bool {
    let rest = uri.path().strip_prefix(EVENTS);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_for_events_is_told_by_its_path() {
        for path in ["/v1/events", "/v1/events/x", "/v1/events?a"] {
            assert!(is_for_events(&path.parse().expect("uri")), "{path}");
        }
        for path in
            ["/v1/eventsource", "/livez", "/metrics", "/v1/policies", "/authoring/throttlingConfigs", "*"]
        {
            assert!(!is_for_events(&path.parse().expect("uri")), "{path}");
        }
    }
}
