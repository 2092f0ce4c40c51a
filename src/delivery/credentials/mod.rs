//! Credentials of endpoints that have to be fetched: a token of an authorization server (OAuth 2.0 client credentials,
//! RFC 6749 4.4), or of a login whose JSON answer names it. Tokens are in memory alone: they are put in when a call is sent,
//! and neither kept with an event nor shown.
//!
//! A call starts only while there is a token that may be sent; [`Readiness`] says so beforehand. Tokens are renewed before
//! they end, by one question for all calls, while calls are made with the one that is there.
//!
//! Must not know: which calls carry them, where secrets stand.

mod answer;
mod cache;
mod failure;
mod fetch;
mod keeper;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::clock::Timestamp;
use crate::event::{CanonicalUrl, Cause, Outcome};

use cache::TokenCache;
use failure::TokenFailure;
pub(super) use fetch::TokenWay;
pub(super) use keeper::TokenRequests;

/// Whether calls to an endpoint may start, as far as its credentials go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Their token is there, or they need none.
    Ready,
    /// There is no token that may be sent; it is best asked again after this time.
    Wait(Duration),
}

/// How a token is asked for, and how it is sent. Has secrets, and shows none.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TokenSource {
    /// Where it is asked for, by POST.
    pub url: CanonicalUrl,
    /// The form that is sent there.
    pub form: Vec<(String, String)>,
    /// User and password of the question itself, where these are not in the form.
    pub basic: Option<(String, String)>,
    /// The member of the JSON answer that is the token.
    pub member: String,
    /// The header that carries it.
    pub header: HeaderName,
    /// Stands before it in the header, with a space; empty for none.
    pub scheme: String,
    /// How long a token is good for whose answer does not say it.
    pub lifetime: Duration,
}

/// The credentials of one endpoint, with the token that is there at present.
pub struct Credentials {
    /// What the configuration calls the endpoint.
    name: Arc<str>,
    source: TokenSource,
    cache: Mutex<TokenCache>,
}

/// The token that goes with a call.
pub(super) struct SentToken {
    of: Arc<Credentials>,
    /// Which of the tokens of its endpoint it is.
    number: u64,
}

impl SentToken {
    /// What the end of its call means: a refusal may be the token's and not the call's.
    pub(super) fn judged(&self, outcome: Outcome, now: Timestamp) -> Outcome {
        let refused = || Outcome::TokenRefused { wait: self.of.cache().refused(self.number, now) };
        match outcome {
            Outcome::Paced { end, next } if is_unauthorized(&end) => {
                Outcome::Paced { end: Box::new(refused()), next }
            }
            other if is_unauthorized(&other) => refused(),
            other => other,
        }
    }
}

impl Credentials {
    /// Without a token yet.
    pub(crate) fn new(name: Arc<str>, source: TokenSource) -> Self {
        Self { name, source, cache: Mutex::default() }
    }

    /// Goes on with the token of the same credentials before a change of the configuration.
    pub(crate) fn go_on_from(&self, before: &Self) {
        let kept = before.cache().clone();
        self.cache().go_on_from(kept);
    }

    /// Why calls wait for a token at `now`, or why one that is there cannot be renewed; `None` while all is well.
    pub(crate) fn problem(&self, now: Timestamp) -> Option<String> {
        let problem = self.cache().problem(now)?;
        let what = if problem.calls_wait { "its calls wait for a token" } else { "its token is not renewed" };
        Some(format!("{}: {what}: {}", self.name, problem.failure))
    }

    /// Whether calls wait at `now` because no token could be had.
    pub(crate) fn is_missing(&self, now: Timestamp) -> bool {
        self.cache().problem(now).is_some_and(|problem| problem.calls_wait)
    }

    /// Whether calls may start at `now`; `true` beside it where a token is to be asked for, by whoever hears it.
    fn look(&self, now: Timestamp) -> (Readiness, bool) {
        self.cache().look(now)
    }

    /// Puts the token that is there into the headers of a call, in place of whatever the producer gave; `None` when there is
    /// none.
    pub(super) fn add_to(self: Arc<Self>, headers: &mut HeaderMap) -> Option<SentToken> {
        let (value, number) = self.cache().token()?;
        headers.insert(self.source.header.clone(), value);
        Some(SentToken { of: self, number })
    }

    fn cache(&self) -> MutexGuard<'_, TokenCache> {
        // Every change is complete before anything can panic.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an answer says that the credentials of the call are not good (RFC 9110 15.5.2).
fn is_unauthorized(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Reject { cause: Cause::Status(401) })
}

/// By what they are made from; the token that is there at present makes no difference.
impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.source == other.source
    }
}

impl Eq for Credentials {}

/// Without what is secret: the form may be, and the address may hold a key.
impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").field("header", &self.header).finish_non_exhaustive()
    }
}

/// Without the source and the token.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}
