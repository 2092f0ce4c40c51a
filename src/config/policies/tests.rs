//! Each row of bad input is told with its line, its member and its range; good blocks become policies.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use http::Method;

use super::*;
use crate::config::tests::{file, inputs, problems};
use crate::config::{Config, ConfigError};
use crate::event::Labels;
use crate::policy::{Family, LabelCondition, Overlap, Pace, Period, Quota, Scope, Window};

const FULL: &str = r#"
[[policy]]
name = "crm"
url = "https://API.example.org/*"
methods = ["POST", "get", "POST"]
labels = { org = "ACME" }
pace = 0.5
window = { calls = 100, per_ms = 1000 }
quota = { calls = 1000, per = "hour" }
slots = 50
timeout_ms = 5000
family = "refuse"
scope = ["org", "datamart"]
"#;

fn load(text: &str) -> Result<Config, ConfigError> {
    Config::load(&inputs(&file(text), &[], Vec::new())).map(|loaded| loaded.config)
}

/// The problems of a block with a name, a url, a pace and this member on its fourth line.
fn of_member(member: &str) -> Vec<String> {
    let pace = if member.starts_with("pace") { "" } else { "pace = 1" };
    problems(
        &format!("[[policy]]\nname = \"p\"\nurl = \"https://h.org/*\"\n{member}\n{pace}\n"),
        &[],
        Vec::new(),
    )
}

#[test]
fn a_block_becomes_a_policy() {
    let policies = load(FULL).expect("valid").policies;
    let [FilePolicy { name, spec }] = policies.as_slice() else { panic!("{policies:?}") };
    assert_eq!(name.as_str(), "crm");
    assert_eq!(spec.clauses[0].pattern.as_str(), "https://api.example.org/*");
    assert_eq!(spec.clauses[0].methods, [Method::POST, Method::GET]);
    assert_eq!(spec.clauses[0].labels, [LabelCondition::equals("org", "ACME")]);
    assert_eq!(spec.limits.pace, Pace::per_second(0.5).ok());
    assert_eq!(spec.limits.window, Window::new(100, 1000).ok());
    assert_eq!(spec.limits.quota, Quota::new(1000, Period::Hour).ok());
    assert_eq!(spec.limits.slots, NonZeroU32::new(50));
    assert_eq!(spec.limits.timeout, Some(Duration::from_secs(5)));
    assert_eq!((spec.family, &spec.overlap), (Family::Refuse, &Overlap::All));
    assert_eq!(spec.scope, Scope::new(&["datamart", "org"]).expect("valid"));
}

#[test]
fn what_is_absent_takes_its_default_and_every_limit_is_enough() {
    for limit in ["pace = 1", "window.calls = 1\nwindow.per_ms = 1", "slots = 65536", "timeout_ms = 600_000"]
    {
        let text = format!("[[policy]]\nname = \"p\"\nurl = \"https://h.org/*\"\n{limit}\n");
        let policies = load(&text).expect(limit).policies;
        let [FilePolicy { spec, .. }] = policies.as_slice() else { panic!("{policies:?}") };
        assert!(
            !spec.limits.is_empty()
                && spec.clauses[0].methods.is_empty()
                && spec.clauses[0].labels.is_empty(),
            "{limit}"
        );
        assert_eq!((spec.family, &spec.scope), (Family::Wait, &Scope::default()), "{limit}");
    }
    assert_eq!(load("").expect("valid").policies, []);
    let tables =
        "[[policy]]\nname = \"p\"\nurl = \"https://h.org/*\"\n[policy.quota]\ncalls = 1\nper = \"month\"\n";
    assert_eq!(load(tables).expect("valid").policies.len(), 1);
}

