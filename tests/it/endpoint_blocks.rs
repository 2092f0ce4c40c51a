//! `[[endpoint]]` blocks: they rule calls by their urls whatever policies govern them, and SIGHUP changes them whole or
//! not at all.

use std::time::Duration;

use serde_json::json;

use crate::world::{Act, Api, Configured, Endpoint, Receiver, Server, eventually};

const PATIENCE: Duration = Duration::from_secs(20);
const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn block(name: &str, url: &str, members: &str) -> String {
    format!("[[endpoint]]\nname = \"{name}\"\nurl = \"{url}\"\n{members}\n")
}

/// Hands an event in and returns the header `x-team` of its call.
async fn team(api: &Api, endpoint: &Endpoint, path: &str) -> String {
    let before = endpoint.seen().len();
    let event = json!({"url": endpoint.url(path), "headers": {"x-team": "producer"}});
    let (head, answer) = api.hand_in(&event).await;
    assert_eq!(head.status, 202, "{answer}");
    eventually("its call comes", PATIENCE, async || endpoint.seen().len() > before).await;
    endpoint.seen()[before].header("x-team").to_owned()
}

async fn named(api: &Api, url: &str) -> serde_json::Value {
    let (status, answer) = api.json("GET", &format!("/v1/explain?url={url}"), &json!(null)).await;
    assert_eq!(status, 200, "{answer}");
    answer["endpoint"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_literal_block_rules_and_a_file_read_again_changes_all_of_them_or_none() {
    let endpoint = Endpoint::start("127.0.0.1:0", |_| Act::Say(NO_CONTENT)).await;
    let world = Configured::new(Receiver::start().await);
    let policies = ["/a*", "/h*"].map(|path| {
        format!("[[policy]]\nname = \"p{}\"\nurl = \"{}\"\npace = 100\n", &path[1..2], endpoint.url(path))
    });
    let all = block("all", &endpoint.url("/*"), "headers = { x-team = \"all\" }");
    let hooks = |team: &str| {
        block("hooks", &endpoint.url("/hooks/*"), &format!("headers = {{ x-team = \"{team}\" }}"))
    };
    world.write(&format!("{}{all}{}", policies.concat(), hooks("hooks")));
    let server = Server::start(&world.options);
    let api = server.api();
    assert_eq!(team(&api, &endpoint, "/a/b").await, "all");
    assert_eq!(team(&api, &endpoint, "/hooks/b").await, "hooks", "the more literal one alone");
    assert_eq!(named(&api, &endpoint.url("/hooks/b")).await, json!("hooks"));
    assert_eq!(named(&api, &world.receiver.url("/x")).await, json!(null));

    // What waits shows it, too, and its call goes by what is set when it is made.
    let later = json!({"url": endpoint.url("/hooks/later"), "delay_seconds": 3600});
    let (_, receipt) = api.hand_in(&later).await;
    let id = serde_json::from_str::<serde_json::Value>(&receipt).expect("JSON")["id"].clone();
    let path = format!("/v1/events/{}", id.as_str().expect("an id"));
    let (_, shown) = api.json("GET", &path, &json!(null)).await;
    assert_eq!(shown["endpoint"], json!("hooks"), "{shown}");

    let tied = block("tied", &endpoint.url("/*"), "");
    world.write(&format!("{}{all}{}{tied}", policies.concat(), hooks("changed")));
    server.signal("HUP");
    let reloads = async |result: &str| api.metric("tidegate_config_reloads_total", result).await;
    eventually("it is refused", PATIENCE, async || reloads("result=\"refused\"").await > 0.0).await;
    let log = server.log();
    assert!(log.iter().any(|line| line.contains("is as literal as that of the endpoint")), "{log:#?}");
    assert_eq!(team(&api, &endpoint, "/hooks/c").await, "hooks", "nothing has changed");

    world.write(&format!("{}{}", policies.concat(), hooks("changed")));
    server.signal("HUP");
    eventually("it is applied", PATIENCE, async || reloads("result=\"applied\"").await > 1.0).await;
    assert_eq!(team(&api, &endpoint, "/hooks/d").await, "changed");
    assert_eq!(team(&api, &endpoint, "/a/d").await, "producer", "no block rules it any more");
    assert!(server.log().iter().any(|line| line.contains("\"settings\":\"[[endpoint]]\"")));
    assert_eq!(server.stop().code(), Some(0));
}

const ERROR: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";

/// How an event ended: its outcome and its reason.
async fn end(api: &Api, url: &str) -> (String, String) {
    let (head, receipt) = api.hand_in(&json!({"url": url})).await;
    assert_eq!(head.status, 202, "{receipt}");
    let id = serde_json::from_str::<serde_json::Value>(&receipt).expect("JSON")["id"].clone();
    let path = format!("/v1/events/{}", id.as_str().expect("an id"));
    let state = async || api.json("GET", &path, &json!(null)).await.1;
    eventually("it has ended", PATIENCE, async || state().await["state"] == "settled").await;
    let ended = state().await;
    let word = |member: &str| ended[member].as_str().unwrap_or_default().to_owned();
    (word("outcome"), word("reason"))
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_repeated_as_their_block_says_and_otherwise_until_they_succeed() {
    let endpoint = Endpoint::start("127.0.0.1:0", {
        let failures = std::sync::atomic::AtomicUsize::new(0);
        move |head: &str| {
            let path = head.split(' ').nth(1).unwrap_or_default();
            match path {
                "/broken" => Act::Reset,
                "/adobe/gone" | "/fine" => Act::Say(NOT_FOUND),
                "/patient" if failures.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 20 => {
                    Act::Say(NO_CONTENT)
                }
                _ => Act::Say(ERROR),
            }
        }
    })
    .await;
    let world = Configured::new(Receiver::start().await);
    let settings = "[retry]\nmin_delay_ms = 5\nmax_delay_ms = 20\n[breaker]\nfailures = 0\n";
    let policy = format!("[[policy]]\nname = \"p\"\nurl = \"{}\"\ntimeout_ms = 2000\n", endpoint.url("/*"));
    let blocks = [
        block("adobe", &endpoint.url("/adobe/*"), "retry = \"adobe\""),
        block("fine", &endpoint.url("/fine"), "retry = { fine = 404 }"),
        block("once", &endpoint.url("/broken"), "retry = { ambiguous = \"dead\" }"),
        block("five", &endpoint.url("/five"), "retry = { max_attempts = 5 }"),
        block("never", &endpoint.url("/never"), "retry = { dead = \"5xx\" }"),
    ];
    world.write(&format!("{settings}{policy}{}", blocks.concat()));
    let server = Server::start(&world.options);
    let api = server.api();
    for (path, outcome, reason, calls) in [
        ("/adobe/x", "dead", "http_500", 4),
        ("/adobe/gone", "dead", "http_404", 1),
        ("/fine", "delivered", "delivered", 1),
        ("/broken", "dead", "connection_closed", 1),
        ("/five", "dead", "http_500", 5),
        ("/never", "dead", "http_500", 1),
        // What no block rules is tried until it succeeds.
        ("/patient", "delivered", "delivered", 21),
    ] {
        let ended = end(&api, &endpoint.url(path)).await;
        assert_eq!(ended, (outcome.to_owned(), reason.to_owned()), "{path}");
        let to = |head: &str| head.split(' ').nth(1) == Some(path);
        let seen: Vec<u64> =
            endpoint.seen().iter().filter(|seen| to(&seen.head)).map(|seen| seen.at_ns).collect();
        assert_eq!(seen.len(), calls, "{path}");
        if path.starts_with("/adobe") {
            let took_ms = (seen[seen.len() - 1] - seen[0]) / 1_000_000;
            assert!(took_ms < 2_000, "{took_ms} ms: all within the timeout");
        }
    }
    let ambiguous = "tidegate_ambiguous_calls_total";
    assert_eq!(api.metric(ambiguous, "then=\"dead\"").await, 1.0);
    assert_eq!(server.stop().code(), Some(0));
}
