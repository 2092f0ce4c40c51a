//! The PyPI client `masheryapi`, as it is published, through all steps that it has; then calls without any label of ours
//! meet the limits that it has set up.

use std::process::Command;

use serde_json::{Value, json};

use super::tools::{python_tools, run, source};
use crate::mashery::{DAY, OVER_RATE, well_within};
use crate::world::{Api, Receiver, Server, ServerOptions};

/// Hands in a call with this key where the client's API definition says that keys stand.
async fn call(api: &Api, receiver: &Receiver, key: Option<&str>) -> (u16, Value) {
    let headers = key.map_or_else(|| json!({}), |key| json!({"X-Key": key}));
    let event = json!({"url": receiver.url("/pets/7"), "method": "GET", "headers": headers});
    api.json("POST", "/v1/events", &event).await
}

#[tokio::test(flavor = "multi_thread")]
async fn masheryapi_takes_all_its_steps_and_events_meet_what_it_has_set_up() {
    well_within(DAY).await;
    let (dir, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let (api, endpoint) = (server.api(), receiver.url("").replace("http://", ""));
    let mut client = Command::new(python_tools("masheryapi"));
    // It writes its log where it is started. Variables of the machine that name a proxy must not change what is tested.
    client.current_dir(dir.path()).env("NO_PROXY", "*").env("PYTHONDONTWRITEBYTECODE", "1");
    client.arg(source("masheryapi/use.py")).args([&server.addr.to_string(), &endpoint]);
    println!("| client | version | step | result |\n|---|---|---|---|\n{}", run(&mut client));

    for (key, calls) in [("tf-key", 2), ("v2-key", 3)] {
        for _ in 0..calls {
            assert_eq!(call(&api, &receiver, Some(key)).await.0, 202, "{key}");
        }
        let (status, refused) = call(&api, &receiver, Some(key)).await;
        assert_eq!((status, &refused["code"]), (429, &json!(OVER_RATE)), "{key}: {refused}");
    }
    for key in [None, Some("nobody")] {
        let (_, refused) = call(&api, &receiver, key).await;
        assert_eq!(refused["code"], json!("ERR_403_DEVELOPER_INACTIVE"), "{key:?}: {refused}");
    }
    assert_eq!(server.stop().code(), Some(0));
}