#[test]
fn every_bad_member_is_told_with_its_line_and_its_range() {
    let long = "x".repeat(300);
    let label = format!("labels = {{ org = \"{long}\" }}");
    let many_methods = format!("methods = [{}]", "\"GET\",".repeat(33));
    let many_labels: String = (0..33).map(|n| format!("k{n} = \"\", ")).collect();
    let many_labels = format!("labels = {{ {} }}", many_labels.trim_end_matches(", "));
    let rows: &[(&str, &str)] = &[
        (
            "pace = 0",
            "pace: must be a number of starts per second from 0.0000116 (one per day) to 1000000, not 0",
        ),
        ("pace = -1", "pace: must be a number of starts"),
        (
            "pace = nan",
            "pace: must be a number of starts per second from 0.0000116 (one per day) to 1000000, not nan",
        ),
        ("pace = inf", "pace: must be a number of starts"),
        ("pace = 1e-9", "pace: must be a number of starts"),
        ("pace = 1e400", "pace: must be a number of starts"),
        ("pace = 1000000.5", "pace: must be a number of starts"),
        ("pace = 99999999999999999999", "pace: must be a number of starts"),
        ("pace = \"200\"", "pace: must be a number of starts"),
        ("pace = true", "pace: must be a number of starts"),
        ("window = 5", "window: must be a table, as window = { calls = 100, per_ms = 1000 }, not 5"),
        ("window = {}", "window.calls: is missing: a whole number from 1 to 1000000000"),
        ("window = { calls = 1 }", "window.per_ms: is missing: a whole number from 1 to 2678400000"),
        (
            "window = { calls = 0, per_ms = 1 }",
            "window.calls: must be a whole number from 1 to 1000000000, not 0",
        ),
        ("window = { calls = 1.5, per_ms = 1 }", "window.calls: must be a whole number"),
        ("window = { calls = 1000000001, per_ms = 1 }", "window.calls: must be a whole number"),
        (
            "window = { calls = 1, per_ms = 0 }",
            "window.per_ms: must be a whole number from 1 to 2678400000, not 0",
        ),
        ("window = { calls = 1, per_ms = 2678400001 }", "window.per_ms: must be a whole number"),
        ("window = { calls = 1, per_ms = -5 }", "window.per_ms: must be a whole number"),
        ("window = { calls = 1, per_ms = 1, per = 1 }", "window.per: unknown member; did you mean per_ms?"),
        (
            "quota = [1]",
            "quota: must be a table, as quota = { calls = 1000, per = \"hour\" }, not a value of type array",
        ),
        (
            "quota = { calls = 0, per = \"day\" }",
            "quota.calls: must be a whole number from 1 to 1000000000, not 0",
        ),
        (
            "quota = { calls = 1, per = \"year\" }",
            "quota.per: must be one of minute, hour, day, month, not \"year\"",
        ),
        ("quota = { calls = 1, per = 1 }", "quota.per: must be text: one of minute, hour, day, month, not 1"),
        ("quota = { calls = 1 }", "quota.per: is missing: one of minute, hour, day, month"),
        ("quota = { calls = 1, per = \"day\", pre = 1 }", "quota.pre: unknown member; did you mean per?"),
        ("slots = 0", "slots: must be a whole number from 1 to 65536, not 0"),
        ("slots = 65537", "slots: must be a whole number"),
        ("slots = 1979-05-27", "slots: must be a whole number from 1 to 65536, not a value of type datetime"),
        ("timeout_ms = 0", "timeout_ms: must be a whole number from 1 to 600000, not 0"),
        ("timeout_ms = 600001", "timeout_ms: must be a whole number"),
        ("timeout_ms = 5.0", "timeout_ms: must be a whole number"),
        ("family = \"drop\"", "family: must be \"wait\" or \"refuse\", not \"drop\""),
        ("family = 1", "family: must be \"wait\" or \"refuse\", not 1"),
        ("methods = \"POST\"", "methods: must be a list of texts"),
        ("methods = [1]", "methods: must be a list of texts"),
        ("methods = []", "methods: must list 1 to 32 methods; without the member all are governed"),
        (&many_methods, "methods: must list 1 to 32 methods"),
        ("methods = [\"GE T\"]", "methods: \"GE T\" is no HTTP method"),
        ("methods = [\"CONNECT\"]", "methods: \"CONNECT\" is no HTTP method"),
        ("labels = \"org\"", "labels: must be a table, as labels = { org = \"ACME\" }, not \"org\""),
        ("labels = { org = 1 }", "labels.org: must be text of at most 256 bytes without control characters"),
        ("labels = { org = \"a\\nb\" }", "labels.org: must be text of at most 256 bytes"),
        (&label, "labels.org: must be text of at most 256 bytes"),
        ("labels = { \"a b\" = \"\" }", "labels.a b: \"a b\" is not a label: 1 to 64 letters, digits"),
        ("labels = { \"a\\nb\" = \"\" }", "labels.a\\nb: \"a\\nb\" is not a label"),
        (&many_labels, "labels: must name at most 32 labels"),
        ("scope = \"org\"", "scope: must be a list of texts"),
        ("scope = [\"a\", \"a\"]", "scope: the label \"a\" stands twice in the scope"),
        ("scope = [\"a b\"]", "scope: \"a b\" is not a label"),
        (
            "scope = [\"a\", \"b\", \"c\", \"d\", \"e\"]",
            "scope: a scope has at most 4 labels, this one has 5",
        ),
        ("pcae = 1", "pcae: unknown member; did you mean pace?"),
        ("nonsense = 1", "nonsense: unknown member; there are name, url, methods"),
        ("x = 1", "x: unknown member; there are name, url, methods"),
    ];
    for (member, expected) in rows {
        let problems = of_member(member);
        let start = format!("FILE:4: policy \"p\": {expected}");
        assert!(problems[0].starts_with(&start), "{member}: {problems:#?}\nshould start with\n{start}");
        let count = if *member == "window = {}" { 2 } else { 1 };
        assert_eq!(problems.len(), count, "{member}: {problems:#?}");
    }
}

