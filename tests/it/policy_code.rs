//! Policies as code: what was put is kept and limits, one of two writers wins, what is exported can be applied elsewhere.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Configured, Receiver, Server, ServerOptions, eventually, window_peak};

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the command line against a server; no file or variable of this machine matters.
fn tidegate(server: &Server, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(args).args(["--listen", &server.addr.to_string()]).env_clear();
    command
        .current_dir(std::env::temp_dir())
        .stdin(std::process::Stdio::null())
        .output()
        .expect("the program")
}

/// What it printed, when it ended with this code.
fn said(output: &Output, code: i32) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    format!("{out}{err}")
}

fn read(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

async fn put(api: &Api, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
    api.json_with("PUT", &format!("/v1/policies/{path}"), headers, body).await
}

async fn shown(api: &Api, id: &str) -> Value {
    let (status, text) = api.get(&format!("/v1/policies/{id}")).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

fn pace(receiver: &Receiver, pace: u32) -> Value {
    json!({"url": receiver.url("/*"), "pace": pace})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_kill_and_a_dry_run_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = ServerOptions::new(&dir.path().join("data"));
    let receiver = Receiver::start().await;
    let mut server = Server::start(&options);
    let (mut etag, mut of_a) = (Value::Null, Value::Null);
    for round in 1..=5_u32 {
        let api = server.api();
        let (status, made) = put(&api, "a?dry_run=true", &[], &pace(&receiver, 100 + round)).await;
        assert_eq!((status, &made["dry_run"]), (200, &json!(true)), "{made}");
        let (status, _) = api.get("/v1/policies/a").await;
        assert_eq!(status, if round == 1 { 404 } else { 200 });
        if round > 1 {
            let found = shown(&api, "a").await;
            assert_eq!((&found["etag"], &found["definition"]), (&etag, &of_a), "after a kill");
        }
        let (status, made) = put(&api, "a", &[], &pace(&receiver, 100 + round)).await;
        assert_eq!(status, if round == 1 { 201 } else { 200 }, "{made}");
        (etag, of_a) = (made["etag"].clone(), made["after"].clone());
        server.kill();
        server = Server::start(&options);
    }
    let api = server.api();
    let (status, gone) = api.json("DELETE", "/v1/policies/a?dry_run=true", &Value::Null).await;
    assert_eq!((status, &gone["change"]), (200, &json!("deleted")));
    assert_eq!(shown(&api, "a").await["etag"], etag);
    assert_eq!(api.json("DELETE", "/v1/policies/a", &Value::Null).await.0, 204);
    server.kill();
    let server = Server::start(&options);
    assert_eq!(shown(&server.api(), "a").await["state"], "draining", "a deletion is kept too");
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_who_have_read_the_same_exactly_one_wins() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let receiver = Receiver::start().await;
    let api = server.api();
    let (one, other) = (pace(&receiver, 1), pace(&receiver, 2));
    let absent = [("if-none-match", "*")];
    let both = tokio::join!(put(&api, "a", &absent, &one), put(&api, "a", &absent, &other));
    let mut statuses = [both.0.0, both.1.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 412], "{both:?}");
    let mut paces = 10..;
    for _ in 0..25 {
        let etag = shown(&api, "a").await["etag"].as_str().expect("an ETag").to_owned();
        let known = [("if-match", etag.as_str())];
        let mut next = || pace(&receiver, paces.next().expect("endless"));
        let (one, other) = (next(), next());
        let both = tokio::join!(put(&api, "a", &known, &one), put(&api, "a", &known, &other));
        let winner = match (both.0.0, both.1.0) {
            (200, 412) => &one,
            (412, 200) => &other,
            _ => panic!("{both:?}"),
        };
        assert_eq!(shown(&api, "a").await["definition"]["pace"], winner["pace"]);
    }
    // Negative control: without the condition both win.
    let (one, other) = (pace(&receiver, 1), pace(&receiver, 2));
    let both = tokio::join!(put(&api, "a", &[], &one), put(&api, "a", &[], &other));
    assert_eq!((both.0.0, both.1.0), (200, 200));
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_limits_at_once_an_edit_grants_no_burst_and_the_rest_drains() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let receiver = Receiver::start().await;
    let api = server.api();
    let event = json!({"url": receiver.url("/x"), "body": {"n": 9_999}});
    assert_eq!(api.json("POST", "/v1/events", &event).await.0, 422, "nothing governs it");
    let quota = |calls: u32| json!({"url": receiver.url("/*"), "quota": {"calls": calls, "per": "month"}});
    assert_eq!(put(&api, "a", &[], &quota(40)).await.0, 201);
    assert_eq!(api.enqueue(&receiver.url("/x"), 0..300).await.len(), 300);
    // Each edit would grant another forty if it began the count anew.
    for calls in [41, 40, 42, 41, 42] {
        let (status, changed) = put(&api, "a", &[], &quota(calls)).await;
        assert_eq!((status, &changed["differs"]), (200, &json!(["quota"])), "{changed}");
        eventually("what was allowed arrives", PATIENCE, async || receiver.count() >= 40).await;
    }
    eventually("what is allowed arrives", PATIENCE, async || receiver.count() == 42).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.count(), 42, "and no more");

    assert_eq!(put(&api, "a", &[], &pace(&receiver, 50)).await.0, 200);
    eventually("it goes on", PATIENCE, async || receiver.count() > 60).await;
    assert_eq!(api.json("DELETE", "/v1/policies/a", &Value::Null).await.0, 204);
    assert!(receiver.count() < 300, "there is a rest");
    assert_eq!(api.json("POST", "/v1/events", &event).await.0, 422, "it governs no more");
    assert_eq!(shown(&api, "a").await["state"], "draining");
    eventually("the rest drains", PATIENCE, async || receiver.count() == 300).await;
    let times = receiver.arrivals().iter().skip(42).map(|arrival| arrival.at_ns).collect::<Vec<_>>();
    // The receiver's end of a busy machine.
    let peak = window_peak(&times, 1_000_000_000);
    assert!(peak <= 57, "{peak} in a second");
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_can_be_applied_elsewhere_and_is_the_same_then() {
    let world = Configured::new(Receiver::start().await);
    let limits =
        "pace = 20.5\nlabels = { org = \"A\", team = \"x y\" }\nscope = [\"org\"]\nmethods = [\"POST\"]";
    world.write(&world.policy("of-file", limits));
    let server = Server::start(&world.options);
    let api = server.api();
    let uid = api.deploy_throttling(&world.receiver.url("/t/*"), 200).await;
    let quota = json!({
        "url": world.receiver.url("/q/*"), "quota": {"calls": 5, "per": "month"}, "slots": 7, "timeout_ms": 1500,
        "window": {"calls": 9, "per_ms": 60_000}, "family": "refuse",
    });
    assert_eq!(put(&api, "of-api", &[], &quota).await.0, 201);
    let exported = said(&tidegate(&server, &["policies", "export"]), 0);
    assert!(exported.contains(&format!("# {uid} (origin: throttling, deployed)\n")), "{exported}");
    let as_json = read(&tidegate(&server, &["policies", "export", "--json"]));
    assert_eq!(as_json["policies"].as_array().map(Vec::len), Some(2), "{as_json}");
    assert_eq!(as_json["left_out"][0]["id"], json!(uid));

    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("policies.toml");
    std::fs::write(&file, &exported).expect("written");
    let file = file.display().to_string();
    assert_eq!(said(&tidegate(&server, &["policies", "diff", &file]), 0), "", "it is what the daemon has");
    let empty = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let differs = said(&tidegate(&empty, &["policies", "diff", &file]), 1);
    assert!(differs.contains("create  of-api") && differs.contains("window.per_ms 60000"), "{differs}");
    let rehearsed = said(&tidegate(&empty, &["policies", "apply", &file, "--dry-run"]), 0);
    assert!(rehearsed.contains("would be: 2 created, 0 updated, 0 deleted, 0 unchanged"), "{rehearsed}");
    assert_eq!(said(&tidegate(&empty, &["policies", "list"]), 0), "there are no policies\n");
    let applied = said(&tidegate(&empty, &["policies", "apply", &file]), 0);
    assert!(applied.contains("\n2 created, 0 updated, 0 deleted, 0 unchanged\n"), "{applied}");
    assert_eq!(said(&tidegate(&empty, &["policies", "diff", &file]), 0), "");
    let again = read(&tidegate(&empty, &["policies", "apply", &file, "--json"]));
    assert_eq!((&again["created"], &again["unchanged"]), (&json!([]), &json!(2)), "{again}");
    // The configuration file's block and the block of the export are the same policy.
    let (one, other) = (shown(&api, "of-file").await, shown(&empty.api(), "of-file").await);
    assert_eq!((&one["definition"], &other["origin"]), (&other["definition"], &json!("api")));
    assert_eq!((server.stop().code(), empty.stop().code()), (Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_deletes_policies_of_the_api_and_no_others() {
    let world = Configured::new(Receiver::start().await);
    world.write(&world.policy("of-file", "pace = 20"));
    let server = Server::start(&world.options);
    let api = server.api();
    let uid = api.deploy_throttling(&world.receiver.url("/t/*"), 200).await;
    for id in ["keep", "change", "drop"] {
        assert_eq!(put(&api, id, &[], &pace(&world.receiver, 5)).await.0, 201);
    }
    let file = world.file.with_file_name("wanted.toml");
    let block = |id: &str, pace: u32| {
        format!("[[policy]]\nname = \"{id}\"\nurl = \"{}\"\npace = {pace}\n", world.receiver.url("/*"))
    };
    std::fs::write(&file, format!("{}{}", block("keep", 5), block("change", 6))).expect("written");
    let file = file.display().to_string();
    let kept = said(&tidegate(&server, &["policies", "diff", &file]), 1);
    assert!(
        kept.contains("update  change  pace 5 -> 6\n") && kept.contains("without --prune: drop\n"),
        "{kept}"
    );
    let differs = read(&tidegate(&server, &["policies", "diff", &file, "--prune", "--json"]));
    assert_eq!(differs["plan"]["steps"][1]["action"], "delete", "{differs}");
    let applied = said(&tidegate(&server, &["policies", "apply", &file, "--prune"]), 0);
    assert!(applied.contains("0 created, 1 updated, 1 deleted, 1 unchanged"), "{applied}");
    for (id, state) in
        [("keep", "deployed"), ("drop", "draining"), ("of-file", "deployed"), (&*uid, "deployed")]
    {
        assert_eq!(shown(&api, id).await["state"], state, "{id}");
    }
    assert_eq!(said(&tidegate(&server, &["policies", "diff", &file, "--prune"]), 0), "");

    // A file without policies is more often a mistake than a wish.
    let empty = world.file.with_file_name("empty.toml");
    std::fs::write(&empty, "[queue]\nttl_seconds = 60\n").expect("written");
    let empty = empty.display().to_string();
    for source in [&*empty, "-"] {
        let refused = said(&tidegate(&server, &["policies", "apply", source, "--prune"]), 2);
        assert!(refused.contains("no [[policy]] block") && refused.contains("--yes"), "{refused}");
        assert_eq!(shown(&api, "keep").await["state"], "deployed");
    }
    said(&tidegate(&server, &["policies", "apply", &empty, "--prune", "--dry-run"]), 0);
    said(&tidegate(&server, &["policies", "apply", "-", "--prune", "--yes"]), 0);
    assert_eq!(shown(&api, "keep").await["state"], "draining");
    assert_eq!(shown(&api, "of-file").await["state"], "deployed");

    std::fs::write(&file, format!("{}{}", block("of-file", 1), block("new", 1))).expect("written");
    let refused = said(&tidegate(&server, &["policies", "apply", &file]), 1);
    assert!(refused.contains("nothing was changed: of-file belongs to the configuration file"), "{refused}");
    assert_eq!(api.get("/v1/policies/new").await.0, 404, "a conflict is found before anything is changed");
    assert!(said(&tidegate(&server, &["policies", "diff", &file]), 1).contains("conflict"));
    std::fs::write(&file, block("x", 0)).expect("written");
    let wrong = said(&tidegate(&server, &["policies", "apply", &file]), 64);
    assert!(wrong.contains("wanted.toml:4: policy \"x\": pace: must be"), "{wrong}");
    said(&tidegate(&server, &["policies", "diff", "/no/such/file"]), 2);
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_policy_is_seen_and_steered_from_the_command_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let receiver = Receiver::start().await;
    let api = server.api();
    assert_eq!(put(&api, "crm", &[], &pace(&receiver, 50)).await.0, 201);
    let paused =
        said(&tidegate(&server, &["policy", "pause", "crm", "--reason", "rebuilt", "--for", "1h"]), 0);
    assert!(paused.starts_with("policy crm is paused until 2"), "{paused}");
    assert_eq!(api.enqueue(&receiver.url("/x"), 0..30).await.len(), 30);
    let listed = said(&tidegate(&server, &["policies"]), 0);
    let line = listed.lines().find(|line| line.starts_with("crm ")).expect("a line");
    assert!(line.contains("50/s") && line.contains(" 30 ") && line.contains("paused until 2"), "{listed}");
    assert!(!listed.contains('\u{1b}'), "no colours off a terminal");
    let all = read(&tidegate(&server, &["policies", "--json"]));
    assert_eq!(all["policies"][0]["definition"]["pace"], 50);
    let one = said(&tidegate(&server, &["policy", "show", "crm"]), 0);
    assert!(one.contains("\nwaiting     30, delayed 0, in flight 0\n"), "{one}");
    assert_eq!(read(&tidegate(&server, &["policy", "show", "crm", "--json"]))["hold"]["reason"], "rebuilt");

    let unasked = said(&tidegate(&server, &["policy", "purge", "crm"]), 2);
    assert!(unasked.contains("--yes"), "{unasked}");
    assert_eq!(said(&tidegate(&server, &["policy", "purge", "crm", "--yes"]), 0), "30 events were dropped\n");
    assert_eq!(said(&tidegate(&server, &["policy", "resume", "crm"]), 0), "policy crm is not paused\n");
    assert_eq!(api.enqueue(&receiver.url("/x"), 100..110).await.len(), 10);
    eventually("they arrive", PATIENCE, async || receiver.count() == 10).await;
    assert!(said(&tidegate(&server, &["policy", "show", "none"]), 1).contains("there is no policy"));
    for wrong in [
        &["policy", "show", "a/b"][..],
        &["policy", "pause", "crm"],
        &["policy", "pause", "crm", "--reason", "x", "--for", "10"],
        &["policy", "pause", "crm", "--reason", "x", "--for", "1m", "--until", "2030-01-31T08:00:00Z"],
    ] {
        said(&tidegate(&server, wrong), 2);
    }
    let addr = server.addr.to_string();
    assert_eq!(server.stop().code(), Some(0));
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let gone =
        command.args(["policies", "--listen", &addr]).current_dir(dir.path()).output().expect("the program");
    assert!(said(&gone, 69).contains("cannot reach tidegate"), "nobody is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_api_has_stops_the_file_with_the_way_out() {
    let world = Configured::new(Receiver::start().await);
    world.write("");
    let server = Server::start(&world.options);
    let api = server.api();
    assert_eq!(put(&api, "crm", &[], &pace(&world.receiver, 5)).await.0, 201);
    world.write(&world.policy("crm", "pace = 1"));
    server.signal("HUP");
    let refused = "tidegate_config_reloads_total";
    eventually("it is refused", PATIENCE, async || api.metric(refused, "result=\"refused\"").await >= 1.0)
        .await;
    let way_out =
        "made by PUT /v1/policies/crm; so that the file takes the name over, start the daemon without";
    assert!(server.log().iter().any(|line| line.contains(way_out)), "{:#?}", server.log());
    assert_eq!(shown(&api, "crm").await["definition"]["pace"], 5);
    assert_eq!(server.stop().code(), Some(0));
    let log = Server::try_start(&world.options).err().expect("it does not start");
    assert!(log.iter().any(|line| line.contains(way_out)), "{log:#?}");

    // The way out, to the letter.
    world.write("");
    let server = Server::start(&world.options);
    let api = server.api();
    let body = json!({"reason": "so that something drains"});
    assert_eq!(api.json("POST", "/v1/policies/crm:pause", &body).await.0, 200);
    assert_eq!(api.enqueue(&world.receiver.url("/x"), 0..3).await.len(), 3);
    assert_eq!(api.json("DELETE", "/v1/policies/crm", &Value::Null).await.0, 204);
    assert_eq!(shown(&api, "crm").await["state"], "draining");
    world.write(&world.policy("crm", "pace = 1"));
    server.signal("HUP");
    eventually("the file has it", PATIENCE, async || shown(&api, "crm").await["origin"] == "file").await;
    let taken = shown(&api, "crm").await;
    assert_eq!((&taken["state"], &taken["definition"]["pace"]), (&json!("deployed"), &json!(1)), "{taken}");
    assert_eq!(taken["generations"].as_array().map(Vec::len), Some(2), "what waits drains: {taken}");
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(Server::start(&world.options).stop().code(), Some(0));
}
