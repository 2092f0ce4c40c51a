//! From the wire event to the checked [`Event`]: defaults, sizes, dates, names. Every rule that an event
//! breaks is reported, each with the member's JSON pointer and the way out.
//!
//! Must not know: policies, the queue, HTTP requests.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use crate::clock::{Clock, Timestamp};
use crate::event::{
    Call, CanonicalUrl, Event, Labels, Priority, TraceContext, UrlError, forbidden_header, json_pointer,
    parse_method,
};
use crate::ingest::diagnose::{diagnose, not_json};
use crate::ingest::digest::{self, Fingerprint};
use crate::ingest::route::Defaults;
use crate::ingest::wire::{Pairs, Text, Values, WireEvent, deeper_than};
use crate::problem::{Problem, codes};
use crate::store::Dedup;

/// Longest body of an event, in bytes, as it will be sent.
pub(crate) const MAX_BODY_BYTES: usize = 256 * 1024;
/// Longest JSON text of one event, in bytes: a full body in base64 with its headers fits.
pub(crate) const MAX_EVENT_BYTES: usize = 512 * 1024;
/// Most header values of one event.
pub(crate) const MAX_HEADERS: usize = 64;
/// Longest sum of header names and values, in bytes.
pub(crate) const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Deepest nesting of a JSON body.
pub(crate) const MAX_JSON_DEPTH: usize = 32;
/// Longest idempotency key, in bytes; only its digest is stored.
pub(crate) const MAX_KEY_BYTES: usize = 256;
/// Urls remembered in their checked form.
const URL_CACHE: usize = 256;

/// An event that passed the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decoded {
    /// Its labels are its own ones and the defaults.
    pub event: Event,
    /// The labels that it carries itself.
    pub own: Labels,
    /// The defaults that it was filled up with.
    pub fallback: Arc<Labels>,
    /// Of the event, or of its request; it is kept in the name of the lane.
    pub priority: Priority,
    pub dedup: Option<Dedup>,
}

impl Decoded {
    /// What can be read from its call.
    pub(super) fn call(&self) -> Call<'_> {
        let Event { method, url, headers, body, .. } = &self.event;
        Call { method, url, headers, body, own: &self.own, fallback: &self.fallback }
    }
}

/// Decodes events. Keep one per stream: it remembers the urls that it has seen.
pub(super) struct Decoder {
    defaults: Arc<Defaults>,
    urls: HashMap<String, CanonicalUrl>,
    now: Timestamp,
    /// `None` while it is in doubt.
    wall: Option<Timestamp>,
    request: OfRequest,
}

/// What a request says about all of its events.
#[derive(Debug, Clone, Default)]
pub(super) struct OfRequest {
    /// The trace to which events belong that name none of their own.
    pub trace: Option<TraceContext>,
    /// The labels of events that do not carry them, filled up with the defaults; `None` where these are all.
    pub labels: Option<Arc<Labels>>,
    /// That of events that name none.
    pub priority: Priority,
}

/// Rules that one event broke so far.
#[derive(Default)]
struct Broken(Vec<(String, String)>);

impl Broken {
    /// Keeps the first ones only: an event can break a rule with every few of its bytes.
    fn add(&mut self, pointer: impl Into<String>, rule: impl Into<String>) {
        if self.0.len() < Problem::MAX_ERRORS {
            self.0.push((pointer.into(), rule.into()));
        }
    }

    fn into_problem(self) -> Box<Problem> {
        let headers_only = self.0.iter().all(|(pointer, _)| pointer.starts_with("/headers"));
        let code = if headers_only { codes::INVALID_HEADER } else { codes::INVALID_EVENT };
        let detail =
            self.0.iter().map(|(pointer, rule)| format!("{pointer} {rule}")).collect::<Vec<_>>().join("; ");
        let problem = Problem::of(code, detail);
        Box::new(self.0.into_iter().fold(problem, |problem, (pointer, rule)| problem.field(pointer, rule)))
    }
}

impl Decoder {
    pub(super) fn new(defaults: Arc<Defaults>, clock: &Clock) -> Self {
        Self {
            defaults,
            urls: HashMap::new(),
            now: clock.now(),
            wall: certain_wall(clock),
            request: OfRequest::default(),
        }
    }

    /// The events that follow come with this request.
    pub(super) fn within(self, request: OfRequest) -> Self {
        Self { request, ..self }
    }

    /// The labels that an event has where neither it nor its call names one: those of its request, then the defaults.
    fn fallback(&self) -> &Arc<Labels> {
        self.request.labels.as_ref().unwrap_or(&self.defaults.labels)
    }

