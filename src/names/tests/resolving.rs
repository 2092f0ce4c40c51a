//! Questions to a real name server: what it is asked, how often, and what becomes of its answers.

use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::UdpSocket;

use super::server::{A, NO_SUCH_NAME, NameServer, REFUSED, SERVER_FAILED, Say};
use super::{World, ips};
use crate::event::NameFailure;

const LOOPBACK: &str = "127.0.0.1:0";

#[tokio::test]
async fn two_hundred_at_once_and_two_hundred_after_make_one_question_per_record_type() {
    let server = NameServer::start(LOOPBACK).await;
    server.addresses("shop.example", &["10.0.0.1", "fd00::1"], 60);
    let world = World::with(&server);
    let wanted = ips(&["fd00::1", "10.0.0.1"]);
    let all = join_all((0..200).map(|_| world.ask("shop.example"))).await;
    assert!(all.iter().all(|found| *found == wanted), "{all:?}");
    for _ in 0..200 {
        assert_eq!(world.ask("shop.example").await, wanted);
    }
    assert_eq!(server.times("shop.example"), [1, 1]);
    // The control: without a table in between, every look makes its own questions.
    let servers = world.names.0.system.load().servers.clone();
    let first = std::sync::atomic::AtomicUsize::new(0);
    for _ in 0..3 {
        let reply = super::super::ask(&servers, &first, "shop.example").await;
        assert_eq!(reply.answer, wanted);
    }
    assert_eq!(server.times("shop.example"), [4, 4]);
}

#[tokio::test]
async fn an_answer_is_asked_for_again_when_its_ttl_is_over() {
    let server = NameServer::start(LOOPBACK).await;
    server.addresses("shop.example", &["10.0.0.1"], 60);
    let world = World::with(&server);
    assert_eq!(world.ask("shop.example").await, ips(&["10.0.0.1"]));
    server.addresses("shop.example", &["10.0.0.2"], 60);
    world.wait(Duration::from_millis(59_999));
    assert_eq!(world.ask("shop.example").await, ips(&["10.0.0.1"]));
    world.wait(Duration::from_millis(1));
    assert_eq!(world.ask("shop.example").await, ips(&["10.0.0.2"]));
}

#[tokio::test]
async fn every_failure_has_its_kind_and_is_kept_briefly() {
    let server = NameServer::start(LOOPBACK).await;
    let world = World::new(&server, "nameserver 127.0.0.1\n", |options| {
        options.timeout = Duration::from_millis(300);
    });
    for (name, say, failure) in [
        ("none.example", NO_SUCH_NAME, NameFailure::NoSuchName),
        ("empty.example", Say::Code(0), NameFailure::NoAddress),
        ("failing.example", SERVER_FAILED, NameFailure::ServerFailed),
        ("refused.example", REFUSED, NameFailure::Refused),
        ("garbage.example", Say::Garbage, NameFailure::Garbled),
        ("silent.example", Say::Nothing, NameFailure::Timeout),
    ] {
        server.tell(name, say);
        assert_eq!(world.ask(name).await, Err(failure), "{name}");
        let asked = server.times(name);
        assert_eq!(world.ask(name).await, Err(failure), "{name}");
        assert_eq!(server.times(name), asked, "{name}: it is kept");
        server.addresses(name, &["10.0.0.1"], 60);
        world.wait(Duration::from_secs(5));
        assert_eq!(world.ask(name).await, ips(&["10.0.0.1"]), "{name}: not for long");
    }
    assert_eq!(world.ask("a..b").await, Err(NameFailure::NoSuchName), "no name at all");
    let too_long = format!("{}.example", "a".repeat(64));
    assert_eq!(world.ask(&too_long).await, Err(NameFailure::NoSuchName));
}

#[tokio::test]
async fn a_cut_answer_is_asked_for_again_over_tcp() {
    let server = NameServer::start(LOOPBACK).await;
    let many: Vec<_> = (1..=100).map(|n| std::net::IpAddr::from([10, 0, 0, n])).collect();
    server.tell("big.example", Say::OverTcp(many.clone(), 60));
    let world = World::with(&server);
    assert_eq!(world.ask("big.example").await, Ok(many));
}

