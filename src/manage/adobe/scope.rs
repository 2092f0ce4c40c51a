//! On whose behalf a request is made: the headers of the dialect and the sandboxes that exist (contract.md 1).

use std::sync::Arc;

use http::HeaderMap;

use crate::manage::adobe::envelope::{Facts, GatewayError, Refusal, UNKNOWN_SANDBOX};
use crate::manage::adobe::{AdobeOptions, Sandbox};
use crate::manage::call::is_label_value;
use crate::problem::check_json;

/// The header that names the organisation.
pub(in crate::manage) const ORGANISATION: &str = "x-gw-ims-org-id";

/// On whose behalf a request is made.
pub(in crate::manage) struct Scope {
    pub(in crate::manage) org: String,
    pub(in crate::manage) sandbox: Sandbox,
}

impl Scope {
    pub(in crate::manage) fn refuse(&self, failure: impl Into<Facts>) -> Refusal {
        Refusal::Service { facts: failure.into(), org: self.org.clone(), sandbox: self.sandbox.name.clone() }
    }
}

/// What stands before the service: it finds out on whose behalf a request is made, or refuses it. Cheap to clone.
#[derive(Clone)]
pub(in crate::manage) struct Gateway {
    options: Arc<AdobeOptions>,
}

impl Gateway {
    pub(in crate::manage) const fn new(options: Arc<AdobeOptions>) -> Self {
        Self { options }
    }

    /// Headers, then the sandbox. Absent headers take the defaults unless they are required; `with_body` requires
    /// the content type in any case.
    pub(in crate::manage) fn scope(&self, headers: &HeaderMap, with_body: bool) -> Result<Scope, Refusal> {
        let options = &*self.options;
        // In the order in which the contract lists them.
        if options.require_headers {
            require(headers, "authorization", GatewayError::NoToken)?;
            require_bearer(headers)?;
            require(headers, "x-api-key", GatewayError::NoApiKey)?;
            require(headers, ORGANISATION, GatewayError::MissingHeader)?;
            require(headers, "x-sandbox-name", GatewayError::MissingHeader)?;
        }
        if with_body {
            self.content_type(headers)?;
        }
        let org = attribute(headers, ORGANISATION, &options.default_org)?;
        let name = attribute(headers, "x-sandbox-name", &options.default_sandbox)?;
        // A sandbox that nobody listed is not made up: its configs would be managed by a typing error.
        match options.sandboxes.iter().find(|sandbox| sandbox.name == name) {
            Some(sandbox) => Ok(Scope { org, sandbox: sandbox.clone() }),
            None => Err(Refusal::Service { facts: UNKNOWN_SANDBOX, org, sandbox: name }),
        }
    }

    /// A body must say that it is JSON. With required headers it is refused as the platform's gateway does.
    pub(in crate::manage) fn content_type(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        check_json(headers).map_err(|not_json| match self.options.require_headers {
            true => Refusal::Gateway(GatewayError::ContentType),
            false => Refusal::MediaType(not_json),
        })
    }
}

/// A header without a value counts as missing.
fn require(headers: &HeaderMap, name: &str, missing: GatewayError) -> Result<(), Refusal> {
    let given = headers.get(name).is_some_and(|value| !value.as_bytes().trim_ascii().is_empty());
    if given { Ok(()) } else { Err(Refusal::Gateway(missing)) }
}

/// Any token will do: who may call is not decided by it.
fn require_bearer(headers: &HeaderMap) -> Result<(), Refusal> {
    let value = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_bearer = value.trim().split_once(' ').is_some_and(|(scheme, token)| {
        // Names of schemes compare without case (RFC 9110, 11.1).
        scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()
    });
    if is_bearer { Ok(()) } else { Err(Refusal::Gateway(GatewayError::BadToken)) }
}

/// A header that becomes an attribute. One that no label could equal counts as missing, and so does one that is given twice; it
/// never falls back to the default, which would be somebody else's.
fn attribute(headers: &HeaderMap, name: &str, default: &str) -> Result<String, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(default.to_owned()) };
    let is_only_one = values.next().is_none();
    let readable = value.to_str().ok().filter(|text| is_only_one && is_label_value(text));
    readable.map(str::to_owned).ok_or(Refusal::Gateway(GatewayError::MissingHeader))
}
