//! The dialect in the API description: its examples, what it takes, what each operation refuses.
//!
//! Must not know: how throttlings are kept.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::schema::ObjectBuilder;
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, OpenApi as _, ToSchema};

use crate::manage::mediarithmics::errors::{Envelope, Failure};
use crate::manage::mediarithmics::objects::Scope;
use crate::manage::mediarithmics::routes;
use crate::policy::{Bounds, ExceededBound, Late};
use crate::problem::doc::words;
use crate::problem::{BodyFault, NotJson};

/// The routes of the dialect with their examples and refusals.
#[must_use]
pub(super) fn api_doc() -> OpenApi {
    Dialect::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(
    paths(routes::list, routes::create, routes::read, routes::replace, routes::remove),
    components(schemas(Envelope)),
    tags((
        name = "mediarithmics",
        description = "The throttlings of mediarithmics' plugin versions. They govern the events with the label \
            `plugin_version` whose path is `plugin_endpoint`, together with every other one that does. With \
            `manage.require_headers`, requests must carry a token in `Authorization`."
    ))
)]
struct Dialect;

/// A throttling as it is created.
#[derive(ToSchema)]
#[schema(as = MediarithmicsThrottlingNew)]
#[expect(dead_code, reason = "it is described and never made")]
pub(super) struct New {
    /// Must be the version of the path.
    plugin_version_id: String,
    #[schema(inline)]
    #[serde(flatten)]
    rest: Replacement,
}

/// A throttling as it is replaced; at least one of `max_qps`, `max_concurrency` and `timeout_ms` is required. Unknown
/// members are let go.
#[derive(ToSchema)]
#[schema(as = MediarithmicsThrottlingReplacement)]
#[expect(dead_code, reason = "it is described and never made")]
pub(super) struct Replacement {
    #[schema(schema_with = scope)]
    scope: String,
    /// The id of the datamart or organisation; required for `DATAMART` and `ORGANISATION`, ignored for the others.
    throttling_key: Option<String>,
    /// The path of the calls, compared as a whole.
    plugin_endpoint: String,
    /// Calls per second: 0.5 is one call every two seconds.
    #[schema(minimum = 0.0000116, maximum = 1_000_000)]
    max_qps: Option<f64>,
    /// Calls in flight.
    #[schema(minimum = 1, maximum = 65_536)]
    max_concurrency: Option<u32>,
    /// A call that takes longer is killed.
    #[schema(minimum = 1, maximum = 600_000)]
    timeout_ms: Option<u32>,
}

/// The part of a list that is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is described and never made")]
pub(super) struct PageParameters {
    /// How many are left out at the start.
    #[param(default = 0, maximum = 4_294_967_295_u64)]
    first_result: Option<u32>,
    /// How many are shown at most.
    #[param(default = 50, minimum = 1, maximum = 1_000)]
    max_results: Option<u32>,
}

/// Which plugin version.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it is described and never made")]
pub(super) struct OfVersion {
    /// Any text that a label can have.
    plugin_id: String,
    /// What events name in their label `plugin_version`.
    version_id: String,
}

/// The words for scopes, as a schema of the description.
pub(super) fn scope() -> ObjectBuilder {
    words("MediarithmicsScope", Scope::ALL.into_iter().map(Scope::name))
}

/// What an operation refuses, in a type of its own.
macro_rules! refused {
    ($(#[$about:meta] $name:ident: $($failure:expr),*;)*) => {
        $(
            #[$about]
            pub(super) struct $name;

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    responses(&[$($failure),*])
                }
            }
        )*
    };
}

refused! {
    /// What the list of throttlings refuses, by status.
    ListRefused: broken(), Failure::NoToken, Failure::NotFound, Failure::Unexpected;
    /// What the creation of a throttling refuses, by status.
    CreateRefused: broken(), Failure::NoToken, Failure::NotFound, twin(), full(), wrong_type(), too_large(),
        too_slow(), Failure::Unexpected, Failure::Late(Late::NotMade), Failure::Late(Late::Unknown);
    /// What showing a throttling refuses, by status.
    ReadRefused: Failure::NoToken, Failure::NotFound, Failure::Unexpected;
    /// What the replacement of a throttling refuses, by status.
    ReplaceRefused: broken(), Failure::NoToken, Failure::NotFound, twin(), full(), wrong_type(), too_large(),
        too_slow(), Failure::Unexpected, Failure::Late(Late::NotMade), Failure::Late(Late::Unknown);
    /// What the deletion of a throttling refuses, by status.
    RemoveRefused: Failure::NoToken, Failure::NotFound, Failure::Unexpected, Failure::Late(Late::NotMade),
        Failure::Late(Late::Unknown);
}

fn broken() -> Failure {
    Failure::Invalid("scope is required; plugin_endpoint must start with /".to_owned())
}

fn wrong_type() -> Failure {
    Failure::Body(NotJson::unstated().into())
}

fn too_large() -> Failure {
    Failure::Body(BodyFault::TooLarge.into())
}

fn too_slow() -> Failure {
    Failure::Body(BodyFault::TooSlow.into())
}

fn full() -> Failure {
    Failure::Full(ExceededBound::Policies { most: Bounds::default().policies }.to_string())
}

fn twin() -> Failure {
    Failure::Duplicate("1001".to_owned())
}

/// The responses to failures by status, an example for each.
fn responses(failures: &[Failure]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for failure in failures {
        let (status, envelope) = Envelope::of(failure, "8a4b1f0e-6d0f-4b0c-9d53-7f2f3f1f6a11".to_owned());
        // Texts always make a value.
        let value = serde_json::to_value(&envelope).unwrap_or_default();
        by_status.entry(status.as_str().to_owned()).or_default().push(value);
    }
    by_status.into_iter().map(|(status, values)| (status, response(&values).into())).collect()
}

fn response(values: &[Value]) -> Response {
    let text = |value: &Value, member: &str| value[member].as_str().unwrap_or_default().to_owned();
    let about: Vec<_> = values
        .iter()
        .map(|value| format!("`{}`: {}.", text(value, "error_code"), text(value, "error")))
        .collect();
    let examples = values
        .iter()
        .map(|value| (text(value, "error_code"), ExampleBuilder::new().value(Some(value.clone())).build()));
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("MediarithmicsError")))
        .examples_from_iter(examples)
        .build();
    ResponseBuilder::new().description(about.join("\n\n")).content("application/json", content).build()
}

pub(super) fn replacement() -> Value {
    json!({
        "scope": "DATAMART",
        "throttling_key": "1509",
        "plugin_endpoint": "/v1/user_segment_update",
        "max_qps": 0.5,
        "max_concurrency": 3,
        "timeout_ms": 400,
    })
}

pub(super) fn new() -> Value {
    let mut new = replacement();
    new["plugin_version_id"] = json!("1502");
    new
}

fn shown() -> Value {
    let mut shown = new();
    shown["id"] = json!("1001");
    shown
}

pub(super) fn one() -> Value {
    json!({"status": "ok", "data": shown()})
}

pub(super) fn list() -> Value {
    json!({"status": "ok", "count": 1, "total": 1, "first_result": 0, "max_results": 50, "data": [shown()]})
}

pub(super) fn done() -> Value {
    json!({"status": "ok"})
}
