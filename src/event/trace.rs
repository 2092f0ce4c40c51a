//! W3C Trace Context: which headers say what trace a call belongs to, and when they are valid.
//!
//! tidegate takes part in a trace as a proxy that passes it through (Trace Context, 3.2 and 4): the two headers go out
//! with each attempt as they came in. A fresh parent id would name a span that nobody reports, so that `traces` puts in
//! the ids of those spans alone that it reports itself.
//!
//! Must not know: who sends the headers, where they are kept.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The trace and the span that a call belongs to.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What tracing systems add to it.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The length of a `traceparent` of version 00, in bytes; later versions only append to it.
const PARENT_BYTES: usize = 55;
/// A longer `tracestate`, all its fields together, is not passed on: this much has to be.
const MAX_STATE_BYTES: usize = 512;
/// Most members of a `tracestate`, by the standard.
const MAX_STATE_MEMBERS: usize = 32;
/// Longest key and longest value of a member, in bytes.
const MAX_MEMBER_PART_BYTES: usize = 256;

/// A valid `traceparent` with its `tracestate`, if that is valid too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceContext {
    parent: HeaderValue,
    state: Option<HeaderValue>,
}

impl TraceContext {
    /// What these headers say; `None` without a valid `traceparent`, or with several.
    #[must_use]
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = parents.next().filter(|parent| is_parent(parent.as_bytes()))?;
        // Which of several is meant cannot be known: the trace begins anew.
        if parents.next().is_some() {
            return None;
        }
        Some(Self { parent: parent.clone(), state: state_of(headers) })
    }

    /// The `traceparent` of headers that were settled.
    #[must_use]
    pub(crate) fn parent_in(headers: &HeaderMap) -> Option<&str> {
        headers.get(TRACEPARENT).and_then(|parent| parent.to_str().ok())
    }

    /// Whether this header says what trace a call belongs to.
    #[must_use]
    pub(crate) fn is_name(name: &HeaderName) -> bool {
        *name == TRACEPARENT || *name == TRACESTATE
    }

    /// Leaves in an event's headers its own valid context, else that of the request which brought it, else none.
    pub(crate) fn settle(headers: &mut HeaderMap, of_request: Option<&Self>) {
        let own = Self::of(headers);
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
        let Some(Self { parent, state }) = own.as_ref().or(of_request) else { return };
        headers.insert(TRACEPARENT, parent.clone());
        if let Some(state) = state {
            headers.insert(TRACESTATE, state.clone());
        }
    }
}

/// Whether this is `version-trace-parent-flags`, in lower-case hexadecimal digits.
fn is_parent(text: &[u8]) -> bool {
    let Some((known, more)) = text.split_at_checked(PARENT_BYTES) else { return false };
    let mut parts = known.split(|byte| *byte == b'-');
    let mut next = |digits: usize| {
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        parts.next().filter(|part| part.len() == digits && part.iter().all(is_hex))
    };
    let (Some(version), Some(trace), Some(parent), Some(_flags)) = (next(2), next(32), next(16), next(2))
    else {
        return false;
    };
    let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    let is_ended = match version {
        b"00" => more.is_empty(),
        // The standard forbids this version, and ids of zeros alone.
        b"ff" => false,
        _ => more.first().is_none_or(|byte| *byte == b'-'),
    };
    is_ended && !is_zero(trace) && !is_zero(parent)
}

/// All `tracestate` fields as one; `None` if one member is wrong.
fn state_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let fields: Vec<&[u8]> = headers.get_all(TRACESTATE).iter().map(HeaderValue::as_bytes).collect();
    // Several fields of one name are one list (RFC 9110, 5.3).
    let whole = fields.join(&b","[..]);
    if whole.len() > MAX_STATE_BYTES {
        return None;
    }
    let mut keys = Vec::new();
    for member in
        whole.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
    {
        // One wrong member makes all of it invalid: a part of a `tracestate` is not passed on.
        let at = member.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (member.get(..at)?, member.get(at + 1..)?);
        if !is_state_key(key) || !is_state_value(value) || keys.contains(&key) {
            return None;
        }
        keys.push(key);
    }
    let is_some = (1..=MAX_STATE_MEMBERS).contains(&keys.len());
    is_some.then(|| HeaderValue::from_bytes(&whole).ok()).flatten()
}

