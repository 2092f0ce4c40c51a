//! The examples of the API description, sent to the real app: each is answered as the description says.

mod schema;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::world::{Api, Configured, Receiver, Server};
use schema::Schemas;
use steps::{Step, steps};

/// One request and what came back.
struct Exchange {
    operation: String,
    /// Content type and name of the example that was sent.
    sent: Option<(String, String)>,
    status: u16,
    content_type: Option<String>,
    body: Vec<u8>,
}

/// Where an operation stands in a document.
fn operation<'d>(document: &'d Value, id: &str) -> Option<(&'d str, &'d str, &'d Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let mut all = paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
    });
    all.find(|(_, _, operation)| operation["operationId"] == id)
}

/// Content type, name and value of every example of a request or response; the only one has no name.
fn examples(content: &Value) -> Vec<(String, String, &Value)> {
    let mut found = Vec::new();
    for (kind, content) in content["content"].as_object().into_iter().flatten() {
        found.extend(content.get("example").map(|value| (kind.clone(), String::new(), value)));
        let named = content["examples"].as_object().into_iter().flatten();
        found.extend(named.map(|(name, example)| (kind.clone(), name.clone(), &example["value"])));
    }
    found
}

/// Puts `{name}` of a path and the text of examples to what is known under the name.
fn filled(text: &str, known: &BTreeMap<String, String>) -> String {
    known.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// Sends what a step says.
async fn play(api: &Api, document: &Value, step: &Step, known: &BTreeMap<String, String>) -> Exchange {
    let (method, path, operation) =
        operation(document, step.operation).unwrap_or_else(|| panic!("{} is not described", step.operation));
    let bodies = examples(&operation["requestBody"]);
    let body = bodies.iter().find(|(_, name, _)| name == step.example);
    assert!(bodies.is_empty() || body.is_some(), "{} has no example {:?}", step.operation, step.example);
    let text = body.map(|(_, _, value)| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    let text = text
        .map(|text| step.changes.iter().fold(text, |text, (from, name)| text.replace(from, &known[*name])));
    let path = format!("{}{}", filled(path, known), filled(step.query, known));
    let kind = body.map(|(kind, ..)| kind.as_str());
    let answer = api.send(&method.to_ascii_uppercase(), &path, kind, text).await;
    Exchange {
        operation: step.operation.to_owned(),
        sent: body.map(|(kind, name, _)| (kind.clone(), name.clone())),
        status: answer.status,
        content_type: answer.content_type,
        body: answer.body,
    }
}

/// Whether an answer is one that the document tells of.
fn check(document: &Value, exchange: &Exchange) -> Result<(), String> {
    let Exchange { operation: id, status, content_type, body, .. } = exchange;
    let (_, _, operation) = operation(document, id).ok_or("the operation is not described")?;
    let response = operation["responses"].get(status.to_string());
    let response = response.ok_or_else(|| format!("the status {status} is not described"))?;
    let shared = response["$ref"].as_str().and_then(|name| document.pointer(name.trim_start_matches('#')));
    let response = shared.unwrap_or(response);
    let contents = response["content"].as_object().cloned().unwrap_or_default();
    let Some(kind) = content_type.as_deref().and_then(|kind| kind.split(';').next()) else {
        let nothing = contents.is_empty() && body.is_empty();
        return if nothing { Ok(()) } else { Err("a body is described, and none came".to_owned()) };
    };
    let of_kind = |(name, _): &(&String, &Value)| name.split(';').next() == Some(kind);
    let content = contents.iter().find(of_kind).map(|(_, content)| content);
    let content = content.ok_or_else(|| format!("{kind} is not described for {status}"))?;
    let text = String::from_utf8(body.clone()).map_err(|error| error.to_string())?;
    let value = match kind {
        kind if kind.ends_with("json") && !kind.ends_with("ndjson") => {
            serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))?
        }
        _ => Value::String(text),
    };
    Schemas(document).check(&content["schema"], &value)?;
    described_code(response, kind, &value)
}

/// All problems have one schema: which codes a status may carry stands beside it.
fn described_code(response: &Value, kind: &str, value: &Value) -> Result<(), String> {
    let is_open = kind != "application/problem+json" || response["x-other-codes"] == true;
    let codes = response["x-codes"].as_array();
    match is_open || codes.is_some_and(|codes| codes.contains(&value["code"])) {
        true => Ok(()),
        false => Err(format!("{} is none of the codes {codes:?}", value["code"])),
    }
}

