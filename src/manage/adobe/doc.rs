//! What both APIs have in common in the API description: headers, pages, refusals, the words of some members, examples.
//!
//! Must not know: what a config of either API says.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder};
use utoipa::{IntoParams, ToSchema};

use crate::manage::adobe::envelope::{
    ContentTypeBody, Envelope, Facts, GatewayError, UNKNOWN_SANDBOX, Voice,
};
use crate::manage::adobe::routing::{BASES, DRAFTED_BASE};
use crate::manage::doc::under_each;
use crate::problem::NotJson;
use crate::problem::doc::words;

/// The routes of one API under all base paths. `canDeploy` of `collection`, described as POST, is answered to GET too,
/// as the operation `get_id`.
pub(in crate::manage) fn under_all_bases(mut doc: OpenApi, collection: &str, get_id: &str) -> OpenApi {
    let path = format!("/{collection}/{{uid}}/canDeploy");
    let mut check = doc.paths.paths.get(&path).cloned().unwrap_or_default();
    check.get = check.post.clone();
    if let Some(get) = &mut check.get {
        get.operation_id = Some(get_id.to_owned());
    }
    doc.paths.paths.insert(path, check);
    let drafted = of_organisation(doc.clone());
    under_each(&BASES, &doc).nest(DRAFTED_BASE, drafted)
}

/// The operations as they are found under the base that names the organisation: with ids of their own.
fn of_organisation(mut doc: OpenApi) -> OpenApi {
    let parameter = ParameterBuilder::new()
        .name("organization")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("The organisation, in place of the header `x-gw-ims-org-id`."))
        .schema(Some(Object::with_type(Type::String)))
        .build();
    for item in doc.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            operation.operation_id = operation.operation_id.take().map(|id| format!("{id}_of_organisation"));
            operation.parameters.get_or_insert_default().push(RefOr::T(parameter.clone()));
        }
    }
    doc
}

