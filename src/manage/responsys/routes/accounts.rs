//! `/v1/responsys/accounts`: a route of tidegate's own for accounts that the configuration file does not have, with its
//! own problems.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manage::call::{BodyRefused, json_answer, read_json};
use crate::manage::desk::{Desk, NotActive, NotChanged};
use crate::manage::dialect::Unreadable;
use crate::manage::late;
use crate::manage::responsys::doc;
use crate::manage::responsys::objects::account::{Account, AccountFault, RawAccount};
use crate::manage::responsys::objects::{self, Source};
use crate::manage::responsys::wire::{Accounts, Shown};
use crate::policy::{Book, ExceededBound, Late, SyncError};
use crate::problem::{Problem, codes};

/// Most accounts that can be made through the route.
const MAX_ACCOUNTS: usize = 1_000;

/// Keeps the accounts that the configuration file does not have.
#[derive(Clone)]
pub(in crate::manage::responsys) struct Register {
    desk: Desk,
}

/// The routes for accounts.
pub(in crate::manage::responsys) fn routes(register: Register) -> Router {
    Router::new()
        .route("/v1/responsys/accounts", get(list))
        .route("/v1/responsys/accounts/{account}", get(show).put(put).delete(remove))
        .with_state(register)
}

/// The name of an account in a path, as far as it can be read.
pub(in crate::manage::responsys) type Named = Result<Path<String>, PathRejection>;
type Answer = Result<Response, Box<Problem>>;

/// List the Responsys accounts
#[utoipa::path(
    get, path = "/v1/responsys/accounts", tag = "responsys", operation_id = "list_responsys_accounts",
    responses(
        (status = 200, description = "All of them.", body = Accounts<'_>, example = json!(doc::all())),
        doc::AllRefused,
    ),
)]
pub(in crate::manage::responsys) async fn list(Shared(register): Shared<Register>) -> Response {
    answer(register.accounts())
}

/// Show a Responsys account
#[utoipa::path(
    get, path = "/v1/responsys/accounts/{account}", tag = "responsys", operation_id = "get_responsys_account",
    params(("account" = String, Path, description = "The name of the account.")),
    responses(
        (status = 200, description = "The account.", body = Shown<'_>, example = json!(doc::account())),
        doc::ShowRefused,
    ),
)]
pub(in crate::manage::responsys) async fn show(Shared(register): Shared<Register>, name: Named) -> Response {
    answer(register.account(name))
}

/// Make or replace a Responsys account
///
/// Its limits are active when it is answered. One of the configuration file is changed there.
#[utoipa::path(
    put, path = "/v1/responsys/accounts/{account}", tag = "responsys", operation_id = "put_responsys_account",
    params(("account" = String, Path, description = "What events name in their label `account`.")),
    request_body(content = RawAccount, example = json!(doc::values())),
    responses(
        (status = 200, description = "It is replaced.", body = Shown<'_>, example = json!(doc::account())),
        (status = 201, description = "It is made.", body = Shown<'_>, example = json!(doc::account())),
        doc::PutRefused,
    ),
)]
pub(in crate::manage::responsys) async fn put(
    Shared(register): Shared<Register>,
    name: Named,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(register.put_account(name, &headers, body).await)
}

/// Remove a Responsys account
///
/// Its events are not limited any more.
#[utoipa::path(
    delete, path = "/v1/responsys/accounts/{account}", tag = "responsys", operation_id = "delete_responsys_account",
    params(("account" = String, Path, description = "The name of the account.")),
    responses((status = 204, description = "It is removed."), doc::RemoveRefused),
)]
pub(in crate::manage::responsys) async fn remove(
    Shared(register): Shared<Register>,
    name: Named,
) -> Response {
    answer(register.remove_account(name).await)
}

fn answer(answer: Answer) -> Response {
    answer.unwrap_or_else(|problem| problem.into_response())
}

/// Why an edit of the book is given up.
enum Refusal {
    Unknown,
    OfTheFile,
    TooMany,
    Unreadable(Unreadable),
}

impl From<Unreadable> for Refusal {
    fn from(error: Unreadable) -> Self {
        Self::Unreadable(error)
    }
}

impl Register {
    pub(in crate::manage::responsys) const fn new(desk: Desk) -> Self {
        Self { desk }
    }

    fn accounts(&self) -> Answer {
        let all = objects::all(&self.desk.book()).map_err(|error| internal(&error.into()))?;
        Ok(json(StatusCode::OK, &Accounts::of(&all)))
    }

    fn account(&self, name: Named) -> Answer {
        let name = readable(name)?;
        let found = objects::find(&self.desk.book(), &name).map_err(|error| internal(&error.into()))?;
        let (source, account) = found.ok_or_else(|| unknown(&name))?;
        Ok(json(StatusCode::OK, &Shown::of(source, &account)))
    }

    async fn put_account(&self, name: Named, headers: &HeaderMap, body: Body) -> Answer {
        let name = readable(name)?;
        let body = read_json(headers, body).await.map_err(|refused| not_read(&refused))?;
        let account = Account::check(&name, decode(&body)?).map_err(|faults| invalid(&faults))?;
        let edit = |book: &mut Book| {
            let known = objects::find(book, &name)?;
            match &known {
                Some((Source::File, _)) => return Err(Refusal::OfTheFile),
                // Only a new account adds one: an account that is known may be replaced at the bound.
                None if objects::of_route(book) >= MAX_ACCOUNTS => return Err(Refusal::TooMany),
                Some((Source::Route, _)) | None => {}
            }
            objects::put(book, Source::Route, &account);
            Ok(known.is_some())
        };
        let status = if self.change(&name, edit).await? { StatusCode::OK } else { StatusCode::CREATED };
        Ok(json(status, &Shown::of(Source::Route, &account)))
    }