    /// Sets the moment of acceptance of what follows.
    pub(super) fn tick(&mut self, clock: &Clock) {
        (self.now, self.wall) = (clock.now(), certain_wall(clock));
    }

    /// Reads one event. `text` lies within `block`; `key` is an idempotency key given beside the event.
    pub(super) fn decode(
        &mut self,
        block: &Bytes,
        text: &[u8],
        key: Option<&str>,
    ) -> Result<Decoded, Box<Problem>> {
        let text = match std::str::from_utf8(text) {
            Ok(text) => text,
            Err(error) => return Err(Box::new(not_json(&format!("not UTF-8: {error}")))),
        };
        // The derived reader would also take a list of the members' values.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(Box::new(diagnose(text)));
        }
        // The quick reading stops at the first fault; only a text that fails is read again to name all of them.
        let wire: WireEvent<'_> = serde_json::from_str(text).map_err(|_| Box::new(diagnose(text)))?;
        let mut broken = Broken::default();
        let url = self.url(&wire.url, &mut broken);
        let method = method(wire.method.as_ref(), &mut broken);
        let mut headers = headers(wire.headers.as_ref(), &mut broken);
        let (body, content_type) = body(block, &wire, &mut broken)?;
        let (own, labels) = self.labels(wire.labels.as_ref(), &mut broken);
        let Times { due_at, is_dated, expires_at } = self.times(&wire, &mut broken);
        let priority = self.priority(&wire, &mut broken);
        let key = idempotency_key(wire.idempotency_key.as_ref(), key, &mut broken);
        let (Some(url), Some(method), true) = (url, method, broken.0.is_empty()) else {
            return Err(broken.into_problem());
        };
        if let Some(content_type) = content_type {
            // A content type that the event names itself goes before that of its body.
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
        }
        TraceContext::settle(&mut headers, self.request.trace.as_ref());
        let event =
            Event { method, url, headers, body, labels, due_at, is_dated, expires_at, redriven: None };
        Ok(self.keyed(event, own, priority, key))
    }

    /// The event of a call whose headers and body are known; those of `wire` do not count.
    pub(super) fn complete(
        &mut self,
        wire: &WireEvent<'_>,
        mut headers: HeaderMap,
        body: Bytes,
        key: &str,
    ) -> Result<Decoded, Box<Problem>> {
        let mut broken = Broken::default();
        let url = self.url(&wire.url, &mut broken);
        let method = method(wire.method.as_ref(), &mut broken);
        let (own, labels) = self.labels(wire.labels.as_ref(), &mut broken);
        let Times { due_at, is_dated, expires_at } = self.times(wire, &mut broken);
        let priority = self.priority(wire, &mut broken);
        let (Some(url), Some(method), true) = (url, method, broken.0.is_empty()) else {
            return Err(broken.into_problem());
        };
        TraceContext::settle(&mut headers, self.request.trace.as_ref());
        let event =
            Event { method, url, headers, body, labels, due_at, is_dated, expires_at, redriven: None };
        Ok(self.keyed(event, own, priority, Some(key)))
    }

    fn url(&mut self, text: &str, broken: &mut Broken) -> Option<CanonicalUrl> {
        if let Some(url) = self.urls.get(text) {
            return Some(url.clone());
        }
        match CanonicalUrl::handed_in(text) {
            Ok(url) => {
                if self.urls.len() >= URL_CACHE {
                    // Cleared as a whole, which needs no record of use: a stream with few urls fills it again at once.
                    self.urls.clear();
                }
                self.urls.insert(text.to_owned(), url.clone());
                Some(url)
            }
            Err(UrlError::Malformed { reason }) => {
                broken.add("/url", format!("must be an absolute http or https address: {reason}"));
                None
            }
            Err(error) => {
                broken.add("/url", error.to_string());
                None
            }
        }
    }

    fn priority(&self, wire: &WireEvent<'_>, broken: &mut Broken) -> Priority {
        let Some(word) = &wire.priority else { return self.request.priority };
        Priority::parse(word).ok_or_else(|| broken.add("/priority", Priority::RULE)).unwrap_or_default()
    }

    fn keyed(&self, event: Event, own: Labels, priority: Priority, key: Option<&str>) -> Decoded {
        let dedup = key.map(|key| Dedup { key: digest::of_key(key), fingerprint: fingerprint(&event) });
        Decoded { event, own, fallback: Arc::clone(self.fallback()), priority, dedup }
    }

    /// Its own labels, and the same with the defaults.
    fn labels(&self, given: Option<&Pairs<'_, Text<'_>>>, broken: &mut Broken) -> (Labels, Labels) {
        let given = given.map_or(&[][..], |pairs| &pairs.0);
        if let Some(known) = &self.defaults.known_labels {
            refuse_unknown_labels(known, given, broken);
        }
        let own = Labels::new(given.iter().map(|(key, value)| ((**key).to_owned(), (**value).to_owned())));
        let filled = own.and_then(|own| Ok((own.or(self.fallback().iter())?, own)));
        match filled {
            Ok((filled, own)) => (own, filled),
            Err(error) => {
                broken.add("/labels", error.to_string());
                Default::default()
            }
        }
    }

    fn times(&self, wire: &WireEvent<'_>, broken: &mut Broken) -> Times {
        let max_ttl = self.defaults.max_ttl;
        let ttl = match wire.ttl_seconds.map(Duration::try_from_secs_f64) {
            None => max_ttl,
            Some(Ok(ttl)) if !ttl.is_zero() && ttl <= max_ttl => ttl,
            // The longest life takes its place, so that the other members are checked as well.
            Some(_) => {
                let most = max_ttl.as_secs();
                broken
                    .add("/ttl_seconds", format!("must be above 0 and at most {most}, the configured life"));
                max_ttl
            }
        };
        let times = Times { due_at: None, is_dated: false, expires_at: self.now + ttl };
        match (wire.delay_seconds, wire.due_at.as_ref()) {
            (None, None) => times,
            (Some(_), Some(_)) => {
                broken.add("/due_at", "excludes delay_seconds; give one of them");
                times
            }
            (Some(seconds), None) => match Duration::try_from_secs_f64(seconds) {
                Ok(delay) => self.delayed(times, "/delay_seconds", delay, ttl, broken),
                Err(_) => {
                    broken.add("/delay_seconds", "must be 0 or a positive number of seconds");
                    times
                }
            },
            (None, Some(date)) => match (Timestamp::parse(date), self.wall) {
                // The steady line takes over from here, so that a later step of the wall clock moves nothing.
                (Some(date), Some(wall)) => self.delayed(times, "/due_at", date.since(wall), ttl, broken),
                // Nobody knows how far away it is.
                (Some(date), None) => Times { due_at: Some(whole_millis(date)), is_dated: true, ..times },
                (None, _) => {
                    broken.add("/due_at", "must be an RFC 3339 date such as 2030-01-31T08:00:00Z");
                    times
                }
            },
        }
    }

    fn delayed(
        &self,
        times: Times,
        member: &str,
        delay: Duration,
        ttl: Duration,
        broken: &mut Broken,
    ) -> Times {
        if delay >= ttl {
            let life = ttl.as_secs_f64();
            broken.add(member, format!("lies beyond the event's life of {life} s; it would expire unsent"));
            return times;
        }
        Times { due_at: (!delay.is_zero()).then(|| whole_millis(self.now + delay)), ..times }
    }
}