#[test]
fn names_and_urls_are_needed_and_names_are_unique() {
    let text = "[[policy]]\npace = 1\n[[policy]]\nname = \"a b\"\nurl = 1\npace = 1\n[[policy]]\nname = \"twice\"\n\
                url = \"https://*.org/\"\npace = 1\n[[policy]]\nname = \"twice\"\nurl = \"https://h.org/*\"\npace = 1\n";
    let expected = [
        "FILE:1: policy 1: name: is missing: the id of the policy",
        "FILE:1: policy 1: url: is missing: a pattern such as https://api.example.org/*",
        "FILE:4: policy 2: name: must be 1 to 64 letters, digits, '_', '-' or '.', one letter or digit at least, not \"a b\"",
        "FILE:5: policy 2: url: must be text: a pattern such as https://api.example.org/*, not 1",
        "FILE:9: policy \"twice\": url: wildcards are not allowed in the host of a url pattern; a pattern is such as",
        "FILE:12: policy \"twice\": name: must be unique; the policy at FILE:8 has it already",
    ];
    let problems = problems(text, &[], Vec::new());
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(expected) {
        assert!(problem.starts_with(start), "{problem}\nshould start with\n{start}");
    }
}

#[test]
fn names_have_a_form() {
    let long = "x".repeat(65);
    for name in ["", "a b", "-", "..", "é", "a/b", &long] {
        let text = format!("[[policy]]\nname = \"{name}\"\nurl = \"https://h.org/*\"\npace = 1\n");
        let found = problems(&text, &[], Vec::new());
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with("FILE:2: policy 1: name: must be 1 to 64 letters"), "{found:#?}");
    }
    for name in ["a", "0", "-a.B_9", &long[1..]] {
        let text = format!("[[policy]]\nname = \"{name}\"\nurl = \"https://h.org/*\"\npace = 1\n");
        assert!(load(&text).is_ok(), "{name}");
    }
}

#[test]
fn a_policy_must_limit_and_a_refusing_one_must_have_what_it_refuses() {
    let block = |members: &str| format!("\n[[policy]]\nname = \"p\"\nurl = \"https://h.org/*\"\n{members}\n");
    let found = problems(&block(""), &[], Vec::new());
    assert_eq!(
        found,
        [
            "FILE:2: policy \"p\": limits nothing; give it at least one of pace, window, quota, slots, timeout_ms"
        ]
    );
    let found = problems(&block("slots = 1\ntimeout_ms = 1\nfamily = \"refuse\""), &[], Vec::new());
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("FILE:7: policy \"p\": family: \"refuse\" turns calls away"), "{found:#?}");
    for limit in ["pace = 1", "window = { calls = 1, per_ms = 1 }", "quota = { calls = 1, per = \"day\" }"] {
        assert!(load(&block(&format!("slots = 1\nfamily = \"refuse\"\n{limit}"))).is_ok(), "{limit}");
    }
}

#[test]
fn policies_stand_in_blocks_and_in_the_file_alone() {
    for text in ["[policy]\nname = \"p\"\n", "policy = 1\n", "policy = [1]\n"] {
        let found = problems(text, &[], Vec::new());
        assert_eq!(
            found,
            ["FILE:1: policy: policies stand in blocks of their own, each under a line [[policy]]"]
        );
    }
    let found = problems("", &[("TIDEGATE_POLICY", "[]")], Vec::new());
    assert!(found[0].starts_with("environment TIDEGATE_POLICY: "), "{found:#?}");
}

#[test]
fn problems_of_policies_are_reported_together_with_those_of_settings() {
    let text = "[queue]\nttl_seconds = 0\n[[policy]]\nname = \"p\"\nurl = \"https://h.org/*\"\npace = 0\nslots = 0\n";
    let found = problems(text, &[("TIDEGATE_LOG_LEVEL", "loud")], Vec::new());
    let starts =
        ["FILE:2: queue.", "FILE:6: policy \"p\": pace", "FILE:7: policy \"p\": slots", "environment "];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (problem, start) in found.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}\nshould start with\n{start}");
    }
}

