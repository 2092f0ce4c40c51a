//! The dialect in the API description: its examples, what each operation refuses.
//!
//! Must not know: how configs are kept.

use serde_json::{Value, json};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use crate::manage::adobe::doc::{
    self as shared, SANDBOX_ID, UID, WITH_TYPE, WITHOUT_TYPE, refused, under_all_bases,
};
use crate::manage::adobe::envelope::{ContentTypeBody, Envelope, GatewayBody};
use crate::manage::throttling::errors::{Failure, Own};
use crate::manage::throttling::routes;
use crate::manage::throttling::{COLLECTION, VOICE};

/// The routes of the dialect, under all base paths.
#[must_use]
pub(super) fn api_doc() -> OpenApi {
    under_all_bases(Dialect::openapi(), COLLECTION, "may_deploy_throttling_config")
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
            `manage.require_headers`, requests must carry `Authorization` too. A change that the disk does \
            not confirm in time is refused with 503 and `Retry-After`; the message says whether it may still \
            become active."
    ))
)]
struct Dialect;

pub(super) const ABOUT_CONFIG: &str = "A limit of calls per second. To be deployed it needs `urlPattern`, `methods` and a whole \
    `maxThroughput` in the configured range, 200 to 5000 unless set otherwise. Unknown members are left out.";

refused! { VOICE;
    /// What the list of configs refuses, by status.
    ListRefused: WITH_TYPE, Own(NonProdSandbox) InvalidPayload TooLarge Get;
    /// What the creation of a config refuses, by status.
    CreateRefused: WITH_TYPE, Own(NonProdSandbox) InvalidPayload TooLarge CreateLimit Create CreateFaults;
    /// What showing a config refuses, by status.
    ReadRefused: WITHOUT_TYPE, Own(NonProdSandbox) NotFound Get;
    /// What the update of a config refuses, by status.
    UpdateRefused: WITH_TYPE, Own(NonProdSandbox) InvalidPayload TooLarge NotFound Own(UpdateNotActive) Update UpdateFaults;
    /// What the deletion of a config refuses, by status.
    DeleteRefused: WITHOUT_TYPE, Own(NonProdSandbox) NotFound DeleteForbidden Delete;
    /// What the check of a config refuses, by status.
    CheckRefused: WITHOUT_TYPE, Own(NonProdSandbox) NotFound Get;
    /// What the deploy of a config refuses, by status.
    DeployRefused: WITHOUT_TYPE, Own(NonProdSandbox) NotFound Own(AlreadyDeployed) DeployLimit Deploy;
    /// What the undeploy of a config refuses, by status.
    UndeployRefused: WITHOUT_TYPE, Own(NonProdSandbox) NotFound Own(NotDeployed) Undeploy;
}

pub(super) fn config() -> Value {
    json!({
        "name": "orders",
        "description": "the shop's endpoint",
        "urlPattern": "http://127.0.0.1:9000/*",
        "methods": ["POST", "GET"],
        "maxThroughput": 200,
    })
}

/// As every answer but that of create shows it.
fn shown() -> Value {
    let mut element = shared::element(config());
    element["_id"] = json!(format!("{UID}_{SANDBOX_ID}"));
    element["hasBeenDeployed"] = json!(false);
    element
}

pub(super) fn created() -> Value {
    shared::changed(COLLECTION, "createdElement", shared::element(config()), "created")
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
