//! The description against the routes that are served, and against itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Body;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, Request, StatusCode};
use tower::ServiceExt;

use super::*;
use crate::app::{App, Seams};
use crate::clock::Clock;
use crate::config::{Config, File, Flag, Inputs};
use crate::delivery::{Call, Deliver};
use crate::event::Outcome;
use crate::policy::testing::TestDocuments;
use crate::store::memory::{MemoryStore, MemoryUsages};

struct Nobody;

impl Deliver for Nobody {
    fn attempt(&self, _: Call) -> BoxFuture<'static, Outcome> {
        async { Outcome::Delivered { status: 204 } }.boxed()
    }
}

/// The router of the whole app.
async fn router() -> Router {
    let address = Flag { flag: "test", setting: "listen.address", values: vec!["127.0.0.1:0".to_owned()] };
    let inputs = Inputs { file: File::Absent, flags: vec![address], ..Inputs::default() };
    let config = Config::load(&inputs).expect("a sound configuration").config;
    let clock = Clock::system();
    let seams = Seams {
        store: Arc::new(MemoryStore::new(clock.clone())),
        documents: Arc::new(TestDocuments::default()),
        usages: Arc::new(MemoryUsages::default()),
        deliver: Arc::new(Nobody),
        clock,
    };
    App::over(&config, seams).await.expect("an app").doors.routes
}

/// The paths of all routes. The router does not tell them, but prints them.
fn paths(router: &Router) -> BTreeSet<String> {
    let printed = format!("{router:?}");
    let (printed, _) = printed.split_once("fallback_router").expect("the routes, then the fallback");
    let texts = printed.split('"').filter(|text| text.starts_with('/') && !text.contains("__private__"));
    texts.map(str::to_owned).collect()
}

/// What is served under a path: it stands in the answer to a method that no route has. `HEAD` comes with `GET`.
async fn methods(router: &Router, path: &str) -> BTreeSet<Method> {
    let sample = path.replace(['{', '}'], "");
    let request = Request::builder().method("PROBE").uri(sample).body(Body::empty()).expect("a request");
    let answer = router.clone().oneshot(request).await.expect("an answer");
    if answer.status() == StatusCode::NOT_FOUND {
        return BTreeSet::new();
    }
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
    let allowed = answer.headers()["allow"].to_str().expect("text").split(',');
    let methods = allowed.map(|method| method.trim().parse().expect("a method"));
    methods.filter(|method| method != Method::HEAD).collect()
}

/// Method, path and operation of everything that is described.
fn operations_of(document: &Value) -> Vec<(Method, String, &Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            let method = method.to_ascii_uppercase().parse().expect("a method");
            found.push((method, path.clone(), operation));
        }
    }
    found
}

/// Whether a described path leads to a route: the parameters of the route stand for anything.
fn leads_to(path: &str, route: &str) -> bool {
    let (path, route) = (path.split('/').collect::<Vec<_>>(), route.split('/').collect::<Vec<_>>());
    let fits = |(path, route): (&&str, &&str)| path == route || route.starts_with('{');
    path.len() == route.len() && path.iter().zip(&route).all(fits)
}

/// What is described and not served, and what is served and not described.
async fn differences(document: &Value, router: &Router) -> Vec<String> {
    let described = operations_of(document);
    let mut found = Vec::new();
    for (method, path, _) in &described {
        if !methods(router, path).await.contains(method) {
            found.push(format!("described and not served: {method} {path}"));
        }
    }
    for route in paths(router) {
        let served = methods(router, &route).await;
        assert!(!served.is_empty(), "{route} is no route");
        let untold = served.into_iter().filter(|method| {
            !described.iter().any(|(known, path, _)| known == method && leads_to(path, &route))
        });
        found.extend(untold.map(|method| format!("served and not described: {method} {route}")));
    }
    found
}

#[tokio::test]
async fn every_route_is_described_and_every_described_one_is_served() {
    let router = router().await;
    assert!(paths(&router).len() > 20, "{:?}", paths(&router));
    let document = api_doc();
    let different = differences(&document, &router).await;
    assert!(different.is_empty(), "{different:#?}");

    let mut changed = document.clone();
    let paths = changed["paths"].as_object_mut().expect("paths");
    let live = paths.remove("/livez").expect("described");
    paths.insert("/alive".to_owned(), live);
    let different = differences(&changed, &router).await;
    assert_eq!(different, ["described and not served: GET /alive", "served and not described: GET /livez"]);
    let more = router.route("/x/{y}", axum::routing::put(|| async {}));
    assert_eq!(differences(&document, &more).await, ["served and not described: PUT /x/{y}"]);
}

