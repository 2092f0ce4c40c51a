//! A backlog under policies whose book has format 4, as every version before wrote it: after the upgrade the configs, the
//! policies and what waits under them are what they were, and what waits leaves.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::testkit::clock::Clock;
use tidegate::testkit::store::{DocumentStore, EntryStore, Expect};

use crate::world::{Api, Configured, Receiver, Server, eventually, inside};

const CONFIGS: &str = "/authoring/throttlingConfigs";
const ALL: [&str; 7] = ["deployed", "updated", "faulty", "draining", "redeployed", "idle", "edited"];
const WITH_BACKLOG: [&str; 6] = ["deployed", "updated", "faulty", "draining", "redeployed", "deleted"];

struct World {
    files: Configured,
    uids: BTreeMap<&'static str, String>,
    events: Vec<String>,
}

impl World {
    fn config(&self, name: &str, per_second: u32) -> Value {
        let pattern = self.files.receiver.url(&format!("/{name}/*"));
        json!({"name": name, "urlPattern": pattern, "methods": ["POST"], "maxThroughput": per_second})
    }

    /// Through the config of this name; what comes after its uid is `tail`.
    async fn call(&self, api: &Api, method: &str, name: &str, tail: &str, body: &Value) {
        let path = format!("{CONFIGS}/{}{tail}", self.uids[name]);
        let (status, answer) = api.json(method, &path, body).await;
        assert!(status == 200 || status == 204, "{method} {name}{tail}: {answer}");
    }

    async fn event(&mut self, api: &Api, name: &str, generation: u32) {
        let url = self.files.receiver.url(&format!("/{name}/x"));
        let event = json!({"url": url, "body": {"n": self.events.len()}});
        let (status, answer) = api.json("POST", "/v1/events", &event).await;
        assert_eq!(status, 202, "{name}: {answer}");
        self.events.push(answer["id"].as_str().expect("an id").to_owned());
        let (_, explained) = api.json("GET", &self.explained(self.events.len() - 1), &json!({})).await;
        let lane = format!("{}@{generation}", self.uids[name]);
        assert!(explained.to_string().contains(&lane), "{lane}: {explained}");
    }

    fn explained(&self, event: usize) -> String {
        format!("/v1/explain?id={}", self.events[event])
    }

    /// A config in each state, a pause and events that wait under each policy that has a generation.
    async fn fill(&mut self, api: &Api) {
        for name in ALL.into_iter().chain(["deleted", "gone"]) {
            let (status, answer) = api.json("POST", CONFIGS, &self.config(name, 200)).await;
            assert_eq!(status, 200, "{answer}");
            self.uids.insert(name, answer["uid"].as_str().expect("a uid").to_owned());
        }
        self.call(api, "PUT", "redeployed", "", &self.config("redeployed", 300)).await;
        for name in WITH_BACKLOG {
            self.call(api, "POST", name, "/deploy", &json!({})).await;
            let pause = format!("/v1/policies/{}:pause", self.uids[name]);
            assert_eq!(api.json("POST", &pause, &json!({"reason": "an upgrade"})).await.0, 200);
            self.event(api, name, 1).await;
        }
        self.call(api, "PUT", "updated", "", &self.config("updated", 400)).await;
        self.call(api, "PUT", "faulty", "", &self.config("faulty", 1)).await;
        self.call(api, "PUT", "edited", "", &self.config("edited", 250)).await;
        for name in ["draining", "redeployed"] {
            self.call(api, "POST", name, "/undeploy", &json!({})).await;
        }
        self.call(api, "POST", "redeployed", "/deploy", &json!({})).await;
        self.event(api, "redeployed", 2).await;
        self.call(api, "DELETE", "deleted", "?forceDelete=true", &json!({})).await;
        self.call(api, "DELETE", "gone", "", &json!({})).await;
    }

    /// All that is answered about them, as far as it does not change from moment to moment.
    async fn answers(&self, api: &Api) -> Vec<(String, Value)> {
        let mut asked = vec![
            ("POST", "/authoring/list/throttlingConfigs".to_owned()),
            ("GET", "/v1/policies?limit=1000".to_owned()),
        ];
        for uid in self.uids.values() {
            asked.push(("GET", format!("{CONFIGS}/{uid}")));
            asked.push(("GET", format!("{CONFIGS}/{uid}/canDeploy")));
            asked.push(("POST", format!("{CONFIGS}/{uid}/canDeploy")));
            asked.push(("GET", format!("/v1/policies/{uid}")));
        }
        asked.extend((0..self.events.len()).map(|event| ("GET", self.explained(event))));
        let mut answers = Vec::new();
        for (method, path) in asked {
            let (status, mut answer) = api.json(method, &path, &json!({})).await;
            forget(&mut answer);
            answers.push((format!("{method} {path}: {status}"), answer));
        }
        answers
    }
}