/// On whose behalf a request is made.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is described and never made")]
pub(in crate::manage) struct Headers {
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
#[schema(as = AdobePage, rename_all = "camelCase")]
#[expect(dead_code, reason = "it is described and never made")]
pub(in crate::manage) struct Page {
    /// Counted from 0.
    page: Option<u64>,
    page_size: Option<u64>,
}

/// An object without members.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::manage) struct Empty {}

/// What an operation refuses, in a type of its own: what all of them refuse, and the failures of the dialect that are
/// named. `refused! { VOICE; /// By whom. Name: gateway's errors, Failure Own(Failure); }`
macro_rules! refused {
    ($voice:expr; $(#[$about:meta] $name:ident: $gateway:expr, $($failure:ident $(($own:ident))?)*;)*) => {
        $(
            #[$about]
            pub(super) struct $name;

            impl ::utoipa::IntoResponses for $name {
                fn responses() -> ::std::collections::BTreeMap<
                    String,
                    ::utoipa::openapi::RefOr<::utoipa::openapi::Response>,
                > {
                    $crate::manage::adobe::doc::responses($voice, $gateway, &[$(Failure::$failure $((Own::$own))?.into()),*])
                }
            }
        )*
    };
}
pub(in crate::manage) use refused;

/// What the gateway refuses of a request without a body.
pub(in crate::manage) const WITHOUT_TYPE: &[GatewayError] =
    &[GatewayError::NoToken, GatewayError::BadToken, GatewayError::NoApiKey, GatewayError::MissingHeader];
/// What the gateway refuses of a request with a body.
pub(in crate::manage) const WITH_TYPE: &[GatewayError] = &[
    GatewayError::NoToken,
    GatewayError::BadToken,
    GatewayError::NoApiKey,
    GatewayError::MissingHeader,
    GatewayError::ContentType,
];

/// The responses to what is refused, by status: the gateway's, the sandbox's and the operation's own. An example for each.
pub(in crate::manage) fn responses(
    voice: Voice,
    gateway: &[GatewayError],
    failures: &[Facts],
) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<StatusCode, Vec<(&str, String, Value)>> = BTreeMap::new();
    for error in gateway {
        let (status, answer) = error.answer();
        let name =
            if *error == GatewayError::ContentType { "GatewayContentTypeError" } else { "GatewayError" };
        let about = format!("{error:?}");
        by_status.entry(status).or_default().push((name, about, value(&answer)));
    }
    if gateway.contains(&GatewayError::ContentType) {
        let (status, body) = ContentTypeBody::of(&NotJson::unstated());
        let about = "The body is of another type than JSON.".to_owned();
        by_status.entry(status).or_default().push(("GatewayContentTypeError", about, value(&body)));
    }
    for facts in [&UNKNOWN_SANDBOX].into_iter().chain(failures) {
        let schema = (voice.schema)("default", "prod");
        let answer =
            Envelope::of(facts.clone(), voice, schema, "8TkcYDkzb2mWMtXcFYdJ3vPLmfG0hS1n".to_owned());
        let about = format!("{}: {}", facts.code, facts.message);
        let refused = by_status.entry(facts.status).or_default();
        // Several failures may have one code and one text.
        if refused.iter().all(|(_, known, _)| *known != about) {
            refused.push(("AdobeError", about, value(&answer)));
        }
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
    let schema = match *names {
        [name] => RefOr::Ref(Ref::from_schema_name(name)),
        _ => any_refusal().into(),
    };
    let about: Vec<_> = refused.iter().map(|(_, about, _)| about.as_str()).collect();
    let description = about.join("\n\n");
    let examples = refused
        .iter()
        .map(|(_, about, value)| (about.as_str(), ExampleBuilder::new().value(Some(value.clone())).build()));
    let content = ContentBuilder::new().schema(Some(schema)).examples_from_iter(examples).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}

/// All shapes of a refusal, where a status has several.
fn any_refusal() -> Schema {
    let shapes = ["AdobeError", "GatewayError", "GatewayContentTypeError"];
    let one_of = shapes.into_iter().map(Ref::from_schema_name).fold(OneOfBuilder::new(), OneOfBuilder::item);
    one_of.title(Some("AdobeRefusal")).build().into()
}

fn value(answer: &impl Serialize) -> Value {
    // Texts and numbers always make a value.
    serde_json::to_value(answer).unwrap_or_default()
}

pub(in crate::manage) fn never() -> Schema {
    constant(false)
}

pub(in crate::manage) fn always() -> Schema {
    constant(true)
}

fn constant(value: bool) -> Schema {
    ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([value])).into()
}

pub(in crate::manage) fn validation_status() -> Schema {
    words("AdobeValidationStatus", ["ok", "error"]).into()
}

pub(in crate::manage) fn state() -> Schema {
    words("AdobeState", ["created", "updated", "deployed"]).into()
}

/// The uid of the config in every example.
pub(in crate::manage) const UID: &str = "0c8e5c0f-6c0e-4a54-9b2c-1f1d5a2b3c4d";
/// The id of the sandbox in every example.
pub(in crate::manage) const SANDBOX_ID: &str = "7d3f5b0e-2c41-4a7e-9d86-51c0e2a94b17";

/// A config with what the system adds in both APIs, just created.
pub(in crate::manage) fn element(mut config: Value) -> Value {
    config["orgId"] = json!("default");
    config["sandboxId"] = json!(SANDBOX_ID);
    config["sandboxName"] = json!("prod");
    config["uid"] = json!(UID);
    config["metadata"] = json!({
        "createdBy": "tidegate",
        "createdById": "tidegate",
        "lastModifiedBy": "tidegate",
        "lastModifiedById": "tidegate",
        "createdAt": "2030-01-31T08:00:00.000000Z",
        "lastModifiedAt": "2030-01-31T08:00:00.000000Z",
    });
    config["state"] = json!("created");
    config["authoringFormatVersion"] = json!("1.0");
    config
}

/// The answer to create, with the element as `member`, or to update.
pub(in crate::manage) fn changed(collection: &str, member: &str, element: Value, status: &str) -> Value {
    let mut changed = checked();
    changed[member] = element;
    changed["uid"] = json!(UID);
    changed["uri"] = json!(format!("/voyager/apis/{collection}/{UID}"));
    changed["resStatus"] = json!(status);
    changed
}

/// The answer to canDeploy for a config without faults.
pub(in crate::manage) fn checked() -> Value {
    json!({"canDeploy": {"validationStatus": "ok"}})
}
