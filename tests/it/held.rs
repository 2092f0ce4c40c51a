//! The held state: a policy book that is missing, older or damaged drops nothing and lets nothing in, and there are two
//! ways out. A salt that is damaged renames nothing.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Receiver, Server, ServerOptions, eventually, server};

const SOON: Duration = Duration::from_secs(20);

/// A stopped daemon's directory with thirty events that wait under a paused policy.
struct Backlog {
    _dir: tempfile::TempDir,
    options: ServerOptions,
    receiver: Receiver,
    policy: String,
    ids: Vec<String>,
}

impl Backlog {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let options = ServerOptions::new(&dir.path().join("data"));
        let receiver = Receiver::start().await;
        let server = Server::start(&options);
        let api = server.api();
        let policy = api.deploy_throttling(&receiver.url("/*"), 200).await;
        let mut backlog = Self { _dir: dir, options, receiver, policy, ids: Vec::new() };
        backlog.pause(&api).await;
        let accepted = api.enqueue(&backlog.receiver.url("/x"), 0..30).await;
        backlog.ids = accepted.into_iter().map(|(_, id)| id).collect();
        assert_eq!(backlog.ids.len(), 30);
        assert_eq!(server.stop().code(), Some(0));
        backlog
    }

    async fn pause(&self, api: &Api) {
        let request = json!({"reason": "a test"});
        let (status, answer) =
            api.json("POST", &format!("/v1/policies/{}:pause", self.policy), &request).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn resume(&self, api: &Api) {
        let (status, answer) =
            api.json("POST", &format!("/v1/policies/{}:resume", self.policy), &json!({})).await;
        assert_eq!(status, 200, "{answer}");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.options.data_dir.join(name)
    }

    fn book(&self) -> PathBuf {
        self.path("documents/policies.json")
    }

    /// Runs `tidegate` on the stopped directory; its exit code and what it said.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(arguments)
            .arg("--data-dir")
            .arg(&self.options.data_dir)
            .current_dir(self.options.data_dir.parent().expect("a parent"))
            .stdin(Stdio::null())
            .output()
            .expect("the program");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    async fn all_delivered(&self) {
        eventually("all are delivered", SOON, async || self.receiver.times_seen().len() == 30).await;
        let arrived: Vec<String> = self.receiver.arrivals().into_iter().map(|arrival| arrival.id).collect();
        assert!(self.ids.iter().all(|id| arrived.contains(id)), "under the ids that they were accepted with");
    }

    /// Nothing was sent or dropped, and every event is where it was.
    async fn all_wait(&self, api: &Api) {
        assert_eq!(self.receiver.count(), 0);
        for id in &self.ids {
            let (status, text) = api.get(&format!("/v1/events/{id}")).await;
            // Read ahead or not.
            assert!(status == 200 && !text.contains("settled"), "{text}");
        }
        let dropped = api.metric("tidegate_events_completed_total", "config_drained").await;
        assert!(dropped < 0.5, "{dropped} were drained");
    }
}