/// What is other in each process: ids of requests, editions, and times that go on.
fn forget(answer: &mut Value) {
    match answer {
        Value::Object(members) => {
            for name in ["requestId", "etag", "figures", "keys", "drains_in_seconds", "held_seconds", "now"] {
                members.remove(name);
            }
            members.values_mut().for_each(forget);
        }
        Value::Array(items) => items.iter_mut().for_each(forget),
        _ => {}
    }
}

/// The book as format 4 has it: a config is the record of the policy of its name.
fn as_format_4(book: &Value) -> Value {
    let mut book = book.clone();
    let is_config = |element: &Value| element["kind"] == "config";
    let elements = book["elements"].as_array_mut().expect("a list");
    let configs: Vec<Value> = elements.extract_if(.., |element| is_config(element)).collect();
    for policy in book["policies"].as_array_mut().expect("a list") {
        let config = configs.iter().find(|config| config["id"] == policy["id"]);
        let mut record = config.map_or(Value::Null, |config| config["record"].clone());
        let life = record.as_object_mut().and_then(|record| {
            let last_deployed = record.remove("last_deployed");
            record.insert("deployed".to_owned(), last_deployed.unwrap_or_default());
            record.remove("life")
        });
        let life = life.unwrap_or_else(|| json!({"updated": false, "deployed": null}));
        let word = |is_updated: &Value| if *is_updated == json!(true) { "updated" } else { "created" };
        let (deployed, before) = (&life["deployed"], word(&life["updated"]));
        let state = match &deployed["outdated"] {
            Value::Bool(false) => "deployed",
            _ => before,
        };
        for (name, value) in [
            ("record", record.clone()),
            ("state", json!(state)),
            ("before_deploy", json!(before)),
            ("deployed", json!(!deployed.is_null())),
        ] {
            policy[name] = value;
        }
    }
    book["format"] = json!(4);
    book
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_under_a_book_of_format_4_waits_on_and_every_answer_is_the_same() {
    let files = Configured::new(Receiver::start().await);
    files.write("[throttling]\nmax_configs_per_org = 20\n[labels]\norg = \"ACME\"\n");
    let mut world = World { files, uids: BTreeMap::new(), events: Vec::new() };
    let server = Server::start(&world.files.options);
    world.fill(&server.api()).await;
    let before = world.answers(&server.api()).await;
    assert_eq!(server.stop().code(), Some(0));

    let root = world.files.options.data_dir.parent().expect("a directory");
    let store = inside::store(root, &Clock::system());
    let (version, body) = store.documents().get("policies").await.expect("reads").expect("a book");
    let book: Value = serde_json::from_slice(&body).expect("JSON");
    let older = as_format_4(&book);
    let authored = |book: &Value| {
        let policies = book["policies"].as_array().expect("a list").iter();
        policies.filter(|policy| policy["record"].is_object()).count()
    };
    assert_eq!((authored(&book), authored(&older)), (0, ALL.len()), "the control: the form differs");
    let body = serde_json::to_vec(&older).expect("serialises").into();
    store.documents().put("policies", Expect::At(version), body).await.expect("writes");
    store.close().await.expect("closes");
    drop(store);

    let server = Server::start(&world.files.options);
    let api = server.api();
    for (now, then) in world.answers(&api).await.iter().zip(&before) {
        assert_eq!(now, then);
    }
    // A change writes the book in its new form, and again nothing is different.
    let paused = format!("/v1/policies/{}:pause", world.uids["idle"]);
    assert_eq!(api.json("POST", &paused, &json!({"reason": "a write"})).await.0, 200);
    assert_eq!(server.stop().code(), Some(0));
    let server = Server::start(&world.files.options);
    let api = server.api();
    let resumed = format!("/v1/policies/{}:resume", world.uids["idle"]);
    assert_eq!(api.json("POST", &resumed, &json!({})).await.0, 200);
    for (now, then) in world.answers(&api).await.iter().zip(&before) {
        assert_eq!(now, then);
    }
    // Each may go on with its life, and what waits leaves, under whatever generation.
    world.call(&api, "PUT", "faulty", "", &world.config("faulty", 500)).await;
    world.call(&api, "POST", "updated", "/undeploy", &json!({})).await;
    world.call(&api, "POST", "draining", "/deploy", &json!({})).await;
    for name in WITH_BACKLOG {
        let resume = format!("/v1/policies/{}:resume", world.uids[name]);
        assert_eq!(api.json("POST", &resume, &json!({})).await.0, 200, "{name}");
    }
    let count = world.events.len();
    eventually("all leave", Duration::from_secs(20), async || world.files.receiver.count() >= count).await;
    assert!(world.files.receiver.times_seen().values().all(|times| *times == 1));
    world.event(&api, "draining", 2).await;
}
