//! The dialect in the API description: its examples, and what each operation refuses.
//!
//! Must not know: how accounts are kept.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, OpenApi as _};

use crate::manage::responsys::errors::{ErrorBody, Failure};
use crate::manage::responsys::objects::Source;
use crate::manage::responsys::routes::{self, accounts, login};
use crate::problem::doc::{refuses, words};

/// The routes of the dialect, and those for its accounts.
#[must_use]
pub(super) fn api_doc() -> OpenApi {
    Dialect::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(
    paths(
        routes::list,
        routes::with_version,
        login::log_in,
        accounts::list,
        accounts::show,
        accounts::put,
        accounts::remove
    ),
    components(schemas(ErrorBody<'_>)),
    tags((
        name = "responsys",
        description = "The throttling limits of Oracle Responsys, and the accounts for which they are kept. They govern \
            the events whose label `account` is one of these and whose label `api` is a function. Without these labels, \
            account and user follow from a token that the login gave out or from the places `responsys.account_in` and \
            `responsys.user_in`, the function from method, path, the member `action` of the query and the body. With `manage.require_headers`, `GET /rest/api/ratelimit` \
            must carry a token in `Authorization`. Its answers are `application/json;charset=UTF-8`."
    ))
)]
struct Dialect;

/// The words for where an account comes from.
pub(super) fn source() -> ObjectBuilder {
    words("ResponsysAccountSource", [Source::File, Source::Route].map(Source::name))
}

/// What `GET /rest/api/ratelimit` refuses.
pub(super) struct ListRefused;

impl IntoResponses for ListRefused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(&[Failure::Token])
    }
}

/// What is answered to a version in the path.
pub(super) struct VersionRefused;

impl IntoResponses for VersionRefused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(&[Failure::NotFound])
    }
}

/// What the login refuses.
pub(super) struct LoginRefused;

impl IntoResponses for LoginRefused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(&[Failure::Credentials, Failure::Parameters, Failure::StaleToken, Failure::Unexpected])
    }
}

/// What a login asks for; a form in the body may have the same members, and goes before.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is described and never made")]
pub(super) struct LoginParameters {
    /// `password`, or `token` for a new token in place of the one in `Authorization`.
    auth_type: Option<String>,
    /// The user; needed for `password`.
    user_name: Option<String>,
    /// Any; needed for `password`.
    password: Option<String>,
}

/// The responses to failures by status, an example for each.
fn responses(failures: &[Failure]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<String, Vec<ErrorBody<'static>>> = BTreeMap::new();
    for (status, body) in failures.iter().map(|failure| failure.facts()) {
        by_status.entry(status.as_str().to_owned()).or_default().push(body);
    }
    by_status.into_iter().map(|(status, bodies)| (status, response(&bodies).into())).collect()
}

fn response(bodies: &[ErrorBody<'static>]) -> Response {
    let about: Vec<String> =
        bodies.iter().map(|body| format!("`{}`: {}.", body.error_code(), body.words())).collect();
    // Texts always make a value.
    let examples = bodies.iter().map(|body| {
        let value = serde_json::to_value(body).unwrap_or_default();
        (body.error_code(), ExampleBuilder::new().value(Some(value)).build())
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("ResponsysError")))
        .examples_from_iter(examples)
        .build();
    let id = HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
        .description(Some("An id that no other failure has."))
        .build();
    ResponseBuilder::new()
        .description(about.join("\n\n"))
        .content("application/json", content)
        .header("X-CorrelationID", id)
        .build()
}

refuses! {
    /// What the list of accounts refuses, by status.
    AllRefused: INTERNAL;
    /// What showing an account refuses, by status.
    ShowRefused: INVALID_REQUEST ACCOUNT_NOT_FOUND INTERNAL;
    /// What making or replacing an account refuses, by status.
    PutRefused: INVALID_JSON INCOMPLETE_BODY BODY_TIMEOUT FILE_ACCOUNT POLICY_EXISTS POLICIES_FULL TOO_MANY_ACCOUNTS
        PAYLOAD_TOO_LARGE UNSUPPORTED_MEDIA_TYPE INVALID_REQUEST INTERNAL STORAGE_ERROR STORE_HELD STORE_SLOW OUTCOME_UNKNOWN;
    /// What removing an account refuses, by status.
    RemoveRefused: INVALID_REQUEST ACCOUNT_NOT_FOUND FILE_ACCOUNT INTERNAL STORAGE_ERROR STORE_HELD STORE_SLOW
        OUTCOME_UNKNOWN;
}

pub(super) fn limits() -> Value {
    json!([{
        "limit": "1000",
        "api": "mergeListRecipients",
        "resource_path": "lists/{listName}/members",
        "verb": "POST",
        "description": "Merge List Recipients",
    }])
}

pub(super) fn form() -> Value {
    json!("user_name=api_user&password=secret&auth_type=password")
}

pub(super) fn logged_in() -> Value {
    json!({
        "authToken": "tidegate-eyJhIjoiYWNtZSIsInUiOiJhcGlfdXNlciIsInQiOjE3MDAwMDAwMDAwMDAsInIiOjd9",
        "issuedAt": 1_700_000_000_000_u64,
        "endPoint": "http://127.0.0.1:7080",
    })
}

pub(super) fn values() -> Value {
    json!({
        "limits": {"mergeListRecipients": 400},
        "blocked": [{"user": "nightly", "apis": ["deleteListRecipients"]}],
        "users": ["api_user"],
    })
}

pub(super) fn account() -> Value {
    let mut account = values();
    account["name"] = json!("acme");
    account["source"] = json!("api");
    account
}

pub(super) fn all() -> Value {
    json!({"accounts": [account()]})
}
