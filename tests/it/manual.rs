//! The manual's examples and the README's quick start, run against the real program.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use tidegate::testkit::manual::{CHAPTERS, Chapter, chapter};

use crate::world::{Configured, Receiver, Server, eventually};

/// What the examples need beside what they make themselves.
const CONFIGURATION: &str = r#"
[queue]
unmatched = "pass"

[[policy]]
name = "crm"
url = "https://api.example.org/*"
pace = 200
"#;

/// What the examples of a chapter must print.
const PRINTED: &[(&str, &[&str])] = &[
    ("http-api", &["\"openapi\":"]),
    (
        "events",
        &["202 Accepted", "\"line\":2,\"status\":202", "\"state\":\"delayed\"", "\"outcome\":\"cancelled\""],
    ),
    ("throttling", &["\"validationStatus\":\"ok\"", "\"policies\":["]),
    ("capping", &["\"line\":2,\"status\":202", "\"line\":3,\"status\":429", "\"capped\""]),
    ("mashery", &["\"line\":1,\"status\":202", "\"ERR_403_DEVELOPER_OVER_RATE\""]),
    ("mediarithmics", &["\"max_qps\":0.5", "\"policies\":["]),
    ("responsys", &["\"line\":1,\"status\":202", "\"API_LIMIT_EXCEEDED\""]),
    ("dead-letters", &["\"groups\":", "\"matched\":"]),
    ("steering", &["\"crm\"", "maintenance of the partner"]),
];

/// The blocks of code in a language.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let start = format!("```{language}\n");
    text.split(&start).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

