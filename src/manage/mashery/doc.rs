//! The dialect in the API description. The routes of objects are the same for each way to them, so that the description is
//! made from the ways as the routes are.
//!
//! Must not know: how objects are kept.

mod calls;
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
use crate::manage::mashery::routes::{rpc, token};
use crate::manage::mashery::says::Code;
use crate::manage::mashery::wire::Kind;
use crate::manage::mashery::wire::listing::LIMIT_MAX;
use crate::manage::mashery::wire::ways::{BASE, WAYS, Way};
use crate::policy::Late;
use crate::problem::{BodyFault, NotJson};

const ABOUT: &str = "A subset of the Mashery V3 management API, and of the older V2. Every change is active when it is answered. Answers are \
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
    for (name, schema) in calls::rpc_schemas() {
        components = components.schema(name, schema);
    }
    for kind in Kind::ALL {
        components = components.schema(kind.schema_name(), RefOr::T(kind.schema()));
    }
    for way in &WAYS {
        let of_collection = PathItemBuilder::new()
            .operation(HttpMethod::Get, list(way))
            .operation(HttpMethod::Post, create(way));
        let of_object = PathItemBuilder::new()
            .operation(HttpMethod::Get, read(way))
            .operation(HttpMethod::Put, update(way))
            .operation(HttpMethod::Delete, delete(way));
        all = all.path(format!("{BASE}{}", way.collection), of_collection.build());
        all = all.path(format!("{BASE}{}", way.object), of_object.build());
    }
    all = all.path(token::PATH, calls::token().build());
    all = all.path(rpc::PATH, calls::rpc().build());
    OpenApiBuilder::new()
        .info(Info::new("Mashery V3", env!("CARGO_PKG_VERSION")))
        .paths(all)
        .components(Some(components.build()))
        .tags(Some([TagBuilder::new().name(TAG).description(Some(ABOUT)).build()]))
        .build()
}

fn list(way: &Way) -> OperationBuilder {
    let kind = way.kind;
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
    let limit = format!("100 when missing; above {LIMIT_MAX} that many.");
    operation(way, way.collection, "list", &format!("List {}", kind.nouns().1))
        .parameter(query("filter", Type::String, filter))
        .parameter(query("sort", Type::String, sort))
        .parameter(query("limit", Type::Integer, &limit))
        .parameter(query("offset", Type::Integer, "Counted from 0."))
        .parameter(fields())
        .response("200", found)
        .response("400", invalid(&[Refusal::invalid("limit: must be a whole number, 0 or more")]))
}

fn create(way: &Way) -> OperationBuilder {
    let kind = way.kind;
    let verb = if kind.stands_for().is_some() { "Put into a plan" } else { "Create" };
    with_body(operation(way, way.collection, "create", &format!("{verb} {}", kind.nouns().0)))
        .request_body(Some(body(kind, kind.sent())))
        .parameter(fields())
        .response("200", shown(kind, "It is there."))
        .response("400", invalid(&faults()))
}

fn read(way: &Way) -> OperationBuilder {
    let kind = way.kind;
    let bad = Refusal::invalid("fields: \"a..b\" is no property such as publicDomains.address");
    operation(way, way.object, "get", &format!("Show {}", kind.nouns().0))
        .parameter(fields())
        .response("200", shown(kind, "It."))
        .response("400", invalid(&[bad]))
}

fn update(way: &Way) -> OperationBuilder {
    let kind = way.kind;
    let change = match kind {
        Kind::PackageKey => json!({"status": "disabled"}),
        Kind::Package | Kind::Application => json!({"description": "for partners"}),
        Kind::Member => json!({"displayName": "Ann"}),
        Kind::PlanService | Kind::PlanEndpoint => json!({}),
        Kind::Service | Kind::Endpoint | Kind::Method | Kind::Plan | Kind::PlanMethod => {
            json!({"rateLimitCeiling": 100})
        }
    };
    let about = "Members that are not given stay as they are; `null` unsets one. Of what lies within it, that which is \
         named by its id is changed and the rest created.";
    with_body(operation(way, way.object, "update", &format!("Change {}", kind.nouns().0)))
        .description(Some(about))
        .request_body(Some(body(kind, change)))
        .parameter(fields())
        .response("200", shown(kind, "It, changed."))
        .response("400", invalid(&faults()))
}

fn delete(way: &Way) -> OperationBuilder {
    let kind = way.kind;
    let gone = ResponseBuilder::new().description("It is gone, with all that is in it. There is no body.");
    let operation = operation(way, way.object, "delete", &format!("Delete {}", kind.nouns().0))
        .response("200", gone.build());
    let refers = match kind {
        Kind::PlanService | Kind::PlanEndpoint | Kind::PlanMethod | Kind::PackageKey => return operation,
        Kind::Endpoint | Kind::Method => "1 plans have it in them; take it out of them first",
        Kind::Member => "2 applications belong to it; delete them first",
        Kind::Service | Kind::Package | Kind::Plan | Kind::Application => {
            "3 package keys refer to it; delete them first"
        }
    };
    operation.response("409", refused("Others refer to it.", &[Refusal::conflict(refers)]))
}

/// What all operations have in common.
fn operation(way: &Way, path: &str, verb: &str, summary: &str) -> OperationBuilder {
    let plural = if verb == "list" { "s" } else { "" };
    // A kind that is found by two ways has two operations of each name.
    let through = match (way.kind, way.through.last()) {
        (Kind::Application | Kind::PackageKey, Some(outer)) => format!("_of_{}", outer.word()),
        _ => String::new(),
    };
    let id = format!("{verb}_mashery_{}{plural}{through}", way.kind.word());
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
    if !matches!(verb, "list" | "read") {
        let late = [Refusal::late(Late::NotMade), Refusal::late(Late::Unknown)];
        let about = "The disk did not confirm the change in time. `Retry-After` says when to ask again.";
        operation = operation.response("503", refused(about, &late));
    }
    operation
        .response("403", no_token())
        .response("500", refused("It could not be stored.", &[Refusal::internal()]))
}

/// `Authorization` is missing and wanted.
fn no_token() -> Response {
    let code = Code::NotAuthorized.as_str();
    let no_token = ContentBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .example(Some(json!("<h1>Not Authorized</h1>")));
    ResponseBuilder::new()
        .description(format!("`Authorization` is missing and wanted (`X-Mashery-Error-Code: {code}`)."))
        .content("text/xml", no_token.build())
        .build()
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
