//! Runs the request/response files of one API in `tests/contract/` against its router, each under all base paths.
//!
//! A file holds `about`, `options`, optionally the stored `document` to start from, and `steps`. Bodies are
//! compared as text, so that the order of members counts. `{{uid..}}`, `{{time..}}` and `{{request..}}` stand
//! for a UUID, a time and a request id: the first sight binds the name to a value that no other name has,
//! later ones must repeat it. `{{build}}` stands for seven hexadecimal digits. The shorthand `failure`
//! expands to the documented error envelope.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::{Clock, Timestamp};
use crate::manage::Options;
use crate::manage::adobe::routing::BASES;
use crate::manage::adobe::{AdobeOptions, Authoring, Identity, Sandbox, SandboxKind};
use crate::manage::testing::{self, Slashes, Spelled, respelled};
use crate::policy::Policies;
use crate::policy::testing::{Fault, labels};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    #[expect(dead_code, reason = "for the reader of the file")]
    about: String,
    #[serde(default)]
    options: Overrides,
    document: Option<Box<RawValue>>,
    steps: Vec<Step>,
}

/// What a file changes of the options.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(in crate::manage) struct Overrides {
    reject_invalid: bool,
    require_headers: bool,
    pub(in crate::manage) error_as_object: bool,
    pub(in crate::manage) max_configs_per_org: Option<usize>,
    pub(in crate::manage) throughput_max: Option<u32>,
    pub(in crate::manage) require_strategy: bool,
}

/// One API under test.
pub(in crate::manage) struct Suite {
    /// Below `tests/contract`.
    pub(in crate::manage) folder: &'static str,
    /// What `context` begins with.
    pub(in crate::manage) context: &'static str,
    /// `schema`, from the sandbox's name.
    pub(in crate::manage) schema: fn(&str) -> String,
    pub(in crate::manage) error_as_object: fn(&Overrides) -> bool,
    pub(in crate::manage) router: fn(&Overrides, Policies, Clock, fastrand::Rng) -> Router,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    request: Ask,
    response: Expected,
    /// The next write to the store fails.
    #[serde(default)]
    store_fails: bool,
    #[serde(default)]
    wait_seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Box<RawValue>>,
    body_text: Option<String>,
    /// A config whose name fills the body up to this many bytes.
    body_bytes: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Absent: no body at all.
    body: Option<Box<RawValue>>,
    failure: Option<ExpectedFailure>,
    /// The body is not compared.
    #[serde(default)]
    any_body: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedFailure {
    code: u32,
    message: String,
    #[serde(default = "prod")]
    sandbox: String,
    /// The validation status of a config that is refused for its faults.
    can_deploy: Option<Box<RawValue>>,
}

fn prod() -> String {
    "prod".to_owned()
}

pub(in crate::manage) type World = testing::World<Authoring>;

/// The organisation of requests that name none.
pub(in crate::manage) const ORG: &str = "AC202A3A5F615BD30A495FDE@AdobeOrg";

pub(in crate::manage) async fn world(
    router: impl FnOnce(Policies, Clock, fastrand::Rng) -> Router,
    document: Option<&str>,
) -> World {
    World::over(Timestamp::from_nanos(1_679_482_096_099_647_000), document, router).await
}

/// The identity and the sandboxes of the published samples, and two sandboxes more.
pub(in crate::manage) fn options(overrides: &Overrides) -> AdobeOptions {
    let sandbox = |name: &str, id: &str, kind| Sandbox { name: name.into(), id: id.into(), kind };
    AdobeOptions {
        default_org: ORG.to_owned(),
        sandboxes: vec![
            sandbox("prod", "8872a010-f91e-11ea-895c-11ef8f98ba52", SandboxKind::Production),
            sandbox("second-prod", "8872a010-f91e-11ea-895c-11ef8f98ba53", SandboxKind::Production),
            sandbox("ui-tests", "8872a010-f91e-11ea-895c-11ef8f98ba54", SandboxKind::Development),
        ],
        identity: Identity {
            name: "dacce1c3-d08b-4862-b434-2a4449c7e642@techacct.adobe.com".to_owned(),
            id: "309F2A46640B0B300A495C83@techacct.adobe.com".to_owned(),
        },
        reject_invalid: overrides.reject_invalid,
        require_headers: overrides.require_headers,
        ..AdobeOptions::default()
    }
}

/// Takes blanks outside of strings away; members keep their order.
fn compact(json: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    json.chars()
        .filter(|c| {
            let keep = inside || !c.is_whitespace();
            match (*c, escaped) {
                ('"', false) => inside = !inside,
                ('\\', false) => escaped = true,
                _ => escaped = false,
            }
            keep
        })
        .collect()
}

#[derive(Default)]
struct Bindings(BTreeMap<String, String>);

impl Bindings {
    fn fill(&self, text: &str) -> String {
        self.0
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value))
    }

    /// Compares and binds new names.
    fn check(&mut self, template: &str, actual: &str) -> Result<(), String> {
        let (mut template, mut rest) = (template, actual);
        while let Some((before, after)) = template.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or("an open placeholder")?;
            rest = rest.strip_prefix(before).ok_or_else(|| format!("expected {before}\nfound    {rest}"))?;
            let (length, fits): (usize, fn(char) -> bool) = match name {
                name if name.starts_with("uid") => (36, |c| c.is_ascii_hexdigit() || c == '-'),
                name if name.starts_with("time") => (27, |c| c.is_ascii_digit() || "-:.TZ".contains(c)),
                name if name.starts_with("request") => (32, |c| c.is_ascii_alphanumeric()),
                "build" => (7, |c| c.is_ascii_hexdigit()),
                other => return Err(format!("unknown placeholder {other}")),
            };
            let value = rest.get(..length).filter(|value| value.chars().all(fits));
            let value = value.ok_or_else(|| format!("no {name} at {rest}"))?;
            match self.0.get(name) {
                Some(bound) if bound != value => return Err(format!("{name} was {bound}, is {value}")),
                Some(_) => {}
                None if self.0.values().any(|other| other == value) => {
                    return Err(format!("{name} is {value}, as another name is"));
                }
                None => drop(self.0.insert(name.to_owned(), value.to_owned())),
            }
            rest = rest.get(length..).unwrap_or_default();
            template = after;
        }
        if rest == template { Ok(()) } else { Err(format!("expected {template}\nfound    {rest}")) }
    }
}

