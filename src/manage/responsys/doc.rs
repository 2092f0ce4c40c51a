//! The dialect in the API description: its examples, and what each operation refuses.
//!
//! Must not know: how accounts are kept.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, OpenApi as _};

use crate::manage::responsys::errors::{ErrorBody, Failure};
use crate::manage::responsys::objects::Source;
use crate::manage::responsys::routes::{self, accounts};
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
        accounts::list,
        accounts::show,
        accounts::put,
        accounts::remove
    ),
    components(schemas(ErrorBody<'_>)),
    tags((
        name = "responsys",
        description = "The throttling limits of Oracle Responsys, and the accounts for which they are kept. They govern \
            the events whose label `account` is one of these and whose label `api` is a function or, without it, whose \
            method and path are those of one function alone. With `manage.require_headers`, `GET /rest/api/ratelimit` \
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
        responses(Failure::Token)
    }
}

/// What is answered to a version in the path.
pub(super) struct VersionRefused;

impl IntoResponses for VersionRefused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(Failure::NotFound)
    }
}

fn responses(failure: Failure) -> BTreeMap<String, RefOr<Response>> {
    let (status, body) = failure.facts();
    // Texts always make a value.
    let example = serde_json::to_value(&body).unwrap_or_default();
    let description = format!("`{}`: {}.", body.error_code(), body.detail());
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("ResponsysError")))
        .example(Some(example))
        .build();
    let id = HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
        .description(Some("An id that no other failure has."))
        .build();
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/json", content)
        .header("X-CorrelationID", id)
        .build();
    [(status.as_str().to_owned(), response.into())].into()
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

pub(super) fn values() -> Value {
    json!({
        "limits": {"mergeListRecipients": 400},
        "blocked": [{"user": "nightly", "apis": ["deleteListRecipients"]}],
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
