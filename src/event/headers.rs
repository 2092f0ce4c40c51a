//! Which header names of an event are tidegate's own or the connection's, and therefore refused at the doors.
//!
//! Must not know: who asks.

use http::HeaderName;

/// Names that belong to one connection (RFC 9110 7.6.1), to the framing of the message, or to tidegate.
/// All lower case, as [`HeaderName::as_str`] gives them.
const REFUSED: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// Whole families: `proxy-authorization`, `proxy-connection`, …; `tidegate-attempt`, ….
const REFUSED_PREFIXES: [&str; 2] = ["proxy-", "tidegate-"];

/// Whether an event may not carry this header: it would change how the outgoing message is framed or routed,
/// or pass for one of tidegate's own.
#[must_use]
pub(crate) fn forbidden_header(name: &HeaderName) -> bool {
    let name = name.as_str();
    REFUSED.contains(&name) || REFUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbidden(name: &str) -> bool {
        forbidden_header(&name.parse().expect(name))
    }

    #[test]
    fn framing_routing_and_own_names_are_refused_in_any_case() {
        for name in REFUSED {
            assert!(forbidden(name), "{name}");
            assert!(forbidden(&name.to_uppercase()), "{name}");
        }
        for name in ["Proxy-Authorization", "proxy-connection", "tidegate-attempt", "Tidegate-Anything"] {
            assert!(forbidden(name), "{name}");
        }
    }

    #[test]
    fn ordinary_names_pass() {
        for name in
            ["authorization", "content-type", "x-api-key", "traceparent", "webhook-idle", "proxy", "cookie"]
        {
            assert!(!forbidden(name), "{name}");
        }
    }
}
