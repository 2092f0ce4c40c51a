//! Stand-ins for the tests of this room and of the dialects: specs by hand and a document store in memory
//! whose failures can be ordered.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use http::Method;
use tokio::sync::Notify;

use crate::event::{CanonicalUrl, Labels, PolicyId};
use crate::policy::{Clause, LabelCondition, Limits, Overlap, Pace, Spec, UrlPattern};
use crate::store::{DocumentStore, Expect, StoreError, Version};

pub(crate) fn id(text: &str) -> PolicyId {
    PolicyId::parse(text).expect("valid id")
}

pub(crate) fn url(text: &str) -> CanonicalUrl {
    CanonicalUrl::parse(text).expect("valid url")
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))).expect("valid labels")
}

/// Waiting, GET and POST, no label conditions.
pub(crate) fn spec(pattern: &str, starts_per_second: f64) -> Spec {
    spec_for(pattern, starts_per_second, Vec::new())
}

pub(crate) fn spec_for(pattern: &str, starts_per_second: f64, labels: Vec<LabelCondition>) -> Spec {
    let pattern = UrlPattern::parse(pattern).expect("valid pattern");
    let clause = Clause { methods: vec![Method::GET, Method::POST], labels, ..Clause::of(pattern) };
    let limits =
        Limits { pace: Some(Pace::per_second(starts_per_second).expect("valid pace")), ..Limits::default() };
    Spec { overlap: Overlap::most_specific(), ..Spec::new(vec![clause], limits) }
}

/// What the next write does beside or instead of writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Fails and writes nothing.
    Refuse,
    /// Writes, but the answer is a failure.
    LoseTheAnswer,
    /// Another writer puts this body first.
    Overtake(Bytes),
    /// Writes and answers once [`TestDocuments::let_go`] is called.
    Hang,
}

#[derive(Default)]
pub(crate) struct TestDocuments {
    bodies: Mutex<HashMap<&'static str, (u64, Bytes)>>,
    faults: Mutex<Vec<Fault>>,
    held: Mutex<Option<String>>,
    let_go: Notify,
}

impl TestDocuments {
    /// Orders faults for the next writes, first come first served.
    pub(crate) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().expect("not poisoned").extend(faults);
    }

    /// Ends a hang, also the next one if none is there yet.
    pub(crate) fn let_go(&self) {
        self.let_go.notify_one();
    }

    /// Writes without asking for the version.
    pub(crate) fn set(&self, name: &'static str, body: impl Into<Bytes>) -> u64 {
        let mut bodies = self.bodies.lock().expect("not poisoned");
        let (version, kept) = bodies.entry(name).or_default();
        *version += 1;
        *kept = body.into();
        *version
    }

    pub(crate) fn body(&self, name: &'static str) -> Option<(u64, Bytes)> {
        self.bodies.lock().expect("not poisoned").get(name).cloned()
    }

    /// As a store that is held as a whole.
    pub(crate) fn hold(&self, reason: &str) {
        *self.held.lock().expect("not poisoned") = Some(reason.to_owned());
    }

    fn write(&self, name: &'static str, expect: Expect, body: Bytes) -> Result<Version, StoreError> {
        if let Some(reason) = self.held() {
            return Err(StoreError::Held { reason });
        }
        let found = self.body(name).map(|(version, _)| Version(version));
        let expected = match expect {
            Expect::Absent => None,
            Expect::At(version) => Some(version),
        };
        if found != expected {
            return Err(StoreError::VersionConflict { found });
        }
        Ok(Version(self.set(name, body)))
    }
}

impl DocumentStore for TestDocuments {
    fn get(&self, name: &'static str) -> BoxFuture<'_, Result<Option<(Version, Bytes)>, StoreError>> {
        async move { Ok(self.body(name).map(|(version, body)| (Version(version), body))) }.boxed()
    }

    fn put(
        &self,
        name: &'static str,
        expect: Expect,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Version, StoreError>> {
        async move {
            let fault = {
                let mut faults = self.faults.lock().expect("not poisoned");
                (!faults.is_empty()).then(|| faults.remove(0))
            };
            match fault {
                None => self.write(name, expect, body),
                Some(Fault::Refuse) => Err(StoreError::Closed),
                Some(Fault::LoseTheAnswer) => self.write(name, expect, body).and(Err(StoreError::Closed)),
                Some(Fault::Overtake(other)) => {
                    self.set(name, other);
                    self.write(name, expect, body)
                }
                Some(Fault::Hang) => {
                    self.let_go.notified().await;
                    self.write(name, expect, body)
                }
            }
        }
        .boxed()
    }

    fn held(&self) -> Option<String> {
        self.held.lock().expect("not poisoned").clone()
    }

    fn reject(&self, _name: &'static str, reason: &str) {
        self.hold(reason);
    }
}