#[test]
fn strict_labels_hold_for_policies_too() {
    let policy = "[[policy]]\nname = \"p\"\nurl = \"https://h.org/*\"\npace = 1\nlabels = { team = \"a\", org = \"b\" }\n\
                  scope = [\"user\", \"teem\"]\n";
    assert!(load(&format!("[labels]\nstrict = false\n{policy}")).is_ok());
    let text = format!("[labels]\nstrict = true\ndeclared = [\"team\"]\n{policy}");
    let found = problems(&text, &[], Vec::new());
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("FILE:9: policy \"p\": scope: \"teem\" is not a known label"), "{found:#?}");
    assert!(
        found[0].contains("account, api, api_key, api_method, container, datamart, fairness_key"),
        "{found:#?}"
    );
    let found = problems(&text.replace("[\"team\"]", "[]"), &[], Vec::new());
    assert!(
        found[0].starts_with("FILE:8: policy \"p\": labels.team: \"team\" is not a known label"),
        "{found:#?}"
    );
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[test]
fn declared_labels_are_known_and_checked() {
    let config = load("[labels]\nstrict = true\ndeclared = [\"team\", \"org\"]\n").expect("valid");
    let known = config.known_labels.expect("strict");
    assert!(known.contains("team") && known.contains(Labels::FAIRNESS_KEY), "{known:?}");
    assert!(config.labels.iter().all(|(label, _)| known.contains(label)), "what is filled in is welcome");
    assert_eq!(load("[labels]\ndeclared = [\"team\"]\n").expect("valid").known_labels, None);
    let found = problems("[labels]\ndeclared = [\"a b\"]\nstrict = 1\n", &[], Vec::new());
    assert!(found[0].starts_with("FILE:2: labels.declared: \"a b\" is not a label"), "{found:#?}");
    assert!(found[1].starts_with("FILE:3: labels.strict: must be true or false"), "{found:#?}");
    let many = format!("[labels]\ndeclared = [{}]\n", "\"a\",".repeat(101));
    assert!(problems(&many, &[], Vec::new())[0].contains("at most 100 labels"));
}

#[test]
fn the_example_in_the_defaults_is_valid() {
    let (_, example) = crate::config::DEFAULTS.split_once("# [[policy]]\n").expect("an example");
    let lines: String = example.lines().map(|line| format!("{}\n", line.trim_start_matches("# "))).collect();
    let policies = load(&format!("[[policy]]\n{lines}")).expect("valid").policies;
    assert_eq!(policies.len(), 1);
    assert_eq!(policies[0].spec.scope.labels().len(), 2);
}

#[test]
fn what_is_printed_has_the_same_policies_with_their_places() {
    let first = file(&format!(
        "{FULL}[[policy]]\nname = \"b\"\nurl = \"https://h.org/\"\nslots = 1\n[policy.labels]\n\"a.b\" = \"'\\\"\"\n"
    ));
    let loaded = Config::load(&inputs(&first, &[], Vec::new())).expect("valid");
    let printed = loaded.to_toml();
    let path = first.path().display();
    assert!(printed.contains(&format!("\n[[policy]] # {path}:2\nname = \"crm\" # {path}:3\n")), "{printed}");
    assert!(
        printed.contains(&format!("window = {{ calls = 100, per_ms = 1000 }} # {path}:8\n")),
        "{printed}"
    );
    let again = Config::load(&inputs(&file(&printed), &[], Vec::new())).expect(&printed);
    assert_eq!(again.config, loaded.config);
}

#[test]
fn a_text_is_read_as_a_file_and_its_policies_are_written_back() {
    let text = format!("[listen]\naddress = \"127.0.0.1:0\"\n{FULL}");
    let read = FilePolicy::read_all(&text, Path::new("FILE")).expect("valid");
    let definition = read[0].definition();
    let expected = serde_json::json!({
        "name": "crm",
        "url": "https://api.example.org/*",
        "methods": ["POST", "GET"],
        "labels": {"org": "ACME"},
        "pace": 0.5,
        "window": {"calls": 100, "per_ms": 1000},
        "quota": {"calls": 1000, "per": "hour"},
        "slots": 50,
        "timeout_ms": 5000,
        "family": "refuse",
        "scope": ["datamart", "org"],
    });
    assert_eq!(definition, expected);
    let block = policy_block(&definition);
    assert!(block.starts_with("[[policy]]\nname = \"crm\"\nurl = "), "{block}");
    assert_eq!(FilePolicy::read_all(&block, Path::new("FILE")).expect("valid"), read);
    let broken = "[[policy]]\nname = \"a\"\nurl = \"https://h/*\"\npace = 0\n[nothing]\nx = 1\n";
    let problems = FilePolicy::read_all(broken, Path::new("FILE")).expect_err("invalid").problems;
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told.iter().any(|problem| problem.starts_with("FILE:4: policy \"a\": pace: must be")),
        "{told:?}"
    );
}