#[tokio::test]
async fn an_alias_is_followed_and_one_that_leads_round_in_a_circle_is_given_up() {
    let server = NameServer::start(LOOPBACK).await;
    server.tell("www.example", Say::Alias("shop.example".to_owned()));
    server.addresses("shop.example", &["10.0.0.1"], 60);
    server.tell("round.example", Say::Alias("circle.example".to_owned()));
    server.tell("circle.example", Say::Alias("round.example".to_owned()));
    let world = World::with(&server);
    assert_eq!(world.ask("www.example").await, ips(&["10.0.0.1"]));
    let round = world.ask("round.example").await;
    assert!(round.is_err(), "{round:?}");
    assert!(server.times("round.example")[0] <= 8);
}

#[tokio::test]
async fn the_search_list_is_tried_by_the_number_of_dots() {
    let server = NameServer::start(LOOPBACK).await;
    server.addresses("box.corp.example", &["10.0.0.1"], 60);
    server.addresses("a.b", &["10.0.0.2"], 60);
    server.addresses("deep.er.lan", &["10.0.0.3"], 60);
    let world = World::new(&server, "search lan corp.example\nnameserver 127.0.0.1\n", |_| {});
    assert_eq!(world.ask("box").await, ips(&["10.0.0.1"]));
    assert_eq!(world.ask("a.b").await, ips(&["10.0.0.2"]));
    assert_eq!(world.ask("deep.er").await, ips(&["10.0.0.3"]));
    // A last dot says that the name is complete.
    assert_eq!(world.ask("box.").await, Err(NameFailure::NoSuchName));
    let order: Vec<_> =
        server.asked().into_iter().filter(|asked| asked.1 == A).map(|asked| asked.0).collect();
    assert_eq!(order, ["box.lan", "box.corp.example", "a.b", "deep.er", "deep.er.lan", "box"]);

    let dotted = World::new(&server, "search lan\noptions ndots:3\nnameserver 127.0.0.1\n", |_| {});
    assert_eq!(dotted.ask("deep.er").await, ips(&["10.0.0.3"]));
    assert_eq!(server.times("deep.er"), [1, 1], "no further time: the list comes first");
}

#[tokio::test]
async fn a_silent_name_of_the_search_list_ends_the_search_and_a_failing_one_does_not() {
    let server = NameServer::start(LOOPBACK).await;
    server.addresses("box", &["10.0.0.1"], 60);
    server.tell("box.lan", SERVER_FAILED);
    let world = World::new(&server, "search lan\nnameserver 127.0.0.1\n", |options| {
        options.timeout = Duration::from_millis(300);
    });
    assert_eq!(world.ask("box").await, ips(&["10.0.0.1"]));
    // The host of another name may be meant.
    server.tell("box.lan", Say::Nothing);
    world.wait(Duration::from_secs(60));
    assert_eq!(world.ask("box").await, Err(NameFailure::Timeout));
}

#[tokio::test]
async fn hosts_go_first_and_are_read_again_when_they_change() {
    let server = NameServer::start(LOOPBACK).await;
    server.addresses("shop.example", &["10.0.0.1"], 60);
    let world = World::with(&server);
    assert_eq!(world.ask("shop.example").await, ips(&["10.0.0.1"]));
    world.write("hosts", "10.9.9.9 Shop.Example other # comment\nfd00::9\tshop.example\n");
    assert_eq!(world.ask("shop.example").await, ips(&["10.0.0.1"]), "not looked at yet");
    world.wait(Duration::from_secs(2));
    assert_eq!(world.ask("shop.example").await, ips(&["fd00::9", "10.9.9.9"]));
    assert_eq!(world.ask("other").await, ips(&["10.9.9.9"]));
    std::fs::remove_file(world.dir.path().join("hosts")).expect("removed");
    world.wait(Duration::from_secs(2));
    assert_eq!(world.ask("shop.example").await, ips(&["10.0.0.1"]));
    assert_eq!(server.times("shop.example"), [1, 1]);
}

#[tokio::test]
async fn other_name_servers_take_over_with_the_file_that_names_them() {
    let old = NameServer::start(LOOPBACK).await;
    old.addresses("shop.example", &["10.0.0.1"], 3600);
    let new = NameServer::start(&format!("127.0.0.2:{}", old.addr.port())).await;
    new.addresses("shop.example", &["10.0.0.2"], 3600);
    let world = World::with(&old);
    assert_eq!(world.ask("shop.example").await, ips(&["10.0.0.1"]));
    world.write("resolv.conf", "nameserver 127.0.0.2\n");
    assert_eq!(world.ask("shop.example").await, ips(&["10.0.0.1"]), "not looked at yet");
    world.wait(Duration::from_secs(2));
    assert_eq!(world.ask("shop.example").await, ips(&["10.0.0.2"]), "what was kept is asked anew");
    // The control: a look at unchanged files changes nothing.
    world.wait(Duration::from_secs(2));
    assert_eq!(world.ask("shop.example").await, ips(&["10.0.0.2"]));
    assert_eq!((old.times("shop.example"), new.times("shop.example")), ([1, 1], [1, 1]));
}

