//! Names through the client: every address of an answer is judged, and what was judged is connected.

use std::fs;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::{Act, Endpoint, OK, call, ok_head, unprocessed};
use crate::clock::{Clock, Timestamp};
use crate::delivery::{Call, Deliver, DeliveryOptions, EgressGuard, HttpDeliverer};
use crate::event::{Cause, EventId, NameFailure, Outcome};
use crate::names::tests::server::{NameServer, REFUSED, SERVER_FAILED, Say};
use crate::names::{NameFiles, NameOptions};

const BLOCKED: Outcome = Outcome::Reject { cause: Cause::Blocked };

/// A client that asks `server`.
fn resolving(server: &NameServer, allow: &[&str]) -> HttpDeliverer {
    // Both files are read when the client is made.
    let dir = tempfile::tempdir().expect("a directory");
    let files = NameFiles {
        resolv_conf: dir.path().join("resolv.conf"),
        hosts: dir.path().join("hosts"),
        port: server.addr.port(),
    };
    fs::write(&files.resolv_conf, "nameserver 127.0.0.1\n").expect("written");
    let allow: Vec<_> = allow.iter().map(|net| net.parse().expect("net")).collect();
    let options = DeliveryOptions {
        egress: EgressGuard::new(&allow),
        names: NameOptions { files, ..NameOptions::default() },
        ..DeliveryOptions::default()
    };
    HttpDeliverer::new(options, Clock::manual(Timestamp::from_millis(1_000_000))).expect("client")
}

async fn fine() -> Endpoint {
    Endpoint::start(Act::Say(ok_head("content-length: 0\r\n"))).await
}

#[tokio::test]
async fn a_kept_connection_is_not_used_under_a_guard_that_denies_its_address() {
    let server = NameServer::start("127.0.0.1:0").await;
    let endpoint = fine().await;
    let client = resolving(&server, &["127.0.0.0/8"]);
    server.addresses("kept.example", &["127.0.0.1"], 60);
    let url = format!("http://kept.example:{}/", endpoint.address.port());
    assert_eq!(client.attempt(call(&url)).await, OK);
    let turnover = client.under(EgressGuard::new(&[])).expect("a client");
    assert_eq!(client.attempt(call(&url)).await, OK, "the control: nothing is active yet");
    assert_eq!(endpoint.connections(), 1, "the connection is kept");
    turnover();
    let before = || Call { id: EventId::new(1_000_000, 1), ..call(&url) };
    assert_eq!(client.attempt(before()).await, Outcome::Withheld, "it was accepted under the guard before");
    assert_eq!(client.attempt(call(&url)).await, BLOCKED, "this one was not");
    assert!(client.egress_state().is_some_and(|state| state.contains("127.0.0.1")));
    let open = EgressGuard::new(&["127.0.0.0/8".parse().expect("net")]);
    client.under(open).expect("a client")();
    assert_eq!(client.attempt(call(&url)).await, OK);
    assert_eq!(endpoint.connections(), 2);
}

#[tokio::test]
async fn one_denied_address_in_any_form_denies_the_name() {
    let server = NameServer::start("127.0.0.1:0").await;
    let endpoint = fine().await;
    let port = endpoint.address.port();
    let client = resolving(&server, &["10.0.0.0/8"]);
    for (number, addresses) in [
        &["127.0.0.1"][..],
        &["8.8.8.8", "127.0.0.1"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::7f00:1"],
        &["2002:7f00:1::"],
        &["2606:4700::1111", "::1"],
        &["10.0.0.1", "169.254.169.254"],
    ]
    .iter()
    .enumerate()
    {
        let name = format!("n{number}.example");
        server.addresses(&name, addresses, 60);
        let url = format!("http://{name}:{port}/");
        assert_eq!(client.attempt(call(&url)).await, BLOCKED, "{addresses:?}");
    }
    server.tell("alias.example", Say::Alias("n0.example".to_owned()));
    assert_eq!(client.attempt(call(&format!("http://alias.example:{port}/"))).await, BLOCKED);
    assert_eq!(endpoint.connections(), 0);
    // The control: where the range is allowed the same names arrive.
    let open = resolving(&server, &["127.0.0.0/8"]);
    for name in ["n0.example", "alias.example"] {
        assert_eq!(open.attempt(call(&format!("http://{name}:{port}/"))).await, OK, "{name}");
    }
}

#[tokio::test]
async fn what_was_judged_is_connected_although_the_answer_changes() {
    let server = NameServer::start("127.0.0.1:0").await;
    let outside = fine().await;
    let inside = SocketAddr::from(([127, 0, 0, 2], outside.address.port()));
    let inside = TcpListener::bind(inside).await.expect("the same port");
    let ip = |last| [127, 0, 0, last].into();
    server.tell("flips.example", Say::Flip(ip(1), ip(2)));
    let url = format!("http://flips.example:{}/", outside.address.port());
    assert_eq!(resolving(&server, &["127.0.0.1/32"]).attempt(call(&url)).await, OK);
    assert_eq!(
        server.times("flips.example"),
        [1, 1],
        "nothing is asked between the check and the connection"
    );
    assert_eq!(outside.connections(), 1);
    // The control: the answer has changed, and whoever asks again gets the other one.
    assert_eq!(resolving(&server, &["127.0.0.1/32"]).attempt(call(&url)).await, BLOCKED);
    let accepted = futures_util::FutureExt::now_or_never(inside.accept());
    assert!(accepted.is_none(), "nobody came");
}

#[tokio::test]
async fn the_cause_says_why_a_name_did_not_resolve() {
    let server = NameServer::start("127.0.0.1:0").await;
    server.tell("failing.example", SERVER_FAILED);
    server.tell("refused.example", REFUSED);
    let client = resolving(&server, &[]);
    for (host, failure) in [
        ("none.example", NameFailure::NoSuchName),
        ("failing.example", NameFailure::ServerFailed),
        ("refused.example", NameFailure::Refused),
    ] {
        let outcome = client.attempt(call(&format!("http://{host}/"))).await;
        assert_eq!(outcome, unprocessed(Cause::Dns(failure)), "{host}");
    }
    let state = client.name_state().expect("a sentence");
    let last = "the name refused.example does not resolve: the name server refused the question";
    assert!(state.ends_with(last), "{state}");
}
