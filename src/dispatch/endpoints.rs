//! What is set for endpoints: which rules hold for the calls to the urls that a pattern matches, whatever policies govern
//! them. The rules are looked up when a call starts; nothing of them is kept with an event.
//!
//! Must not know: how the rules are written, what the delivery does with its part of them.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::delivery::CallOptions;
use crate::dispatch::retry::RetryPolicy;
use crate::dispatch::rules::RetryRules;
use crate::event::CanonicalUrl;
use crate::policy::{MostLiteral, PolicyError, UrlPattern};

/// The rules for the calls to some urls.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Endpoint {
    /// What answers call it; unique among all.
    pub name: Arc<str>,
    /// The urls whose calls it rules, unless a more literal pattern matches them.
    pub url: UrlPattern,
    /// How failed attempts are repeated, and what its answers mean.
    pub retry: RetryRules,
    /// How its calls are made: the delivery's part.
    pub calls: Arc<CallOptions>,
}

/// The rules of all endpoints, compiled. Clones share them.
#[derive(Clone, Default)]
pub struct Endpoints {
    /// How failed calls are repeated where no endpoint says otherwise; `None`: as the planner was told at its start.
    retry_for_all: Option<RetryPolicy>,
    compiled: Arc<Compiled>,
}

#[derive(Default)]
struct Compiled {
    list: Box<[Arc<Endpoint>]>,
    /// `None` while there is none: most installations never search.
    patterns: Option<MostLiteral>,
    /// Whether there is one whose credentials have to be fetched.
    has_credentials: bool,
}

/// The rules in force; the next ones take their place as a whole.
pub(crate) type EndpointsInForce = Arc<ArcSwap<Endpoints>>;

impl Endpoints {
    /// Compiles the rules. No two patterns may be equally literal and match one url.
    ///
    /// # Errors
    /// [`PolicyError::TooLarge`] when patterns that begin alike are too large together.
    pub(crate) fn compile(list: Vec<Endpoint>) -> Result<Self, PolicyError> {
        let urls = list.iter().map(|endpoint| &endpoint.url);
        let patterns = if list.is_empty() { None } else { Some(MostLiteral::compile(urls)?) };
        let has_credentials = list.iter().any(|endpoint| endpoint.calls.credentials.is_some());
        let list = list.into_iter().map(Arc::new).collect();
        Ok(Self { retry_for_all: None, compiled: Arc::new(Compiled { list, patterns, has_credentials }) })
    }

    /// The same, and how failed calls are repeated where none of these rules says otherwise.
    #[must_use]
    pub(crate) fn with_retry_for_all(self, policy: RetryPolicy) -> Self {
        Self { retry_for_all: Some(policy), ..self }
    }

    /// How failed calls are repeated where no rule says otherwise, as far as that is set here.
    #[must_use]
    pub(crate) fn retry_for_all(&self) -> Option<RetryPolicy> {
        self.retry_for_all
    }

    /// The rules for the calls to a url; `None` where no pattern matches it, and the settings for all calls hold.
    #[must_use]
    pub(crate) fn find(&self, url: &CanonicalUrl) -> Option<&Arc<Endpoint>> {
        self.compiled.list.get(self.compiled.patterns.as_ref()?.find(url)?)
    }

    /// Whether some calls need credentials that have to be fetched.
    pub(crate) fn have_credentials(&self) -> bool {
        self.compiled.has_credentials
    }

    /// Goes on with the tokens of the endpoints `before` whose credentials are the same.
    pub(crate) fn go_on_from(&self, before: &Self) {
        for endpoint in self.list() {
            let Some(now) = &endpoint.calls.credentials else { continue };
            let same = before.list().iter().filter_map(|before| before.calls.credentials.as_ref());
            if let Some(before) = same.into_iter().find(|before| *before == now) {
                now.go_on_from(before);
            }
        }
    }

    /// All of them, in the order in which they were given.
    pub(crate) fn list(&self) -> &[Arc<Endpoint>] {
        &self.compiled.list
    }
}

impl PartialEq for Endpoints {
    fn eq(&self, other: &Self) -> bool {
        self.list() == other.list() && self.retry_for_all == other.retry_for_all
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}
