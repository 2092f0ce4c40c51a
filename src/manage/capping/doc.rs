//! The dialect in the API description: its examples, what each operation refuses.
//!
//! Must not know: how configs are kept.

use serde_json::{Value, json};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use crate::manage::adobe::doc::{self as shared, UID, WITH_TYPE, WITHOUT_TYPE, refused, under_all_bases};
use crate::manage::adobe::envelope::{ContentTypeBody, Envelope, GatewayBody};
use crate::manage::capping::errors::Failure;
use crate::manage::capping::routes;
use crate::manage::capping::{COLLECTION, VOICE};

/// The routes of the dialect, under all base paths.
#[must_use]
pub(super) fn api_doc() -> OpenApi {
    under_all_bases(Dialect::openapi(), COLLECTION, "may_deploy_endpoint_config")
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
        name = "capping",
        description = "The Capping API of Adobe Journey Orchestration. Answers are `application/json;charset=utf-8`. With \
            `manage.require_headers`, requests must carry `Authorization` too. A change that the disk does \
            not confirm in time is refused with 503 and `Retry-After`; the message says whether it may still \
            become active."
    ))
)]
struct Dialect;

pub(super) const ABOUT_CONFIG: &str = "A cap on calls. To be deployed it needs `url`, `methods` and at least one service, \
    each with a `rating`. Unknown members are left out.";

refused! { VOICE;
    /// What the list of configs refuses, by status.
    ListRefused: WITH_TYPE, InvalidPayload NotJson TooLarge Get;
    /// What the creation of a config refuses, by status.
    CreateRefused: WITH_TYPE, InvalidPayload NotJson TooLarge CreateLimit Create CreateFaults;
    /// What showing a config refuses, by status.
    ReadRefused: WITHOUT_TYPE, NotFound Get;
    /// What the update of a config refuses, by status.
    UpdateRefused: WITH_TYPE, InvalidPayload NotJson TooLarge NotFound Update UpdateFaults;
    /// What the deletion of a config refuses, by status.
    DeleteRefused: WITHOUT_TYPE, NotFound DeleteForbidden Delete;
    /// What the check of a config refuses, by status.
    CheckRefused: WITHOUT_TYPE, NotFound Get;
    /// What the deploy of a config refuses, by status.
    DeployRefused: WITHOUT_TYPE, NotFound DeployLimit Deploy;
    /// What the undeploy of a config refuses, by status.
    UndeployRefused: WITHOUT_TYPE, NotFound Undeploy;
}

pub(super) fn config() -> Value {
    json!({
        "url": "http://127.0.0.1:9000/*",
        "methods": ["POST", "GET"],
        "services": {
            "action": {"maxHttpConnections": 50, "rating": {"maxCallsCount": 500, "periodInMs": 1000}},
        },
    })
}

fn element() -> Value {
    let mut element = shared::element(config());
    element["tenantId"] = json!("prod");
    element["hasBeenDeployed"] = json!(false);
    element
}

/// As every answer but that of create shows it.
fn shown() -> Value {
    let mut element = element();
    element["_id"] = json!(UID);
    element
}

pub(super) fn created() -> Value {
    shared::changed(COLLECTION, "createdElement", element(), "created")
}

pub(super) fn updated() -> Value {
    let mut element = shown();
    element["state"] = json!("updated");
    shared::changed(COLLECTION, "updatedElement", element, "updated")
}

pub(super) fn one() -> Value {
    json!({"result": shown()})
}

pub(super) fn list() -> Value {
    json!({"results": [shown()]})
}
