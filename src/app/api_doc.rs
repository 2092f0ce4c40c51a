//! The API description: the documents of all doors in one, at `/openapi.json`; and as a page for people, at `/docs`.
//!
//! Must not know: what the routes do.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, header};
use serde_json::Value;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{OpenApi, RefOr};

use crate::problem::codes::{Code, NOT_FOUND};
use crate::problem::doc::{refusals, refuses};
use crate::problem::{FieldError, Problem};
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
    paths(openapi_json),
    tags((name = "description", description = "This description."))
)]
struct Frame;

/// The description of everything that is served, as an OpenAPI 3.1 document.
#[must_use]
pub fn api_doc() -> Value {
    let mut whole = doors().into_iter().fold(Frame::openapi(), OpenApi::merge_from);
    for (path, item) in &mut whole.paths.paths {
        // A parameter that is empty or has a slash makes another path.
        let further: &[Code] = if path.contains('{') { &[NOT_FOUND] } else { &[] };
        operations(item).for_each(|operation| add_common_refusals(operation, further));
    }
    // Texts, numbers, lists and maps always make a value.
    let mut document = serde_json::to_value(&whole).unwrap_or_default();
    tidy(&mut document);
    document
}

/// One document for each door.
fn doors() -> [OpenApi; 4] {
    [ingest::api_doc(), ops::api_doc(), manage::throttling::api_doc(), manage::capping::api_doc()]
}

/// What is answered before a route sees a request, also in the documents of the dialects, which do not tell of it.
fn add_common_refusals(operation: &mut Operation, further: &[Code]) {
    let known = &mut operation.responses.responses;
    for (status, common) in refusals(further) {
        match (known.get_mut(&status), common) {
            (Some(RefOr::T(known)), RefOr::T(common)) => {
                for (kind, content) in common.content {
                    known.content.entry(kind).or_insert(content);
                }
            }
            (Some(_), _) => {}
            (None, common) => drop(known.insert(status, common)),
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = item;
    [get, put, post, delete, options, head, patch, trace].into_iter().flatten()
}

/// Joins the lines of descriptions, which are broken as the source is; an optional parameter is left out, never null.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(members) => {
            if let Some(Value::String(text)) = members.get_mut("description") {
                let paragraphs: Vec<_> = text.split("\n\n").map(|text| text.replace('\n', " ")).collect();
                *text = paragraphs.join("\n\n");
            }
            if members.contains_key("in")
                && let Some(kind) = members.get_mut("schema").and_then(|schema| schema.get_mut("type"))
                && let Some(first) = kind.get(0).cloned()
            {
                *kind = first;
            }
            members.values_mut().for_each(tidy);
        }
        _ => {}
    }
}

/// `/openapi.json` and `/docs`.
pub(super) fn routes() -> Router {
    let json = Bytes::from(api_doc().to_string());
    Router::new().route("/openapi.json", get(async move || openapi_json(json)))
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

#[cfg(test)]
mod tests;
