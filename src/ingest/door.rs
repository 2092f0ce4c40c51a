//! Which requests the door for events takes, for callers that have to know it before a route sees them.
//!
//! Must not know: connections, deadlines.

use http::{Method, Request, Uri};

use crate::ingest::http::reads_lines;

/// Path at which events are handed in; each can be looked up below it.
const EVENTS: &str = "/v1/events";
/// Path at which ends are followed, by any number of clients that wait.
const OUTCOMES: &str = "/v1/outcomes";

/// Whether the door for streamed lines will read the body, which it does with a deadline of its own. Nothing
/// less exact: a body that only claims to be streamed would be waited for without end.
#[must_use]
pub(crate) fn is_stream<B>(request: &Request<B>) -> bool {
    request.uri().path() == EVENTS && reads_lines(request.headers())
}

/// Whether a request hands in events, asks for one, or follows their ends. An operator's verbs, such as a cancellation, do none
/// of these.
#[must_use]
pub(crate) fn is_for_events(method: &Method, uri: &Uri) -> bool {
    if uri.path() == OUTCOMES {
        return true;
    }
    match uri.path().strip_prefix(EVENTS) {
        Some("") => true,
        // No id has a colon in it: what follows one is a verb.
        Some(rest) => rest.starts_with('/') && method != Method::DELETE && !rest.contains(':'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_for_events_is_told_by_its_path() {
        for path in
            ["/v1/events", "/v1/events/x", "/v1/events?a", "/v1/outcomes", "/v1/outcomes?wait_seconds=60"]
        {
            assert!(is_for_events(&Method::GET, &path.parse().expect("uri")), "{path}");
            assert!(is_for_events(&Method::POST, &path.parse().expect("uri")), "{path}");
        }
        for path in [
            "/v1/eventsource",
            "/v1/outcomesx",
            "/livez",
            "/metrics",
            "/v1/policies",
            "/authoring/throttlingConfigs",
            "*",
        ] {
            assert!(!is_for_events(&Method::GET, &path.parse().expect("uri")), "{path}");
        }
        for (method, path) in [
            (Method::DELETE, "/v1/events/x"),
            (Method::POST, "/v1/events/x:send-now"),
            (Method::POST, "/v1/events/x:delay?at=1"),
            (Method::POST, "/v1/events:cancel"),
        ] {
            assert!(!is_for_events(&method, &path.parse().expect("uri")), "{method} {path}");
        }
    }
}
