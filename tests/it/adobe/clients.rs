//! Client programs of others, their code unchanged, taken through all calls that they have for the two APIs. They speak
//! TLS, one of them with fixed hosts alone, of which one is a login: all of that is made by the test.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::clients::front::Front;
use crate::clients::{npm_tools, print_table, python_tools, run, source};
use crate::world::{Act, Configured, Endpoint, Receiver, Server};

const ORG: &str = "ACME@AdobeOrg";
/// What the login answers to each request.
const TOKEN: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 69\r\nconnection: close\r\n\r\n\
                     {\"access_token\":\"the-token\",\"token_type\":\"bearer\",\"expires_in\":86399}";

/// The program under the hosts that the clients know, with all headers of the dialect mandatory.
struct World {
    configured: Configured,
    server: Server,
    _login: Endpoint,
    front: Front,
}

impl World {
    async fn start() -> Self {
        let configured = Configured::new(Receiver::start().await);
        configured.write("[listen]\nhosts = [\"platform.adobe.io\"]\n[manage]\nrequire_headers = true\n");
        let server = Server::start(&configured.options);
        let login = Endpoint::start("127.0.0.1:0", |_| Act::SayAndClose(TOKEN)).await;
        let front =
            Front::start(&[("platform.adobe.io", server.addr), ("ims-na1.adobelogin.com", login.addr)]);
        Self { configured, server, _login: login, front }
    }

    /// The status and the code of an event for this path.
    async fn event(&self, path: &str) -> (u16, Value) {
        let url = self.configured.receiver.url(path);
        let event = json!({"url": url, "labels": {"org": ORG}, "body": {"n": 0}});
        let (status, answer) = self.server.api().json("POST", "/v1/events", &event).await;
        (status, answer["code"].clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aepp_goes_through_all_its_calls_and_what_it_deploys_limits_events() {
    let python = python_tools("aepp");
    let world = World::start().await;
    let mut client = Command::new(&python);
    client.arg(source("aepp/use.py")).arg(world.configured.receiver.url(""));
    client.env("PYTHONDONTWRITEBYTECODE", "1");
    world.front.leads(&mut client);
    let told = run(&mut client);
    let steps: Vec<_> = told
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(step, result)| (step.to_owned(), result.to_owned()))
        .collect();
    let mut version = Command::new(&python);
    let version = run(version.args(["-c", "from importlib.metadata import version; print(version('aepp'))"]));
    print_table("aepp", version.trim(), &steps);
    assert_eq!(steps.len(), 22, "{told}");

    let capped = [(202, Value::Null), (202, Value::Null), (202, Value::Null), (429, json!("capped"))];
    for expected in capped {
        assert_eq!(world.event("/capped/x").await, expected);
    }
    assert_eq!(world.event("/throttled/x").await, (202, Value::Null));
    assert_eq!(world.event("/x").await, (422, json!("unmatched")), "and nothing else does");
    assert_eq!(world.server.stop().code(), Some(0));
}

/// Runs a collection under a base path. Whether it ended well, with the name, the status and the failed tests of each request.
fn newman(world: &World, tools: &Path, collection: &str, base_path: &str) -> (bool, Vec<(String, String)>) {
    let report = tempfile::NamedTempFile::new().expect("a file");
    let mut client = Command::new("node");
    client.arg(tools.join("node_modules/newman/bin/newman.js")).arg("run");
    client.arg(source(&format!("newman/{collection}.postman_collection.json")));
    client.args(["--reporters", "json", "--reporter-json-export"]).arg(report.path());
    client.arg("--ssl-extra-ca-certs").arg(world.front.authority());
    let endpoint = world.configured.receiver.url("/data/*");
    let host = world.front.door(world.server.addr).to_string();
    for (name, value) in [
        ("JO_HOST", host.as_str()),
        ("BASE_PATH", base_path),
        ("ACCESS_TOKEN", "the-token"),
        ("API_KEY", "the-key"),
        ("IMS_ORG", ORG),
        ("SANDBOX_NAME", "prod"),
        ("ENDPOINT", &endpoint),
    ] {
        client.args(["--env-var", &format!("{name}={value}")]);
    }
    let output = client.output().expect("node");
    let report = std::fs::read(report.path()).expect("a report");
    let report: Value = serde_json::from_slice(&report).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let executions = report["run"]["executions"].as_array().expect("executions");
    let step = |execution: &Value| {
        let failed = execution["assertions"].as_array().into_iter().flatten();
        let failed: Vec<_> = failed
            .filter(|test| !test["error"].is_null())
            .map(|test| test["error"]["message"].clone())
            .collect();
        let name = execution["item"]["name"].as_str().expect("a name");
        let status = &execution["response"]["code"];
        let result = if failed.is_empty() { status.to_string() } else { format!("{status} {failed:?}") };
        (format!("{name}, base path {base_path}"), result)
    };
    (output.status.success(), executions.iter().map(step).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn newman_runs_the_collections_of_both_apis_under_every_spelling_of_the_base_path() {
    let tools = npm_tools("newman");
    let world = World::start().await;
    let package = std::fs::read(tools.join("node_modules/newman/package.json")).expect("installed");
    let package: Value = serde_json::from_slice(&package).expect("JSON");
    let version = package["version"].as_str().expect("a version");
    let drafted = format!("{ORG}/authoring");
    for collection in ["capping", "throttling"] {
        for base_path in ["/authoring", "authoring", "/journey/orchestration", &drafted] {
            let (is_well, steps) = newman(&world, &tools, collection, base_path);
            print_table("newman", version, &steps);
            assert!(is_well, "{collection} under {base_path}: {steps:#?}");
            assert_eq!(steps.len(), 14, "{steps:#?}");
        }
    }
    let (is_well, steps) = newman(&world, &tools, "capping", "/nowhere");
    assert!(!is_well, "the control: a base path that is none, {steps:#?}");
    assert_eq!(world.server.stop().code(), Some(0));
}
