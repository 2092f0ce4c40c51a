//! The dialect in the API description. Its routes are the same four times over, so that the description is made from the
//! kinds of objects as the routes are.
//!
//! Must not know: how objects are kept.

mod schema;

use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn, PathItemBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, ComponentsBuilder, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, HttpMethod, Info, OpenApi, OpenApiBuilder, PathsBuilder, Ref, RefOr,
    Required, Response, ResponseBuilder,
};

use crate::manage::call::BodyRefused;
use crate::manage::mashery::errors::{PropertyError, Refusal};
use crate::manage::mashery::routes::{BASE, paths};
use crate::manage::mashery::says::Code;
use crate::manage::mashery::wire::Kind;
use crate::manage::mashery::wire::listing::LIMIT_MAX;
use crate::policy::Late;
use crate::problem::{BodyFault, NotJson};

const ABOUT: &str = "A subset of the Mashery V3 management API. Every change is active when it is answered. Answers are \
    `application/json;charset=utf-8`; what no route has is answered with 404 or 405 in the same shape as other refusals. With \
    `manage.require_headers`, requests must carry `Authorization`.";
const TAG: &str = "mashery";

/// The routes of the dialect with their shapes and refusals.
#[must_use]
pub(super) fn api_doc() -> OpenApi {
    let mut all = PathsBuilder::new();
    let mut components = ComponentsBuilder::new()
        .schema("MasheryError", whole_error())
        .schema("MasheryPropertyErrors", property_errors());
    for kind in Kind::ALL {
        components = components.schema(kind.schema_name(), RefOr::T(kind.schema()));
        let (collection, object) = paths(kind);
        let of_collection = PathItemBuilder::new()
            .operation(HttpMethod::Get, list(kind, collection))
            .operation(HttpMethod::Post, create(kind, collection));
        let of_object = PathItemBuilder::new()
            .operation(HttpMethod::Get, read(kind, object))
            .operation(HttpMethod::Put, update(kind, object))
            .operation(HttpMethod::Delete, delete(kind, object));
        all = all.path(format!("{BASE}{collection}"), of_collection.build());
        all = all.path(format!("{BASE}{object}"), of_object.build());
    }
    OpenApiBuilder::new()
        .info(Info::new("Mashery V3", env!("CARGO_PKG_VERSION")))
        .paths(all)
        .components(Some(components.build()))
        .tags(Some([TagBuilder::new().name(TAG).description(Some(ABOUT)).build()]))
        .build()
}

fn list(kind: Kind, path: &str) -> OperationBuilder {
    let array = Schema::from(ArrayBuilder::new().items(Ref::from_schema_name(kind.schema_name())).build());
    let content = ContentBuilder::new().schema(Some(array)).example(Some(json!([kind.shown()])));
    let count = HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::Integer)))
        .description(Some("How many pass the filters, on all pages."))
        .build();
    let found = ResponseBuilder::new()
        .description("A page of them, oldest first unless sorted.")
        .content("application/json", content.build())
        .header("X-Total-Count", count)
        .build();
    let filter =
        "`property:text`: the value contains the text. Several after commas, or repeated: all must hold.";
    let sort = "Properties after commas, each with `:asc` or `:desc` if wanted.";
    let limit = format!("At most {LIMIT_MAX}; 100 when missing.");
    operation(kind, path, "list", &format!("List {}", kind.nouns().1))
        .parameter(query("filter", Type::String, filter))
        .parameter(query("sort", Type::String, sort))
        .parameter(query("limit", Type::Integer, &limit))
        .parameter(query("offset", Type::Integer, "Counted from 0."))
        .parameter(fields())
        .response("200", found)
        .response("400", invalid(&[Refusal::invalid("limit: must be a whole number from 0 to 1000")]))
}

fn create(kind: Kind, path: &str) -> OperationBuilder {
    with_body(operation(kind, path, "create", &format!("Create {}", kind.nouns().0)))
        .request_body(Some(body(kind, kind.sent())))
        .parameter(fields())
        .response("200", shown(kind, "It is there."))
        .response("400", invalid(&faults()))
}

fn read(kind: Kind, path: &str) -> OperationBuilder {
    let bad = Refusal::invalid("fields: \"a..b\" is no property such as publicDomains.address");
    operation(kind, path, "get", &format!("Show {}", kind.nouns().0))
        .parameter(fields())
        .response("200", shown(kind, "It."))
        .response("400", invalid(&[bad]))
}

fn update(kind: Kind, path: &str) -> OperationBuilder {
    let change = match kind {
        Kind::PackageKey => json!({"status": "disabled"}),
        Kind::Service | Kind::Endpoint | Kind::Method => json!({"rateLimitCeiling": 100}),
    };
    with_body(operation(kind, path, "update", &format!("Change {}", kind.nouns().0)))
        .description(Some("Members that are not given stay as they are; `null` unsets one."))
        .request_body(Some(body(kind, change)))
        .parameter(fields())
        .response("200", shown(kind, "It, changed."))
        .response("400", invalid(&faults()))
}

