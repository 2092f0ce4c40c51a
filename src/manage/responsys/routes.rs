//! The route of Responsys that lists the limits (contract.md 1). The login is in [`login`], the accounts are in
//! [`accounts`].

pub(super) mod accounts;
pub(super) mod login;

use axum::Router;
use axum::extract::State as Shared;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, StatusCode};

use crate::manage::Dice;
use crate::manage::call::has_plain_token;
use crate::manage::desk::Desk;
use crate::manage::dialect::Parts;
use crate::manage::responsys::errors::{Failure, json};
use crate::manage::responsys::objects::token::Token;
use crate::manage::responsys::wire::Item;
use crate::manage::responsys::{Responsys, ResponsysOptions, doc, objects};
use accounts::Register;
use login::Login;

/// All routes of the dialect, and those for its accounts.
pub(crate) fn router(options: &ResponsysOptions, parts: Parts) -> Router {
    let Parts { policies, clock, random } = parts;
    let (desk, dice) = (Desk::new(&Responsys, policies, clock, options.drain_window), Dice::new(random));
    let limits = Limits {
        desk: desk.clone(),
        dice: dice.clone(),
        require_headers: options.require_headers,
        default_account: options.default_account.clone(),
    };
    Router::new()
        .route("/rest/api/ratelimit", get(list).head(no_verb).fallback(no_verb))
        .route("/rest/api/{version}/ratelimit", get(with_version).head(no_verb).fallback(no_verb))
        .with_state(limits)
        .merge(login::routes(Login::new(desk.clone(), options, dice)))
        .merge(accounts::routes(Register::new(desk)))
}

/// Lists what accounts may call.
#[derive(Clone)]
pub(super) struct Limits {
    desk: Desk,
    dice: Dice,
    require_headers: bool,
    default_account: Option<String>,
}

/// Get throttling limits
///
/// Those of the account that the token was given to, else of the default account, `labels.account`; the defaults for what
/// it has no limit of its own.
#[utoipa::path(
    get, path = "/rest/api/ratelimit", tag = "responsys", operation_id = "list_responsys_limits",
    responses(
        (status = 200, description = "The limits of all functions.", body = Vec<Item>,  example = json!(doc::limits())),
        doc::ListRefused,
    ),
)]
pub(super) async fn list(Shared(limits): Shared<Limits>, headers: HeaderMap) -> Response {
    limits.list(&headers).unwrap_or_else(|failure| failure.answer(&limits.dice))
}

async fn no_verb(Shared(limits): Shared<Limits>) -> Response {
    Failure::Method("GET").answer(&limits.dice)
}

/// Get throttling limits of a version
///
/// There is no such route in any version, and this is how Responsys says so.
#[utoipa::path(
    get, path = "/rest/api/{version}/ratelimit", tag = "responsys", operation_id = "list_responsys_limits_of_version",
    params(("version" = String, Path, description = "Such as `v1.3`.")),
    responses(doc::VersionRefused),
)]
pub(super) async fn with_version(Shared(limits): Shared<Limits>) -> Response {
    Failure::NotFound.answer(&limits.dice)
}

impl Limits {
    fn list(&self, headers: &HeaderMap) -> Result<Response, Failure> {
        if self.require_headers && !has_plain_token(headers) {
            return Err(Failure::Token);
        }
        let book = self.desk.book();
        let named = Token::of(headers).and_then(|token| token.account);
        let known = match named.or_else(|| self.default_account.clone()) {
            Some(name) => objects::find(&book, &name).map_err(|error| {
                tracing::error!(%error, "the throttling limits are not listed");
                Failure::Unexpected
            })?,
            None => None,
        };
        let items = Item::list(known.as_ref().map(|(_, account)| account));
        Ok(json(StatusCode::OK, &items))
    }
}