fn expected_body(suite: &Suite, expected: &Expected, request: usize, as_object: bool) -> String {
    let Some(failure) = &expected.failure else {
        return expected.body.as_ref().map(|body| compact(body.get())).unwrap_or_default();
    };
    let (code, message) = (failure.code, &failure.message);
    let schema = format!(",\"schema\":\"{}\"", (suite.schema)(&failure.sandbox));
    let (family, schema) = match code {
        4000 => ("INTERNAL_ERROR", ""),
        _ => ("INPUT_OUTPUT_ERROR", schema.as_str()),
    };
    let error = format!(
        "{{\"code\":{code},\"family\":\"{family}\",\"message\":\"{message}\",\"service\":\"vyg-authoring-api\",\
         \"version\":\"{{{{build}}}}\",\"context\":\"{}:{code}\"{schema}}}",
        suite.context
    );
    let error = if as_object { error } else { format!("\"{}\"", error.replace('"', "\\\"")) };
    let faults =
        failure.can_deploy.as_ref().map(|faults| format!(",\"canDeploy\":{}", compact(faults.get())));
    format!(
        "{{\"status\":{},\"error\":{error},\"requestId\":\"{{{{request{request}}}}}\"{}}}",
        expected.status,
        faults.unwrap_or_default()
    )
}

