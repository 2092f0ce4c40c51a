//! The V2 API on the same objects.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::scenarios::{World, endpoint};

impl World {
    async fn rpc(&self, method: &str, params: Value) -> (u16, Value) {
        let call = json!({"method": method, "params": params, "id": 7});
        let request = Request::builder().method("POST").uri("/v2/json-rpc/171?apikey=k&sig=s");
        let request = request.header("content-type", "application/json");
        let (status, headers, text) =
            self.exchange(request.body(Body::from(call.to_string())).expect("valid")).await;
        assert_eq!(headers["content-type"], "application/json;charset=utf-8");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(answer["id"], 7);
        assert_eq!(answer["error"].is_null(), status == 200, "{answer}");
        (status.as_u16(), answer)
    }

    async fn result(&self, method: &str, params: Value) -> Value {
        let (status, answer) = self.rpc(method, params).await;
        assert_eq!(status, 200, "{method}: {answer}");
        answer["result"].clone()
    }
}

#[tokio::test]
async fn objects_are_the_same_in_both_apis() {
    let world = World::new().await;
    let made = world
        .result("service.create", json!([{"name": "s", "rate_limit_ceiling": 9, "editor_handle": "x"}]))
        .await;
    let service = made["service_key"].as_str().expect("an id").to_owned();
    assert_eq!((&made["id"], &made["rate_limit_period"]), (&json!(service), &json!("day")));
    let of_v3 = world.get(&format!("/services/{service}")).await;
    assert_eq!((&of_v3["rateLimitCeiling"], &of_v3["editorHandle"]), (&json!(9), &json!("x")));

    let body = json!({"service_key": service, "name": "e", "request_path_alias": "/v1",
        "public_domains": [{"address": "api.example.com"}], "supported_http_methods": ["get"]});
    let end = world.result("endpoint.create", json!([body])).await;
    assert_eq!(end["service_key"], json!(service));
    let method = world.result("method.create", json!([{"endpoint": {"id": end["id"]}, "name": "get"}])).await;
    assert_eq!(method["endpoint_id"], end["id"]);
    let key = json!({"apikey": "k", "service_key": service, "rate_limit_ceiling": 5});
    let key = world.result("key.create", json!([key])).await;
    assert_eq!((&key["service_key"], &key["limits"][0]["ceiling"]), (&json!(service), &json!(9)));
    world
        .result("service.update", json!([{"service_key": service, "rate_limit_override_allowed": true}]))
        .await;
    let fetched = world.result("key.fetch", json!([key["id"]])).await;
    assert_eq!(fetched["limits"][0]["ceiling"], json!(5), "what is changed is active");

    let found = world
        .result(
            "object.query",
            json!([format!("SELECT id, name, endpoints FROM services WHERE service_key = '{service}'")]),
        )
        .await;
    assert_eq!((&found["total_items"], &found["items"][0]["name"]), (&json!(1), &json!("s")));
    assert_eq!(found["items"][0]["endpoints"][0]["request_path_alias"], json!("/v1"));
    let package = world.result("package.create", json!([{"name": "p"}])).await;
    let plan = world.result("plan.create", json!([{"package_id": package["id"], "name": "gold"}])).await;
    let of_plan = json!({"package": {"id": package["id"]}, "plan": {"id": plan["id"]}});
    let of_plan = world.result("package_key.create", json!([of_plan])).await;
    for (noun, id) in [("keys", &key["id"]), ("package_keys", &of_plan["id"])] {
        let found = world.result("object.query", json!([format!("SELECT id FROM {noun}")])).await;
        assert_eq!(found["items"], json!([{"id": id}]), "{noun}");
    }
    assert_eq!(world.result("key.fetch", json!([of_plan["id"]])).await, Value::Null, "not of a service");
    assert_eq!(world.result("package_key.delete", json!([{"id": of_plan["id"]}])).await, json!(true));
    assert_eq!(world.result("key.delete", json!([key["id"]])).await, json!(true));
    assert_eq!(world.result("service.delete", json!([service])).await, json!(true));
    assert_eq!(world.get("/services").await, json!([]));
}

#[tokio::test]
async fn refusals_have_the_codes_of_the_api() {
    let world = World::new().await;
    let service = world.create("/services", &json!({"name": "s"})).await;
    world.create(&format!("/services/{service}/endpoints"), &endpoint("e", "/v1")).await;
    world.create("/packageKeys", &json!({"apikey": "k", "service": {"id": service}})).await;
    for (method, params, code) in [
        ("service.create", json!([{}]), 1002),
        ("service.create", json!([{"name": "s", "rate_limit_ceiling": "x"}]), 1000),
        ("endpoint.create", json!([{"name": "e"}]), 1002),
        ("endpoint.create", json!([{"name": "e", "service_key": "nobody"}]), 1000),
        ("key.create", json!([{"apikey": "k", "service_key": service}]), 1001),
        ("key.update", json!([{"id": "nobody", "status": "disabled"}]), 1000),
        ("key.delete", json!(["nobody"]), 1000),
        ("service.delete", json!([service]), 1000),
        ("service.create", json!([7]), -32602),
        ("service.create", json!([]), -32602),
        ("service.update", json!([{"name": "x"}]), -32602),
        ("service.frobnicate", json!([1]), -32601),
        ("nothing.create", json!([{}]), -32601),
        ("nonsense", json!([{}]), -32600),
        ("object.query", json!(["SELECT * FROM nothings"]), -32602),
        ("object.query", json!([7]), -32602),
    ] {
        let (status, answer) = world.rpc(method, params.clone()).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(code)), "{method} {params}: {answer}");
    }
    let (_, answer) = world.rpc("service.create", json!([{}])).await;
    assert_eq!(answer["error"]["message"], "Field \"name\" is required.");
    let (_, answer) = world.rpc("service.create", json!([{"name": "s", "rate_limit_ceiling": 0}])).await;
    assert_eq!(answer["error"]["data"][0]["field"], "rate_limit_ceiling");
    let request =
        Request::builder().method("POST").uri("/v2/json-rpc/171").header("content-type", "application/json");
    let (status, _, text) = world.exchange(request.body(Body::from("nonsense")).expect("valid")).await;
    assert_eq!(status, 400);
    assert!(text.contains("-32700"), "{text}");
}
