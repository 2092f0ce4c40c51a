//! The members that clients set, kind by kind, with what holds when one is not given (contract.md 4, 6).
//!
//! Must not know: how bodies are read, what the members mean for calls.

use crate::manage::mashery::wire::shape::Shape;
use crate::policy::Window;

/// One member of an object, and what holds when it is not given.
#[derive(Debug, Clone, Copy)]
pub(in crate::manage::mashery) struct Member {
    /// The name of the member on the wire.
    pub(in crate::manage::mashery) name: &'static str,
    /// What the member may hold when it is given.
    pub(in crate::manage::mashery) shape: Shape,
    /// What it is without having been given, or when `null` is given.
    pub(super) unset: Unset,
}

/// What a member is that was not given, or is `null`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unset {
    /// An error: it must be given.
    Refused,
    /// `null`, shown so: nothing of its own.
    Null,
    /// `false`, and it is shown so.
    False,
    /// `[]`, an empty list, and it is shown so.
    Empty,
    /// This word, and it is shown so.
    Word(&'static str),
    /// Not shown. Of such members tidegate makes no use, it only gives them back.
    Absent,
}

impl Member {
    /// Whether it is shown as `null` when it is not set.
    pub(in crate::manage::mashery) const fn is_nullable(&self) -> bool {
        matches!(self.unset, Unset::Null)
    }
}

/// Members that the system makes; those that a client sends are ignored.
pub(super) const MADE: [&str; 3] = ["id", "created", "updated"];
/// The periods of `rateLimitPeriod` (contract.md 3).
const PERIODS: Shape = Shape::Word(&["minute", "hour", "day", "month"]);
/// The periods of notices about quotas.
const NOTICE_PERIODS: Shape = Shape::Word(&["minute", "hour", "day", "week", "month"]);
/// Calls; zero is refused, for `null` means without limit or as inherited (contract.md 6).
const CEILING: Shape = Shape::Number { min: 1, max: Window::MAX_CALLS as i64 };
/// A key's or plan's may be zero while it is exempt, as the V2 to V3 guide has it (contract.md 4).
const KEY_CEILING: Shape = Shape::Number { min: 0, max: Window::MAX_CALLS as i64 };
const TEXT: Shape = Shape::Text { max_bytes: 1024 };
const SAMPLE: Shape = Shape::Text { max_bytes: 32 * 1024 };
const SMALL: Shape = Shape::Number { min: 0, max: 1_000_000 };

const fn member(name: &'static str, shape: Shape, unset: Unset) -> Member {
    Member { name, shape, unset }
}

const fn echoed(name: &'static str, shape: Shape) -> Member {
    member(name, shape, Unset::Absent)
}

pub(super) const SERVICE: &[Member] = &[
    member("name", Shape::Name, Unset::Refused),
    member("qpsLimitOverall", Shape::Number { min: -1, max: Window::MAX_CALLS as i64 }, Unset::Null),
    member("rateLimitCeiling", CEILING, Unset::Null),
    member("rateLimitPeriod", PERIODS, Unset::Word("day")),
    member("qpsLimitCeiling", CEILING, Unset::Null),
    member("rateLimitOverrideAllowed", Shape::Flag, Unset::False),
    member("qpsLimitOverrideAllowed", Shape::Flag, Unset::False),
    echoed("description", Shape::Text { max_bytes: 8 * 1024 }),
    echoed("version", TEXT),
    echoed("rfc3986Encode", Shape::Flag),
];