async fn play(suite: &Suite, scenario: &Scenario, base: &str) -> Result<(), String> {
    let router = |policies, clock, random| (suite.router)(&scenario.options, policies, clock, random);
    let world = world(router, scenario.document.as_ref().map(|text| text.get())).await;
    let as_object = (suite.error_as_object)(&scenario.options);
    let mut bindings = Bindings::default();
    for (number, step) in scenario.steps.iter().enumerate() {
        let Ask { method, path, headers, body, body_text, body_bytes } = &step.request;
        world.clock.advance(Duration::from_secs(step.wait_seconds) + Duration::from_micros(1_500_001));
        world.policies.expire(world.clock.now(), None).await.map_err(|error| error.to_string())?;
        world.documents.fail(step.store_fails.then_some(Fault::Refuse));
        let body = match (body, body_text, body_bytes) {
            (Some(body), ..) => body.get().to_owned(),
            (_, Some(text), _) => text.clone(),
            (.., Some(bytes)) => format!("{{\"name\":\"{}\"}}", "x".repeat(bytes - 11)),
            _ => String::new(),
        };
        let mut request =
            Request::builder().method(method.as_str()).uri(format!("{base}{}", bindings.fill(path)));
        // Where it is not what a scenario is about.
        if !scenario.options.require_headers {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(body)).map_err(|error| error.to_string())?;
        let (status, headers, body) = world.exchange(request).await;
        let at =
            |problem: String| format!("step {number} ({method} {path}): {problem}\nwhole answer: {body}");
        if status.as_u16() != step.response.status {
            return Err(at(format!("status {status}")));
        }
        for (name, value) in &step.response.headers {
            let found = headers.get(name).and_then(|value| value.to_str().ok());
            if found != Some(value) {
                return Err(at(format!("header {name}: {found:?}")));
            }
        }
        let expected = expected_body(suite, &step.response, number, as_object);
        if !step.response.any_body {
            bindings.check(&expected, &body).map_err(at)?;
        }
    }
    Ok(())
}

/// Every file of the suite, which holds at least so many.
pub(in crate::manage) async fn play_all(suite: &Suite, files_min: usize) {
    let folder = format!("{}/tests/contract/{}", env!("CARGO_MANIFEST_DIR"), suite.folder);
    let mut files = 0;
    let mut problems = Vec::new();
    for file in std::fs::read_dir(folder).expect("the folder is there") {
        files += 1;
        let path = file.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let scenario: Scenario =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // The first draft's base names the organisation, which a step that does so itself would contradict.
        let drafted = (!text.to_lowercase().contains("x-gw-ims-org-id")).then(|| format!("/{ORG}/authoring"));
        for base in BASES.into_iter().chain(drafted.as_deref()) {
            if let Err(problem) = play(suite, &scenario, base).await {
                problems.push(format!("{} under {base}: {problem}", path.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
    assert!(files >= files_min, "only {files} scenarios were found");
}

#[test]
fn the_comparison_can_fail() {
    let check = |template: &str, actual: &str| Bindings::default().check(template, actual);
    assert!(check(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#).is_err(), "the order of members counts");
    assert!(check(r#"{"a":1}"#, r#"{"a":1} "#).is_err());
    assert!(check("{{time}}", "2023-03-22T10:48:16.099Z").is_err());
    let time = "2023-03-22T10:48:16.099647Z";
    assert!(check("{{time1}}{{time1}}", &time.repeat(2)).is_ok());
    assert!(check("{{time1}}{{time2}}", &time.repeat(2)).is_err());
    assert_eq!(compact("{ \"a b\" : [ 1, \"\\\" x\" ] }"), "{\"a b\":[1,\"\\\" x\"]}");
}

/// What [`no_spelling_escapes`] wants a config to govern, by POST.
pub(in crate::manage) const EVERYTHING_OF_A_HOST: &str = "http://h.test:8080/*";

/// Calls without a label, in whatever spelling, are governed by this policy alone: organisation and sandbox are the
/// configured ones.
pub(in crate::manage) fn no_spelling_escapes(world: &World, policy: &str) {
    let fallback = labels(&[("org", ORG), ("sandbox", "prod")]);
    let governing = |call: &Spelled| world.governing(&Options::default(), call, &fallback);
    proptest!(ProptestConfig::with_cases(2_000), |(seed in any::<u64>())| {
        let mut dice = fastrand::Rng::with_seed(seed);
        let url = format!("{}?x={}#y", respelled("/data/2.5/weather", Slashes::Anywhere, &mut dice), dice.u8(..));
        let call = Spelled { method: Method::POST, url, headers: HeaderMap::new(), body: String::new() };
        prop_assert_eq!(governing(&call), [policy], "{:?}", call);
        // The controls: another method, another port.
        let other = Spelled { method: Method::GET, ..call.clone() };
        prop_assert!(governing(&other).is_empty(), "{:?}", other);
        let other = Spelled { url: call.url.replacen("8080", "8081", 1), ..call.clone() };
        prop_assert!(governing(&other).is_empty(), "{:?}", other);
    });
}
