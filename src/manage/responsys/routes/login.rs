//! `POST /rest/api/{version}/auth/token`: the login that clients of Responsys begin with. Any password will do: who may
//! call tidegate is decided before, by its own tokens.
//!
//! Must not know: what the accounts allow.

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, RawQuery, State as Shared};
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, StatusCode, Uri, header};

use crate::manage::Dice;
use crate::manage::call::read_body;
use crate::manage::desk::Desk;
use crate::manage::responsys::errors::{Failure, json};
use crate::manage::responsys::objects;
use crate::manage::responsys::objects::token::Token;
use crate::manage::responsys::wire::LoggedIn;
use crate::manage::responsys::{ResponsysOptions, doc};

/// Gives out the tokens that name account and user of later calls.
#[derive(Clone)]
pub(in crate::manage::responsys) struct Login {
    desk: Desk,
    dice: Dice,
    default_account: Option<String>,
    endpoint: Option<String>,
}

/// The route of the login.
pub(in crate::manage::responsys) fn routes(login: Login) -> Router {
    Router::new().route("/rest/api/{version}/auth/token", post(log_in).fallback(no_verb)).with_state(login)
}

/// Log in
///
/// The token says which account and user it was given to, so that the calls that carry it need no labels for that. What is
/// asked for stands in the form or in the query. Any password will do, and a token does not end.
#[utoipa::path(
    post, path = "/rest/api/{version}/auth/token", tag = "responsys", operation_id = "responsys_login",
    params(("version" = String, Path, description = "Such as `v1.3`; any will do."), doc::LoginParameters),
    request_body(
        content = String, content_type = "application/x-www-form-urlencoded", description = "The parameters of the query as a form.",
        example = json!(doc::form()),
    ),
    responses(
        (status = 200, description = "The token, and where to go on.", body = LoggedIn, example = json!(doc::logged_in())),
        doc::LoginRefused,
    ),
)]
pub(in crate::manage::responsys) async fn log_in(
    Shared(login): Shared<Login>,
    RawQuery(query): RawQuery,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(|authority| authority.as_str())).unwrap_or("localhost");
    let answer = match asked(query.as_deref(), body).await {
        Ok(asked) => login.answer(&asked, &headers, host),
        Err(failure) => Err(failure),
    };
    answer.unwrap_or_else(|failure| failure.answer(&login.dice))
}

async fn no_verb(Shared(login): Shared<Login>) -> Response {
    Failure::Method("POST").answer(&login.dice)
}

/// What a login asks for.
#[derive(Default)]
struct Asked {
    auth_type: String,
    user_name: String,
    password: String,
}

async fn asked(query: Option<&str>, body: Body) -> Result<Asked, Failure> {
    let body = read_body(body).await.map_err(|_| Failure::Parameters)?;
    let form = std::str::from_utf8(&body).map_err(|_| Failure::Parameters)?;
    let mut asked = Asked::default();
    // What stands in the form goes first.
    for text in [query.unwrap_or_default(), form] {
        for (name, value) in pairs(text.trim()).ok_or(Failure::Parameters)? {
            match &*name {
                "auth_type" => asked.auth_type = value,
                "user_name" => asked.user_name = value,
                "password" => asked.password = value,
                _ => {}
            }
        }
    }
    Ok(asked)
}

/// The members of a form, which are written like those of a query.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let uri: Uri = format!("/?{text}").parse().ok()?;
    Query::try_from_uri(&uri).ok().map(|Query(pairs)| pairs)
}

impl Login {
    pub(in crate::manage::responsys) fn new(desk: Desk, options: &ResponsysOptions, dice: Dice) -> Self {
        let ResponsysOptions { default_account, endpoint, .. } = options.clone();
        Self { desk, dice, default_account, endpoint }
    }

    fn answer(&self, asked: &Asked, headers: &HeaderMap, host: &str) -> Result<Response, Failure> {
        let (account, user) = match &*asked.auth_type {
            "password" if asked.user_name.is_empty() || asked.password.is_empty() => {
                return Err(Failure::Credentials);
            }
            "password" => (self.account_of(&asked.user_name)?, asked.user_name.clone()),
            "token" => {
                let token = Token::of(headers).ok_or(Failure::StaleToken)?;
                (token.account, token.user)
            }
            _ => return Err(Failure::Parameters),
        };
        let issued_ms = self.desk.clock().wall().as_millis();
        // Half of the number is enough to tell two tokens of one millisecond apart.
        let random = u64::try_from(self.dice.roll() >> 64).unwrap_or_default();
        let token = Token { account, user, issued_ms, random };
        let end_point = self.endpoint.clone().unwrap_or_else(|| format!("http://{host}"));
        Ok(json(StatusCode::OK, &LoggedIn { auth_token: token.write(), issued_at: issued_ms, end_point }))
    }

    /// The one that lists the user, else the default one, else the only one.
    fn account_of(&self, user: &str) -> Result<Option<String>, Failure> {
        let all = objects::all(&self.desk.book()).map_err(|error| {
            tracing::error!(%error, "a login finds no account");
            Failure::Unexpected
        })?;
        let mut listed = all.iter().filter(|(_, account)| account.users.iter().any(|listed| listed == user));
        let listed = listed.next().map(|(_, account)| account.name.clone());
        let only = || match &*all {
            [(_, only)] => Some(only.name.clone()),
            _ => None,
        };
        Ok(listed.or_else(|| self.default_account.clone()).or_else(only))
    }
}
