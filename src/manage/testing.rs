//! The world of the dialects' tests: the routes of one dialect over documents in memory, at a time that the test sets.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use tower::ServiceExt;

use crate::clock::{Clock, Timestamp};
use crate::event::{self, CanonicalUrl, Labels};
use crate::manage::{self, Options};
use crate::policy::Policies;
use crate::policy::testing::TestDocuments;

/// A call as a producer spells it.
#[derive(Debug, Clone)]
pub(super) struct Spelled {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// What two spellings of a path may differ in without being two paths, for the servers of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slashes {
    /// Only a slash at the end, and what stands before the path.
    AtEnds,
    /// Repeated slashes anywhere, and parameters of segments.
    Anywhere,
}

/// Another spelling of `http://h.test:8080` with this path, in which no segment is empty.
pub(super) fn respelled(path: &str, slashes: Slashes, dice: &mut fastrand::Rng) -> String {
    let start = ["http://h.test:8080", "HTTP://H.Test:08080", "http://h.test.:8080", "http:\\\\h.test:8080"];
    let mut url = start[dice.usize(..start.len())].to_owned();
    if dice.bool() {
        url.push_str(["/gateway", "/a/b", "//a", "/./x/../y"][dice.usize(..4)]);
    }
    for (nth, segment) in path.split('/').filter(|segment| !segment.is_empty()).enumerate() {
        let repeats = if nth == 0 || slashes == Slashes::Anywhere { dice.usize(1..3) } else { 1 };
        url.push_str(&"/".repeat(repeats));
        url.push_str(["", "", "./", "%2e/"][dice.usize(..4)]);
        for letter in segment.chars() {
            // Letters and digits may be written as escapes, with digits of either case.
            match dice.u8(..8) {
                0 => url.push_str(&format!("%{:02x}", u32::from(letter))),
                1 => url.push_str(&format!("%{:02X}", u32::from(letter))),
                _ => url.push(letter),
            }
        }
        if slashes == Slashes::Anywhere && dice.u8(..6) == 0 {
            url.push_str(";v=1");
        }
    }
    url.push_str(["", "/"][dice.usize(..2)]);
    url
}

/// One dialect under test; `D` is what its routes work on and keeps the worlds of the dialects apart.
pub(super) struct World<D> {
    pub(super) router: Router,
    pub(super) policies: Policies,
    pub(super) documents: Arc<TestDocuments>,
    pub(super) clock: Clock,
    of: PhantomData<D>,
}

impl<D> World<D> {
    /// At `start`, over an empty policy book or the stored `document`.
    pub(super) async fn over(
        start: Timestamp,
        document: Option<&str>,
        router: impl FnOnce(Policies, Clock, fastrand::Rng) -> Router,
    ) -> Self {
        let documents = Arc::new(TestDocuments::default());
        if let Some(document) = document {
            documents.set("policies", document.to_owned());
        }
        let clock = Clock::manual(start);
        let policies = Policies::open(documents.clone(), clock.clone()).await.expect("readable");
        let router = router(policies.clone(), clock.clone(), fastrand::Rng::with_seed(7));
        Self { router, policies, documents, clock, of: PhantomData }
    }

    /// The policies that govern a call whose event carries no label, under these options of the dialects; with
    /// `fallback` labels where the call implies none.
    pub(super) fn governing(&self, options: &Options, call: &Spelled, fallback: &Labels) -> Vec<String> {
        let url = CanonicalUrl::parse(&call.url).expect(&call.url);
        let own = Labels::default();
        let Spelled { method, headers, body, .. } = call;
        let seen = event::Call { method, url: &url, headers, body: body.as_bytes(), own: &own, fallback };
        let implied = manage::implied(options, &self.policies)(&seen);
        let implied = implied.iter().map(|(key, value)| (*key, value.as_str()));
        let labels = own.or(implied.chain(fallback.iter())).expect("labels");
        let lane = self.policies.runtime().route(method, &url, &labels).expect("few");
        lane.map_or_else(Vec::new, |lane| {
            lane.policies().iter().map(|part| part.policy.to_string()).collect()
        })
    }

    /// Sends a request as it is; the answer's body is text.
    pub(super) async fn exchange(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let (head, body) = self.router.clone().oneshot(request).await.expect("infallible").into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("in memory");
        (head.status, head.headers, String::from_utf8(body.to_vec()).expect("text"))
    }
}
