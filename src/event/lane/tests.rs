//! Names of lanes, read back and refused.

use super::*;

fn part(policy: &str, generation: u32) -> PolicyRef {
    PolicyRef { policy: PolicyId::parse(policy).expect("valid"), generation }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))).expect("valid")
}

#[test]
fn a_key_leads_back_to_its_lane() {
    let lane = Lane::of(vec![part("b", 2), part("a", 1), part("b", 2)]).expect("valid");
    assert_eq!(lane.key().as_str(), "a@1+b@2");
    assert_eq!(Lane::parse(lane.key()), Ok(lane));
    let free = Lane::of(Vec::new()).expect("valid");
    assert_eq!(free.key().as_str(), "-");
    assert_eq!(Lane::parse(free.key()), Ok(free));
}

#[test]
fn labels_that_count_stand_in_the_key() {
    let given = labels(&[("org", "A B;c=1"), ("datamart", "7"), ("user", "x")]);
    let lane = Lane::scoped(vec![part("a", 1)], &given, &["org", "datamart", "org", "none"]).expect("valid");
    assert_eq!(lane.key().as_str(), "a@1;datamart=7;org=A%20B%3Bc%3D1");
    assert_eq!(&*lane.scope_key(&["org".into()]), "org=A%20B%3Bc%3D1");
    assert_eq!(&*lane.scope_key(&["datamart".into(), "none".into()]), "datamart=7");
    assert_eq!(&*lane.scope_key(&[]), "");
    assert_eq!(Lane::parse(lane.key()), Ok(lane));
}

#[test]
fn long_values_stay_short_and_different() {
    let key = |value: &str| {
        let lane = Lane::scoped(Vec::new(), &labels(&[("k", value)]), &["k"]).expect("valid");
        assert_eq!(Lane::parse(lane.key()).as_ref(), Ok(&lane));
        lane.key().to_string()
    };
    let (a, b) = (key(&format!("{}a", "x".repeat(200))), key(&format!("{}b", "x".repeat(200))));
    assert_ne!(a, b);
    assert_eq!(a.len(), "-;k=".len() + 24 + 1 + 32);
    assert_eq!(key(&"x".repeat(64)), format!("-;k={}", "x".repeat(64)));
}

#[test]
fn what_cannot_be_named_is_refused_with_its_size() {
    let many = (0..13).map(|n| part(&format!("p{n}"), 1)).collect();
    assert_eq!(Lane::of(many), Err(LaneError::TooManyPolicies { given: 13 }));
    let long = (0..12).map(|n| part(&format!("{n:064}"), u32::MAX)).collect();
    let given = labels(&[("k", &"x".repeat(250)), ("l", &"y".repeat(250)), ("m", &"z".repeat(250))]);
    let refused = Lane::scoped(long, &given, &["k", "l", "m"]);
    assert!(matches!(refused, Err(LaneError::TooLong { given: 1025.. })), "{refused:?}");
}

#[test]
fn foreign_keys_are_refused() {
    for key in [
        "a",
        "a@x",
        "b@1+a@1",
        "a@1+a@1",
        "a b@1",
        "a@1;x",
        "-+a@1",
        "a@1;b=1;a=1",
        "a@1;~host=",
        "a@1;~host=h;b=1",
    ] {
        let key = LaneKey::new(key).expect("a key by form");
        assert!(Lane::parse(&key).is_err(), "{key}");
    }
}

fn lane(key: &str) -> Lane {
    Lane::parse(&LaneKey::new(key).expect("a key by form")).expect("a lane")
}

