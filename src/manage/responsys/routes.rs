//! The route of Responsys (contract.md 1). Those for accounts are in [`accounts`].

pub(super) mod accounts;

use axum::Router;
use axum::extract::State as Shared;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, StatusCode};

use crate::manage::call::has_plain_token;
use crate::manage::responsys::errors::{Failure, json};
use crate::manage::responsys::wire::Item;
use crate::manage::responsys::{ResponsysApi, doc, objects};

/// All routes of the dialect, and those for its accounts.
pub(crate) fn router(api: ResponsysApi) -> Router {
    Router::new()
        .route("/rest/api/ratelimit", get(list).head(no_verb).fallback(no_verb))
        .route("/rest/api/{version}/ratelimit", get(with_version).head(no_verb).fallback(no_verb))
        .merge(accounts::routes())
        .with_state(api)
}

/// Get throttling limits
///
/// Those of the default account, `labels.account`; the defaults for what it has no limit of its own.
#[utoipa::path(
    get, path = "/rest/api/ratelimit", tag = "responsys", operation_id = "list_responsys_limits",
    responses(
        (status = 200, description = "The limits of all functions.", body = Vec<Item>,  example = json!(doc::limits())),
        doc::ListRefused,
    ),
)]
pub(super) async fn list(Shared(api): Shared<ResponsysApi>, headers: HeaderMap) -> Response {
    api.list(&headers).unwrap_or_else(|failure| api.refuse(failure))
}

async fn no_verb(Shared(api): Shared<ResponsysApi>) -> Response {
    api.refuse(Failure::Method)
}

/// Get throttling limits of a version
///
/// There is no such route in any version, and this is how Responsys says so.
#[utoipa::path(
    get, path = "/rest/api/{version}/ratelimit", tag = "responsys", operation_id = "list_responsys_limits_of_version",
    params(("version" = String, Path, description = "Such as `v1.3`.")),
    responses(doc::VersionRefused),
)]
pub(super) async fn with_version(Shared(api): Shared<ResponsysApi>) -> Response {
    api.refuse(Failure::NotFound)
}

impl ResponsysApi {
    fn list(&self, headers: &HeaderMap) -> Result<Response, Failure> {
        if self.options.require_headers && !has_plain_token(headers) {
            return Err(Failure::Token);
        }
        let book = self.desk.book();
        let known = match &self.options.default_account {
            Some(name) => objects::find(&book, name).map_err(|error| {
                tracing::error!(%error, "the throttling limits are not listed");
                Failure::Unexpected
            })?,
            None => None,
        };
        let items = Item::list(known.as_ref().map(|(_, account)| account));
        Ok(json(StatusCode::OK, &items))
    }
}
