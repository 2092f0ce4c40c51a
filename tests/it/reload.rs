//! Limits in the configuration file: active at the start, changed by SIGHUP, out of reach of the management API.

use std::time::Duration;

use serde_json::json;

use crate::world::{Configured as World, Receiver, Server, eventually, server, window_peak};

const PATIENCE: Duration = Duration::from_secs(20);
const RELOADS: &str = "tidegate_config_reloads_total";

async fn reloaded(server: &Server, result: &str, times: f64) {
    let (api, label) = (server.api(), format!("result=\"{result}\""));
    let what = format!("{RELOADS} {result} {times}");
    eventually(&what, PATIENCE, async || api.metric(RELOADS, &label).await >= times).await;
    assert!((api.metric(RELOADS, &label).await - times).abs() < 0.1, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_read_again_is_active_whole_or_not_at_all() {
    let world = World::new(Receiver::start().await);
    world.write(&format!("{}{}", world.policy("a", "pace = 20"), world.policy("b", "pace = 10")));
    let server = Server::start(&world.options);
    let api = server.api();
    reloaded(&server, "applied", 1.0).await;
    assert!(api.metric("tidegate_config_last_reload_success_timestamp_seconds", "").await > 1.6e9);

    assert_eq!(api.enqueue(&world.receiver.url("/a/x"), 0..30).await.len(), 30);
    eventually("all are there", PATIENCE, async || world.receiver.count() == 30).await;
    let times: Vec<u64> = world.receiver.arrivals().iter().map(|arrival| arrival.at_ns).collect();
    assert!(window_peak(&times, 1_000_000_000) <= 22, "{}", window_peak(&times, 1_000_000_000));
    let (status, answer) = world.event(&api, "c").await;
    assert_eq!((status, &answer["code"]), (422, &json!("unmatched")), "{answer}");

    let broken = format!(
        "[queue]\nttl_seconds = 0\n{}{}",
        world.policy("c", "pace = 0"),
        world.policy("c", "slots = 1")
    );
    world.write(&broken);
    server.signal("HUP");
    reloaded(&server, "refused", 1.0).await;
    let log = server.log();
    let said = log.iter().filter(|line| line.contains("the configuration is not taken")).count();
    assert_eq!(said, 3, "one line for each problem: {log:#?}");
    assert!(
        log.iter().any(|line| line.contains("limits.toml:6: policy \\\"c\\\": pace: must be")),
        "{log:#?}"
    );
    for (name, expected) in [("a", 202), ("b", 202), ("c", 422)] {
        assert_eq!(world.event(&api, name).await.0, expected, "{name}");
    }

    // What waits under a removed policy drains.
    assert_eq!(api.enqueue(&world.receiver.url("/b/x"), 0..20).await.len(), 20);
    let other = "[queue]\nttl_seconds = 7200\n";
    world.write(&format!("{other}{}{}", world.policy("a", "pace = 500"), world.policy("c", "slots = 5")));
    server.signal("HUP");
    reloaded(&server, "applied", 2.0).await;
    let (status, answer) = world.event(&api, "a").await;
    let lane = format!("a@1;~host={}", world.receiver.url("").replace("http://", ""));
    assert_eq!((status, &answer["lane"]), (202, &json!(lane)), "the same generation: {answer}");
    assert_eq!(world.event(&api, "c").await.0, 202);
    let (status, answer) = world.event(&api, "b").await;
    assert_eq!((status, &answer["code"]), (422, &json!("unmatched")), "{answer}");
    let pace = async || api.metric("tidegate_limit_permits_per_second", "policy=\"a\"").await;
    eventually("the new pace", PATIENCE, async || (pace().await - 500.0).abs() < 0.1).await;
    eventually("all are there", PATIENCE, async || world.receiver.count() == 30 + 2 + 20 + 2).await;
    let log = server.log();
    let told = "\"added\":\"c\",\"changed\":\"a\",\"removed\":\"b\"";
    assert!(log.iter().any(|line| line.contains(told)), "{log:#?}");
    let restart: Vec<_> = log.iter().filter(|line| line.contains("with a restart")).collect();
    assert_eq!(restart.len(), 1, "{log:#?}");
    assert!(restart[0].contains("queue.ttl_seconds"), "{restart:?}");
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_management_api_cannot_reach_a_policy_of_the_file() {
    let world = World::new(Receiver::start().await);
    world.write(&world.policy("crm", "pace = 100"));
    let server = Server::start(&world.options);
    let api = server.api();
    let path = "/authoring/throttlingConfigs/crm";
    let config =
        json!({"name": "crm", "urlPattern": "https://h.org/*", "methods": ["POST"], "maxThroughput": 200});
    for (method, path) in [
        ("GET", path.to_owned()),
        ("PUT", path.to_owned()),
        ("DELETE", path.to_owned()),
        ("DELETE", format!("{path}?forceDelete=true")),
        ("POST", format!("{path}/deploy")),
        ("POST", format!("{path}/undeploy")),
    ] {
        let (status, answer) = api.json(method, &path, &config).await;
        assert_eq!(status, 404, "{method} {path}: {answer}");
    }
    let (status, listed) = api.json("POST", "/authoring/list/throttlingConfigs", &json!({})).await;
    assert!(status == 200 && !listed.to_string().contains("crm"), "{listed}");
    assert_eq!(world.event(&api, "crm").await.0, 202);
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_api_has_stops_the_start_and_a_reload_changes_nothing() {
    let world = World::new(Receiver::start().await);
    world.write("");
    let server = Server::start(&world.options);
    let api = server.api();
    let uid = api.deploy_throttling(&world.receiver.url("/api/*"), 200).await;
    world.write(&format!("{}{}", world.policy("a", "pace = 1"), world.policy(&uid, "pace = 1")));
    server.signal("HUP");
    reloaded(&server, "refused", 1.0).await;
    assert_eq!(world.event(&api, "a").await.0, 422);
    assert_eq!(world.event(&api, "api").await.0, 202);
    assert_eq!(server.stop().code(), Some(0));

    let output = server::command(&world.options).output().expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.lines().last().is_some_and(|line| line.contains(&uid)), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_of_the_log_and_the_egress_guard_become_active_without_a_restart() {
    let mut world = World::new(Receiver::start().await);
    world.options.opens_loopback = false;
    let policy = world.policy("a", "pace = 100");
    let settings =
        |allow: &str, level: &str| format!("[egress]\nallow = [{allow}]\n[log]\nlevel = \"{level}\"\n");
    world.write(&format!("{}{policy}", settings("\"127.0.0.0/8\"", "info")));
    let server = Server::start(&world.options);
    let api = server.api();
    let told = |part: &str| server.log().iter().filter(|line| line.contains(part)).count();
    assert_eq!(world.event(&api, "a").await.0, 202);
    eventually("it is there", PATIENCE, async || world.receiver.count() == 1).await;
    assert_eq!(told("attempt made"), 0, "the control: a line of the level debug");

    // What waits is not sent to an address that is denied before its attempt.
    let later = json!({"url": world.receiver.url("/a/later"), "body": {"n": 1}, "delay_seconds": 4.0});
    let (status, receipt) = api.json("POST", "/v1/events", &later).await;
    assert_eq!(status, 202, "{receipt}");
    let id = receipt["id"].as_str().expect("an id").to_owned();
    world.write(&format!("{}{policy}", settings("", "debug")));
    server.signal("HUP");
    reloaded(&server, "applied", 2.0).await;
    assert_eq!(told("\"settings\":\"egress.allow, log.level\""), 1, "{:#?}", server.log());
    assert_eq!(told("with a restart"), 0, "{:#?}", server.log());
    let (status, answer) = world.event(&api, "a").await;
    assert_eq!((status, &answer["code"]), (422, &json!("egress_denied")), "{answer}");
    let held = async || api.metric("tidegate_lanes_held", "reason=\"egress\"").await;
    eventually("it is held", PATIENCE, async || held().await == 1.0).await;
    assert_eq!(told("\"result\":\"blocked\""), 1, "{:#?}", server.log());
    assert_eq!(world.receiver.count(), 1, "and was not sent");
    let (status, why) = api.json("GET", &format!("/v1/explain?id={id}"), &json!(null)).await;
    let text = why["held"]["text"].as_str().expect("text");
    assert!(status == 200 && text.contains("egress.allow") && text.contains("SIGHUP"), "{why}");
    let (status, ready) = api.get("/readyz?verbose").await;
    assert!(status == 200 && ready.contains("calls are held that an earlier egress.allow"), "{ready}");
    assert_eq!(told("calls are held that an earlier egress.allow"), 1, "{:#?}", server.log());

    // With a problem elsewhere neither changes.
    world.write(&format!("{}[queue]\nttl_seconds = 0\n", settings("\"127.0.0.0/8\"", "error")));
    server.signal("HUP");
    reloaded(&server, "refused", 1.0).await;
    assert_eq!(world.event(&api, "a").await.0, 422);
    world.write(&format!("{}{policy}", settings("\"127.0.0.0/8\"", "debug")));
    server.signal("HUP");
    reloaded(&server, "applied", 3.0).await;
    assert_eq!(told("\"settings\":\"egress.allow\""), 1, "{:#?}", server.log());
    assert_eq!(world.event(&api, "a").await.0, 202);
    // It is tried every 30 s, and what came later waits behind it.
    eventually("both are there", PATIENCE * 2, async || world.receiver.count() == 3).await;
    let order: Vec<_> = world.receiver.arrivals().into_iter().map(|arrival| arrival.path).collect();
    assert_eq!(order.get(1).map(String::as_str), Some("/a/later"), "{order:?}");
    eventually("nothing is held", PATIENCE, async || held().await == 0.0).await;
    assert_eq!(api.metric("tidegate_events_completed_total", "dead").await, 0.0);
    assert_eq!(server.stop().code(), Some(0));
}

/// The guard of the process before is not known: what is denied now may have been allowed then.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_before_a_restart_under_a_tighter_guard_is_held() {
    let mut world = World::new(Receiver::start().await);
    world.options.opens_loopback = false;
    let policy = world.policy("a", "pace = 100");
    world.write(&format!("[egress]\nallow = [\"127.0.0.0/8\"]\n{policy}"));
    let server = Server::start(&world.options);
    let later = json!({"url": world.receiver.url("/a/x"), "delay_seconds": 1.0});
    assert_eq!(server.api().json("POST", "/v1/events", &later).await.0, 202);
    server.kill();
    world.write(&policy);
    let server = Server::start(&world.options);
    let api = server.api();
    let held = async || api.metric("tidegate_lanes_held", "reason=\"egress\"").await;
    eventually("it is held", PATIENCE, async || held().await == 1.0).await;
    assert_eq!(server.stop().code(), Some(0));
    world.write(&format!("[egress]\nallow = [\"127.0.0.0/8\"]\n{policy}"));
    let server = Server::start(&world.options);
    eventually("it is there", PATIENCE * 2, async || world.receiver.count() == 1).await;
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_never_ends_the_daemon() {
    let world = World::new(Receiver::answering(|_| (204, Duration::from_millis(1500))).await);
    world.write(&world.policy("a", "pace = 100"));
    let server = Server::start(&world.options);
    let api = server.api();
    std::fs::remove_file(&world.file).expect("removed");
    server.signal("HUP");
    reloaded(&server, "refused", 1.0).await;
    assert_eq!(world.event(&api, "a").await.0, 202);
    eventually("it is under way", PATIENCE, async || world.receiver.count() == 1).await;
    server.signal("TERM");
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.signal("HUP");
    assert_eq!(server.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_labels_are_asked_for_at_the_door() {
    let world = World::new(Receiver::start().await);
    let policy = world.policy("a", "pace = 100\nlabels = { team = \"x\" }");
    world.write(&format!("[labels]\nstrict = true\ndeclared = [\"team\"]\n{policy}"));
    let server = Server::start(&world.options);
    let api = server.api();
    let url = world.receiver.url("/a/x");
    let (status, answer) =
        api.json("POST", "/v1/events", &json!({"url": url, "labels": {"team": "x"}})).await;
    assert_eq!(status, 202, "{answer}");
    let (status, answer) =
        api.json("POST", "/v1/events", &json!({"url": url, "labels": {"teem": "x"}})).await;
    assert_eq!((status, &answer["code"]), (422, &json!("invalid_event")), "{answer}");
    assert_eq!(answer["errors"][0]["pointer"], "/labels/teem", "{answer}");
    assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains("team, user")), "{answer}");
    assert_eq!(server.stop().code(), Some(0));
}
