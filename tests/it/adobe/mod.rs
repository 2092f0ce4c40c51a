//! Adobe's two APIs, from the documented sequences of calls to what then leaves for the endpoint.

mod capping;
mod clients;
mod spellings;
mod throttling;

use serde_json::{Value, json};

use crate::world::{Api, NotedApp, Receiver};

/// A running app, its client, an endpoint, and one of the two APIs under one of its bases.
struct World {
    app: NotedApp,
    api: Api,
    receiver: Receiver,
    base: &'static str,
    collection: &'static str,
}

impl World {
    async fn start(base: &'static str, collection: &'static str) -> Self {
        let app = NotedApp::start(&[]).await;
        Self { api: app.api(), app, receiver: Receiver::start().await, base, collection }
    }

    /// Calls the API; what comes after the name of the collection is `tail`.
    async fn call(&self, method: &str, tail: &str, body: &Value) -> (u16, Value) {
        self.api.json(method, &format!("{}/{}{tail}", self.base, self.collection), body).await
    }

    /// The configs of the list, by uid and state.
    async fn listed(&self) -> Vec<(String, String)> {
        let path = format!("{}/list/{}", self.base, self.collection);
        let (status, answer) = self.api.json("POST", &path, &json!({})).await;
        assert_eq!(status, 200, "{answer}");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let results = answer["results"].as_array().expect("a list");
        results.iter().map(|config| (text(&config["uid"]), text(&config["state"]))).collect()
    }

    async fn created(&self, config: &Value) -> String {
        let (status, answer) = self.call("POST", "", config).await;
        assert_eq!((status, &answer["canDeploy"]["validationStatus"]), (200, &json!("ok")), "{answer}");
        assert_eq!(answer["createdElement"]["state"], "created");
        answer["uid"].as_str().expect("a uid").to_owned()
    }

    async fn got(&self, uid: &str) -> Value {
        let (status, answer) = self.call("GET", &format!("/{uid}"), &json!({})).await;
        assert_eq!(status, 200, "{answer}");
        answer["result"].clone()
    }

    async fn updated(&self, uid: &str, config: &Value) -> Value {
        let (status, answer) = self.call("PUT", &format!("/{uid}"), config).await;
        assert_eq!((status, &answer["resStatus"]), (200, &json!("updated")), "{answer}");
        answer["updatedElement"].clone()
    }

    /// Both verbs.
    async fn can_deploy(&self, uid: &str) {
        for method in ["POST", "GET"] {
            let (status, answer) = self.call(method, &format!("/{uid}/canDeploy"), &json!({})).await;
            assert_eq!((status, &answer["canDeploy"]["validationStatus"]), (200, &json!("ok")), "{answer}");
        }
    }

    async fn deployed(&self, uid: &str) {
        let (status, answer) = self.call("POST", &format!("/{uid}/deploy"), &json!({})).await;
        assert_eq!((status, answer), (204, json!("")));
    }

    async fn undeployed(&self, uid: &str) {
        let (status, answer) = self.call("POST", &format!("/{uid}/undeploy"), &json!({})).await;
        assert_eq!((status, answer), (204, json!("")));
    }

    /// Deletes with this query.
    async fn deleted(&self, uid: &str, query: &str) {
        let (status, answer) = self.call("DELETE", &format!("/{uid}{query}"), &json!({})).await;
        assert_eq!((status, answer), (200, json!({})));
        assert_eq!(self.call("GET", &format!("/{uid}"), &json!({})).await.0, 404);
    }

    /// Hands one event in.
    async fn event(&self, path: &str, labels: &Value, number: u64) -> (u16, Value) {
        let event = json!({"url": self.receiver.url(path), "labels": labels, "body": {"n": number}});
        self.api.json("POST", "/v1/events", &event).await
    }

    /// No config governs such calls any more.
    async fn is_unmatched(&self, path: &str) {
        let (status, answer) = self.event(path, &json!({}), 1_000_000).await;
        assert_eq!((status, &answer["code"]), (422, &json!("unmatched")), "{answer}");
    }
}

/// The list of one config in this state.
fn one(uid: &str, state: &str) -> Vec<(String, String)> {
    vec![(uid.to_owned(), state.to_owned())]
}