#[test]
fn hosts_stand_last_in_the_key_and_read_back() {
    let governed = lane("a@1+b@2;org=ACME");
    for (host, stands) in [
        ("api.example.org:443", "api.example.org:443"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("[2001:db8::1]:8443", "[2001:db8::1]:8443"),
        ("xn--bcher-kva.example:443", "xn--bcher-kva.example:443"),
        ("a;~host=b:80", "a%3B%7Ehost%3Db:80"),
        ("~3:80", "%7E3:80"),
    ] {
        let split = governed.at(host);
        assert_eq!(split.key().as_str(), format!("a@1+b@2;org=ACME;~host={stands}"));
        assert_eq!((split.key().without_host(), split.key().host()), ("a@1+b@2;org=ACME", Some(stands)));
        assert_eq!((split.policies(), &*split.scope_key(&["org".into()])), (governed.policies(), "org=ACME"));
        assert_eq!(Lane::parse(split.key()), Ok(split.clone()));
        assert_eq!(split.at(host), split, "one host at most");
    }
    assert_eq!((governed.key().without_host(), governed.key().host()), ("a@1+b@2;org=ACME", None));
    assert_eq!(lane("-").at("h.org:80").key().as_str(), "-;~host=h.org:80");
}

#[test]
fn long_hosts_are_cut_and_too_long_names_go_without() {
    let plain = format!("{}.org:443", "x".repeat(120));
    assert_eq!(lane("a@1").at(&plain).key().host(), Some(&*plain));
    let host = |end: &str| lane("a@1").at(&format!("{}{end}:443", "x".repeat(1900)));
    assert_ne!(host("a"), host("b"));
    assert_eq!(host("a").key().host().map(str::len), Some(24 + 1 + 32));
    assert_eq!(Lane::parse(host("a").key()), Ok(host("a")));
    let long = Lane::of((0..12).map(|n| part(&format!("{n:064}"), u32::MAX)).collect()).expect("valid");
    let labels = labels(&[("k", &"x".repeat(64)), ("l", &"y".repeat(30))]);
    let long = Lane::scoped(long.policies().to_vec(), &labels, &["k", "l"]).expect("short enough");
    assert_eq!(long.at("api.example.org:443"), long);
}

#[test]
fn hosts_that_share_a_lane_are_no_host_of_their_own() {
    let governed = lane("a@1");
    let shared = governed.shared_at("h.org:443");
    assert_eq!((shared.key().host(), shared.key().without_host()), (None, "a@1"));
    assert_eq!(governed.shared_at("h.org:443"), shared);
    assert_eq!(Lane::parse(shared.key()), Ok(shared));
    let all: std::collections::BTreeSet<_> =
        (0..10_000).map(|n| governed.shared_at(&format!("h{n}.org:443")).key().clone()).collect();
    assert_eq!(all.len(), 64);
}

/// What versions without hosts do with the labels of a key: they are split, must ascend, and the scope of a policy
/// picks some of them by name.
#[test]
fn older_versions_read_the_host_as_one_more_label() {
    let key = lane("a@1;datamart=7;zone=z").at("[::1]:80").key().clone();
    let labels: Option<Vec<_>> = key.as_str().split(';').skip(1).map(|part| part.split_once('=')).collect();
    let labels = labels.expect("each has a value");
    assert!(labels.is_sorted_by(|a, b| a.0 < b.0), "{labels:?}");
    assert_eq!(labels.len(), 3);
    assert_eq!(labels[2], ("~host", "[::1]:80"));
    assert!(Labels::new([("~host".to_owned(), String::new())]).is_err(), "no label is called so");
}

#[test]
fn a_priority_stands_in_the_key_before_the_host_and_older_keys_are_normal() {
    let lane = Lane::scoped(vec![part("p", 1)], &labels(&[("org", "A")]), &["org"]).expect("valid");
    let at = lane.at("h.org:443");
    assert_eq!((at.priority(), at.key().as_str()), (Priority::Normal, "p@1;org=A;~host=h.org:443"));
    for priority in Priority::ALL {
        let other = at.of_priority(priority).expect("short");
        assert_eq!(other, lane.of_priority(priority).expect("short").at("h.org:443"), "in either order");
        assert_eq!(Lane::parse(other.key()).as_ref(), Ok(&other));
        assert_eq!((other.priority(), other.key().host()), (priority, Some("h.org:443")));
        assert_eq!(other.labels().collect::<Vec<_>>(), [("org", "A")], "it is no label");
        assert_eq!(
            other.scope_key(&["org".into()]),
            lane.scope_key(&["org".into()]),
            "under the same counters"
        );
        assert_eq!(other.key().with_priority(Priority::Normal).as_ref(), Some(at.key()));
    }
    let high = at.of_priority(Priority::High).expect("short");
    assert_eq!(high.key().as_str(), "p@1;org=A;~priority=high;~host=h.org:443");
    assert_eq!(high.key().without_host(), "p@1;org=A;~priority=high");
    // Written by versions before priorities, shared and without a host.
    for older in ["p@1", "p@1;org=A", "-;~host=h.org:80", "p@1;~host=~7"] {
        let key = LaneKey::new(older).expect("a key");
        assert_eq!(Lane::parse(&key).map(|lane| lane.priority()), Ok(Priority::Normal), "{older}");
    }
    for wrong in ["p@1;~priority=normal", "p@1;~priority=high;org=A", "p@1;~host=h:1;~priority=low"] {
        assert!(Lane::parse(&LaneKey::new(wrong).expect("a key")).is_err(), "{wrong}");
    }
    let long = (0..12).map(|n| part(&format!("{n:064}"), u32::MAX)).collect();
    let given = labels(&[("k", &"x".repeat(60)), ("l", &"y".repeat(40))]);
    let near = Lane::scoped(long, &given, &["k", "l"]).expect("short enough");
    assert!(near.key().as_str().len() > LaneKey::MAX_BYTES - 18, "{}", near.key().as_str().len());
    assert!(matches!(near.of_priority(Priority::High), Err(LaneError::TooLong { .. })));
}
