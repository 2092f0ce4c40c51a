//! The call that `/v1/explain` is asked about, as parameters say it or as a whole event.
//!
//! Must not know: where a call goes, what holds it.

use axum::body::Body;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use crate::clock::Clock;
use crate::event::{CanonicalUrl, Labels, Priority, parse_method};
use crate::ingest::{AskedCall, CallRouter};
use crate::ops::body;
use crate::ops::query::{Parameters, invalid};
use crate::problem::Problem;

/// The families of parameters: labels and headers of the call.
pub(super) const FAMILIES: [&str; 2] = [LABEL, HEADER];
const LABEL: &str = "label.";
const HEADER: &str = "header.";

/// Whether a call is described, beside an url.
pub(super) fn says_more(parameters: &Parameters) -> bool {
    let has = |family| parameters.family(family).next().is_some();
    ["method", "priority"].into_iter().any(|name| parameters.get(name).is_some())
        || FAMILIES.into_iter().any(has)
}

/// The call of parameters, without a body, as if it came in a request with the headers `request`.
pub(super) fn by_parameters(
    router: &CallRouter,
    parameters: &Parameters,
    url: &str,
    request: &HeaderMap,
    clock: &Clock,
) -> Result<AskedCall, Box<Problem>> {
    let url = CanonicalUrl::handed_in(url).map_err(|error| invalid("url", error.to_string()))?;
    let method = parameters.get("method").map_or(Ok(Method::POST), parse_method);
    let method = method.map_err(|error| invalid("method", error.to_string()))?;
    let own = labels(router, parameters)?;
    let priority = parameters
        .get("priority")
        .map(|word| Priority::parse(word).ok_or_else(|| invalid("priority", Priority::RULE.to_owned())));
    router.asked_call(request, (method, url), headers(parameters)?, (own, priority.transpose()?), clock)
}

/// The call of the event that is the body of a request.
pub(super) async fn by_event(
    router: &CallRouter,
    request: &HeaderMap,
    body: Body,
    clock: &Clock,
) -> Result<AskedCall, Box<Problem>> {
    let text = body::read_text(request, body).await?;
    router.asked_event(request, &text, clock)
}

fn labels(router: &CallRouter, parameters: &Parameters) -> Result<Labels, Box<Problem>> {
    if let Some((name, _)) = parameters.family(LABEL).find(|(name, _)| !router.defaults.is_known(name)) {
        let rule = "is an unknown label, which events may not carry; labels.declared takes further ones";
        return Err(invalid(&format!("{LABEL}{name}"), rule.to_owned()));
    }
    let given = parameters.family(LABEL).map(|(key, value)| (key.to_owned(), value.to_owned()));
    Labels::new(given).map_err(|error| invalid("label.KEY", format!("breaks a rule: {error}")))
}

fn headers(parameters: &Parameters) -> Result<HeaderMap, Box<Problem>> {
    let mut headers = HeaderMap::new();
    for (name, value) in parameters.family(HEADER) {
        let breaks = |rule: &str| invalid(&format!("{HEADER}{name}"), rule.to_owned());
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| breaks("is not a header name"))?;
        // Names compare without regard to case, those of parameters do not.
        if headers.contains_key(&parsed) {
            return Err(breaks("is given twice; give it once"));
        }
        let value =
            HeaderValue::from_str(value).map_err(|_| breaks("has other characters than visible ASCII"))?;
        headers.insert(parsed, value);
    }
    Ok(headers)
}
