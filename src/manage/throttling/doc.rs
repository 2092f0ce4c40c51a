//! The dialect in the API description: its examples, what each operation refuses, the words of some members.
//!
//! Must not know: how configs are kept.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, OpenApi as _, ToSchema};

use crate::manage::doc::under_each;
use crate::manage::throttling::errors::{ContentTypeBody, Envelope, Failure, GatewayBody, GatewayError};
use crate::manage::throttling::routes::{self, BASES};
use crate::problem::doc::words;

/// The routes of the dialect, under both base paths.
#[must_use]
pub fn api_doc() -> OpenApi {
    let mut doc = Dialect::openapi();
    let mut check = doc.paths.paths.get("/throttlingConfigs/{uid}/canDeploy").cloned().unwrap_or_default();
    check.get = check.post.clone();
    if let Some(get) = &mut check.get {
        get.operation_id = Some("mayDeployThrottlingConfig".to_owned());
    }
    doc.paths.paths.insert("/throttlingConfigs/{uid}/canDeploy".to_owned(), check);
    under_each(&BASES, &doc)
}

#[derive(utoipa::OpenApi)]
#[openapi(
    paths(
        routes::list,
        routes::create,
        routes::read,
        routes::update,
        routes::delete,
        routes::may_deploy,
        routes::deploy,
        routes::undeploy
    ),
    components(schemas(Envelope, GatewayBody, ContentTypeBody)),
    tags((
        name = "throttling",
        description = "The Throttling API of Adobe Journey Optimizer. Answers are `application/json;charset=utf-8`. With \
            `manage.require_headers`, requests must carry `Authorization` too."
    ))
)]
struct Dialect;

pub(super) const ABOUT_CONFIG: &str = "A limit of calls per second. To be deployed it needs `urlPattern`, `methods` and a whole \
    `maxThroughput` in the configured range, 200 to 5000 unless set otherwise. Unknown members are left out.";

/// On whose behalf a request is made.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is described and never made")]
pub(super) struct Headers {
    /// Wanted with `manage.require_headers`.
    #[param(rename = "x-api-key")]
    api_key: Option<String>,
    /// The organisation; the default one when missing.
    #[param(rename = "x-gw-ims-org-id")]
    org: Option<String>,
    /// The sandbox; the default one when missing.
    #[param(rename = "x-sandbox-name")]
    sandbox: Option<String>,
}

/// The part of a list that is asked for; all of it without two valid numbers.
#[derive(ToSchema)]
#[schema(as = ThrottlingPage, rename_all = "camelCase")]
#[expect(dead_code, reason = "it is described and never made")]
pub(super) struct Page {
    /// Counted from 0.
    page: Option<u64>,
    page_size: Option<u64>,
}

/// An object without members.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Empty {}

/// What an operation refuses, in a type of its own: what all of them refuse, and the failures that are named.
macro_rules! refused {
    ($(#[$about:meta] $name:ident: $gateway:expr, $($failure:ident)*;)*) => {
        $(
            #[$about]
            pub(super) struct $name;

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    responses($gateway, &[$(Failure::$failure),*])
                }
            }
        )*
    };
}

refused! {
    /// By list.
    ListRefused: &WITHOUT_TYPE, InvalidPayload TooLarge Get;
    /// By create.
    CreateRefused: &WITH_TYPE, InvalidPayload TooLarge CreateLimit Create;
    /// By get.
    ReadRefused: &WITHOUT_TYPE, NotFound Get;
    /// By update.
    UpdateRefused: &WITH_TYPE, InvalidPayload TooLarge NotFound UpdateNotActive Update;
    /// By delete.
    DeleteRefused: &WITHOUT_TYPE, NotFound DeleteForbidden Delete;
    /// By canDeploy.
    CheckRefused: &WITHOUT_TYPE, NotFound Get;
    /// By deploy.
    DeployRefused: &WITHOUT_TYPE, NotFound AlreadyDeployed Deploy;
    /// By undeploy.
    UndeployRefused: &WITHOUT_TYPE, NotFound NotDeployed Undeploy;
}

const WITHOUT_TYPE: [GatewayError; 3] =
    [GatewayError::NoToken, GatewayError::NoApiKey, GatewayError::MissingHeader];
const WITH_TYPE: [GatewayError; 4] =
    [GatewayError::NoToken, GatewayError::NoApiKey, GatewayError::MissingHeader, GatewayError::ContentType];

