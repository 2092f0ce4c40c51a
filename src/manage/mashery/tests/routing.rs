//! Whose a call is, whatever was created and deleted in whatever order: on every level the same endpoint's, as a plain
//! model has it.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::scenarios::{World, endpoint};
use crate::policy::testing::{labels, url};

const ALIASES: [&str; 6] = ["/", "/a", "/ab", "/a/get", "/a/get/x", "/a/put"];
const VERBS: [&[&str]; 3] = [&[], &["GET"], &["POST", "PUT"]];
const METHODS: [&str; 3] = ["get", "put", "x"];
const PATHS: [&str; 8] =
    ["/", "/a", "/a/get", "/abc/x", "/a/get/x/put", "/a/x/get/put", "/ab/put", "/a/put/get/get"];

#[derive(Debug, Clone)]
enum Step {
    Endpoint { service: usize, alias: usize, verbs: usize },
    Method { of: usize, name: usize },
    DeleteEndpoint { of: usize },
    DeleteMethod { of: usize },
}

#[derive(Debug, Clone)]
struct Known {
    id: String,
    service: usize,
    alias: &'static str,
    verbs: &'static [&'static str],
    /// Names and ids.
    methods: Vec<(&'static str, String)>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..2_usize, 0..ALIASES.len(), 0..VERBS.len())
            .prop_map(|(service, alias, verbs)| Step::Endpoint { service, alias, verbs }),
        4 => (0..8_usize, 0..METHODS.len()).prop_map(|(of, name)| Step::Method { of, name }),
        1 => (0..8_usize).prop_map(|of| Step::DeleteEndpoint { of }),
        1 => (0..8_usize).prop_map(|of| Step::DeleteMethod { of }),
    ];
    prop::collection::vec(step, 1..16)
}

async fn take(world: &World, services: &[String], known: &mut Vec<Known>, step: Step) {
    let path = |of: &Known| format!("/services/{}/endpoints/{}", services[of.service], of.id);
    match step {
        Step::Endpoint { service, alias, verbs } => {
            let (alias, verbs) = (ALIASES[alias], VERBS[verbs]);
            let mut body = endpoint("e", alias);
            body["supportedHttpMethods"] = json!(verbs);
            let (status, answer) =
                world.ask("POST", &format!("/services/{}/endpoints", services[service]), &body).await;
            let shares = |of: &Known| {
                of.verbs.is_empty() || verbs.is_empty() || of.verbs.iter().any(|v| verbs.contains(v))
            };
            let taken = known.iter().any(|of| of.alias == alias && shares(of));
            assert_eq!(status, if taken { 400 } else { 200 }, "{answer}");
            if let Some(id) = answer["id"].as_str() {
                known.push(Known { id: id.to_owned(), service, alias, verbs, methods: Vec::new() });
            }
        }
        Step::Method { of, name } => {
            let Some(of) = known.get_mut(of) else { return };
            let name = METHODS[name];
            if of.methods.iter().all(|(known, _)| *known != name) {
                let id = world.create(&format!("{}/methods", path(of)), &json!({"name": name})).await;
                of.methods.push((name, id));
            }
        }
        Step::DeleteEndpoint { of } => {
            if of < known.len() {
                let gone = known.remove(of);
                assert_eq!(world.ask("DELETE", &path(&gone), &Value::Null).await.0, 200);
            }
        }
        Step::DeleteMethod { of } => {
            let Some(of) = known.get_mut(of) else { return };
            if let Some((_, id)) = of.methods.pop() {
                assert_eq!(
                    world.ask("DELETE", &format!("{}/methods/{id}", path(of)), &Value::Null).await.0,
                    200
                );
            }
        }
    }
}

/// What governs a call of a known key.
fn expected(
    services: &[String],
    known: &[Known],
    verb: &str,
    path: &str,
    named: Option<&str>,
) -> BTreeSet<String> {
    let gets = |of: &&Known| path.starts_with(of.alias) && (of.verbs.is_empty() || of.verbs.contains(&verb));
    let Some(of) = known.iter().filter(gets).max_by_key(|of| of.alias.len()) else { return BTreeSet::new() };
    let service = &services[of.service];
    let mut names =
        vec![format!("{service}.overall"), format!("{service}.keys"), format!("{}.endpoint", of.id)];
    let in_path = || {
        let mut segments = path.strip_prefix(of.alias)?.split('/');
        segments.find(|segment| of.methods.iter().any(|(name, _)| name == segment))
    };
    let method = named.or_else(in_path);
    let method = of.methods.iter().find(|(name, _)| Some(*name) == method);
    names.extend(method.map(|(_, id)| format!("{id}.method")));
    names.into_iter().collect()
}

fn governing(world: &World, verb: &str, path: &str, named: Option<&str>) -> BTreeSet<String> {
    let pairs: Vec<_> =
        [("api_key", "k")].into_iter().chain(named.map(|name| ("api_method", name))).collect();
    let to = url(&format!("https://api.example.com{path}"));
    let verb = verb.parse().expect("a verb");
    let lane = world.policies.runtime().route(&verb, &to, &labels(&pairs)).expect("few policies");
    let names = lane.into_iter().flat_map(|lane| lane.policies().to_vec());
    names.map(|part| part.policy.to_string()).filter(|name| !name.ends_with(".rest")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_call_is_the_same_endpoints_on_every_level(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let world = World::new().await;
            let mut services = Vec::new();
            for name in ["one", "two"] {
                services.push(world.create("/services", &json!({"name": name})).await);
            }
            let mut known = Vec::new();
            for step in steps {
                take(&world, &services, &mut known, step).await;
            }
            for verb in ["GET", "PUT"] {
                for path in PATHS {
                    for named in [None, Some("get"), Some("x"), Some("other")] {
                        let expected = expected(&services, &known, verb, path, named);
                        let found = governing(&world, verb, path, named);
                        assert_eq!(found, expected, "{verb} {path} {named:?} {known:#?}");
                    }
                }
            }
        });
    }
}
