//! The HTTP method of a call: one rule for events, policies and questions about calls.
//!
//! Must not know: where the text stands, to whom the error goes.

use http::Method;

/// Longest name of a method, in bytes.
const MAX_BYTES: usize = 32;

/// A text that is no method by which an event can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an HTTP method such as GET, POST, PUT, PATCH or DELETE")]
pub(crate) struct NoMethod;

/// Reads the name of a method in either case. CONNECT is refused: it opens a tunnel and calls nothing.
///
/// # Errors
/// [`NoMethod`] when it is CONNECT, is no token of HTTP, or has more than 32 bytes.
pub(crate) fn parse_method(text: &str) -> Result<Method, NoMethod> {
    // HTTP has no bound for it; without one an event could carry any amount of text here.
    if text.len() > MAX_BYTES {
        return Err(NoMethod);
    }
    let method = Method::from_bytes(text.to_ascii_uppercase().as_bytes()).map_err(|_| NoMethod)?;
    if method == Method::CONNECT { Err(NoMethod) } else { Ok(method) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_read_in_either_case_and_connect_is_none() {
        assert_eq!(parse_method("post"), Ok(Method::POST));
        assert_eq!(parse_method("PurGe").map(|method| method.to_string()), Ok("PURGE".to_owned()));
        assert_eq!(parse_method(&"A".repeat(MAX_BYTES)).map(|method| method.as_str().len()), Ok(MAX_BYTES));
        for text in ["", "CONNECT", "connect", "A B", "GÉT", &"A".repeat(MAX_BYTES + 1)] {
            assert_eq!(parse_method(text), Err(NoMethod), "{text:?}");
        }
    }
}