/// When an event may go, and until when.
struct Times {
    due_at: Option<Timestamp>,
    is_dated: bool,
    expires_at: Timestamp,
}

/// The wall time by which dates are judged.
fn certain_wall(clock: &Clock) -> Option<Timestamp> {
    clock.is_trusted().then(|| clock.wall())
}

fn refuse_unknown_labels(known: &BTreeSet<String>, given: &[(Text<'_>, Text<'_>)], broken: &mut Broken) {
    for (key, _) in given.iter().filter(|(key, _)| !known.contains(&**key)) {
        let known = known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        broken.add(json_pointer(["labels", &**key]), format!("is not a known label; known are {known}"));
    }
}

/// The precision in which due times are kept, never earlier.
fn whole_millis(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_nanos().div_ceil(1_000_000))
}

fn method(given: Option<&Text<'_>>, broken: &mut Broken) -> Option<Method> {
    let Some(text) = given else { return Some(Method::POST) };
    parse_method(text).map_err(|error| broken.add("/method", error.to_string())).ok()
}

fn headers(given: Option<&Pairs<'_, Values<'_>>>, broken: &mut Broken) -> HeaderMap {
    let mut map = HeaderMap::new();
    let given = given.map_or(&[][..], |pairs| &pairs.0);
    let (mut count, mut bytes) = (0_usize, 0_usize);
    for (name, values) in given {
        let at = || json_pointer(["headers", &**name]);
        let parsed = match HeaderName::from_bytes(name.as_bytes()) {
            Ok(parsed) => parsed,
            Err(_) => {
                broken.add(at(), "is not a header name");
                continue;
            }
        };
        if forbidden_header(&parsed) {
            broken.add(at(), "belongs to the connection or to tidegate itself; leave it out");
            continue;
        }
        if map.contains_key(&parsed) {
            broken.add(at(), "is given twice; give a list of values under one name");
            continue;
        }
        for value in values.as_slice() {
            count += 1;
            bytes += name.len() + value.len();
            if count > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
                let most = format!("has more than {MAX_HEADERS} values or {MAX_HEADER_BYTES} bytes in all");
                // The rest is not looked at: the event is refused in any case, and there may be very many values.
                broken.add("/headers", most);
                return map;
            }
            match HeaderValue::from_bytes(value.as_bytes()) {
                Ok(value) => drop(map.append(parsed.clone(), value)),
                Err(_) => broken.add(at(), "has control characters in its value"),
            }
        }
    }
    map
}