fn is_state_key(key: &[u8]) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_other = |byte: &u8| is_first(byte) || b"_-*/@".contains(byte);
    key.len() <= MAX_MEMBER_PART_BYTES && key.first().is_some_and(is_first) && key.iter().all(is_other)
}

fn is_state_value(value: &[u8]) -> bool {
    let is_taken = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b'=';
    (1..=MAX_MEMBER_PART_BYTES).contains(&value.len()) && value.iter().all(is_taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::try_from(*value).expect("a value"))
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn a_parent_is_valid_as_the_recommendation_says() {
        let later = format!("cc{}-what-the-future-will-be-like", &PARENT[2..]);
        for valid in [PARENT, OTHER, &later, &format!("01{}", &PARENT[2..])] {
            assert!(is_parent(valid.as_bytes()), "{valid}");
        }
        for wrong in [
            "",
            "00-1-2-01",
            &PARENT[..54],
            &format!("{PARENT}-00"),
            &format!("{PARENT}0"),
            &format!("ff{}", &PARENT[2..]),
            &format!("cc{}.x", &PARENT[2..]),
            &PARENT.to_uppercase(),
            &PARENT.replace('-', "_"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(!is_parent(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(TraceContext::of(&headers(&[("traceparent", PARENT), ("traceparent", OTHER)])), None);
    }

    #[test]
    fn a_state_is_passed_on_whole_or_not_at_all_and_never_without_a_parent() {
        let state = |text: &str| {
            let context = TraceContext::of(&headers(&[("traceparent", PARENT), ("tracestate", text)]));
            context.expect("a parent").state.map(|state| state.to_str().expect("text").to_owned())
        };
        let many = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        let longest = format!("k={}", "v".repeat(256));
        for valid in ["a=1", "a=1,b@v=x y", "a=1, ,b=2", "0a_-*/@=~", &many(32), &longest] {
            assert_eq!(state(valid).as_deref(), Some(valid));
        }
        let long = format!("{longest},b={}", "v".repeat(256));
        let longer = format!("{longest}v");
        for wrong in
            ["", "a", "a=", "=1", "A=1", "a=1=2", "a=1,a=2", "_a=1", "a=\u{e4}", &many(33), &long, &longer]
        {
            assert_eq!(state(wrong), None, "{wrong}");
        }
        let several = headers(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]);
        assert_eq!(TraceContext::of(&several).expect("valid").state.expect("valid"), "a=1,b=2");
        assert_eq!(TraceContext::of(&headers(&[("tracestate", "a=1")])), None);
    }

    #[test]
    fn an_events_own_context_goes_before_that_of_its_request() {
        let request = TraceContext::of(&headers(&[("traceparent", OTHER), ("tracestate", "r=1")]));
        let settled = |fields: &[(&'static str, &str)], request: Option<&TraceContext>| {
            let mut own = headers(fields);
            TraceContext::settle(&mut own, request);
            own
        };
        let given = headers(&[("traceparent", OTHER), ("tracestate", "r=1")]);
        assert_eq!(settled(&[], request.as_ref()), given);
        assert_eq!(settled(&[("traceparent", "00-1-2-01"), ("tracestate", "x=1")], request.as_ref()), given);
        let own = settled(&[("traceparent", PARENT)], request.as_ref());
        assert_eq!(own, headers(&[("traceparent", PARENT)]), "no mixture of both");
        assert_eq!(settled(&[("traceparent", "00-1-2-01"), ("tracestate", "x=1")], None), HeaderMap::new());
        assert_eq!(TraceContext::parent_in(&own), Some(PARENT));
    }
}
