//! Each row of bad input is told with its line, its member and the way out; good blocks become targets.

use http::HeaderValue;

use super::*;
use crate::config::tests::{file, inputs, problems};
use crate::config::{Config, DEFAULTS};

const FULL: &str = r#"
[[cloudevents]]
source = "/shop/*"
url = "https://API.example.org/orders"
method = "put"
headers = { authorization = "Bearer secret", x-list = ["a", "b"] }
labels = { org = "ACME" }
"#;

fn load(text: &str) -> Vec<Target> {
    Config::load(&inputs(&file(text), &[], Vec::new())).expect("valid").config.cloudevents
}

#[test]
fn a_block_becomes_a_target() {
    let targets = load(FULL);
    let [target] = targets.as_slice() else { panic!("{targets:?}") };
    assert_eq!((target.source.as_str(), target.is_prefix), ("/shop/", true));
    assert_eq!((target.url.as_str(), target.method.as_str()), ("https://api.example.org/orders", "PUT"));
    let values: Vec<_> = target.headers.get_all("x-list").iter().map(HeaderValue::as_bytes).collect();
    assert_eq!(values, [b"a", b"b"]);
    assert_eq!(target.labels, BTreeMap::from([("org".to_owned(), "ACME".to_owned())]));
    assert!(!format!("{target:?}").contains("secret"), "credentials are not shown");

    let small = load("[[cloudevents]]\nsource = \"urn:x\"\nurl = \"http://a.test/\"\n");
    let [Target { source, is_prefix, method, headers, labels, .. }] = small.as_slice() else {
        panic!("{small:?}")
    };
    assert_eq!((source.as_str(), *is_prefix, method.as_str()), ("urn:x", false, "POST"));
    assert!(headers.is_empty() && labels.is_empty());
    assert_eq!(load(""), []);
}

#[test]
fn the_example_of_the_defaults_is_a_block() {
    let (_, example) = DEFAULTS.split_once("# [[cloudevents]]\n").expect("an example");
    let lines = example.lines().take_while(|line| line.starts_with("# ")).map(|line| &line[2..]);
    let text = format!("[[cloudevents]]\n{}\n", lines.collect::<Vec<_>>().join("\n"));
    assert_eq!(load(&text).len(), 1, "{text}");
}

#[test]
fn every_bad_member_is_told_with_its_line_and_the_way_out() {
    let many: String = (0..33).map(|n| format!("x-{n} = \"\", ")).collect();
    let many = format!("headers = {{ {} }}", many.trim_end_matches(", "));
    for (member, told) in [
        ("colour = 1", "colour: unknown member; known are source, url, method, headers, labels"),
        ("labls = {}", "labls: unknown member; did you mean labels?"),
        ("method = \"CONNECT\"", "method: must be an HTTP method"),
        ("method = 1", "method: must be an HTTP method"),
        ("method = \"\"", "method: must be an HTTP method"),
        ("headers = []", "headers: must be a table, as headers = {"),
        (
            "headers = { host = \"a\" }",
            "headers.host: belongs to the connection or to tidegate itself; leave it out",
        ),
        ("headers = { ce-id = \"a\" }", "headers.ce-id: is a part of each CloudEvent; leave it out"),
        ("headers = { Content-Type = \"a/b\" }", "headers.Content-Type: is a part of each CloudEvent"),
        ("headers = { traceparent = \"x\" }", "headers.traceparent: belongs to the trace of each event"),
        ("headers = { \"a b\" = \"a\" }", "headers.a b: is not a header name"),
        ("headers = { a = 1 }", "headers.a: must be text, or a list of texts"),
        ("headers = { a = \"x\\ny\" }", "headers.a: must be text, or a list of texts"),
        ("headers = { a = [\"x\", 1] }", "headers.a: must be text, or a list of texts"),
        ("headers = { a = \"x\", A = \"y\" }", "headers.A: is given twice"),
        (&many, "headers: must have at most 32 values and 8192 bytes in all"),
        ("labels = { \"a b\" = \"x\" }", "labels.a b: label key \"a b\" must be 1 to 64 letters"),
        ("labels = { org = 1 }", "labels.org: must be text"),
        ("labels = { org = \"\\u0000\" }", "labels.org: the value of label"),
    ] {
        let text = format!("[[cloudevents]]\nsource = \"/s\"\nurl = \"http://a.test/\"\n{member}\n");
        let found = problems(&text, &[], Vec::new());
        assert!(
            found.len() == 1 && found[0].contains(&format!(":4: cloudevents 1: {told}")),
            "{member}: {found:?}"
        );
    }
    for (block, told) in [
        ("url = \"http://a.test/\"", "cloudevents 1: source: is missing: the source of the CloudEvents"),
        ("source = \"\"\nurl = \"http://a.test/\"", "source: must be the source of the CloudEvents"),
        ("source = \"a shop\"\nurl = \"http://a.test/\"", "with other characters percent-encoded"),
        ("source = 1\nurl = \"http://a.test/\"", "source: must be text"),
        ("source = \"/s\"", "url: is missing: the http or https address to call"),
        ("source = \"/s\"\nurl = \"ftp://a.test/\"", "url: must be an absolute http or https address"),
        ("source = \"/s\"\nurl = \"/x\"", "url: must be an absolute http or https address"),
    ] {
        let found = problems(&format!("[[cloudevents]]\n{block}\n"), &[], Vec::new());
        assert!(found.len() == 1 && found[0].contains(told), "{block}: {found:?}");
    }
    let twice = "[[cloudevents]]\nsource = \"/s\"\nurl = \"http://a.test/\"\n".repeat(2);
    let found = problems(&twice, &[], Vec::new());
    assert!(
        found.len() == 1 && found[0].contains(":5: cloudevents 2: source: must be unique; the block at"),
        "{found:?}"
    );
    let strict = "[labels]\nstrict = true\n[[cloudevents]]\nsource = \"*\"\nurl = \"http://a.test/\"\nlabels = { team = \"x\" }\n";
    let found = problems(strict, &[], Vec::new());
    assert!(
        found.len() == 1 && found[0].contains("labels.team: is not a known label; list it under"),
        "{found:?}"
    );
    let found = problems("[cloudevents]\nsource = \"/s\"\n", &[], Vec::new());
    assert!(found.len() == 1 && found[0].contains("each under a line [[cloudevents]]"), "{found:?}");
}
