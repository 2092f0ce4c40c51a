//! The stored form of a throttling: an element of the policy book.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::manage::mediarithmics::ORIGIN;
use crate::manage::mediarithmics::derive::endpoint;
use crate::policy::Origin;

/// The kind of throttlings among the elements of the policy book.
pub(super) const THROTTLING: &str = "throttling";

/// The origin of this dialect's policies.
pub(super) fn origin() -> Origin {
    Origin::new(ORIGIN)
}

/// What a throttling says, after all its members were checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Throttling {
    pub(super) scope: Scope,
    /// The id of the datamart or organisation; `None` for the scopes that have none.
    pub(super) throttling_key: Option<String>,
    /// The path of the calls, as sent.
    pub(super) plugin_endpoint: String,
    /// Most calls per second, as the number was sent.
    pub(super) max_qps: Option<Number>,
    /// Most calls in flight at the same time.
    pub(super) max_concurrency: Option<u32>,
    /// The longest that a call may take, in milliseconds.
    pub(super) timeout_ms: Option<u32>,
}

/// By what the calls to an endpoint are told apart (contract.md 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Scope {
    /// All calls of the plugin version together.
    Global,
    /// The calls to each running instance.
    Container,
    /// The calls for the one organisation that the key names.
    Organisation,
    /// The calls for the one datamart that the key names.
    Datamart,
}

/// A throttling with what it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) plugin_id: String,
    pub(super) version_id: String,
    pub(super) throttling: Throttling,
}

impl Scope {
    /// All scopes, from the widest to single datamarts.
    pub(super) const ALL: [Self; 4] = [Self::Global, Self::Container, Self::Organisation, Self::Datamart];

    /// The word by which it is sent and shown.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Global => "GLOBAL",
            Self::Container => "CONTAINER",
            Self::Organisation => "ORGANISATION",
            Self::Datamart => "DATAMART",
        }
    }

    /// The label whose value must be `throttling_key`.
    pub(super) const fn key_label(self) -> Option<&'static str> {
        match self {
            Self::Organisation => Some("organisation"),
            Self::Datamart => Some("datamart"),
            Self::Global | Self::Container => None,
        }
    }
}

impl Record {
    /// `None` when it was not written by this dialect.
    pub(super) fn read(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }

    pub(super) fn write(&self) -> Value {
        // Text and numbers always make a value.
        let value = serde_json::to_value(self).unwrap_or_default();
        debug_assert!(value.is_object(), "a throttling that is stored can be read again");
        value
    }

    /// Whether both speak of the same calls in the same way, however the endpoint is spelled: only one may be there.
    pub(super) fn collides_with(&self, other: &Self) -> bool {
        let (one, two) = (&self.throttling, &other.throttling);
        self.plugin_id == other.plugin_id
            && self.version_id == other.version_id
            && one.scope == two.scope
            && one.throttling_key == two.throttling_key
            // As patterns: two spellings of one path are one endpoint.
            && endpoint(bare(&one.plugin_endpoint)) == endpoint(bare(&two.plugin_endpoint))
    }
}

/// An endpoint without slashes at its end, which are another spelling of it.
fn bare(endpoint: &str) -> &str {
    match endpoint.trim_end_matches('/') {
        "" => "/",
        bare => bare,
    }
}
