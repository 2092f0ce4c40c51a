//! Trace and span ids, and the `traceparent` that carries them (W3C Trace Context).
//!
//! Must not know: what the spans are about.

use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::event::TraceContext;
use crate::telemetry::defect;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;
/// The flags that are passed on: sampled, and that the trace id is random. Others have to be sent as zero.
const KNOWN_FLAGS: u8 = 0b11;

/// One span of one trace, and the flags that it passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Context {
    /// Id of the trace; never zero.
    pub(super) trace: u128,
    /// Id of the span; never zero.
    pub(super) span: u64,
    pub(super) flags: u8,
}

impl Context {
    /// The span that an event's headers name.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = TraceContext::parent_in(headers)?;
        let mut parts = text.split('-').skip(1);
        let trace = u128::from_str_radix(parts.next()?, 16).ok()?;
        let span = u64::from_str_radix(parts.next()?, 16).ok()?;
        let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
        (trace != 0 && span != 0).then_some(Self { trace, span, flags: flags & KNOWN_FLAGS })
    }

    /// Whether the trace is to be recorded, as its beginning has decided.
    pub(super) fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Another span of the same trace.
    pub(super) fn with_span(self, span: u64) -> Self {
        Self { span, ..self }
    }

    /// Puts the span in the place of the one that the headers name.
    pub(super) fn put(self, headers: &mut HeaderMap) {
        let Self { trace, span, flags } = self;
        defect!(unless trace != 0 && span != 0, "a span or a trace without an id");
        let parent = HeaderValue::try_from(format!("00-{trace:032x}-{span:016x}-{flags:02x}"));
        defect!(unless parent.is_ok(), "digits and dashes that are no header");
        if let Ok(parent) = parent {
            headers.insert(TRACEPARENT, parent);
        }
    }
}

/// The `tracestate` of an event's headers; empty where there is none.
pub(super) fn state_in(headers: &HeaderMap) -> String {
    headers.get(TRACESTATE).and_then(|state| state.to_str().ok()).unwrap_or_default().to_owned()
}

/// Makes random ids of traces and spans, none of them zero.
pub(super) struct Ids(Mutex<fastrand::Rng>);

impl Ids {
    pub(super) fn new(dice: fastrand::Rng) -> Self {
        Self(Mutex::new(dice))
    }

    pub(super) fn span(&self) -> u64 {
        self.roll(|dice| dice.u64(1..))
    }

    /// A trace with its first span, or none: `ratio` of them are recorded, and the others are not begun.
    pub(super) fn root(&self, ratio: f64) -> Option<Context> {
        self.roll(|dice| {
            let context = Context { trace: dice.u128(1..), span: dice.u64(1..), flags: SAMPLED };
            (dice.f64() < ratio).then_some(context)
        })
    }

    fn roll<T>(&self, roll: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        // A generator of random numbers is never half changed.
        roll(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(parent: &str) -> Option<Context> {
        Context::of(&[(TRACEPARENT, HeaderValue::try_from(parent).expect("a value"))].into_iter().collect())
    }

    #[test]
    fn a_parent_is_read_and_its_child_is_written() {
        let context = of(PARENT).expect("valid");
        assert_eq!(context.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(context.span, 0x00f0_67aa_0ba9_02b7);
        assert!(context.is_sampled());
        let mut headers = HeaderMap::new();
        context.with_span(0xab).put(&mut headers);
        assert_eq!(headers[TRACEPARENT], "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ab-01");
        assert!(!of(&PARENT.replace("-01", "-00")).expect("valid").is_sampled());
        assert_eq!(Context::of(&HeaderMap::new()), None);
        assert_eq!(of("00-nonsense"), None);
        assert_eq!(of(&PARENT.replace("00f067aa0ba902b7", "0000000000000000")), None);
    }

    #[test]
    fn a_later_version_is_sent_as_the_one_that_is_known() {
        let context = of("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-more").expect("valid");
        let mut headers = HeaderMap::new();
        context.put(&mut headers);
        assert_eq!(headers[TRACEPARENT], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03");
    }

    #[test]
    fn the_ratio_settles_how_many_traces_are_begun() {
        let ids = Ids::new(fastrand::Rng::with_seed(1));
        let begun = |ratio| (0..10_000).filter_map(|_| ids.root(ratio)).count();
        assert_eq!((begun(0.0), begun(1.0)), (0, 10_000));
        let few = begun(0.1);
        assert!((850..1150).contains(&few), "{few}");
        assert!(ids.root(1.0).expect("begun").is_sampled());
    }
}
