//! Names agree: metrics in the dashboard, the rules, the manual and the program; alerts in the rules, their unit tests and
//! the manual; the chapters that alerts link to.

use std::collections::BTreeSet;

use tidegate::testkit::manual;
use tidegate::testkit::problem::codes;
use tidegate::testkit::telemetry::names;

use super::files::{self, metrics, named_in};
use super::prometheus::promtool;

/// Metrics that neither a panel nor a rule uses, and why. None at present.
const UNUSED: &[(&str, &str)] = &[];

fn rules() -> String {
    files::read("rules/tidegate.rules.yml")
}

/// The names of all metrics of the program; `tests/manual.rs` holds the manual's table against the same list.
fn real() -> BTreeSet<String> {
    names::ALL.iter().map(|metric| metric.name.to_owned()).collect()
}

/// Metrics with a type line that are not on the list.
pub(super) fn unlisted(text: &str) -> Vec<String> {
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE tidegate_")?.split(' ').next());
    typed.map(|name| format!("tidegate_{name}")).filter(|name| !real().contains(name)).collect()
}

#[test]
fn the_dashboard_and_the_rules_name_the_metrics_of_the_program_and_all_of_them() {
    let real = real();
    let panels = files::panels(&files::dashboard());
    let mut used: BTreeSet<String> =
        panels.iter().flat_map(|panel| &panel.queries).flat_map(|query| metrics(&query.expr)).collect();
    used.extend(metrics(&rules()));
    let invented: Vec<_> = used.iter().filter(|name| !real.contains(*name)).collect();
    assert!(invented.is_empty(), "no metrics of the program: {invented:?}");
    let excused = |name: &&String| UNUSED.iter().any(|(unused, _)| unused == name);
    let unused: Vec<_> = real.difference(&used).filter(|name| !excused(name)).collect();
    assert!(unused.is_empty(), "in no panel and no rule: {unused:?}");
    assert!(
        UNUSED.iter().all(|(name, why)| !used.contains(*name) && real.contains(*name) && !why.is_empty())
    );
}

#[test]
fn a_metric_that_is_not_listed_is_found() {
    let text = "# TYPE tidegate_build_info gauge\n# TYPE tidegate_colour gauge\ntidegate_colour 1\n";
    assert_eq!(unlisted(text), ["tidegate_colour"]);
}

#[test]
fn promtool_is_content_with_the_rules_their_tests_and_the_configuration() {
    for args in [
        &["check", "rules", "rules/tidegate.rules.yml"][..],
        &["check", "config", "prometheus.yml"],
        &["test", "rules", "rules/tidegate.test.yml"],
    ] {
        let (is_well, said) = promtool(args, "");
        println!("promtool {}:\n{said}", args.join(" "));
        assert!(is_well, "promtool {args:?}:\n{said}");
    }
    let (is_well, said) = promtool(&["check", "rules", "prometheus.yml"], "");
    assert!(!is_well, "promtool takes anything:\n{said}");
}

#[test]
fn each_alert_has_a_case_that_fires_and_one_that_does_not() {
    let tests = files::read("rules/tidegate.test.yml");
    let mut fires = BTreeSet::new();
    let mut is_quiet = BTreeSet::new();
    for (at, _) in tests.match_indices("alertname: ") {
        let (name, rest) = tests[at + "alertname: ".len()..].split_once('\n').expect("a line");
        let expects_none = rest.trim_start().starts_with("exp_alerts: []");
        if expects_none { &mut is_quiet } else { &mut fires }.insert(name.to_owned());
    }
    let alerts: BTreeSet<String> = named_in(&rules(), "alert").into_iter().collect();
    assert_eq!(fires, alerts);
    assert_eq!(is_quiet, alerts);
}

/// The alerts of the rules file: name, severity, and the chapter that the link leads to.
fn alerts() -> Vec<[String; 3]> {
    let rules = rules();
    let mut blocks = rules.split("- alert: ").skip(1).map(|block| {
        let member = |key: &str| {
            let line = block.lines().find_map(|line| line.trim().strip_prefix(&format!("{key}: ")));
            line.unwrap_or_else(|| panic!("an alert without {key}: {block}")).trim_matches('"').to_owned()
        };
        assert!(member("summary").len() > 10 && member("description").len() > 40, "{block}");
        let link = member("runbook_url");
        let chapter =
            link.strip_prefix("http://{{ $labels.instance }}/docs/").expect("a chapter of the daemon");
        [block.lines().next().unwrap_or_default().to_owned(), member("severity"), chapter.to_owned()]
    });
    let alerts: Vec<_> = blocks.by_ref().collect();
    assert!(alerts.len() > 20, "{alerts:?}");
    alerts
}

#[test]
fn the_table_of_alerts_in_the_manual_is_the_rules_file() {
    let text = manual::chapter("monitoring").expect("the chapter").text;
    let rows = text.lines().filter(|line| line.starts_with("| `Tidegate"));
    let cell = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let written: Vec<[String; 3]> = rows
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
            let chapter = cells[3].split_once("](").expect("a link").1;
            [cell(cells[0]), cell(cells[1]), chapter.split(".md").next().unwrap_or_default().to_owned()]
        })
        .collect();
    assert_eq!(written, alerts());
    for [name, severity, chapter] in &written {
        assert!(manual::chapter(chapter).is_some(), "{name} links to {chapter}");
        assert!(["critical", "warning"].contains(&severity.as_str()), "{name}: {severity}");
    }
}

#[test]
fn recorded_names_stand_in_the_manual() {
    let text = manual::chapter("monitoring").expect("the chapter").text;
    let missing: Vec<_> = named_in(&rules(), "record")
        .into_iter()
        .filter(|name| !text.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// `TidegateEventsRefused` names what a producer is answered with 503 for, but for what only a stop or another route answers.
#[test]
fn the_reasons_of_refused_events_are_the_codes_with_503() {
    let of_others = ["event_unread", "not_ready", "shutting_down"];
    let mut real: Vec<&str> =
        codes::ALL.iter().filter(|code| code.status == 503).map(|code| code.word).collect();
    real.retain(|word| !of_others.contains(word));
    real.sort_unstable();
    let rules = rules();
    let named = rules.split("reason=~\"").nth(1).and_then(|rest| rest.split('"').next()).expect("reasons");
    assert_eq!(named.split('|').collect::<Vec<_>>(), real);
}

/// The results that are no failures stand in both.
#[test]
fn the_dashboard_and_the_rules_count_the_same_calls_as_failures() {
    let good = |text: &str| {
        let text = text.replace("\\\"", "\"");
        text.split("result=~\"").nth(1).and_then(|rest| rest.split('"').next()).expect("results").to_owned()
    };
    assert_eq!(good(&rules()), good(&files::read("dashboards/tidegate.json")));
}
