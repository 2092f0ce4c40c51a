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
use crate::manage::capping::CappingApi;
use crate::manage::capping::doc;
use crate::manage::capping::objects::Config;
use crate::manage::capping::wire::Element;

/// All routes of the dialect under each of its base paths.
pub(crate) fn router(api: CappingApi) -> Router {
    let routes = Router::new()
        .route("/list/endpointConfigs", post(list))
        .route("/endpointConfigs", post(create))
        .route(
            "/endpointConfigs/{uid}",
            get(read).head(async || no_head("GET,PUT,DELETE")).put(update).delete(delete),
        )
        .route(
            "/endpointConfigs/{uid}/canDeploy",
            get(may_deploy).head(async || no_head("GET,POST")).post(may_deploy),
        )
        .route("/endpointConfigs/{uid}/deploy", post(deploy))
        .route("/endpointConfigs/{uid}/undeploy", post(undeploy))
        .with_state(api);
    under_all_bases(&routes)
}

/// List the configs of the organisation and sandbox
#[utoipa::path(
    post, path = "/list/endpointConfigs", tag = "capping", operation_id = "list_endpoint_configs",
    params(Headers),
    request_body(content = Option<Page>, example = json!({})),
    responses(
        (status = 200, description = "The configs, oldest first.", body = List<Element<'_>>, example = json!(doc::list())),
        doc::ListRefused,
    ),
)]
pub(super) async fn list(Shared(api): Shared<CappingApi>, headers: HeaderMap, body: Body) -> Response {
    api.authoring.refusals.answer(api::list(&api, &headers, body).await)
}

/// Create a config
///
/// It has no effect until it is deployed. One with faults is saved; `canDeploy` lists them.
#[utoipa::path(
    post, path = "/endpointConfigs", tag = "capping", operation_id = "create_endpoint_config",
    params(Headers),
    request_body(content = Config, example = json!(doc::config())),
    responses(
        (status = 200, description = "It is saved.", body = Created<'_, Element<'_>>, example = json!(doc::created())),
        doc::CreateRefused,
    ),
)]
pub(super) async fn create(Shared(api): Shared<CappingApi>, headers: HeaderMap, body: Body) -> Response {
    api.authoring.refusals.answer(api::create(&api, &headers, body).await)
}

/// Show a config
#[utoipa::path(
    get, path = "/endpointConfigs/{uid}", tag = "capping", operation_id = "get_endpoint_config",
    params(("uid" = String, Path, description = "The uid of the config."), Headers),
    responses(
        (status = 200, description = "The config.", body = One<Element<'_>>, example = json!(doc::one())),
        doc::ReadRefused,
    ),
)]
pub(super) async fn read(Shared(api): Shared<CappingApi>, uid: Uid, headers: HeaderMap) -> Response {
    api.authoring.refusals.answer(api::read(&api, &uid, &headers))
}

/// Replace a config
///
/// What was deployed stays active until the next deploy.
#[utoipa::path(
    put, path = "/endpointConfigs/{uid}", tag = "capping", operation_id = "update_endpoint_config",
    params(("uid" = String, Path, description = "The uid of the config."), Headers),
    request_body(content = Config, example = json!(doc::config())),
    responses(
        (status = 200, description = "It is saved.", body = Updated<'_, Element<'_>>, example = json!(doc::updated())),
        doc::UpdateRefused,
    ),
)]
pub(super) async fn update(
    Shared(api): Shared<CappingApi>,
    uid: Uid,
    headers: HeaderMap,
    body: Body,
) -> Response {
    api.authoring.refusals.answer(api::update(&api, &uid, &headers, body).await)
}

/// Delete a config
#[utoipa::path(
    delete, path = "/endpointConfigs/{uid}", tag = "capping", operation_id = "delete_endpoint_config",
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
    Shared(api): Shared<CappingApi>,
    uid: Uid,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    api.authoring.refusals.answer(api::delete(&api, &uid, query.as_deref(), &headers).await)
}

/// Whether a config can be deployed
#[utoipa::path(
    post, path = "/endpointConfigs/{uid}/canDeploy", tag = "capping", operation_id = "can_deploy_endpoint_config",
    params(("uid" = String, Path, description = "The uid of the config."), Headers),
    responses(
        (status = 200, description = "Its faults, if it has any.", body = Checked, example = json!(checked())),
        doc::CheckRefused,
    ),
)]
pub(super) async fn may_deploy(Shared(api): Shared<CappingApi>, uid: Uid, headers: HeaderMap) -> Response {
    api.authoring.refusals.answer(api::may_deploy(&api, &uid, &headers))
}

/// Deploy a config
///
/// As it is written now. One that is deployed already, and was not changed since, stays as it is.
#[utoipa::path(
    post, path = "/endpointConfigs/{uid}/deploy", tag = "capping", operation_id = "deploy_endpoint_config",
    params(("uid" = String, Path, description = "The uid of the config."), Headers),
    responses((status = 204, description = "It is active."), doc::DeployRefused),
)]
pub(super) async fn deploy(Shared(api): Shared<CappingApi>, uid: Uid, headers: HeaderMap) -> Response {
    api.authoring.refusals.answer(api::deploy(&api, &uid, &headers).await)
}

/// Undeploy a config
///
/// What waits under it goes on for at most 24 hours.
#[utoipa::path(
    post, path = "/endpointConfigs/{uid}/undeploy", tag = "capping", operation_id = "undeploy_endpoint_config",
    params(("uid" = String, Path, description = "The uid of the config."), Headers),
    responses((status = 204, description = "It governs no new calls."), doc::UndeployRefused),
)]
pub(super) async fn undeploy(Shared(api): Shared<CappingApi>, uid: Uid, headers: HeaderMap) -> Response {
    api.authoring.refusals.answer(api::undeploy(&api, &uid, &headers).await)
}
