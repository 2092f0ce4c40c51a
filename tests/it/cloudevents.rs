//! CloudEvents of the official SDK for Python, handed in and delivered: what arrives is read with the SDK as well. And
//! the targets of sources that the configuration file names.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clients::{python_tools, run, source};
use crate::world::{Api, Configured, Receiver, Server, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn cloudevents_arrive_as_they_were_sent_in_every_mode() {
    let world = Configured::new(Receiver::start().await);
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    world.write(&format!(
        "[[cloudevents]]\nsource = \"https://shop.example/*\"\nurl = \"http://127.0.0.1:{port}/by-source\"\n\
         method = \"PUT\"\nheaders = {{ authorization = \"Bearer of the configuration\" }}\nlabels = {{ org = \"ACME\" }}\n"
    ));
    let server = Server::start(&world.options);
    let base = format!("http://{}", server.addr);
    let told = run(Command::new(python_tools("python"))
        .arg(source("python/cloud.py"))
        .args([base, port.to_string()]));
    println!("{}", told.trim());
    assert_eq!(server.stop().code(), Some(0));
}

fn block(source: &str, url: &str) -> String {
    format!("[[cloudevents]]\nsource = \"{source}\"\nurl = \"{url}\"\n")
}

/// A CloudEvent that does not say what is to be called.
async fn hand_in(api: &Api, id: &str) -> (u16, Value) {
    let event = json!({"specversion": "1.0", "id": id, "source": "/shop/orders", "type": "order"});
    let kind = Some("application/cloudevents+json");
    let answer = api.send("POST", "/v1/events", kind, Some(event.to_string())).await;
    (answer.status, serde_json::from_slice(&answer.body).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_targets_of_sources_become_active_without_a_restart() {
    let world = Configured::new(Receiver::start().await);
    let policies = format!("{}{}", world.policy("a", "pace = 100"), world.policy("b", "pace = 100"));
    let url = |name: &str| world.receiver.url(&format!("/{name}/x"));
    world.write(&policies);
    let server = Server::start(&world.options);
    let api = server.api();
    let reloaded = async |result: &str, times: f64| {
        let label = format!("result=\"{result}\"");
        let reloads = async || api.metric("tidegate_config_reloads_total", &label).await;
        eventually("it has read its configuration", PATIENCE, async || reloads().await >= times).await;
    };
    let (status, answer) = hand_in(&api, "1").await;
    assert_eq!((status, &answer["errors"][0]["pointer"]), (422, &json!("/tidegateurl")), "{answer}");

    world.write(&format!("{policies}{}", block("/shop/*", &url("a"))));
    server.signal("HUP");
    reloaded("applied", 2.0).await;
    let log = server.log();
    assert!(log.iter().any(|line| line.contains("\"settings\":\"[[cloudevents]]\"")), "{log:#?}");
    let (status, first) = hand_in(&api, "1").await;
    assert_eq!((status, first["policies"][0].as_str()), (202, Some("a")), "{first}");

    // The nearer one; who repeats a CloudEvent is known again, and what was accepted stays as it is.
    world.write(&format!("{policies}{}{}", block("/shop/*", &url("a")), block("/shop/orders", &url("b"))));
    server.signal("HUP");
    reloaded("applied", 3.0).await;
    let (status, second) = hand_in(&api, "2").await;
    assert_eq!((status, second["policies"][0].as_str()), (202, Some("b")), "{second}");
    let (status, again) = hand_in(&api, "1").await;
    assert_eq!((status, &again["id"], &again["duplicate"]), (202, &first["id"], &json!(true)), "{again}");
    eventually("both have arrived", PATIENCE, async || world.receiver.count() == 2).await;

    // With a problem nothing changes.
    world.write(&format!("{policies}{}", block("/shop/*", "ftp://a.test/")));
    server.signal("HUP");
    reloaded("refused", 1.0).await;
    let (status, third) = hand_in(&api, "3").await;
    assert_eq!((status, third["policies"][0].as_str()), (202, Some("b")), "{third}");
    let told = "cloudevents 1: url: must be an absolute http or https address";
    assert!(server.log().iter().any(|line| line.contains(told)), "{:#?}", server.log());

    world.write(&format!("{policies}{}", block("/shop/*", &world.receiver.url("/none/x"))));
    server.signal("HUP");
    reloaded("applied", 4.0).await;
    let (status, answer) = hand_in(&api, "4").await;
    assert_eq!((status, &answer["code"]), (422, &json!("unmatched")), "{answer}");
    assert_eq!(answer["errors"][0]["pointer"], "/source", "{answer}");
    assert_eq!(server.stop().code(), Some(0));
}
