//! The V2 API (contract.md 5): JSON-RPC on the same objects as the V3 API, in the spelling of V2.
//!
//! The signature of a call is not looked at, as V3's tokens are not.
//!
//! Must not know: how objects are kept, how queries are read.

mod names;
mod query;

use axum::Router;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use crate::manage::call;
use crate::manage::mashery::errors::{self, PropertyError, Refusal};
use crate::manage::mashery::objects::change::{Planned, create, remove, update};
use crate::manage::mashery::objects::place::{self, children};
use crate::manage::mashery::objects::record::Record;
use crate::manage::mashery::objects::show::show;
use crate::manage::mashery::objects::{self, origin};
use crate::manage::mashery::routes::rpc::names::{Noun, snake};
use crate::manage::mashery::routes::rpc::query::Query;
use crate::manage::mashery::wire::Draft;
use crate::manage::mashery::{APIKEY_CHARS, MasheryApi};
use crate::policy::Book;

/// Where calls come in. The site is that of the caller's account and means nothing here.
pub(in crate::manage::mashery) const PATH: &str = "/v2/json-rpc/{site}";

/// The route of the V2 API.
pub(super) fn routes(api: MasheryApi) -> Router {
    let take = async |Shared(api): Shared<MasheryApi>, headers: HeaderMap, body: Body| {
        Calls(&api).take(&headers, body).await
    };
    Router::new()
        .route(PATH, post(take).fallback(async || Refusal::method_not_allowed().answer()))
        .with_state(api)
}

/// Why a call is answered with an error.
#[derive(Debug, Clone, PartialEq)]
enum Fault {
    /// It is no call, or none that is served: code and message of JSON-RPC.
    Call(i32, String),
    /// An object cannot be so, or is not there.
    Refused(Refusal),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The codes of JSON-RPC that are answered.
const NOT_JSON: i32 = -32700;
const NO_CALL: i32 = -32600;
const NO_METHOD: i32 = -32601;
const BAD_PARAMETERS: i32 = -32602;

fn bad(message: impl Into<String>) -> Fault {
    Fault::Call(BAD_PARAMETERS, message.into())
}

/// What calls work on.
struct Calls<'a>(&'a MasheryApi);

impl Calls<'_> {
    async fn take(&self, headers: &HeaderMap, body: Body) -> Response {
        let body = match call::read_json(headers, body).await {
            Ok(body) => body,
            Err(refused) => return Refusal::of_body(&refused).answer(),
        };
        let call: Map<String, Value> = match serde_json::from_slice(&body) {
            Ok(Value::Object(call)) => call,
            _ => return answer(&Map::new(), Err(Fault::Call(NOT_JSON, "Parse error".to_owned()))),
        };
        let result = self.call(&call).await;
        answer(&call, result)
    }

    async fn call(&self, call: &Map<String, Value>) -> Result<Value, Fault> {
        let method = call.get("method").and_then(Value::as_str);
        let (noun, verb) = method
            .and_then(|method| method.split_once('.'))
            .ok_or_else(|| Fault::Call(NO_CALL, "method must be such as service.create".to_owned()))?;
        let first = match call.get("params") {
            Some(Value::Array(params)) => params.first(),
            // By name, as version 2.0 has it too.
            Some(Value::Object(params)) => params.get("query").or(call.get("params")),
            _ => None,
        };
        let first = first.ok_or_else(|| bad("params must be a list with one value"))?;
        if (noun, verb) == ("object", "query") {
            let text = first.as_str().ok_or_else(|| bad("params must be a list with one query"))?;
            return self.query(text);
        }
        if (noun, verb) == ("oauth2", "createAuthorizationCode") {
            // As credentials do, any client gets one; `POST /v3/token` takes any.
            return Ok(json!({"code": self.0.dice.letters(APIKEY_CHARS)}));
        }
        let unknown = || Fault::Call(NO_METHOD, "Method not found".to_owned());
        let noun = Noun::one(noun).ok_or_else(unknown)?;
        match verb {
            "fetch" => self.fetch(noun, first),
            "create" => self.create(noun, first).await,
            "update" => self.update(noun, first).await,
            "delete" => self.delete(noun, first).await,
            _ => Err(unknown()),
        }
    }

    fn query(&self, text: &str) -> Result<Value, Fault> {
        let query = Query::read(text).map_err(bad)?;
        let book = self.0.desk.book();
        let all = children(&book, query.noun.kind, None)?;
        let mut items = Vec::new();
        for (id, record) in all.iter().filter(|(_, record)| query.noun.has(record)) {
            items.push(shown(&book, query.noun, id, record, &query.wanted())?);
        }
        Ok(query.page(items))
    }

    fn fetch(&self, noun: Noun, given: &Value) -> Result<Value, Fault> {
        let book = self.0.desk.book();
        let found = named(noun, given).and_then(|id| find(&book, noun, &id));
        // As the vendor's pages have it: nothing, and no error.
        found.map_or(Ok(Value::Null), |(id, record)| Ok(shown(&book, noun, &id, &record, &[])?))
    }

    async fn create(&self, noun: Noun, given: &Value) -> Result<Value, Fault> {
        let given = given.as_object().ok_or_else(|| bad("params must be a list with one object"))?;
        let (parent, body) = noun.read(given);
        if noun.needs_parent() && parent.is_none() {
            return Err(Refusal::property(noun.parent, "is required").into());
        }
        let planned = Planned::new(Draft::of(noun.kind, &body)?, &self.0.dice);
        let now = objects::show_time(self.0.desk.clock().wall());
        let created = self.0.change(|book| {
            if let (Some(kind), Some(parent)) = (noun.outer(), &parent) {
                let is_there = book.element(&origin(), kind.stored_as(), parent).is_some();
                is_there
                    .then_some(())
                    .ok_or_else(|| Refusal::property(noun.parent, "must be the id of one that is there"))?;
            }
            let (id, record) = create(book, &planned, parent.as_deref(), &now)?;
            shown(book, noun, &id, &record, &[])
        });
        Ok(created.await?)
    }

    async fn update(&self, noun: Noun, given: &Value) -> Result<Value, Fault> {
        let (Some(given), Some(id)) = (given.as_object(), named(noun, given)) else {
            return Err(bad("params must be a list with one object that has an id"));
        };
        let (_, body) = noun.read(given);
        let planned = Planned::new(Draft::of(noun.kind, &body)?, &self.0.dice);
        let now = objects::show_time(self.0.desk.clock().wall());
        let changed = self.0.change(|book| {
            let known = find(book, noun, &id).ok_or_else(not_there)?;
            let (id, record) = update(book, &planned, known, &now)?;
            shown(book, noun, &id, &record, &[])
        });
        Ok(changed.await?)
    }

    async fn delete(&self, noun: Noun, given: &Value) -> Result<Value, Fault> {
        let id = named(noun, given).ok_or_else(|| bad("params must be a list with an id"))?;
        let gone = self.0.change(|book| {
            let (id, _) = find(book, noun, &id).ok_or_else(not_there)?;
            remove(book, noun.kind, &id)
        });
        gone.await?;
        Ok(Value::Bool(true))
    }
}

