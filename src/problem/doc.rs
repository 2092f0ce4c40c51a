//! How problems stand in the API description: one response for each status, with the codes that it may carry.
//!
//! Must not know: which route answers what.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Header, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};

use crate::problem::codes::{BEFORE_ROUTES, Code};

/// The content type of problems.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The responses to what a route refuses with `codes`, and to what is refused before any route sees it.
#[must_use]
pub fn refusals(codes: &[Code]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in BEFORE_ROUTES.iter().chain(codes) {
        let known = by_status.entry(code.status).or_default();
        if !known.contains(code) {
            known.push(*code);
        }
    }
    let responses = by_status.iter().map(|(status, codes)| (status.to_string(), response(*status, codes)));
    // The parser of requests answers it, and cannot say more.
    let too_large = "The head has more than 64 headers or 16 KiB. There is no body.";
    let too_large = ("431".to_owned(), ResponseBuilder::new().description(too_large).build());
    responses.chain([too_large]).map(|(status, response)| (status, response.into())).collect()
}

/// Types for the `responses` of an operation: `refuses! { /// By whom. Name: CODE CODE; }` makes one whose responses are
/// [`refusals`] of the codes.
macro_rules! refuses {
    ($(#[$about:meta] $name:ident: $($code:ident)*;)*) => {
        $(
            #[$about]
            pub(super) struct $name;

            impl ::utoipa::IntoResponses for $name {
                fn responses() -> ::std::collections::BTreeMap<
                    String,
                    ::utoipa::openapi::RefOr<::utoipa::openapi::Response>,
                > {
                    $crate::problem::doc::refusals(&[$($crate::problem::codes::$code),*])
                }
            }
        )*
    };
}
pub(crate) use refuses;

fn response(status: u16, codes: &[Code]) -> Response {
    let told: Vec<_> = codes.iter().map(|code| format!("`{}`: {}.", code.word, code.when)).collect();
    let schema = AllOfBuilder::new()
        .item(Ref::from_schema_name("Problem"))
        .item(ObjectBuilder::new().property("code", one_of(codes)));
    let content = ContentBuilder::new().schema(Some(schema)).example(codes.first().map(example)).build();
    let response = ResponseBuilder::new().description(told.join("\n\n")).content(PROBLEM_JSON, content);
    let response = match status {
        405 => response.header("Allow", header(Type::String, "The methods that are served here.")),
        429 | 503 => {
            let told = "Seconds after which a repetition may succeed.";
            response.header("Retry-After", header(Type::Integer, told))
        }
        _ => response,
    };
    response.build()
}

/// Lets a response of [`refusals`] carry other codes too, and says which.
pub(crate) fn also_other_codes(responses: &mut BTreeMap<String, RefOr<Response>>, status: &str, which: &str) {
    let Some(RefOr::T(response)) = responses.get_mut(status) else { return };
    response.description.push_str("\n\n");
    response.description.push_str(which);
    if let Some(RefOr::T(content)) = response.content.get_mut(PROBLEM_JSON) {
        content.schema = Some(Ref::from_schema_name("Problem").into());
    }
}

fn header(kind: Type, description: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(kind).build();
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
}

fn example(code: &Code) -> Value {
    json!({
        "type": format!("urn:tidegate:problem:{}", code.word),
        "title": "What went wrong, in words",
        "status": code.status,
        "code": code.word,
        "detail": code.when,
    })
}

fn one_of(codes: &[Code]) -> ObjectBuilder {
    words(codes.iter().map(|code| code.word))
}

/// The schema of a text that is one of `words`.
pub fn words<'w>(words: impl IntoIterator<Item = &'w str>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words))
}
