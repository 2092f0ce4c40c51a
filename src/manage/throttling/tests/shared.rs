//! One limit for one organisation and url pattern, also while the rest of an earlier config drains.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode};

use super::active::{ask, config, created, done, lane};
use super::scenarios::{options, reopened, world};
use crate::event::PolicyId;
use crate::manage::adobe::testing::{ORG, Overrides, World};
use crate::manage::throttling::ThrottlingOptions;
use crate::policy::{DRAIN_WINDOW, GenerationState, Generations, Pace, Policies};

const PATTERN: &str = "https://api.example.org/data/*";
/// Another spelling of the same pattern.
const SAME_PATTERN: &str = "HTTPS://API.example.org:443/x/../data/*";

/// As many configs as the tests want.
async fn many() -> World {
    world(ThrottlingOptions { max_configs_per_org: 9, ..options(&Overrides::default()) }).await
}

async fn deploy(world: &World, uid: &str) {
    done(world, Method::POST, &format!("/throttlingConfigs/{uid}/deploy"), "").await;
}

async fn deployed(world: &World, pattern: &str, throughput: u32) -> String {
    let uid = created(world, &config(pattern, r#""POST""#, throughput)).await;
    deploy(world, &uid).await;
    uid
}

async fn force_deleted(world: &World, uid: &str) {
    done(world, Method::DELETE, &format!("/throttlingConfigs/{uid}?forceDelete=true"), "").await;
}

async fn undeployed(world: &World, uid: &str) {
    done(world, Method::POST, &format!("/throttlingConfigs/{uid}/undeploy"), "").await;
}

fn governed_by(world: &World, to: &str) -> Option<String> {
    lane(world, Method::POST, to, &[("org", ORG)])
}

fn policy(world: &World, name: &str) -> Option<(Generations, Option<f64>)> {
    let runtime = world.policies.runtime();
    let policy = runtime.get(&PolicyId::parse(name).expect("valid"))?;
    Some((policy.generations.clone(), policy.spec.limits.pace.map(Pace::starts_per_second)))
}

#[tokio::test]
async fn a_config_goes_on_in_the_policy_of_one_that_was_deleted_by_force() {
    let world = many().await;
    let first = deployed(&world, PATTERN, 400).await;
    force_deleted(&world, &first).await;
    let second = deployed(&world, SAME_PATTERN, 300).await;
    assert_eq!(governed_by(&world, "https://api.example.org/data/x"), Some(format!("{first}@2")));
    let (generations, pace) = policy(&world, &first).expect("drains and is active");
    assert_eq!(generations.get(&2), Some(&GenerationState::Active));
    assert_eq!((generations.len(), pace), (2, Some(300.0)));
    assert_eq!(policy(&world, &second), None, "a second policy would have a limit of its own");
    let named = |world: &World| {
        let runtime = world.policies.runtime();
        runtime.get(&PolicyId::parse(&first).expect("valid")).expect("active").spec.config.clone()
    };
    assert_eq!(named(&world).as_deref(), Some(&*second), "the name of the policy says the first one");

    // An update at once and the end find the policy under its name.
    let update = config(PATTERN, r#""POST","PUT""#, 500);
    done(&world, Method::PUT, &format!("/throttlingConfigs/{second}"), &update).await;
    assert_eq!(policy(&world, &first).and_then(|(_, pace)| pace), Some(500.0));
    let again =
        Policies::open(Arc::clone(&world.documents) as _, world.clock.clone()).await.expect("readable");
    assert_eq!(again.runtime().diff(&world.policies.runtime()), []);
    force_deleted(&world, &second).await;
    assert_eq!(governed_by(&world, "https://api.example.org/data/x"), None);
    world.clock.advance(DRAIN_WINDOW + Duration::from_millis(1));
    world.policies.expire(world.clock.now(), None).await.expect("stored");
    assert_eq!(policy(&world, &first), None);
}

#[tokio::test]
async fn other_calls_and_what_has_drained_have_a_limit_of_their_own() {
    let world = many().await;
    let first = deployed(&world, PATTERN, 400).await;
    force_deleted(&world, &first).await;
    let wider = deployed(&world, "https://api.example.org/*", 400).await;
    assert_eq!(governed_by(&world, "https://api.example.org/x"), Some(format!("{wider}@1")));
    assert_eq!(policy(&world, &first).expect("drains").0.len(), 1, "another pattern leaves it alone");
    world.clock.advance(DRAIN_WINDOW + Duration::from_millis(1));
    world.policies.expire(world.clock.now(), None).await.expect("stored");
    let later = deployed(&world, PATTERN, 400).await;
    assert_eq!(governed_by(&world, "https://api.example.org/data/x"), Some(format!("{later}@1")));
}

#[tokio::test]
async fn the_limit_of_another_organisation_is_not_shared() {
    let world = many().await;
    let first = deployed(&world, PATTERN, 400).await;
    force_deleted(&world, &first).await;
    let ask = async |path: &str, body: String| {
        let request = Request::post(format!("/OTHER@AdobeOrg/authoring/throttlingConfigs{path}"));
        let request = request.header("content-type", "application/json").body(Body::from(body));
        let (status, _, answer) = world.exchange(request.expect("valid")).await;
        assert!(status.is_success(), "{answer}");
        answer
    };
    let answer = ask("", config(PATTERN, r#""POST""#, 400)).await;
    let (_, uid) = answer.rsplit_once("throttlingConfigs/").expect("a uri");
    let second = &uid[..36];
    ask(&format!("/{second}/deploy"), String::new()).await;
    let pairs = [("org", "OTHER@AdobeOrg")];
    let by = lane(&world, Method::POST, "https://api.example.org/data/x", &pairs);
    assert_eq!(by, Some(format!("{second}@1")));
}

#[tokio::test]
async fn configs_take_turns_in_one_policy_and_never_have_it_together() {
    let world = many().await;
    let first = deployed(&world, PATTERN, 400).await;
    undeployed(&world, &first).await;
    let second = deployed(&world, PATTERN, 300).await;
    assert_eq!(governed_by(&world, "https://api.example.org/data/x"), Some(format!("{first}@2")));

    // The first one cannot have its name back while the second one is active.
    deploy(&world, &first).await;
    let own = governed_by(&world, "https://api.example.org/data/x").expect("governed");
    assert!(own.ends_with("@1") && !own.starts_with(&first) && !own.starts_with(&second), "{own}");
    undeployed(&world, &first).await;
    assert_eq!(governed_by(&world, "https://api.example.org/data/x"), Some(format!("{first}@2")));

    undeployed(&world, &second).await;
    assert_eq!(governed_by(&world, "https://api.example.org/data/x"), None);
    deploy(&world, &second).await;
    assert_eq!(governed_by(&world, "https://api.example.org/data/x"), Some(format!("{first}@3")));
    let (status, _) = ask(&world, Method::DELETE, &format!("/throttlingConfigs/{first}"), "").await;
    assert_eq!(status, StatusCode::OK, "it is idle");
    assert_eq!(governed_by(&world, "https://api.example.org/data/x"), Some(format!("{first}@3")));
}

#[tokio::test]
async fn a_config_that_cannot_be_read_keeps_the_policy_that_it_has_taken_over() {
    let world = many().await;
    let first = deployed(&world, PATTERN, 400).await;
    force_deleted(&world, &first).await;
    deployed(&world, PATTERN, 300).await;
    let (_, body) = world.documents.body("policies").expect("stored");
    let body = String::from_utf8(body.to_vec()).expect("text");
    let broken = body.replace(r#""max_throughput":300"#, r#""max_throughput":"much""#);
    assert_ne!(body, broken);
    let world = reopened(&broken).await;
    let other = created(&world, &config("https://other.example.org/*", r#""POST""#, 400)).await;
    deploy(&world, &other).await;
    assert_eq!(governed_by(&world, "https://api.example.org/data/x"), Some(format!("{first}@2")));
}
