//! How problems stand in the API description: one response for each status, with the codes that it may carry.
//!
//! Must not know: which route answers what.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Header, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};

use crate::problem::codes::{BEFORE_ROUTES, Code};

/// The content type of problems (RFC 9457).
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// The codes that a response may carry, as a list in the description.
const CODES: &str = "x-codes";

/// The responses to what a route refuses with `codes`, and to what is refused before any route sees it.
#[must_use]
pub(crate) fn refusals(codes: &[Code]) -> BTreeMap<String, RefOr<Response>> {
    let mut responses = BTreeMap::new();
    add_refusals(&mut responses, codes);
    responses
}

/// The same, beside what an operation answers already: a status that it has carries the codes too.
pub(crate) fn add_refusals(responses: &mut BTreeMap<String, RefOr<Response>>, codes: &[Code]) {
    // These first, as every operation may answer with them.
    for code in BEFORE_ROUTES.iter().chain(codes) {
        let known =
            responses.entry(code.status.to_string()).or_insert_with(|| without_codes(code.status).into());
        if let RefOr::T(response) = known {
            add_code(response, code);
        }
    }
    // The parser of requests answers it, and cannot say more.
    let too_large = "The head has more than 64 headers or 16 KiB. There is no body.";
    let too_large = || ResponseBuilder::new().description(too_large).build().into();
    responses.entry("431".to_owned()).or_insert_with(too_large);
}

/// Types for the `responses` of an operation: `refuses! { /// By whom. Name: CODE CODE; }` makes one whose responses are
/// [`refusals`] of the codes.
macro_rules! refuses {
    ($(#[$about:meta] $name:ident: $($code:ident)*;)*) => {
        $(
            #[$about]
            pub(super) struct $name;

            impl $name {
                /// The codes that the operation may answer with, besides those that come before every route.
                pub(super) const CODES: &'static [$crate::problem::codes::Code] =
                    &[$($crate::problem::codes::$code),*];
            }

            impl ::utoipa::IntoResponses for $name {
                fn responses() -> ::std::collections::BTreeMap<
                    String,
                    ::utoipa::openapi::RefOr<::utoipa::openapi::Response>,
                > {
                    $crate::problem::doc::refusals(Self::CODES)
                }
            }
        )*
    };
}
pub(crate) use refuses;

fn without_codes(status: u16) -> Response {
    let response = ResponseBuilder::new();
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

/// Lets a response carry a code. All problems have one schema, so that clients have one type for them: the codes stand in
/// the description, for people, and in a list of their own.
fn add_code(response: &mut Response, code: &Code) {
    let codes = response.extensions.get_or_insert_default().entry(CODES.to_owned());
    let Value::Array(codes) = codes.or_insert_with(|| json!([])) else { return };
    // A route may list what comes before every route, or one code for two reasons.
    if codes.iter().any(|known| known == code.word) {
        return;
    }
    codes.push(code.word.into());
    add_paragraph(response, &format!("`{}`: {}.", code.word, code.when));
    response.content.entry(PROBLEM_JSON.to_owned()).or_insert_with(|| {
        let schema = Some(Ref::from_schema_name("Problem"));
        ContentBuilder::new().schema(schema).example(Some(example(code))).build().into()
    });
}

fn add_paragraph(response: &mut Response, text: &str) {
    if !response.description.is_empty() {
        response.description.push_str("\n\n");
    }
    response.description.push_str(text);
}

/// Lets a response of [`refusals`] carry other codes too, and says which.
pub(crate) fn also_other_codes(responses: &mut BTreeMap<String, RefOr<Response>>, status: &str, which: &str) {
    let Some(RefOr::T(response)) = responses.get_mut(status) else { return };
    add_paragraph(response, which);
    response.extensions.get_or_insert_default().insert("x-other-codes".to_owned(), true.into());
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

/// The schema `name` of a text that is one of `words`.
pub(crate) fn words<'w>(name: &str, words: impl IntoIterator<Item = &'w str>) -> ObjectBuilder {
    ObjectBuilder::new().title(Some(name)).schema_type(Type::String).enum_values(Some(words))
}
