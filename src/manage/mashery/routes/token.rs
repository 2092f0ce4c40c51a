//! `POST /v3/token`: what clients of the V3 API ask for before anything else (contract.md 4).
//!
//! Until callers have tokens of tidegate, any credentials get a token, and requests are let in with any: nothing is kept of
//! those that were given.
//!
//! Must not know: what requests do with a token.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::response::Response;
use axum::routing::post;
use axum::{Router, body::Bytes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;

use crate::event::form_pairs;
use crate::manage::call;
use crate::manage::mashery::errors::{Refusal, json};
use crate::manage::mashery::{APIKEY_CHARS, MasheryApi};

/// Where tokens are given.
pub(in crate::manage::mashery) const PATH: &str = "/v3/token";
/// How long a token is said to be good.
const LIFETIME: Duration = Duration::from_secs(3600);
/// Letters and digits of a token.
const TOKEN_CHARS: usize = 32;

/// What a client gets for its credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::manage::mashery) struct Given {
    token_type: &'static str,
    /// The key of the client, as it gave it.
    mapi: String,
    access_token: String,
    /// How long the token is accepted, in seconds.
    expires_in: u64,
    refresh_token: String,
    /// The area that the client named.
    scope: String,
}

impl Given {
    /// A token for the client with this key in this area.
    pub(in crate::manage::mashery) fn new(
        mapi: String,
        scope: String,
        access: String,
        refresh: String,
    ) -> Self {
        Self {
            token_type: "bearer",
            mapi,
            access_token: access,
            expires_in: LIFETIME.as_secs(),
            refresh_token: refresh,
            scope,
        }
    }
}

/// The route at which tokens are given.
pub(super) fn routes(api: MasheryApi) -> Router {
    let answer = async |Shared(api): Shared<MasheryApi>, headers: HeaderMap, body: Body| {
        give(&api, &headers, body).await.unwrap_or_else(|refusal| refusal.answer())
    };
    Router::new()
        .route(PATH, post(answer).fallback(async || Refusal::method_not_allowed().answer()))
        .with_state(api)
}

async fn give(api: &MasheryApi, headers: &HeaderMap, body: Body) -> Result<Response, Refusal> {
    let key = basic_user(headers);
    if api.options.require_headers && key.is_none() {
        return Err(Refusal::NoToken);
    }
    let body = call::read_body(body).await.map_err(|fault| Refusal::of_body(&fault.into()))?;
    let letters = |count| api.dice.letters(count);
    let (access, refresh) = (letters(TOKEN_CHARS), letters(TOKEN_CHARS));
    let mapi = key.unwrap_or_else(|| letters(APIKEY_CHARS));
    Ok(json(StatusCode::OK, &Given::new(mapi, scope(&body), access, refresh)))
}

/// The user of `Authorization: Basic`, if there is one.
fn basic_user(headers: &HeaderMap) -> Option<String> {
    let (scheme, coded) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let plain = STANDARD.decode(coded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let plain = String::from_utf8(plain).ok()?;
    let (user, _) = plain.split_once(':')?;
    (!user.is_empty()).then(|| user.to_owned())
}

/// The member `scope` of a form.
fn scope(form: &Bytes) -> String {
    let found = form_pairs(form).find(|(name, _)| name == "scope");
    found.map(|(_, value)| value.into_owned()).unwrap_or_default()
}