/// Feeds lines to a shell, as pasting does. The first line that fails ends it.
async fn shell(directory: &Path, environment: &[(&str, &str)], lines: &str) -> Output {
    let mut shell = Command::new("bash");
    shell.arg("-s").current_dir(directory).envs(environment.iter().copied());
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let lines = format!("set -euo pipefail\n{lines}\n");
    let run = move || {
        let mut shell = shell.spawn().expect("bash");
        let mut input = shell.stdin.take().expect("piped");
        input.write_all(lines.as_bytes()).expect("a reader");
        drop(input);
        shell.wait_with_output().expect("its end")
    };
    tokio::task::spawn_blocking(run).await.expect("no panic")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server for the examples of one chapter.
async fn started() -> (Configured, Server) {
    let configured = Configured::new(Receiver::start().await);
    configured.write(CONFIGURATION);
    let server = Server::start(&configured.options);
    (configured, server)
}

/// Lets examples call this server and receiver in place of those that they name.
fn addressed(example: &str, configured: &Configured, server: &Server) -> String {
    let receiver = configured.receiver.url("");
    let receiver = receiver.trim_start_matches("http://").trim_end_matches('/');
    example.replace("127.0.0.1:9000", receiver).replace("127.0.0.1:7080", &server.addr.to_string())
}

/// Runs the examples with `curl` of a chapter one after the other; what they print.
async fn run(chapter: &Chapter) -> Result<String, String> {
    let examples: Vec<_> =
        blocks(chapter.text, "sh").into_iter().filter(|block| block.contains("curl ")).collect();
    let (configured, server) = started().await;
    // An answer of 400 or above is a failure of the example, where its status is that of the whole.
    let lines =
        format!("curl() {{ command curl --fail-with-body \"$@\" && echo; }}\n{}", examples.join("\n"));
    let lines = addressed(&lines, &configured, &server);
    let output = shell(Path::new("/"), &[], &lines).await;
    let printed = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(server.stop().code(), Some(0));
    if output.status.success() { Ok(printed) } else { Err(printed) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_chapters_do_what_they_say() {
    let with_examples = CHAPTERS
        .iter()
        .filter(|chapter| blocks(chapter.text, "sh").iter().any(|block| block.contains("curl ")));
    for chapter in with_examples {
        let printed = run(chapter).await.unwrap_or_else(|printed| panic!("{}: {printed}", chapter.name));
        let expected = PRINTED.iter().find(|(name, _)| *name == chapter.name);
        let (_, expected) = expected.unwrap_or_else(|| panic!("{}: what is printed?", chapter.name));
        for part in *expected {
            assert!(printed.contains(part), "{}: no {part} in {printed}", chapter.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_example_that_is_refused_would_be_noticed() {
    let text = "```sh\ncurl -s http://127.0.0.1:7080/v1/policies/crm\ncurl -s http://127.0.0.1:7080/v1/policies/none\n```\n";
    let printed = run(&Chapter { name: "sample", text }).await;
    assert!(printed.as_ref().is_err_and(|printed| printed.contains("policy_not_found")), "{printed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_the_manual_are_accepted() {
    let events = chapter("events").expect("a chapter");
    let (configured, server) = started().await;
    let api = server.api();
    let mut count = 0;
    for block in blocks(events.text, "json") {
        let event = addressed(block, &configured, &server);
        let (status, answer) =
            api.post("/v1/events", "application/json", event.clone()).await.expect("an answer");
        assert_eq!(status, 202, "{event}: {answer}");
        count += 1;
    }
    assert!(count >= 2, "{count}");
    assert_eq!(server.stop().code(), Some(0));
}

/// A value that the setting does not have by default; nothing for what the harness sets by flags, and for what only a program
/// with a feature takes.
fn other_value(name: &str, default: &toml::Value, values: &str) -> Option<toml::Value> {
    let text = |text: &str| Some(toml::Value::from(text));
    match (name, default) {
        ("listen.address" | "store.data_dir" | "egress.allow" | "traces.endpoint" | "outcomes.url", _) => {
            None
        }
        ("store.epoch_file", _) => text("/tmp/elsewhere/epoch"),
        ("store.key_file", _) => text("/tmp/elsewhere/keys"),
        ("log.level", _) => text("debug"),
        ("listen.hosts" | "labels.declared", _) => Some(toml::Value::from(vec!["other"])),
        ("capping.status", _) => Some(toml::Value::from(409)),
        // Below twice a segment there is no bound but 0.
        ("store.max_dead_letter_bytes", _) => Some(toml::Value::from(1_i64 << 40)),
        ("responsys.accounts", _) => {
            Some("x = [{ name = \"acme\" }]".parse::<toml::Table>().expect("TOML")["x"].clone())
        }
        ("manage.sandboxes", toml::Value::Array(sandboxes)) => {
            let mut other = sandboxes.clone();
            other[0]["production"] = toml::Value::from(false);
            Some(toml::Value::from(other))
        }
        (_, toml::Value::Boolean(flag)) => Some(toml::Value::from(!flag)),
        (_, toml::Value::Integer(number)) => {
            let high = values.split(',').next()?.split(" to ").nth(1)?.parse::<i64>().expect("a bound");
            Some(toml::Value::from(if *number < high { number + 1 } else { number - 1 }))
        }
        (_, toml::Value::Float(share)) => Some(toml::Value::from(share / 2.0)),
        (_, toml::Value::String(word)) => {
            let words = values.split('"').skip(1).step_by(2);
            text(words.into_iter().find(|other| other != word).unwrap_or("other"))
        }
        _ => panic!("another value for {name}?"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_setting_is_active_when_its_table_says() {
    let configuration = chapter("configuration").expect("a chapter");
    let mut sections: BTreeMap<&str, toml::Table> = BTreeMap::new();
    let mut at_start = BTreeSet::new();
    for row in configuration.text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, default, _, values, active] = cells[..] else { continue };
        let (name, default) = (name.trim_matches('`'), default.trim_matches('`'));
        let default = &format!("x = {default}").parse::<toml::Table>().expect("TOML")["x"];
        let Some(other) = other_value(name, default, values) else { continue };
        let (section, key) = name.split_once('.').expect("a section");
        sections.entry(section).or_default().insert(key.to_owned(), other);
        if active == "start" {
            at_start.insert(name);
        }
    }
    let configured = Configured::new(Receiver::start().await);
    configured.write("");
    let server = Server::start(&configured.options);
    configured.write(&toml::to_string(&sections).expect("TOML"));
    server.signal("HUP");
    let found = || {
        server.log().into_iter().find(|line| line.contains("with a restart") || line.contains("is not taken"))
    };
    eventually("the file is read", Duration::from_secs(30), async || found().is_some()).await;
    let line: Value = serde_json::from_str(&found().expect("a line")).expect("JSON");
    let named: BTreeSet<&str> = line["settings"].as_str().unwrap_or_default().split(", ").collect();
    assert_eq!(named, at_start, "{line}");
    assert!(at_start.len() > 40, "{at_start:?}");
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_formats_of_the_manual_are_those_on_disk() {
    let (configured, server) = started().await;
    assert_eq!(server.api().enqueue(&configured.receiver.url("/x"), 0..1).await.len(), 1);
    assert_eq!(server.stop().code(), Some(0));
    let directory = &configured.options.data_dir;
    let read = |name: &str| std::fs::read(directory.join(name)).expect("a file of the directory");
    // The formats that a file of text names, from its start on.
    let named = |name: &str, nth: usize| {
        let file = text(&read(name));
        let found = file.split("\"format\":").nth(nth + 1).expect("a format");
        found.trim_start().split(|letter: char| !letter.is_ascii_digit()).next().expect("a number").to_owned()
    };
    let segment = read("journal/0000000001.seg");
    let on_disk = [
        ("`FORMAT`", text(&read("FORMAT")).trim().to_owned()),
        ("`journal/*.seg`", u16::from_le_bytes([segment[8], segment[9]]).to_string()),
        ("`documents/*.json`", named("documents/policies.json", 0)),
        ("`documents/policies.json`", named("documents/policies.json", 1)),
        ("`limits/usage.log`", named("limits/usage.log", 0)),
        ("`account.a`", named("account.a", 0)),
        ("`epoch`", named("epoch", 0)),
        ("`clock`", named("clock", 0)),
    ];
    let versions = chapter("versions").expect("a chapter");
    for (name, format) in on_disk {
        let row = versions.text.lines().find(|line| line.starts_with("| ") && line.contains(name));
        let row = row.unwrap_or_else(|| panic!("no row for {name}"));
        assert_eq!(row.split(" | ").nth(1), Some(format.as_str()), "{name}");
    }
}

/// A port that is free at present.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quick_start_of_the_readme_works_as_it_is_pasted() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).expect("the README");
    let (_, section) = readme.split_once("\n## Quick start\n").expect("a section");
    let (section, _) = section.split_once("\n## ").expect("a next section");
    let pasted = blocks(section, "sh").join("\n");
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().display().to_string();
    let program =
        Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().expect("a directory").display().to_string();
    let (daemon, web) = (free_port(), free_port());
    // The program is built already; what else the machine runs must not be in the way.
    let build = "cargo build --release && PATH=\"$PWD/target/release:$PATH\"";
    assert!(pasted.contains(build), "{pasted}");
    let lines = pasted
        .replace(build, &format!("PATH=\"{program}:$PATH\""))
        .replace("/tmp/quick-start", &format!("{place}/quick-start"))
        .replace("9000", &web.to_string())
        .replace("127.0.0.1:7080", &format!("127.0.0.1:{daemon}"));
    // Nothing is left behind when a line fails.
    let lines = format!("trap 'kill ${{WEB:-}} ${{DAEMON:-}} 2>/dev/null || true' EXIT\n{lines}");
    let listen = format!("127.0.0.1:{daemon}");
    let output = shell(directory.path(), &[("TIDEGATE_LISTEN_ADDRESS", &listen)], &lines).await;
    let log = std::fs::read_to_string(directory.path().join("quick-start/tidegate.log")).unwrap_or_default();
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}\n{log}", text(&output.stderr));
    for part in [
        "202 Accepted",
        "\"line\":1000,\"status\":202",
        "\"held\":",
        "\"id\": \"local\"",
        "the configuration is valid",
    ] {
        assert!(printed.contains(part), "no {part} in {printed}");
    }
    let figure = |name: &str| {
        let lines = printed.lines().filter(|line| line.starts_with(name) && line.contains("local"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let delivered = figure("tidegate_events_completed_total");
    assert!(delivered > 200.0, "{printed}");
    assert_eq!(figure("tidegate_limit_violations_total"), 0.0, "{printed}");
    assert!(figure("tidegate_limit_window_peak") <= 200.0, "{printed}");
}