pub(super) const ENDPOINT: &[Member] = &[
    member("name", Shape::Name, Unset::Refused),
    member("requestPathAlias", Shape::PathAlias, Unset::Refused),
    member("publicDomains", Shape::PublicDomains, Unset::Refused),
    member("supportedHttpMethods", Shape::Verbs, Unset::Empty),
    member("rateLimitCeiling", CEILING, Unset::Null),
    member("qpsLimitCeiling", CEILING, Unset::Null),
    echoed("allowMissingApiKey", Shape::Flag),
    echoed("apiKeyValueLocationKey", TEXT),
    echoed("apiKeyValueLocations", Shape::Texts),
    echoed("apiMethodDetectionKey", TEXT),
    echoed("apiMethodDetectionLocations", Shape::Texts),
    echoed("connectionTimeoutForSystemDomainRequest", SMALL),
    echoed("connectionTimeoutForSystemDomainResponse", SMALL),
    echoed("cookiesDuringHttpRedirectsEnabled", Shape::Flag),
    echoed("customRequestAuthenticationAdapter", TEXT),
    echoed("dropApiKeyFromIncomingCall", Shape::Flag),
    echoed("forceGzipOfBackendCall", Shape::Flag),
    echoed("forwardedHeaders", Shape::Texts),
    echoed("gzipPassthroughSupportEnabled", Shape::Flag),
    echoed("headersToExcludeFromIncomingCall", Shape::Texts),
    echoed("highSecurity", Shape::Flag),
    echoed("hostPassthroughIncludedInBackendCallHeader", Shape::Flag),
    echoed("inboundMsslRequired", Shape::Flag),
    echoed("inboundSslRequired", Shape::Flag),
    echoed("jsonpCallbackParameter", TEXT),
    echoed("jsonpCallbackParameterValue", TEXT),
    echoed("numberOfHttpRedirectsToFollow", SMALL),
    echoed("oauthGrantTypes", Shape::Texts),
    echoed("outboundRequestTargetPath", TEXT),
    echoed("outboundRequestTargetQueryParameters", TEXT),
    echoed("outboundTransportProtocol", TEXT),
    echoed("requestAuthenticationType", TEXT),
    echoed("requestProtocol", TEXT),
    echoed("returnedHeaders", Shape::Texts),
    echoed("stringsToTrimFromApiKey", TEXT),
    echoed("systemDomains", Shape::Domains),
    echoed("trafficManagerDomain", TEXT),
    echoed("useSystemDomainCredentials", Shape::Flag),
];

pub(super) const METHOD: &[Member] = &[
    member("name", Shape::Name, Unset::Refused),
    member("rateLimitCeiling", CEILING, Unset::Null),
    member("rateLimitPeriod", PERIODS, Unset::Null),
    member("qpsLimitCeiling", CEILING, Unset::Null),
    echoed("sampleJsonResponse", SAMPLE),
    echoed("sampleXmlResponse", SAMPLE),
];

pub(super) const PACKAGE_KEY: &[Member] = &[
    member("apikey", Shape::ApiKey, Unset::Refused),
    member("secret", TEXT, Unset::Null),
    member("rateLimitCeiling", KEY_CEILING, Unset::Null),
    member("rateLimitExempt", Shape::Flag, Unset::False),
    member("qpsLimitCeiling", KEY_CEILING, Unset::Null),
    member("qpsLimitExempt", Shape::Flag, Unset::False),
    member("status", Shape::Word(&["waiting", "active", "disabled"]), Unset::Word("active")),
    echoed("service", Shape::Reference),
    echoed("package", Shape::Reference),
    echoed("plan", Shape::Reference),
    echoed("expires", TEXT),
];

pub(super) const PACKAGE: &[Member] = &[
    member("name", Shape::Name, Unset::Refused),
    echoed("description", Shape::Text { max_bytes: 8 * 1024 }),
    echoed("nearQuotaThreshold", SMALL),
    echoed("notifyAdminPeriod", NOTICE_PERIODS),
    echoed("notifyDeveloperPeriod", NOTICE_PERIODS),
];

pub(super) const PLAN: &[Member] = &[
    member("name", Shape::Name, Unset::Refused),
    member("rateLimitCeiling", KEY_CEILING, Unset::Null),
    member("rateLimitExempt", Shape::Flag, Unset::False),
    member("rateLimitKeyOverrideAllowed", Shape::Flag, Unset::False),
    member("rateLimitPeriod", PERIODS, Unset::Word("day")),
    member("qpsLimitCeiling", KEY_CEILING, Unset::Null),
    member("qpsLimitExempt", Shape::Flag, Unset::False),
    member("qpsLimitKeyOverrideAllowed", Shape::Flag, Unset::False),
    member("status", Shape::Word(&["active", "inactive"]), Unset::Word("active")),
    echoed("description", Shape::Text { max_bytes: 8 * 1024 }),
];

pub(super) const PLAN_METHOD: &[Member] = &[
    member("rateLimitCeiling", CEILING, Unset::Null),
    member("rateLimitPeriod", PERIODS, Unset::Null),
    member("qpsLimitCeiling", CEILING, Unset::Null),
];

pub(super) const MEMBER: &[Member] =
    &[member("username", Shape::Name, Unset::Refused), echoed("email", TEXT), echoed("displayName", TEXT)];

pub(super) const APPLICATION: &[Member] = &[
    member("name", Shape::Name, Unset::Refused),
    echoed("description", Shape::Text { max_bytes: 8 * 1024 }),
];