/// The id that a value is, or that it has as a member.
fn named(noun: Noun, given: &Value) -> Option<String> {
    let id = match given {
        Value::Object(members) => {
            members.get("id").or_else(|| members.get("service_key").filter(|_| noun.is_service()))?
        }
        id => id,
    };
    match id {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

fn find(book: &Book, noun: Noun, id: &str) -> Option<(String, Record)> {
    let record = Record::read(book.element(&origin(), noun.kind.stored_as(), id)?)?;
    // What is in a plan has no noun of its own.
    debug_assert!(place::in_plan(id).is_none(), "only what is in a plan has an id of two parts");
    noun.has(&record).then(|| (id.to_owned(), record))
}

fn not_there() -> Refusal {
    Refusal::property("id", "must be the id of one that is there")
}

fn shown(book: &Book, noun: Noun, id: &str, record: &Record, wanted: &[&[String]]) -> Result<Value, Refusal> {
    Ok(noun.write(record, show(book, noun.kind, id, record, wanted)?))
}

fn answer(call: &Map<String, Value>, result: Result<Value, Fault>) -> Response {
    let (status, result, error) = match result {
        Ok(result) => (StatusCode::OK, result, Value::Null),
        Err(Fault::Call(code, message)) => {
            (StatusCode::BAD_REQUEST, Value::Null, json!({"message": message, "code": code}))
        }
        Err(Fault::Refused(refusal)) => {
            if refusal.is_late() {
                return refusal.answer();
            }
            let (status, error) = worded(&refusal);
            (status, Value::Null, error)
        }
    };
    let mut body = Map::new();
    if let Some(version) = call.get("jsonrpc") {
        body.insert("jsonrpc".to_owned(), version.clone());
    }
    body.insert("result".to_owned(), result);
    body.insert("error".to_owned(), error);
    body.insert("id".to_owned(), call.get("id").cloned().unwrap_or_default());
    errors::json(status, &body)
}

/// A refusal with the codes of V2 (contract.md 5).
fn worded(refusal: &Refusal) -> (StatusCode, Value) {
    let errors = match refusal {
        Refusal::Properties(errors) => errors.as_slice(),
        Refusal::Whole { status, message } if status.is_client_error() => {
            return (
                StatusCode::BAD_REQUEST,
                json!({"message": "Invalid Object", "code": 1000, "data": message}),
            );
        }
        _ => return (StatusCode::INTERNAL_SERVER_ERROR, json!({"message": "Create Failed", "code": 2001})),
    };
    let field = |error: &PropertyError| snake(&error.property);
    let data = errors.iter().map(|error| json!({"field": field(error), "message": error.message}));
    let data: Value = data.collect();
    let (message, code) = match errors {
        [error] if &*error.message == "is required" => {
            (format!("Field \"{}\" is required.", field(error)), 1002)
        }
        [error] if error.message.starts_with("is taken") => ("Duplicate Object".to_owned(), 1001),
        _ => ("Invalid Object".to_owned(), 1000),
    };
    (StatusCode::BAD_REQUEST, json!({"message": message, "code": code, "data": data}))
}
