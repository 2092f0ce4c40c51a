//! A backlog under policies whose book has format 4, as every version before wrote it: after the upgrade the configs, the
//! policies and what waits under them are what they were, and what waits leaves. And what was used of a limit stays used
//! when its policies are derived anew.

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
        // What follows from no object that says what is active has its name from the version that wrote it, and what drains
        // has its config from there too.
        let nameless = ["updated", "faulty", "draining", "deleted"].map(|name| self.uids[name].as_str());
        for (method, path) in asked {
            let (status, mut answer) = api.json(method, &path, &json!({})).await;
            forget(&mut answer, &nameless);
            answers.push((format!("{method} {path}: {status}"), answer));
        }
        answers
    }
}

/// What is other in each process: ids of requests, editions, and times that go on.
fn forget(answer: &mut Value, nameless: &[&str]) {
    match answer {
        Value::Object(members) => {
            let id =
                members.get("policy").or(members.get("id").filter(|_| members.contains_key("generations")));
            if id.and_then(Value::as_str).is_some_and(|id| nameless.contains(&id)) {
                members.remove("name");
                members.remove("config");
            }
            for name in ["requestId", "etag", "figures", "keys", "drains_in_seconds", "held_seconds", "now"] {
                members.remove(name);
            }
            members.values_mut().for_each(|member| forget(member, nameless));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| forget(item, nameless)),
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
        if let Some(ruling) = policy["ruling"].as_object_mut() {
            ruling.remove("title");
            ruling.remove("config");
        }
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

/// Puts another book in place of the one that a stopped server has left.
async fn rewrite(files: &Configured, change: impl FnOnce(&Value) -> Value) {
    let root = files.options.data_dir.parent().expect("a directory");
    let store = inside::store(root, &Clock::system());
    let (version, body) = store.documents().get("policies").await.expect("reads").expect("a book");
    let book: Value = serde_json::from_slice(&body).expect("JSON");
    let body = serde_json::to_vec(&change(&book)).expect("serialises").into();
    store.documents().put("policies", Expect::At(version), body).await.expect("writes");
    store.close().await.expect("closes");
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

    rewrite(&world.files, |book| {
        let older = as_format_4(book);
        let authored = |book: &Value| {
            let policies = book["policies"].as_array().expect("a list").iter();
            policies.filter(|policy| policy["record"].is_object()).count()
        };
        assert_eq!((authored(book), authored(&older)), (0, ALL.len()), "the control: the form differs");
        older
    })
    .await;

    let server = Server::start(&world.files.options);
    let api = server.api();
    for (now, then) in world.answers(&api).await.iter().zip(&before) {
        assert_eq!(now, then);
    }
    for name in ["deployed", "updated", "faulty"] {
        let uid = &world.uids[name];
        let (_, policy) = api.json("GET", &format!("/v1/policies/{uid}"), &json!({})).await;
        let title = if name == "deployed" { json!(name) } else { Value::Null };
        assert_eq!((&policy["config"], &policy["name"]), (&json!(uid), &title), "{name}");
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

/// The book as format 5 has it, from a version that told calls apart in another way.
fn as_format_5(book: &Value) -> Value {
    let mut book = book.clone();
    book["format"] = json!(5);
    for policy in book["policies"].as_array_mut().expect("a list") {
        let ruling = policy["ruling"].as_object_mut().expect("active");
        assert!(
            ruling.remove("title").is_some() && ruling.remove("config").is_some(),
            "the control: {ruling:?}"
        );
        ruling["clauses"].as_array_mut().expect("a list").truncate(1);
    }
    book
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_of_a_limit_stays_used_when_its_policies_are_derived_anew() {
    let files = Configured::new(Receiver::start().await);
    files.write("");
    let server = Server::start(&files.options);
    let api = server.api();
    let create = async |path: &str, body: Value| {
        let (status, answer) = api.json("POST", &format!("/v3/rest{path}"), &body).await;
        assert_eq!(status, 200, "{answer}");
        answer["id"].as_str().expect("an id").to_owned()
    };
    let month = json!({"name": "crm", "rateLimitCeiling": 3, "rateLimitPeriod": "month"});
    let service = create("/services", month).await;
    let address = files.receiver.url("").replace("http://", "");
    let endpoint =
        json!({"name": "all", "requestPathAlias": "/all", "publicDomains": [{"address": address}]});
    create(&format!("/services/{service}/endpoints"), endpoint).await;
    create("/packageKeys", json!({"apikey": "k1", "service": {"id": service}})).await;
    let call = async |api: &Api| {
        let event =
            json!({"url": files.receiver.url("/all/x"), "labels": {"api_key": "k1"}, "body": {"n": 0}});
        api.json("POST", "/v1/events", &event).await
    };
    for _ in 0..3 {
        assert_eq!(call(&api).await.0, 202);
    }
    let (status, refused) = call(&api).await;
    assert_eq!(status, 429, "the control: {refused}");
    eventually("they arrive", Duration::from_secs(20), async || files.receiver.count() == 3).await;
    assert_eq!(server.stop().code(), Some(0));

    rewrite(&files, as_format_5).await;
    let server = Server::start(&files.options);
    let (status, again) = call(&server.api()).await;
    assert_eq!((status, &again["code"], &again["policy"]), (429, &refused["code"], &refused["policy"]));
    assert_eq!((&again["policy"]["name"], &again["policy"]["config"]), (&json!("crm"), &json!(service)));
    assert_eq!(files.receiver.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_book_of_a_newer_format_ends_the_start_and_is_left_as_it_is() {
    let files = Configured::new(Receiver::start().await);
    files.write(&files.policy("a", "pace = 1"));
    assert_eq!(Server::start(&files.options).stop().code(), Some(0));
    let with_format = |format: u32| {
        move |book: &Value| {
            let mut book = book.clone();
            book["format"] = json!(format);
            book
        }
    };
    rewrite(&files, with_format(7)).await;
    let (status, log) =
        Server::start_within(&files.options, Duration::from_secs(30)).err().expect("it does not start");
    let said = "the policy book has format 7; this version reads up to 6: start a version that reads it";
    assert!(log.iter().any(|line| line.contains(said)), "{log:#?}");
    assert_eq!(status.and_then(|status| status.code()), Some(74));
    rewrite(&files, |book| {
        assert_eq!(book["format"], 7, "it is left as it is");
        with_format(6)(book)
    })
    .await;
    assert_eq!(Server::start(&files.options).stop().code(), Some(0), "the control");
}
