//! The token and the V2 API in the API description.
//!
//! Must not know: how either is answered.

use serde_json::{Value, json};
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn, PathItemBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, Type};
use utoipa::openapi::{ContentBuilder, HttpMethod, Ref, RefOr, Required, Response, ResponseBuilder};

use crate::manage::call::BodyRefused;
use crate::manage::mashery::doc::{TAG, no_token, refused, with_body};
use crate::manage::mashery::errors::Refusal;
use crate::manage::mashery::routes::token::Given;
use crate::policy::Late;
use crate::problem::BodyFault;

/// The route at which tokens are given.
pub(super) fn token() -> PathItemBuilder {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let form = ObjectBuilder::new()
        .title(Some("MasheryCredentials"))
        .property("grant_type", text())
        .property("username", text())
        .property("password", text())
        .property("scope", text());
    let form = ContentBuilder::new().schema(Some(Schema::from(form))).example(Some(json!({
        "grant_type": "password", "username": "ann", "password": "secret", "scope": "area"
    })));
    let given = ObjectBuilder::new()
        .title(Some("MasheryToken"))
        .property("token_type", text())
        .property("mapi", text())
        .property("access_token", text())
        .property("expires_in", ObjectBuilder::new().schema_type(Type::Integer))
        .property("refresh_token", text())
        .property("scope", text());
    let example = Given::new("k1".into(), "area".into(), "Vw8ZkT4s".into(), "Qp2LmX7d".into());
    let given = content(RefOr::T(given.into()), serde_json::to_value(example).unwrap_or_default());
    let given = given.description("A token. Any credentials get one, and any token is let in.");
    let about = "Wants `Authorization: Basic` with `manage.require_headers`.";
    let operation = OperationBuilder::new()
        .tag(TAG)
        .summary(Some("Get a token"))
        .description(Some(about))
        .operation_id(Some("get_mashery_token"))
        .request_body(Some(
            RequestBodyBuilder::new().content("application/x-www-form-urlencoded", form.build()).build(),
        ))
        .response("200", given.build())
        .response("403", no_token());
    let faults = [BodyFault::TooLarge.into(), BodyFault::TooSlow.into(), BodyFault::Incomplete.into()];
    let operation = faults.iter().fold(operation, |operation, why: &BodyRefused| {
        operation.response(why.status().as_str(), refused("The body is not read.", &[Refusal::of_body(why)]))
    });
    PathItemBuilder::new().operation(HttpMethod::Post, operation)
}

/// The route of the V2 API.
pub(super) fn rpc() -> PathItemBuilder {
    let site = ParameterBuilder::new()
        .name("site")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("The site of the caller; any will do."))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
    let call = json!({"method": "object.query", "params": ["SELECT * FROM services"], "id": 1});
    let call =
        ContentBuilder::new().schema(Some(Ref::from_schema_name("MasheryCall"))).example(Some(call)).build();
    let found = json!({
        "result": {"total_items": 0, "total_pages": 0, "items_per_page": 100, "current_page": 1, "items": []},
        "error": null, "id": 1
    });
    let faulty = json!({"result": null, "error": {"message": "Method not found", "code": -32601}, "id": 1});
    let late = [Refusal::late(Late::NotMade), Refusal::late(Late::Unknown)];
    let about = "JSON-RPC on the same objects, whose members are spelled as `rate_limit_ceiling`: `object.query`, and \
        `fetch`, `create`, `update`, `delete` on `service`, `endpoint`, `method`, `package`, `plan`, `member`, `application`, \
        `package_key` and `key` (of a service alone).";
    let operation = OperationBuilder::new()
        .tag(TAG)
        .summary(Some("Call the V2 API"))
        .description(Some(about))
        .operation_id(Some("call_mashery_v2"))
        .parameter(site)
        .request_body(Some(
            RequestBodyBuilder::new()
                .content("application/json", call)
                .required(Some(Required::True))
                .build(),
        ))
        .response(
            "200",
            content(Ref::from_schema_name("MasheryResult").into(), found).description("The result.").build(),
        )
        .response(
            "400",
            content(Ref::from_schema_name("MasheryFault").into(), faulty)
                .description("Why there is none.")
                .build(),
        )
        .response(
            "500",
            content(
                Ref::from_schema_name("MasheryFault").into(),
                json!({
                    "result": null, "error": {"message": "Create Failed", "code": 2001}, "id": 1
                }),
            )
            .description("It could not be stored.")
            .build(),
        )
        .response("503", refused("The disk did not confirm the change in time.", &late));
    PathItemBuilder::new().operation(HttpMethod::Post, with_body(operation))
}

/// What a call, its result and its fault may hold is open: each object has members of its own.
pub(super) fn rpc_schemas() -> [(&'static str, RefOr<Schema>); 3] {
    let open = || {
        let object = ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(true)));
        RefOr::T(Schema::from(object.build()))
    };
    ["MasheryCall", "MasheryResult", "MasheryFault"].map(|name| (name, open()))
}

fn content(schema: RefOr<Schema>, example: Value) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(schema)).example(Some(example)).build();
    Response::builder().content("application/json", content)
}