async fn explain(api: &Api, id: &str) -> Value {
    let (status, text) = api.get(&format!("/v1/explain?id={id}")).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

async fn ready(api: &Api) -> (u16, String) {
    api.get("/readyz").await
}

/// Every door and dialect turns away what would change something, and answers what asks.
async fn doors_are_shut(backlog: &Backlog, api: &Api) {
    let event = json!({"url": backlog.receiver.url("/x"), "body": {}});
    let (head, body) = api.hand_in(&event).await;
    assert_eq!(head.status, 503, "{body}");
    assert!(head.headers.contains_key("retry-after"));
    assert!(body.contains("store_held") && body.contains("adopt-book"), "{body}");
    let pause = format!("/v1/policies/{}:pause", backlog.policy);
    let purge = format!("/v1/policies/{}:purge", backlog.policy);
    let undeploy = format!("/authoring/throttlingConfigs/{}/undeploy", backlog.policy);
    let throttling = "/v1/plugins/1/versions/1/throttlings";
    let changes = [
        ("POST", "/v1/events", "application/json", json!([event]).to_string()),
        ("POST", "/v1/events", "application/x-ndjson", format!("{event}\n{event}\n")),
        ("POST", &pause, "application/json", json!({"reason": "x"}).to_string()),
        ("POST", &purge, "application/json", json!({}).to_string()),
        ("POST", "/authoring/throttlingConfigs", "application/json", json!({}).to_string()),
        ("POST", &undeploy, "application/json", json!({}).to_string()),
        ("POST", "/authoring/endpointConfigs", "application/json", json!({}).to_string()),
        ("POST", "/v3/rest/services", "application/json", json!({"name": "x"}).to_string()),
        ("PUT", throttling, "application/json", json!({}).to_string()),
        ("PUT", "/v1/responsys/accounts/acme", "application/json", json!({}).to_string()),
    ];
    for (method, path, kind, body) in changes {
        let answer = api.send(method, path, Some(kind), Some(body)).await;
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 503, "{method} {path}: {text}");
        assert!(text.contains("\"store_held\""), "{method} {path}: {text}");
    }
    for path in ["/v1/policies", "/metrics", "/livez", "/openapi.json", "/v3/rest/services"] {
        assert_eq!(api.get(path).await.0, 200, "{path}");
    }
    let list = api.json("POST", "/authoring/list/throttlingConfigs", &json!({})).await;
    assert_ne!(list.1["code"], "store_held", "{list:?}");
    assert_eq!(api.get("/no/such/route").await.0, 404);
    let (status, reason) = ready(api).await;
    assert!(status == 503 && reason.contains("store_trusted"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_policy_book_the_store_is_held_and_nothing_is_dropped() {
    let backlog = Backlog::new().await;
    let sound = fs::read(backlog.book()).expect("a book");
    fs::remove_file(backlog.book()).expect("deletes");
    for end in ["TERM", "KILL"] {
        let server = Server::start(&backlog.options);
        let api = server.api();
        doors_are_shut(&backlog, &api).await;
        server.signal("HUP");
        // Long enough for the drop that used to follow within a second.
        tokio::time::sleep(Duration::from_secs(2)).await;
        backlog.all_wait(&api).await;
        let held = explain(&api, &backlog.ids[0]).await["held"].clone();
        assert_eq!((&held["by"], &held["doubt_kind"]), (&json!("doubt"), &json!("book")), "{held}");
        let refused = "the configuration is not taken";
        eventually("the reload is refused", SOON, async || {
            server.log().iter().any(|line| line.contains(refused))
        })
        .await;
        if end == "TERM" {
            assert_eq!(server.stop().code(), Some(0));
        } else {
            server.kill();
        }
        assert!(!backlog.book().exists(), "no book was made");
    }
    let (code, said) = backlog.run(&["run", "--listen", "127.0.0.1:0"]);
    assert!(code == Some(65) && said.contains("the store is held"), "{code:?} {said}");

    fs::write(backlog.book(), sound).expect("restores");
    let server = Server::start(&backlog.options);
    let api = server.api();
    assert_eq!(ready(&api).await.0, 200, "the way out: the file is restored");
    backlog.resume(&api).await;
    backlog.all_delivered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_of_the_pace_is_never_active_and_the_version_before_can_be_adopted() {
    let backlog = Backlog::new().await;
    let mut bytes = fs::read(backlog.book()).expect("a book");
    let pace = b"\"pace\":200";
    let at = bytes.windows(pace.len()).position(|part| part == pace).expect("the pace") + pace.len() - 3;
    bytes[at] ^= 0b100;
    assert_eq!(bytes[at], b'6', "600 calls a second");
    fs::write(backlog.book(), &bytes).expect("writes");
    let (code, said) = backlog.run(&["store", "verify"]);
    assert!(code == Some(1) && said.contains("policies.json"), "{code:?} {said}");
    let server = Server::start(&backlog.options);
    let api = server.api();
    assert_eq!(ready(&api).await.0, 503);
    let (_, policies) = api.get("/v1/policies").await;
    assert!(policies.contains("\"policies\":[]"), "{policies}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    backlog.all_wait(&api).await;
    let busy = backlog.run(&["store", "adopt-book", "--previous"]);
    assert_eq!(busy.0, Some(75), "only on a stopped directory: {}", busy.1);
    assert_eq!(server.stop().code(), Some(0));

    let (code, said) = backlog.run(&["store", "adopt-book"]);
    assert!(code == Some(65) && said.contains("--previous"), "{code:?} {said}");
    let (code, said) = backlog.run(&["store", "adopt-book", "--previous"]);
    assert!(code == Some(0) && said.contains("with 1 policies"), "{code:?} {said}");
    assert_eq!(fs::read(backlog.path("documents/policies.json.damaged")).expect("kept"), bytes);
    // The version before the pause.
    let server = Server::start(&backlog.options);
    assert_eq!(ready(&server.api()).await.0, 200);
    backlog.all_delivered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_book_is_held_and_what_it_does_not_know_stays_when_it_is_adopted() {
    let mut backlog = Backlog::new().await;
    let older = fs::read(backlog.book()).expect("a book");
    let server = Server::start(&backlog.options);
    let api = server.api();
    // Thirty more under a generation that the older book does not know.
    for verb in ["undeploy", "deploy"] {
        let path = format!("/authoring/throttlingConfigs/{}/{verb}", backlog.policy);
        let (status, answer) = api.json("POST", &path, &json!({})).await;
        assert_eq!(status, 204, "{answer}");
    }
    let accepted = api.enqueue(&backlog.receiver.url("/x"), 30..60).await;
    assert_eq!(accepted.len(), 30);
    backlog.ids.extend(accepted.into_iter().map(|(_, id)| id));
    assert_eq!(server.stop().code(), Some(0));
    fs::write(backlog.book(), older).expect("an older book");

    let server = Server::start(&backlog.options);
    assert_eq!(ready(&server.api()).await.0, 503);
    backlog.all_wait(&server.api()).await;
    assert_eq!(server.stop().code(), Some(0));
    let (code, said) = backlog.run(&["store", "adopt-book"]);
    assert_eq!(code, Some(0), "{said}");

    let server = Server::start(&backlog.options);
    let api = server.api();
    assert_eq!(ready(&api).await.0, 200);
    backlog.resume(&api).await;
    backlog.all_delivered_of(0..30).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(backlog.receiver.times_seen().len(), 30, "of the generation that is known");
    for id in &backlog.ids[30..] {
        let held = explain(&api, id).await["held"].clone();
        assert_eq!((&held["by"], &held["doubt_kind"]), (&json!("doubt"), &json!("generation")), "{held}");
    }
    assert!(api.metric("tidegate_events_completed_total", "config_drained").await < 0.5);
    assert!(api.metric("tidegate_lanes_held", "generation").await > 0.5);
    let doubt = "the policy book does not know a generation";
    eventually("a doubt is reported", SOON, async || server.log().iter().any(|line| line.contains(doubt)))
        .await;
}

impl Backlog {
    async fn all_delivered_of(&self, range: std::ops::Range<usize>) {
        let ids = &self.ids[range];
        eventually("they are delivered", SOON, async || {
            let arrived: Vec<String> =
                self.receiver.arrivals().into_iter().map(|arrival| arrival.id).collect();
            ids.iter().all(|id| arrived.contains(id))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_digit_of_the_salt_renames_no_event() {
    for older_form in [false, true] {
        let backlog = Backlog::new().await;
        let mut bytes = fs::read(backlog.path("SALT")).expect("a salt");
        if older_form {
            bytes = [bytes[bytes.len() - 16..].to_vec(), vec![b'\n']].concat();
        }
        let at = bytes.iter().rposition(u8::is_ascii_hexdigit).expect("digits");
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        fs::write(backlog.path("SALT"), &bytes).expect("writes");
        let server = Server::start(&backlog.options);
        let api = server.api();
        assert!(server.log().iter().any(|line| line.contains("the salt was")), "{:#?}", server.log());
        backlog.all_wait(&api).await;
        backlog.resume(&api).await;
        backlog.all_delivered().await;
        assert_ne!(fs::read(backlog.path("SALT")).expect("a salt"), bytes, "it is healed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_says_nowhere_what_its_salt_is_ends_the_start_with_65() {
    let backlog = Backlog::new().await;
    let salt = fs::read(backlog.path("SALT")).expect("a salt");
    fs::write(backlog.path("SALT"), "noise").expect("writes");
    for room in ["journal", "dead"] {
        for entry in fs::read_dir(backlog.path(room)).expect("lists").flatten() {
            if entry.path().extension().is_some_and(|ending| ending == "seg") {
                let mut bytes = fs::read(entry.path()).expect("reads");
                bytes[..64].fill(0xff);
                fs::write(entry.path(), bytes).expect("writes");
            }
        }
    }
    for copy in ["account.a", "account.b"] {
        fs::write(backlog.path(copy), "noise").expect("writes");
    }
    // A start that succeeds would serve for ever.
    let wrapper = ["timeout", "--signal=KILL", "30"].map(str::to_owned).to_vec();
    let bounded = ServerOptions { wrapper, ..backlog.options.clone() };
    let status = server::command(&bounded).status().expect("the program");
    assert_eq!(status.code(), Some(65));
    assert_eq!(fs::read(backlog.path("SALT")).expect("there"), b"noise", "nothing was made up");
    fs::write(backlog.path("SALT"), salt).expect("restores");
    drop(Server::start(&backlog.options));
}
