//! What stands below `grafana/`: the dashboard's panels with their queries, the rules file by its lines, and the names of
//! metrics in both.
//!
//! Must not know: what a good dashboard is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// How often the tests scrape; `$__rate_interval` holds several of these.
pub(super) const SCRAPE_INTERVAL: &str = "1s";
const RATE_INTERVAL: &str = "15s";

pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana")
}

pub(super) fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).expect("a file of grafana/")
}

pub(super) fn dashboard() -> Value {
    serde_json::from_str(&read("dashboards/tidegate.json")).expect("JSON")
}

/// One panel with the queries that Grafana would send for it.
pub(super) struct Panel {
    pub(super) json: Value,
    pub(super) title: String,
    /// The dashboard's row that it stands in.
    pub(super) row: String,
    pub(super) queries: Vec<Query>,
}

pub(super) struct Query {
    pub(super) expr: String,
    pub(super) legend: String,
}

/// All panels but the rows.
pub(super) fn panels(dashboard: &Value) -> Vec<Panel> {
    let mut row = String::new();
    let mut found = Vec::new();
    for json in dashboard["panels"].as_array().expect("panels") {
        let title = text(&json["title"]);
        if json["type"] == "row" {
            row = title;
            continue;
        }
        let targets = json["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        let query = |target: &Value| Query {
            expr: filled_in(target["expr"].as_str().expect("an expression")),
            legend: text(&target["legendFormat"]),
        };
        let queries = targets.iter().map(query).collect();
        found.push(Panel { json: json.clone(), title, row: row.clone(), queries });
    }
    found
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An expression with every variable set to "All".
fn filled_in(expr: &str) -> String {
    let mut expr = expr.replace("$__rate_interval", RATE_INTERVAL);
    for variable in ["job", "instance", "policy"] {
        expr = expr.replace(&format!("\"${variable}\""), "\".+\"");
    }
    assert!(!expr.contains('$'), "a variable is left in {expr}");
    expr
}

/// The rows of the rules file: what stands behind `- alert: ` or `- record: `, in order.
pub(super) fn named_in(rules: &str, kind: &str) -> Vec<String> {
    let start = format!("- {kind}: ");
    rules.lines().filter_map(|line| Some(line.trim().strip_prefix(&start)?.to_owned())).collect()
}

/// The instant selectors of an expression, each with its matchers.
pub(super) fn selectors(expr: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, name) in words(expr) {
        let is_metric = ["tidegate_", "process_", "policy:", "instance:"].iter().any(|s| name.starts_with(s));
        if !is_metric && name != "up" {
            continue;
        }
        let rest = &expr[at + name.len()..];
        let matchers = rest.starts_with('{').then(|| &rest[..=rest.find('}').expect("a closing brace")]);
        found.insert(format!("{name}{}", matchers.unwrap_or_default()));
    }
    found
}

/// The metrics that a text names; series of a histogram count as the histogram.
pub(super) fn metrics(text: &str) -> BTreeSet<String> {
    let histogram = |name: &str| {
        let whole = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        whole.filter(|whole| whole.ends_with("_seconds")).unwrap_or(name).to_owned()
    };
    let names = words(text).into_iter().filter(|(_, name)| name.starts_with("tidegate_"));
    names.map(|(_, name)| histogram(name)).collect()
}

/// Every run of characters that a metric's name may have, with its place.
fn words(text: &str) -> Vec<(usize, &str)> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(part) {
        let end = rest[start..].find(|c| !part(c)).map_or(rest.len(), |length| start + length);
        words.push((text.len() - rest.len() + start, &rest[start..end]));
        rest = &rest[end..];
    }
    words
}

#[test]
fn selectors_and_names_are_found() {
    let expr = "1 - (sum by (policy) (rate(tidegate_a_seconds_count{b=\"x, y\"}[5m])) or policy:tidegate_c:rate5m * 0) \
                / up > 0";
    let expected = ["policy:tidegate_c:rate5m", "tidegate_a_seconds_count{b=\"x, y\"}", "up"];
    assert_eq!(selectors(expr).into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(metrics(expr).into_iter().collect::<Vec<_>>(), ["tidegate_a_seconds"]);
}