fn delete(kind: Kind, path: &str) -> OperationBuilder {
    let gone = ResponseBuilder::new().description("It is gone, with all that is in it. There is no body.");
    let operation =
        operation(kind, path, "delete", &format!("Delete {}", kind.nouns().0)).response("200", gone.build());
    match kind {
        Kind::Service => {
            let conflict = Refusal::conflict("3 package keys refer to this service; delete them first");
            operation.response("409", refused("Keys refer to it.", &[conflict]))
        }
        Kind::Endpoint | Kind::Method | Kind::PackageKey => operation,
    }
}

/// What all operations have in common.
fn operation(kind: Kind, path: &str, verb: &str, summary: &str) -> OperationBuilder {
    let plural = if verb == "list" { "s" } else { "" };
    let id = format!("{verb}_mashery_{}{plural}", kind.word());
    let mut operation = OperationBuilder::new().tag(TAG).summary(Some(summary)).operation_id(Some(id));
    let ids = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut has_ids = false;
    for id in ids {
        has_ids = true;
        let parameter = ParameterBuilder::new()
            .name(id)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some(format!("The id of the {id}.")))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
        operation = operation.parameter(parameter);
    }
    if has_ids {
        let about = "It is not there, or not below this parent.";
        operation = operation.response("404", refused(about, &[Refusal::not_found()]));
    }
    let code = Code::NotAuthorized.as_str();
    let no_token = ContentBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .example(Some(json!("<h1>Not Authorized</h1>")));
    let no_token = ResponseBuilder::new()
        .description(format!("`Authorization` is missing and wanted (`X-Mashery-Error-Code: {code}`)."))
        .content("text/xml", no_token.build());
    if !matches!(verb, "list" | "read") {
        let late = [Refusal::late(Late::NotMade), Refusal::late(Late::Unknown)];
        let about = "The disk did not confirm the change in time. `Retry-After` says when to ask again.";
        operation = operation.response("503", refused(about, &late));
    }
    operation
        .response("403", no_token.build())
        .response("500", refused("It could not be stored.", &[Refusal::internal()]))
}

fn query(name: &str, kind: Type, about: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(ObjectBuilder::new().schema_type(kind)))
}

fn fields() -> ParameterBuilder {
    let about = "The members to show, after commas or repeated, such as `id,publicDomains.address`.";
    query("fields", Type::String, about)
}

fn body(kind: Kind, example: Value) -> utoipa::openapi::request_body::RequestBody {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(kind.schema_name())))
        .example(Some(example))
        .build();
    RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True)).build()
}

fn shown(kind: Kind, about: &str) -> Response {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(kind.schema_name())))
        .example(Some(kind.shown()))
        .build();
    ResponseBuilder::new().description(about).content("application/json", content).build()
}

fn faults() -> [Refusal; 2] {
    let property = PropertyError::new("name", "must be text of 1 to 255 bytes without control characters");
    [Refusal::Properties(vec![property]), Refusal::invalid("the body must be a JSON object")]
}

/// Adds why a body is not read.
fn with_body(operation: OperationBuilder) -> OperationBuilder {
    let refusals = [BodyFault::TooLarge.into(), BodyFault::TooSlow.into(), NotJson::unstated().into()];
    refusals.iter().fold(operation, |operation, why: &BodyRefused| {
        let response = refused("The body is not read.", &[Refusal::of_body(why)]);
        operation.response(why.status().as_str(), response)
    })
}

fn invalid(examples: &[Refusal]) -> Response {
    refused("The request breaks a rule.", examples)
}

/// The two shapes of a refusal; the examples are what is really answered.
fn refused(about: &str, examples: &[Refusal]) -> Response {
    let has_properties = examples.iter().any(|refusal| matches!(refusal, Refusal::Properties(_)));
    let whole = Ref::from_schema_name("MasheryError");
    let schema: RefOr<Schema> = if has_properties {
        let one_of = OneOfBuilder::new().item(whole).item(Ref::from_schema_name("MasheryPropertyErrors"));
        one_of.title(Some("MasheryRefusal")).into()
    } else {
        whole.into()
    };
    let named = (1..).zip(examples).map(|(number, refusal): (u32, _)| {
        (number.to_string(), ExampleBuilder::new().value(refusal.text()).build())
    });
    let content = ContentBuilder::new().schema(Some(schema)).examples_from_iter(named).build();
    ResponseBuilder::new().description(about).content("application/json", content).build()
}

fn whole_error() -> RefOr<Schema> {
    ObjectBuilder::new()
        .property(
            "errorCode",
            ObjectBuilder::new().schema_type(Type::Integer).description(Some("The status.")),
        )
        .required("errorCode")
        .property("errorMessage", ObjectBuilder::new().schema_type(Type::String))
        .required("errorMessage")
        .into()
}

fn property_errors() -> RefOr<Schema> {
    let error = ObjectBuilder::new()
        .title(Some("MasheryPropertyError"))
        .property("property", ObjectBuilder::new().schema_type(Type::String))
        .required("property")
        .property("message", ObjectBuilder::new().schema_type(Type::String))
        .required("message");
    ObjectBuilder::new().property("errors", ArrayBuilder::new().items(error)).required("errors").into()
}