/// Whoever takes a body in JSON refuses one that is not stated to be that: a browser may send those to anybody.
#[tokio::test]
async fn a_body_of_another_type_than_json_is_refused_everywhere() {
    let (router, document) = (router().await, api_doc());
    let of_json = |operation: &Value| operation["requestBody"]["content"].get("application/json").is_some();
    let all = operations_of(&document);
    let all: Vec<_> = all.iter().filter(|(_, _, operation)| of_json(operation)).collect();
    assert!(all.len() > 15, "{}", all.len());
    let mut taken = Vec::new();
    for (method, path, _) in all {
        let request = Request::builder().method(method).uri(path.replace(['{', '}'], ""));
        let request = request.header("content-type", "text/plain").body(Body::from("{}"));
        let answer = router.clone().oneshot(request.expect("a request")).await.expect("an answer");
        // Some look first for what the path names.
        let is_gone = answer.status() == StatusCode::NOT_FOUND && path.contains('{');
        if answer.status() != StatusCode::UNSUPPORTED_MEDIA_TYPE && !is_gone {
            taken.push(format!("{method} {path}: {}", answer.status()));
        }
    }
    assert!(taken.is_empty(), "{taken:#?}");
}

#[test]
fn schemas_of_one_name_are_the_same_in_all_documents() {
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    for door in doors().chain([ApiDocFrame::openapi()]) {
        for (name, schema) in door.components.expect("schemas").schemas {
            let schema = serde_json::to_value(schema).expect("a value");
            let other = known.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(*other, schema, "{name} means two things; give one of them another name with `as`");
        }
    }
}

#[test]
fn the_document_holds_together() {
    let document = api_doc();
    let mut problems = Vec::new();
    unresolved(&document, &document, &mut problems);
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations_of(&document) {
        let mut miss = |what: &str| problems.push(format!("{method} {path} {what}"));
        if !ids.insert(operation["operationId"].as_str().expect("an id").to_owned()) {
            miss("has the id of another operation");
        }
        if operation["summary"].as_str().is_none_or(str::is_empty) || operation["tags"][0] == "crate" {
            miss("has no summary or tag");
        }
        let body = operation["requestBody"]["content"].as_object().into_iter().flatten();
        let mut bare =
            body.filter(|(_, content)| content.get("example").or(content.get("examples")).is_none());
        if bare.next().is_some() {
            miss("has a request without an example");
        }
        let successes = operation["responses"].as_object().expect("responses").iter();
        for (status, response) in successes.filter(|(status, _)| status.starts_with('2')) {
            let content = response["content"].as_object().into_iter().flatten();
            let json = content.filter(|(kind, _)| *kind == "application/json" && path != "/openapi.json");
            let mut bare =
                json.filter(|(_, content)| content.get("example").or(content.get("examples")).is_none());
            if bare.next().is_some() {
                miss(&format!("has a response {status} without an example"));
            }
        }
        for part in path.split('/').filter_map(|part| Some(part.strip_prefix('{')?.split_once('}')?.0)) {
            let parameters = operation["parameters"].as_array().expect("parameters");
            if !parameters.iter().any(|known| known["name"] == part && known["in"] == "path") {
                miss("does not describe a parameter of its path");
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

fn unresolved(document: &Value, value: &Value, problems: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str)
                && document.pointer(reference.trim_start_matches('#')).is_none()
            {
                problems.push(format!("{reference} leads nowhere"));
            }
            members.values().for_each(|member| unresolved(document, member, problems));
        }
        Value::Array(items) => items.iter().for_each(|item| unresolved(document, item, problems)),
        _ => {}
    }
}

/// The manual and this description show the table that refusals are made from.
#[test]
fn the_manual_and_the_description_say_where_labels_come_from() {
    let table = manage::label_table();
    let chapter = crate::manual::chapter("systems").expect("a chapter").text;
    assert!(chapter.contains(&table), "the chapter wants\n{table}");
    let document = api_doc();
    let route = &document["paths"]["/v1/events"]["post"];
    let about = route["description"].as_str().expect("text");
    assert!(about.contains(table.trim_end()), "{about}");
    for (header, label) in manage::label_headers() {
        let parameters = route["parameters"].as_array().expect("a list");
        let says = |one: &&Value| one["name"] == header && one["description"].to_string().contains(label);
        assert!(parameters.iter().any(|one| says(&one)), "{header}");
    }
}
