//! Management routes take bodies that are stated to be JSON and no others; each dialect refuses in its own form.

use serde_json::{Value, json};

use crate::world::{Api, Server, ServerOptions};

struct World {
    _dir: tempfile::TempDir,
    _server: Server,
    api: Api,
    /// Of a deployed throttling config.
    uid: String,
}

async fn world() -> World {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let api = server.api();
    let uid = api.deploy_throttling("http://127.0.0.1:9/*", 200).await;
    World { _dir: dir, _server: server, api, uid }
}

/// The answer to a request with a body of this type, or of none.
async fn ask(api: &Api, method: &str, path: &str, kind: Option<&str>, body: &Value) -> (u16, Value) {
    let answer = api.send(method, path, kind, Some(body.to_string())).await;
    let text = String::from_utf8(answer.body).expect("text");
    (answer.status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[tokio::test(flavor = "multi_thread")]
async fn other_types_are_refused_by_name_in_each_dialects_form_and_change_nothing() {
    let World { api, uid, .. } = &world().await;
    let throttling =
        json!({"name": "b", "urlPattern": "http://127.0.0.2:9/*", "methods": ["GET"], "maxThroughput": 300});
    let capping = json!({"url": "http://127.0.0.3:9/*", "methods": ["GET"],
        "services": {"action": {"maxCallsCount": 5, "periodInMs": 1000}}});
    let service = json!({"name": "s"});
    let of_plugin =
        json!({"plugin_version_id": "2", "plugin_endpoint": "/a", "scope": "GLOBAL", "max_qps": 5});
    let account = json!({"limits": {"login": 4}});
    let pause = json!({"reason": "a test"});
    // The member that holds the text, and how the status is said again.
    for (method, path, body, text, again) in [
        ("PUT", &format!("/authoring/throttlingConfigs/{uid}"), &throttling, "/detail", "/status"),
        ("POST", &"/journey/orchestration/throttlingConfigs".to_owned(), &throttling, "/detail", "/status"),
        ("POST", &"/authoring/list/throttlingConfigs".to_owned(), &json!({"page": 0}), "/detail", "/status"),
        ("POST", &"/authoring/endpointConfigs".to_owned(), &capping, "/detail", "/status"),
        ("POST", &"/v3/rest/services".to_owned(), &service, "/errorMessage", "/errorCode"),
        ("POST", &"/v1/plugins/1/versions/2/throttlings".to_owned(), &of_plugin, "/error", ""),
        ("PUT", &"/v1/responsys/accounts/acme".to_owned(), &account, "/detail", "/status"),
        ("POST", &format!("/v1/policies/{uid}:pause"), &pause, "/detail", "/status"),
    ] {
        for kind in
            [Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/xml"), None]
        {
            let (status, answer) = ask(api, method, path, kind, body).await;
            assert_eq!(status, 415, "{method} {path} {kind:?}: {answer}");
            let told = answer.pointer(text).and_then(Value::as_str).unwrap_or_default();
            let names_it =
                told.contains(kind.unwrap_or("no Content-Type")) && told.contains("application/json");
            assert!(names_it, "{method} {path} {kind:?}: {answer}");
            assert!(again.is_empty() || answer.pointer(again) == Some(&json!(415)), "{answer}");
        }
    }
    assert_eq!(ask(api, "GET", "/v3/rest/services", None, &Value::Null).await.1, json!([]));
    let (_, list) = ask(api, "GET", "/v1/policies", None, &Value::Null).await;
    assert_eq!(list["policies"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(list["policies"][0]["hold"], Value::Null, "{list}");
    // The control: the same requests, stated to be JSON.
    for (method, path, kind, body) in [
        (
            "PUT",
            &format!("/authoring/throttlingConfigs/{uid}"),
            "application/json; charset=utf-8",
            &throttling,
        ),
        ("POST", &"/authoring/list/throttlingConfigs".to_owned(), "Application/JSON", &json!({"page": 0})),
        ("POST", &"/authoring/endpointConfigs".to_owned(), "application/json", &capping),
        ("POST", &"/v3/rest/services".to_owned(), "application/vnd.api+json", &service),
        ("POST", &"/v1/plugins/1/versions/2/throttlings".to_owned(), "application/json", &of_plugin),
        ("PUT", &"/v1/responsys/accounts/acme".to_owned(), "application/json", &account),
        ("POST", &format!("/v1/policies/{uid}:pause"), "application/json", &pause),
    ] {
        let (status, answer) = ask(api, method, path, Some(kind), body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_body_needs_no_type() {
    let World { api, uid, .. } = &world().await;
    for (method, path, kind, expected) in [
        ("POST", &format!("/authoring/throttlingConfigs/{uid}/undeploy"), None, 204),
        ("POST", &format!("/authoring/throttlingConfigs/{uid}/deploy"), Some("text/plain"), 204),
        ("POST", &format!("/authoring/throttlingConfigs/{uid}/canDeploy"), None, 200),
        ("POST", &"/authoring/list/throttlingConfigs".to_owned(), None, 200),
        ("POST", &"/authoring/list/endpointConfigs".to_owned(), Some("text/plain"), 200),
        ("POST", &format!("/v1/policies/{uid}:resume"), None, 200),
        ("DELETE", &"/v1/responsys/accounts/nobody".to_owned(), None, 404),
    ] {
        let answer = api.send(method, path, kind, None).await;
        assert_eq!(answer.status, expected, "{method} {path}: {}", String::from_utf8_lossy(&answer.body));
    }
}
