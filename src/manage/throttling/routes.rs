//! The routes, under all base paths (adobe/contract.md 1, 2).

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State as Shared};
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderMap;

use crate::manage::adobe::answers::{Checked, Created, List, One, Updated};
use crate::manage::adobe::api;
use crate::manage::adobe::doc::{Empty, Headers, Page, checked};
use crate::manage::adobe::routing::{Uid, no_head, under_all_bases};
use crate::manage::throttling::ThrottlingApi;
use crate::manage::throttling::doc;
use crate::manage::throttling::objects::Config;
use crate::manage::throttling::wire::Element;

/// All routes of the dialect under each of its base paths.
pub(crate) fn router(api: ThrottlingApi) -> Router {
    let routes = Router::new()
        .route("/list/throttlingConfigs", post(list))
        .route("/throttlingConfigs", post(create))
        .route(
            "/throttlingConfigs/{uid}",
            get(read).head(async || no_head("GET,PUT,DELETE")).put(update).delete(delete),
        )
        .route(
            "/throttlingConfigs/{uid}/canDeploy",
            get(may_deploy).head(async || no_head("GET,POST")).post(may_deploy),
        )
        .route("/throttlingConfigs/{uid}/deploy", post(deploy))
        .route("/throttlingConfigs/{uid}/undeploy", post(undeploy))
        .with_state(api);
    under_all_bases(&routes)
}

/// List the configs of the organisation
#[utoipa::path(
    post, path = "/list/throttlingConfigs", tag = "throttling", operation_id = "list_throttling_configs",
    params(Headers),
    request_body(content = Option<Page>, example = json!({})),
    responses(
        (status = 200, description = "The configs, oldest first.", body = List<Element<'_>>, example = json!(doc::list())),
        doc::ListRefused,
    ),
)]
pub(super) async fn list(Shared(api): Shared<ThrottlingApi>, headers: HeaderMap, body: Body) -> Response {
    api.authoring.refusals.answer(api::list(&api, &headers, body).await)
}

/// Create a config
///
/// It has no effect until it is deployed. One with faults is saved; `canDeploy` lists them.
#[utoipa::path(
    post, path = "/throttlingConfigs", tag = "throttling", operation_id = "create_throttling_config",
    params(Headers),
    request_body(content = Config, example = json!(doc::config())),
    responses(
        (status = 200, description = "It is saved.", body = Created<'_, Element<'_>>, example = json!(doc::created())),
        doc::CreateRefused,
    ),
)]
pub(super) async fn create(Shared(api): Shared<ThrottlingApi>, headers: HeaderMap, body: Body) -> Response {
    api.authoring.refusals.answer(api::create(&api, &headers, body).await)
}

/// Show a config
#[utoipa::path(
    get, path = "/throttlingConfigs/{uid}", tag = "throttling", operation_id = "get_throttling_config",
    params(("uid" = String, Path, description = "The uid of the config."), Headers),
    responses(
        (status = 200, description = "The config.", body = One<Element<'_>>, example = json!(doc::one())),
        doc::ReadRefused,
    ),
)]
pub(super) async fn read(Shared(api): Shared<ThrottlingApi>, uid: Uid, headers: HeaderMap) -> Response {
    api.authoring.refusals.answer(api::read(&api, &uid, &headers))
}

/// Replace a config
///
/// The new values of a deployed one are active when it is answered, unless they have faults.
#[utoipa::path(
    put, path = "/throttlingConfigs/{uid}", tag = "throttling", operation_id = "update_throttling_config",
    params(("uid" = String, Path, description = "The uid of the config."), Headers),
    request_body(content = Config, example = json!(doc::config())),
    responses(
        (status = 200, description = "It is saved.", body = Updated<'_, Element<'_>>, example = json!(doc::updated())),
        doc::UpdateRefused,
    ),
)]
pub(super) async fn update(
    Shared(api): Shared<ThrottlingApi>,
    uid: Uid,
    headers: HeaderMap,
    body: Body,
) -> Response {
    api.authoring.refusals.answer(api::update(&api, &uid, &headers, body).await)
}

/// Delete a config
#[utoipa::path(
    delete, path = "/throttlingConfigs/{uid}", tag = "throttling", operation_id = "delete_throttling_config",
    params(
        ("uid" = String, Path, description = "The uid of the config."),
        ("forceDelete" = Option<bool>, Query, description = "Undeploys it first; a deployed one is not deleted otherwise."),
        Headers,
    ),
    responses(
        (status = 200, description = "It is gone; an empty object.", body = Empty, example = json!({})),
        doc::DeleteRefused,
    ),
)]
pub(super) async fn delete(
    Shared(api): Shared<ThrottlingApi>,
    uid: Uid,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    api.authoring.refusals.answer(api::delete(&api, &uid, query.as_deref(), &headers).await)
}

/// Whether a config can be deployed
#[utoipa::path(
    post, path = "/throttlingConfigs/{uid}/canDeploy", tag = "throttling", operation_id = "can_deploy_throttling_config",
    params(("uid" = String, Path, description = "The uid of the config."), Headers),
    responses(
        (status = 200, description = "Its faults, if it has any.", body = Checked, example = json!(checked())),
        doc::CheckRefused,
    ),
)]
pub(super) async fn may_deploy(Shared(api): Shared<ThrottlingApi>, uid: Uid, headers: HeaderMap) -> Response {
    api.authoring.refusals.answer(api::may_deploy(&api, &uid, &headers))
}

/// Deploy a config
#[utoipa::path(
    post, path = "/throttlingConfigs/{uid}/deploy", tag = "throttling", operation_id = "deploy_throttling_config",
    params(("uid" = String, Path, description = "The uid of the config."), Headers),
    responses((status = 204, description = "It is active."), doc::DeployRefused),
)]
pub(super) async fn deploy(Shared(api): Shared<ThrottlingApi>, uid: Uid, headers: HeaderMap) -> Response {
    api.authoring.refusals.answer(api::deploy(&api, &uid, &headers).await)
}

/// Undeploy a config
///
/// What waits under it goes on for at most 24 hours.
#[utoipa::path(
    post, path = "/throttlingConfigs/{uid}/undeploy", tag = "throttling", operation_id = "undeploy_throttling_config",
    params(("uid" = String, Path, description = "The uid of the config."), Headers),
    responses((status = 204, description = "It governs no new calls."), doc::UndeployRefused),
)]
pub(super) async fn undeploy(Shared(api): Shared<ThrottlingApi>, uid: Uid, headers: HeaderMap) -> Response {
    api.authoring.refusals.answer(api::undeploy(&api, &uid, &headers).await)
}
