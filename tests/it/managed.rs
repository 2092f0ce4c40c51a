//! What the management dialects have answered is there, whole, after a kill at any moment: the element and the policies
//! that it amounts to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Server, ServerOptions, eventually};

const ROUNDS: usize = 8;

/// What was answered, by dialect: a path that has to be there, with the policy that has to rule if there is one.
type Answered = Arc<Mutex<Vec<(String, Option<String>)>>>;

fn text(answer: &Value, pointer: &str) -> Option<String> {
    answer.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

/// Changes elements of all dialects, one after the other, until the server is gone.
async fn write(base: String, round: usize, answered: Answered) {
    let http = reqwest::Client::new();
    let send = async |method: &str, path: &str, body: Value| {
        let method = method.parse().expect("a method");
        let request =
            http.request(method, format!("{base}{path}")).header("content-type", "application/json");
        let answer =
            request.body(body.to_string()).send().await.ok().filter(|answer| answer.status().is_success())?;
        let body = answer.bytes().await.ok()?;
        Some(serde_json::from_slice(&body).unwrap_or(Value::Null))
    };
    let note = |path: String, policy: Option<String>| {
        answered.lock().expect("not poisoned").push((path, policy));
    };
    for n in 0.. {
        let name = format!("r{round}n{n}");
        let step = async {
            let cap = json!({"url": format!("https://{name}.test/*"), "methods": ["POST"],
                "services": {"action": {"maxHttpConnections": 5, "rating": {"maxCallsCount": 9, "periodInMs": 1000}}}});
            let made = send("POST", "/authoring/endpointConfigs", cap).await?;
            let uid = text(&made, "/uid")?;
            let path = format!("/authoring/endpointConfigs/{uid}");
            note(path.clone(), None);
            send("POST", &format!("{path}/deploy"), json!({})).await?;
            note(path, Some(format!("{uid}.action")));

            let throttling = json!({"scope": "GLOBAL", "plugin_version_id": "1", "max_qps": 5, "plugin_endpoint": format!("/{name}")});
            let list = "/v1/plugins/1/versions/1/throttlings";
            let made = send("POST", list, throttling).await?;
            let id = text(&made, "/data/id")?;
            note(format!("{list}/{id}"), Some(format!("mics.{id}")));

            let made = send("POST", "/v3/rest/services", json!({"name": name, "qpsLimitOverall": 5})).await?;
            let service = text(&made, "/id")?;
            note(format!("/v3/rest/services/{service}"), None);
            let endpoint = json!({"name": name, "requestPathAlias": format!("/{name}"), "publicDomains": [{"address": "m.test"}]});
            let path = format!("/v3/rest/services/{service}/endpoints");
            let made = send("POST", &path, endpoint).await?;
            let endpoint = text(&made, "/id")?;
            note(format!("{path}/{endpoint}"), Some(format!("{service}.overall")));
            note(format!("{path}/{endpoint}"), Some(format!("{endpoint}.endpoint")));

            let path = format!("/v1/responsys/accounts/{name}");
            send("PUT", &path, json!({"limits": {"login": 3}})).await?;
            note(path, Some("responsys.login".to_owned()));
            Some(())
        };
        if step.await.is_none() {
            return;
        }
    }
}

async fn check(api: &Api, answered: &Answered) -> usize {
    let answered = answered.lock().expect("not poisoned").clone();
    for (path, policy) in &answered {
        let (status, body) = api.get(path).await;
        assert_eq!(status, 200, "{path} was answered and is gone: {body}");
        if let Some(policy) = policy {
            let (status, body) = api.get(&format!("/v1/policies/{policy}")).await;
            assert_eq!(status, 200, "{path} is there without {policy}: {body}");
        }
    }
    // What was not answered is there with its policy or not at all.
    let (status, listed) =
        api.json("GET", "/v1/plugins/1/versions/1/throttlings?max_results=1000", &Value::Null).await;
    assert_eq!(status, 200, "{listed}");
    for throttling in listed["data"].as_array().expect("a list") {
        let id = throttling["id"].as_str().expect("an id");
        assert_eq!(api.get(&format!("/v1/policies/mics.{id}")).await.0, 200, "{throttling} has no policy");
    }
    answered.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_dialects_answered_is_there_whole_after_a_kill() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = ServerOptions::new(dir.path());
    let answered = Answered::default();
    let mut found = 0;
    for round in 0..ROUNDS {
        let server = Server::start(&options);
        found = check(&server.api(), &answered).await;
        let writing = tokio::spawn(write(format!("http://{}", server.addr), round, Arc::clone(&answered)));
        // Another step of the writer is under way each time.
        let enough = found + 5 + round;
        eventually("answers", Duration::from_secs(60), async || {
            answered.lock().expect("not poisoned").len() >= enough
        })
        .await;
        server.kill();
        writing.await.expect("ends with the server");
    }
    let server = Server::start(&options);
    assert!(check(&server.api(), &answered).await > found, "every round wrote something");
    // One that is gone would be noticed.
    let paths = answered.lock().expect("not poisoned").clone();
    let account = paths.iter().find(|(path, _)| path.starts_with("/v1/responsys/")).expect("written by now");
    let (status, _) = server.api().json("DELETE", &account.0, &Value::Null).await;
    assert!((200..300).contains(&status), "{status}");
    let (api, answered) = (server.api(), Arc::clone(&answered));
    let checked = tokio::spawn(async move { check(&api, &answered).await }).await;
    assert!(checked.is_err_and(|error| error.is_panic()));
}