async fn document(api: &Api) -> Value {
    let (status, text) = api.get("/openapi.json").await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

/// A server on which every dialect can be used, with a policy for the calls of the examples.
fn configured(receiver: Receiver) -> Configured {
    let configured = Configured::new(receiver);
    configured.write(steps::CONFIGURATION);
    configured
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_are_answered_as_the_description_says() {
    let configured = configured(Receiver::start().await);
    // Something to be in doubt about.
    assert_eq!(Server::start(&configured.options).stop().code(), Some(0));
    std::fs::write(configured.options.data_dir.join("limits/usage.log"), "noise").expect("written");
    let server = Server::start(&configured.options);
    let api = server.api();
    let document = document(&api).await;
    let mut known = BTreeMap::new();
    let mut exchanges = Vec::new();
    let mut problems = Vec::new();
    for step in steps() {
        known.extend(step.given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let exchange = play(&api, &document, &step, &known).await;
        let body: Value = serde_json::from_slice(&exchange.body).unwrap_or_default();
        if exchange.status != step.status {
            problems
                .push(format!("{}: {} instead of {}: {body}", step.operation, exchange.status, step.status));
        }
        if let Err(problem) = check(&document, &exchange) {
            problems.push(format!("{} {:?}: {problem}", step.operation, step.example));
        }
        for (name, pointer) in step.takes {
            match body.pointer(pointer) {
                Some(Value::String(text)) => drop(known.insert((*name).to_owned(), text.clone())),
                Some(other) => drop(known.insert((*name).to_owned(), other.to_string())),
                None => problems.push(format!("{}: nothing at {pointer} of {body}", step.operation)),
            }
        }
        exchanges.push(exchange);
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert_eq!(not_sent(&document, &exchanges), BTreeSet::new(), "each example is sent by a step");
    doctored_documents_fail(&document, &exchanges);
    assert_eq!(server.stop().code(), Some(0));
}

/// Operations and examples of the document that no step has sent.
fn not_sent(document: &Value, exchanges: &[Exchange]) -> BTreeSet<String> {
    let mut left = BTreeSet::new();
    for item in document["paths"].as_object().expect("paths").values() {
        for operation in item.as_object().expect("an item").values() {
            let id = operation["operationId"].as_str().expect("an id");
            let of_it = exchanges.iter().filter(|exchange| exchange.operation == id);
            let bodies = examples(&operation["requestBody"]);
            if of_it.clone().next().is_none() {
                left.insert(id.to_owned());
            }
            for (kind, name, _) in bodies {
                if !of_it
                    .clone()
                    .any(|exchange| exchange.sent.as_ref() == Some(&(kind.clone(), name.clone())))
                {
                    left.insert(format!("{id} {kind} {name}"));
                }
            }
        }
    }
    left
}

/// Negative control: with a document that is wrong in one place the same answers do not pass.
fn doctored_documents_fail(document: &Value, exchanges: &[Exchange]) {
    let fails = |change: &str, doctor: &dyn Fn(&mut Value)| {
        let mut doctored = document.clone();
        doctor(&mut doctored);
        assert_ne!(doctored, *document, "{change} changes nothing");
        let failing = exchanges.iter().filter(|exchange| check(&doctored, exchange).is_err()).count();
        assert!(failing > 0, "nobody notices: {change}");
    };
    let schema = |document: &mut Value, name: &str| document["components"]["schemas"][name].take();
    fails("a member is not described", &|document| {
        document["components"]["schemas"]["Receipt"]["properties"]
            .as_object_mut()
            .expect("members")
            .remove("lane");
    });
    fails("a member is missing", &|document| {
        document["components"]["schemas"]["Receipt"]["required"]
            .as_array_mut()
            .expect("a list")
            .push(json!("colour"));
    });
    fails("a member has another type", &|document| {
        document["components"]["schemas"]["Forecast"]["properties"]["expires_first"] =
            json!({"type": "string"});
    });
    fails("a status is not described", &|document| {
        let responses = &mut document["paths"]["/v1/events"]["post"]["responses"];
        responses.as_object_mut().expect("responses").remove("202");
    });
    fails("a content type is not described", &|document| {
        let content = &mut document["paths"]["/v1/events"]["post"]["responses"]["200"]["content"];
        content.as_object_mut().expect("content").remove("application/x-ndjson");
    });
    fails("a code is not described", &|document| {
        document["paths"]["/v1/doubts/{id}"]["get"]["responses"]["404"]["x-codes"] = json!(["gone"]);
    });
    fails("a schema is gone", &|document| drop(schema(document, "PolicyList")));
    fails("a body is described that does not come", &|document| {
        let responses =
            &mut document["paths"]["/authoring/throttlingConfigs/{uid}/deploy"]["post"]["responses"];
        responses["204"]["content"] = json!({"application/json": {"schema": {}}});
    });
}

/// The examples are what the schemas beside them say; the ones of refusals too.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_keep_to_their_schemas() {
    let configured = configured(Receiver::start().await);
    let server = Server::start(&configured.options);
    let document = document(&server.api()).await;
    let schemas = Schemas(&document);
    let mut problems = Vec::new();
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            let responses = operation["responses"].as_object().expect("responses").iter();
            let request = [("request", &operation["requestBody"])];
            for (what, content) in
                responses.map(|(status, response)| (status.as_str(), response)).chain(request)
            {
                for (kind, name, value) in examples(content) {
                    seen += 1;
                    let schema = &content["content"][&kind]["schema"];
                    if let Err(problem) = schemas.check(schema, value) {
                        problems.push(format!("{method} {path} {what} {name}: {problem}"));
                    }
                }
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(seen > 100, "only {seen} examples were found");
    assert_eq!(server.stop().code(), Some(0));
}
