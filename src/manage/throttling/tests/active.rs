//! What calls to the API make active, as events meet it; and two writers at once.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode};

use super::scenarios::{options, world};
use crate::clock::{Clock, Timestamp};
use crate::event::PolicyId;
use crate::manage::adobe::AdobeOptions;
use crate::manage::adobe::testing::{ORG, Overrides, World};
use crate::manage::throttling::ThrottlingOptions;
use crate::policy::testing::{labels, url};
use crate::policy::{DRAIN_WINDOW, Family, GenerationState, Pace, Policies};

pub(super) async fn ask(world: &World, method: Method, path: &str, body: &str) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(format!("/authoring{path}"));
    let request = request.header("content-type", "application/json");
    let (status, _, body) = world.exchange(request.body(Body::from(body.to_owned())).expect("valid")).await;
    (status, body)
}

pub(super) fn config(pattern: &str, methods: &str, throughput: u32) -> String {
    format!(r#"{{"urlPattern":"{pattern}","methods":[{methods}],"maxThroughput":{throughput}}}"#)
}

pub(super) async fn created(world: &World, body: &str) -> String {
    let (status, answer) = ask(world, Method::POST, "/throttlingConfigs", body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (_, uid) = answer.rsplit_once("throttlingConfigs/").expect("a uri");
    uid.get(..36).expect("a uuid").to_owned()
}

pub(super) async fn done(world: &World, method: Method, path: &str, body: &str) {
    let (status, answer) = ask(world, method, path, body).await;
    assert!(status.is_success(), "{path}: {status} {answer}");
}

pub(super) fn lane(world: &World, method: Method, to: &str, pairs: &[(&str, &str)]) -> Option<String> {
    let lane = world.policies.runtime().route(&method, &url(to), &labels(pairs));
    lane.expect("few policies").map(|lane| lane.key().to_string())
}

#[tokio::test]
async fn a_deployed_config_governs_the_actions_of_its_organisation() {
    let world = world(options(&Overrides::default())).await;
    let uid =
        created(&world, &config("https://api.example.org/data/2.5/*", r#""POST","OPTION""#, 4000)).await;
    let to = "https://api.example.org/data/2.5/x?q=1";
    assert_eq!(lane(&world, Method::POST, to, &[("org", ORG)]), None, "not before it is deployed");
    done(&world, Method::POST, &format!("/throttlingConfigs/{uid}/deploy"), "").await;

    let first = Some(format!("{uid}@1"));
    assert_eq!(lane(&world, Method::POST, to, &[("org", ORG)]), first);
    assert_eq!(lane(&world, Method::OPTIONS, to, &[("org", ORG), ("service", "action")]), first);
    assert_eq!(lane(&world, Method::POST, to, &[("org", ORG), ("sandbox", "any")]), first);
    assert_eq!(lane(&world, Method::PUT, to, &[("org", ORG)]), None);
    assert_eq!(lane(&world, Method::POST, to, &[("org", "OTHER@AdobeOrg")]), None);
    assert_eq!(lane(&world, Method::POST, to, &[]), None);
    assert_eq!(lane(&world, Method::POST, to, &[("org", ORG), ("service", "dataSource")]), None);

    let runtime = world.policies.runtime();
    let policy = runtime.policies().next().expect("deployed");
    assert_eq!(policy.spec.limits.pace.map(Pace::starts_per_second), Some(4000.0));
    assert_eq!(policy.spec.family, Family::Wait);
}

#[tokio::test]
async fn an_update_rules_at_once_and_a_redeploy_is_a_new_generation() {
    let world = world(options(&Overrides::default())).await;
    let uid = created(&world, &config("https://h.org/*", r#""POST""#, 4000)).await;
    let path = format!("/throttlingConfigs/{uid}");
    done(&world, Method::POST, &format!("{path}/deploy"), "").await;
    let before = world.policies.runtime().number();
    done(&world, Method::PUT, &path, &config("https://h.org/*", r#""POST""#, 300)).await;
    assert_eq!(world.policies.runtime().number(), before + 1);
    let id = PolicyId::parse(&uid).expect("valid");
    let pace = |world: &World| world.policies.runtime().get(&id).and_then(|policy| policy.spec.limits.pace);
    let generations =
        |world: &World| world.policies.runtime().get(&id).map(|policy| policy.generations.clone());
    assert_eq!(pace(&world).map(Pace::starts_per_second), Some(300.0));
    assert_eq!(generations(&world).expect("deployed").len(), 1, "the same generation");

    done(&world, Method::PUT, &path, &config("https://h.org/*", r#""POST""#, 1)).await;
    assert_eq!(pace(&world).map(Pace::starts_per_second), Some(300.0), "faults rule nothing");
    done(&world, Method::PUT, &path, &config("https://h.org/*", r#""POST""#, 500)).await;

    done(&world, Method::POST, &format!("{path}/undeploy"), "").await;
    assert_eq!(lane(&world, Method::POST, "https://h.org/", &[("org", ORG)]), None);
    done(&world, Method::PUT, &path, &config("https://h.org/*", r#""POST""#, 600)).await;
    assert_eq!(pace(&world).map(Pace::starts_per_second), Some(500.0), "a draining life keeps its limits");
    done(&world, Method::POST, &format!("{path}/deploy"), "").await;
    let until = Timestamp::from_millis((world.clock.now() + DRAIN_WINDOW).ceil_millis());
    let both = [(1, GenerationState::Draining { until }), (2, GenerationState::Active)];
    assert_eq!(generations(&world), Some(both.into()));
    assert_eq!(pace(&world).map(Pace::starts_per_second), Some(600.0), "shared by both");
    assert_eq!(lane(&world, Method::POST, "https://h.org/", &[("org", ORG)]), Some(format!("{uid}@2")));

    done(&world, Method::DELETE, &format!("{path}?forceDelete=true"), "").await;
    assert_eq!(ask(&world, Method::GET, &path, "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(generations(&world).expect("drains").len(), 2);
    world.clock.advance(DRAIN_WINDOW);
    world.policies.expire(world.clock.now(), None).await.expect("stored");
    assert!(generations(&world).is_some());
    world.clock.advance(Duration::from_millis(1));
    world.policies.expire(world.clock.now(), None).await.expect("stored");
    assert_eq!(generations(&world), None);
}

#[tokio::test]
async fn organisation_of_path_and_header_must_agree() {
    let world = world(options(&Overrides::default())).await;
    for (headers, expected) in [
        (&[][..], StatusCode::OK),
        (&["A@AdobeOrg"], StatusCode::OK),
        (&["B@AdobeOrg"], StatusCode::BAD_REQUEST),
        (&["A@AdobeOrg", "B@AdobeOrg"], StatusCode::BAD_REQUEST),
        (&[""], StatusCode::BAD_REQUEST),
    ] {
        let mut request = Request::post("/A@AdobeOrg/authoring/list/throttlingConfigs");
        for value in headers {
            request = request.header("x-gw-ims-org-id", *value);
        }
        let (status, _, answer) = world.exchange(request.body(Body::empty()).expect("valid")).await;
        assert_eq!(status, expected, "{headers:?}: {answer}");
    }
}

#[tokio::test]
async fn a_shorter_drain_window_is_kept_to() {
    let window = Duration::from_secs(60);
    let options = options(&Overrides::default());
    let adobe = AdobeOptions { drain_window: window, ..options.adobe };
    let world = world(ThrottlingOptions { adobe, ..options }).await;
    for (url, ending) in [
        ("https://h.org/*", (Method::POST, "/undeploy")),
        ("https://other.org/*", (Method::DELETE, "?forceDelete=true")),
    ] {
        let uid = created(&world, &config(url, r#""POST""#, 400)).await;
        let path = format!("/throttlingConfigs/{uid}");
        done(&world, Method::POST, &format!("{path}/deploy"), "").await;
        done(&world, ending.0, &format!("{path}{}", ending.1), "").await;
        let until = Timestamp::from_millis((world.clock.now() + window).ceil_millis());
        let id = PolicyId::parse(&uid).expect("valid");
        let generations = world.policies.runtime().get(&id).map(|policy| policy.generations.clone());
        assert_eq!(generations, Some([(1, GenerationState::Draining { until })].into()), "{path}");
        let _gone = ask(&world, Method::DELETE, &path, "").await;
    }
}

#[tokio::test]
async fn of_two_creations_at_once_one_meets_the_limit() {
    let world = world(options(&Overrides::default())).await;
    let body = config("https://h.org/*", r#""POST""#, 400);
    let attempts = (0..8).map(|_| ask(&world, Method::POST, "/throttlingConfigs", &body));
    let answers = futures_util::future::join_all(attempts).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == StatusCode::OK).count(), 1);
    assert!(
        answers.iter().filter(|(status, _)| *status != StatusCode::OK).all(|(_, body)| body.contains("1465"))
    );
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let world = world(options(&Overrides::default())).await;
    let uid = created(&world, &config("https://h.org/*", r#""POST""#, 400)).await;
    done(&world, Method::POST, &format!("/throttlingConfigs/{uid}/deploy"), "").await;
    let clock = Clock::manual(world.clock.now());
    let again = Policies::open(Arc::clone(&world.documents) as _, clock).await.expect("readable");
    assert_eq!(again.book(), world.policies.book());
    assert_eq!(again.runtime().diff(&world.policies.runtime()), []);
}