/// The bytes to send and the content type that they have unless the event names another.
fn body(
    block: &Bytes,
    wire: &WireEvent<'_>,
    broken: &mut Broken,
) -> Result<(Bytes, Option<&'static str>), Box<Problem>> {
    let (member, bytes, content_type) = match (wire.body, &wire.body_text, &wire.body_base64) {
        (None, None, None) => return Ok((Bytes::new(), None)),
        (Some(json), None, None) => {
            if deeper_than(json.get(), MAX_JSON_DEPTH) {
                broken.add("/body", format!("nests deeper than {MAX_JSON_DEPTH}; send it as body_text"));
            }
            // The value borrows from the line, and the line lies in the block: never a panic.
            ("/body", block.slice_ref(json.get().as_bytes()), "application/json")
        }
        (None, Some(text), None) => {
            ("/body_text", Bytes::copy_from_slice(text.as_bytes()), "text/plain; charset=utf-8")
        }
        (None, None, Some(text)) => match STANDARD.decode(text.as_bytes()) {
            Ok(bytes) => ("/body_base64", Bytes::from(bytes), "application/octet-stream"),
            Err(error) => {
                broken.add("/body_base64", format!("is not base64 (RFC 4648, padded): {error}"));
                return Ok((Bytes::new(), None));
            }
        },
        _ => {
            broken.add("/body", "excludes body_text and body_base64; give one of them");
            return Ok((Bytes::new(), None));
        }
    };
    if bytes.len() > MAX_BODY_BYTES {
        // By itself and at once: it has a status of its own, and the rest of the event does not matter then.
        return Err(Box::new(body_too_large(member, bytes.len())));
    }
    Ok((bytes, Some(content_type)))
}

pub(super) fn body_too_large(member: &str, bytes: usize) -> Problem {
    let detail = format!("the body has {bytes} bytes, at most {MAX_BODY_BYTES} are taken");
    Problem::of(codes::PAYLOAD_TOO_LARGE, detail)
        .field(member, format!("must have at most {MAX_BODY_BYTES} bytes; pass large data by reference"))
}

fn idempotency_key<'k>(
    member: Option<&'k Text<'_>>,
    beside: Option<&'k str>,
    broken: &mut Broken,
) -> Option<&'k str> {
    let key = match (member.map(|text| &**text), beside) {
        (Some(member), Some(beside)) if member != beside => {
            broken.add("/idempotency_key", "differs from the Idempotency-Key header; give one of them");
            return None;
        }
        (member, beside) => member.or(beside)?,
    };
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        broken.add("/idempotency_key", format!("must have 1 to {MAX_KEY_BYTES} bytes"));
    }
    Some(key)
}

/// What makes two hand-ins under one key the same: the call and its labels. Times are left out, because a
/// producer that repeats itself later counts them from another moment, and so is the trace, which is another one then.
fn fingerprint(event: &Event) -> u64 {
    let mut digest = Fingerprint::new();
    digest.part(event.method.as_str().as_bytes());
    digest.part(event.url.as_str().as_bytes());
    for (name, value) in event.headers.iter().filter(|(name, _)| !TraceContext::is_name(name)) {
        digest.part(name.as_str().as_bytes());
        digest.part(value.as_bytes());
    }
    for (key, value) in event.labels.iter() {
        digest.part(key.as_bytes());
        digest.part(value.as_bytes());
    }
    digest.part(&event.body);
    digest.finish()
}