/// The responses to what is refused, by status: the gateway's, the sandbox's and the operation's own. An example for each.
fn responses(gateway: &[GatewayError], failures: &[Failure]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<StatusCode, Vec<(&str, String, Value)>> = BTreeMap::new();
    for error in gateway {
        let (status, answer) = error.answer();
        let name =
            if *error == GatewayError::ContentType { "GatewayContentTypeError" } else { "GatewayError" };
        let about = format!("{error:?}");
        by_status.entry(status).or_default().push((name, about, value(&answer)));
    }
    for failure in [Failure::NonProdSandbox, Failure::UnknownSandbox].iter().chain(failures) {
        let (status, code, message) = failure.facts();
        let answer = Envelope::of(*failure, "prod", false, "8TkcYDkzb2mWMtXcFYdJ3vPLmfG0hS1n".to_owned());
        let about = format!("{code}: {message}");
        by_status.entry(status).or_default().push(("ThrottlingError", about, value(&answer)));
    }
    by_status
        .into_iter()
        .map(|(status, refused)| (status.as_str().to_owned(), response(refused).into()))
        .collect()
}

fn response(refused: Vec<(&str, String, Value)>) -> Response {
    let mut names: Vec<_> = refused.iter().map(|(name, ..)| *name).collect();
    names.sort_unstable();
    names.dedup();
    let schema =
        names.iter().fold(OneOfBuilder::new(), |one_of, name| one_of.item(Ref::from_schema_name(*name)));
    let about: Vec<_> = refused.iter().map(|(_, about, _)| about.as_str()).collect();
    let description = about.join("\n\n");
    let examples = refused
        .iter()
        .map(|(_, about, value)| (about.as_str(), ExampleBuilder::new().value(Some(value.clone())).build()));
    let content =
        ContentBuilder::new().schema(Some(Schema::from(schema.build()))).examples_from_iter(examples).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}

fn value(answer: &impl Serialize) -> Value {
    // Texts and numbers always make a value.
    serde_json::to_value(answer).unwrap_or_default()
}

pub(super) fn never() -> Schema {
    constant(false)
}

pub(super) fn always() -> Schema {
    constant(true)
}

fn constant(value: bool) -> Schema {
    ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([value])).into()
}

pub(super) fn validation_status() -> Schema {
    words(["ok", "error"]).into()
}

pub(super) fn state() -> Schema {
    words(["created", "updated", "deployed"]).into()
}

const UID: &str = "0c8e5c0f-6c0e-4a54-9b2c-1f1d5a2b3c4d";

pub(super) fn config() -> Value {
    json!({
        "name": "orders",
        "description": "the shop's endpoint",
        "urlPattern": "http://127.0.0.1:9000/*",
        "methods": ["POST", "GET"],
        "maxThroughput": 200,
    })
}

fn element() -> Value {
    let mut element = config();
    element["orgId"] = json!("default");
    element["sandboxId"] = json!("7d3f5b0e-2c41-4a7e-9d86-51c0e2a94b17");
    element["sandboxName"] = json!("prod");
    element["uid"] = json!(UID);
    element["metadata"] = json!({
        "createdBy": "tidegate",
        "createdById": "tidegate",
        "lastModifiedBy": "tidegate",
        "lastModifiedById": "tidegate",
        "createdAt": "2030-01-31T08:00:00.000000Z",
        "lastModifiedAt": "2030-01-31T08:00:00.000000Z",
    });
    element["state"] = json!("created");
    element["authoringFormatVersion"] = json!("1.0");
    element
}

/// As every answer but that of create shows it.
fn shown() -> Value {
    let mut element = element();
    element["_id"] = json!(format!("{UID}_7d3f5b0e-2c41-4a7e-9d86-51c0e2a94b17"));
    element["hasBeenDeployed"] = json!(false);
    element
}

fn changed(member: &str, element: Value, status: &str) -> Value {
    let mut changed = checked();
    changed[member] = element;
    changed["uid"] = json!(UID);
    changed["uri"] = json!(format!("/voyager/apis/throttlingConfigs/{UID}"));
    changed["resStatus"] = json!(status);
    changed
}

pub(super) fn created() -> Value {
    changed("createdElement", element(), "created")
}

pub(super) fn updated() -> Value {
    let mut element = shown();
    element["state"] = json!("updated");
    changed("updatedElement", element, "updated")
}

pub(super) fn one() -> Value {
    json!({"result": shown()})
}

pub(super) fn list() -> Value {
    json!({"results": [shown()]})
}

pub(super) fn checked() -> Value {
    json!({"canDeploy": {"validationStatus": "ok"}})
}