    async fn remove_account(&self, name: Named) -> Answer {
        let name = readable(name)?;
        let edit = |book: &mut Book| match objects::find(book, &name)? {
            None => Err(Refusal::Unknown),
            Some((Source::File, _)) => Err(Refusal::OfTheFile),
            Some((Source::Route, _)) => Ok(objects::remove(book, &name)),
        };
        self.change(&name, edit).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    async fn change<T>(
        &self,
        name: &str,
        edit: impl FnMut(&mut Book) -> Result<T, Refusal>,
    ) -> Result<T, Box<Problem>> {
        self.desk.change(edit).await.map_err(|error| match error {
            NotChanged::Refused(Refusal::Unknown) => unknown(name),
            NotChanged::Refused(Refusal::OfTheFile) => of_the_file(name),
            NotChanged::Refused(Refusal::TooMany) => too_many(),
            NotChanged::Refused(Refusal::Unreadable(error)) => internal(&error.into()),
            NotChanged::NotActive(NotActive::Sync(error)) => taken(&error),
            NotChanged::NotActive(NotActive::Unreadable(_)) => not_applied(),
            NotChanged::Full(bound) => full(&bound),
            NotChanged::Late(known) => late(known),
            NotChanged::TooLarge(_) | NotChanged::Failed => unavailable(),
        })
    }
}

fn readable(name: Named) -> Result<String, Box<Problem>> {
    name.map(|Path(name)| name)
        .map_err(|_| Box::new(invalid_request("the name of the account is not UTF-8".to_owned())))
}

fn decode(body: &[u8]) -> Result<RawAccount, Box<Problem>> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        let detail = format!("{error}; the body must be one JSON object");
        Box::new(Problem::of(codes::INVALID_JSON, detail))
    })?;
    let blocks = value.get("blocked").and_then(Value::as_array);
    // Lists would be read as objects whose members have no names.
    let are_objects = value.is_object() && blocks.is_none_or(|blocks| blocks.iter().all(Value::is_object));
    let read = if are_objects {
        RawAccount::deserialize(value).map_err(|error| error.to_string())
    } else {
        Err("a list stands in the place of an object".to_owned())
    };
    read.map_err(|reason| {
        let detail = format!("an object with limits and blocked is expected: {reason}");
        Box::new(invalid_request(detail))
    })
}

fn invalid(faults: &[AccountFault]) -> Box<Problem> {
    // As many as the answer names: its size is bounded however much is wrong.
    let told: Vec<String> = faults.iter().take(Problem::MAX_ERRORS).map(ToString::to_string).collect();
    let problem = invalid_request(told.join("; "));
    Box::new(faults.iter().fold(problem, |problem, fault| problem.field(&fault.pointer, &fault.rule)))
}

fn invalid_request(detail: String) -> Problem {
    Problem::of(codes::INVALID_REQUEST, detail)
}

fn not_read(refused: &BodyRefused) -> Box<Problem> {
    let code = match refused {
        BodyRefused::Type(_) => codes::UNSUPPORTED_MEDIA_TYPE,
        BodyRefused::Fault(fault) => fault.code(),
    };
    Box::new(Problem::of(code, refused.to_string()))
}

fn unknown(name: &str) -> Box<Problem> {
    let detail = format!("there is no account {name:?}; GET /v1/responsys/accounts lists them");
    Box::new(Problem::of(codes::ACCOUNT_NOT_FOUND, detail))
}

fn of_the_file(name: &str) -> Box<Problem> {
    let detail =
        format!("account {name:?} stands in the configuration file; change it there and send SIGHUP");
    Box::new(Problem::of(codes::FILE_ACCOUNT, detail))
}

fn too_many() -> Box<Problem> {
    let detail = format!("at most {MAX_ACCOUNTS} accounts are taken; delete one first");
    Box::new(Problem::of(codes::TOO_MANY_ACCOUNTS, detail))
}

fn full(bound: &ExceededBound) -> Box<Problem> {
    Box::new(Problem::of(codes::POLICIES_FULL, bound.to_string()))
}

fn taken(error: &SyncError) -> Box<Problem> {
    let detail = format!("{error}; give the one in the configuration file another name");
    Box::new(Problem::of(codes::POLICY_EXISTS, detail))
}

fn internal(error: &NotActive) -> Box<Problem> {
    tracing::error!(%error, "the accounts cannot be read");
    not_applied()
}

fn not_applied() -> Box<Problem> {
    let detail = "the stored accounts cannot be read or applied; the log has the reason";
    Box::new(Problem::of(codes::INTERNAL, detail))
}

fn late(late: Late) -> Box<Problem> {
    Box::new(match late {
        Late::NotMade => Problem::store_slow(late::text(late)),
        Late::Unknown => Problem::outcome_unknown(late::text(late)),
    })
}

fn unavailable() -> Box<Problem> {
    // Whether a change was kept is not known when the store fails in between.
    let detail = "the store cannot take changes; look at the account before repeating";
    let problem = Problem::of(codes::STORAGE_ERROR, detail);
    Box::new(problem.retry_after(10))
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = json_answer(status, "application/json", body);
    // A cache between here and an operator would show limits that were changed since.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
