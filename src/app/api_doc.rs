//! The API description: the documents of all doors in one, at `/openapi.json`; and as a page for people, at
//! `/docs/api`.
//!
//! Every door and dialect describes its own routes, all in the same way: wire types derive `ToSchema`, handlers carry
//! `#[utoipa::path]`, a file `doc` beside them holds examples, refusals and `api_doc`, which is listed in [`doors`].
//! What any request may be answered with before a route sees it is added here. The examples are sent by
//! `tests/it/api_doc`.
//!
//! Must not know: what the routes do.

mod docs;
mod labels;
mod names;
mod page;
mod tidy;

use std::sync::OnceLock;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde_json::Value;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{OpenApi, Ref};

use crate::app::{held, html};
use crate::problem::codes::{Code, NOT_FOUND, STORE_HELD};
use crate::problem::doc::{add_refusals, refusals, refuses};
use crate::problem::{FieldError, Problem};
use crate::telemetry::defect;
use crate::{ingest, manage, ops};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "tidegate",
        description = "Holds HTTP calls until every limit that governs them has room. Every `GET` route of tidegate's own \
            API answers `HEAD` too. A path that no route has is answered with 404 and the code `not_found`, a method that \
            a route does not have with 405, `method_not_allowed` and `Allow`, both as `application/problem+json`. \
            A request whose head cannot be read at all is answered with 400 or 431 and no body."
    ),
    servers((url = "/")),
    components(schemas(Problem, FieldError)),
    paths(docs::docs, docs::docs_chapter, openapi_json, docs_api),
    tags((name = "description", description = "The manual and this description."))
)]
struct ApiDocFrame;

/// The description of everything that is served, as an OpenAPI 3.1 document.
#[must_use]
pub(crate) fn api_doc() -> Value {
    let mut whole = doors().fold(ApiDocFrame::openapi(), OpenApi::merge_from);
    // The doors come before this description of them.
    whole.tags.iter_mut().for_each(|tags| tags.rotate_left(1));
    for (path, item) in &mut whole.paths.paths {
        // A parameter that is empty or has a slash makes another path.
        let further: &[Code] = if path.contains('{') { &[NOT_FOUND] } else { &[] };
        let changing = [further, &[STORE_HELD]].concat();
        for (method, operation) in operations(item) {
            let codes = if held::only_asks(&method, path) { further } else { &changing };
            add_common_refusals(operation, codes);
        }
    }
    let shared = SHARED.iter().filter_map(|(status, name)| Some((*name, refusals(&[]).remove(*status)?)));
    let components = whole.components.get_or_insert_default();
    components.responses.extend(shared.map(|(name, response)| (name.to_owned(), response)));
    // Texts, numbers, lists and maps always make a value.
    let document = serde_json::to_value(&whole);
    defect!(unless document.is_ok(), "an API description that is no JSON");
    let mut document = document.unwrap_or_default();
    tidy::tidy(&mut document);
    // After that: it joins the lines of descriptions, and a table has to keep its own.
    labels::add(&mut document);
    names::name_schemas(&mut document);
    document
}

/// The descriptions of all doors and dialects; a new dialect is found by [`manage::all`].
fn doors() -> impl Iterator<Item = OpenApi> {
    let dialects = manage::all().iter().map(|dialect| dialect.api_doc());
    [ingest::api_doc(), ops::api_doc()].into_iter().chain(dialects)
}

/// Responses that are the same everywhere, by status, and their names.
const SHARED: [(&str, &str); 3] = [("403", "ForeignOrigin"), ("421", "ForeignHost"), ("431", "HeadTooLarge")];

/// Adds what may be answered before a route sees a request, also to the documents of the dialects, which leave it out.
fn add_common_refusals(operation: &mut Operation, further: &[Code]) {
    let known = &mut operation.responses.responses;
    add_refusals(known, further);
    let common = refusals(&[]);
    for (status, name) in SHARED {
        // A dialect that answers with one of these statuses in words of its own keeps its own description.
        if let Some(response) = known.get_mut(status)
            && Some(&*response) == common.get(status)
        {
            *response = Ref::from_response_name(name).into();
        }
    }
}

/// The operations of a path with their methods.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = item;
    let all = [
        (Method::GET, get),
        (Method::PUT, put),
        (Method::POST, post),
        (Method::DELETE, delete),
        (Method::OPTIONS, options),
        (Method::HEAD, head),
        (Method::PATCH, patch),
        (Method::TRACE, trace),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Routes of this description, for programs and for people, and of the manual.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/openapi.json", get(async || openapi_json(Texts::get().await.json.clone())))
        .route("/docs/api", get(async || docs_api(Texts::get().await.page.clone())))
        .merge(docs::routes())
}

/// The description as it is served. Made when it is asked for the first time: that takes ten times the memory of the
/// texts, more than all else that a daemon without policies needs.
struct Texts {
    json: Bytes,
    page: Bytes,
}

static TEXTS: OnceLock<Texts> = OnceLock::new();

impl Texts {
    async fn get() -> &'static Self {
        if let Some(texts) = TEXTS.get() {
            return texts;
        }
        // A good part of a second without optimisation.
        let made = tokio::task::spawn_blocking(|| TEXTS.get_or_init(Self::make)).await;
        made.unwrap_or_else(|_| TEXTS.get_or_init(Self::make))
    }

    fn make() -> Self {
        let document = api_doc();
        Self { json: Bytes::from(document.to_string()), page: Bytes::from(page::page(&document)) }
    }
}

refuses! {
    /// By a route that only shows something.
    Nothing: ;
}

/// This description
///
/// As an OpenAPI 3.1 document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "description", operation_id = "openapi",
    responses((status = 200, description = "The document.", body = Value), Nothing),
)]
fn openapi_json(json: Bytes) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response()
}

/// This description for people
///
/// As a page of plain HTML.
#[utoipa::path(
    get, path = "/docs/api", tag = "description", operation_id = "docs_api",
    responses((status = 200, description = "The page.", body = String, content_type = "text/html"), Nothing),
)]
fn docs_api(page: Bytes) -> Response {
    html::respond(page)
}

#[cfg(test)]
mod tests;
