//! The world of the dialects' tests: the routes of one dialect over documents in memory, at a time that the test sets.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use tower::ServiceExt;

use crate::clock::{Clock, Timestamp};
use crate::policy::Policies;
use crate::policy::testing::TestDocuments;

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

    /// Sends a request as it is; the answer's body is text.
    pub(super) async fn exchange(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let (head, body) = self.router.clone().oneshot(request).await.expect("infallible").into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("in memory");
        (head.status, head.headers, String::from_utf8(body.to_vec()).expect("text"))
    }
}