#[tokio::test]
async fn a_dead_or_failing_first_server_is_passed_over_and_asked_last_from_then_on() {
    let good = NameServer::start("127.0.0.3:0").await;
    let dead = UdpSocket::bind(("127.0.0.2", good.addr.port())).await.expect("a port");
    let failing = NameServer::start(&format!("127.0.0.4:{}", good.addr.port())).await;
    for number in 1..=3 {
        let name = format!("n{number}.example");
        good.addresses(&name, &["10.0.0.1"], 60);
        failing.tell(&name, SERVER_FAILED);
    }
    let servers = "nameserver 127.0.0.2\nnameserver 127.0.0.4\nnameserver 127.0.0.3\n";
    let world = World::new(&good, servers, |options| options.timeout = Duration::from_millis(1500));
    for number in 1..=3 {
        assert_eq!(world.ask(&format!("n{number}.example")).await, ips(&["10.0.0.1"]));
    }
    assert_eq!(failing.asked().len(), 2, "for the first name alone");
    let mut buffer = [0; 512];
    let mut asked = 0;
    while dead.try_recv(&mut buffer).is_ok() {
        asked += 1;
    }
    assert!((2..=6).contains(&asked), "for the first name alone, with repetitions: {asked}");
}

#[tokio::test]
async fn names_that_resolve_are_answered_while_two_hundred_others_hang() {
    let server = NameServer::start(LOOPBACK).await;
    let world = World::new(&server, "nameserver 127.0.0.1\n", |options| {
        options.max_questions = NonZeroUsize::MIN.saturating_add(7);
        options.timeout = Duration::from_secs(2);
    });
    server.addresses("shop.example", &["10.0.0.1"], 3600);
    assert_eq!(world.ask("shop.example").await, ips(&["10.0.0.1"]));
    for number in 0..200 {
        server.tell(&format!("hang{number}.example"), Say::Nothing);
    }
    let hanging = async {
        let all = (0..200).map(|number| async move { format!("hang{number}.example") });
        join_all(all.map(async |name| world.ask(&name.await).await)).await
    };
    let mut hanging = std::pin::pin!(hanging);
    assert!(futures_util::poll!(hanging.as_mut()).is_pending());
    assert_eq!(world.names.table().load(), (6, 194), "bounded");
    // What is known needs no place, and what resolved the last time has one.
    assert_eq!(world.ask("shop.example").await, ips(&["10.0.0.1"]));
    world.wait(Duration::from_millis(3_600_000));
    assert_eq!(world.ask("shop.example").await, ips(&["10.0.0.1"]));
    assert_eq!(server.times("shop.example"), [2, 2]);
    assert!(futures_util::poll!(hanging.as_mut()).is_pending(), "the order, not the speed");
    let failed = hanging.await;
    let count = |failure| failed.iter().filter(|answer| **answer == Err(failure)).count();
    assert_eq!(count(NameFailure::Timeout) + count(NameFailure::Shortage), 200);
    assert!(count(NameFailure::Timeout) >= 6 && count(NameFailure::Shortage) >= 100);
    let hung: std::collections::HashSet<_> =
        server.asked().into_iter().map(|asked| asked.0).filter(|name| name.starts_with("hang")).collect();
    assert!(hung.len() <= 18, "six at a time: {}", hung.len());
}

#[tokio::test]
async fn a_question_goes_on_when_nobody_waits_for_it_any_more() {
    let server = NameServer::start(LOOPBACK).await;
    server.addresses("shop.example", &["10.0.0.1"], 60);
    let world = World::with(&server);
    let names = world.names.clone();
    let mut given_up = Box::pin(async move { names.addresses("shop.example").await });
    assert!(futures_util::poll!(given_up.as_mut()).is_pending());
    drop(given_up);
    assert_eq!(world.ask("shop.example").await, ips(&["10.0.0.1"]));
    assert_eq!(server.times("shop.example"), [1, 1]);
}

#[tokio::test]
async fn localhost_is_never_asked_for() {
    let server = NameServer::start(LOOPBACK).await;
    let world = World::new(&server, "search lan\nnameserver 127.0.0.1\n", |_| {});
    assert_eq!(world.ask("localhost").await, ips(&["::1", "127.0.0.1"]));
    assert_eq!(server.asked(), []);
}
