//! The rules of Grafana's dashboard linter, as far as they concern a dashboard of one Prometheus, and those of this house:
//! what is empty says why, and the daemon is one click away.
//!
//! Must not know: what the panels show.

use serde_json::{Value, json};

use super::files::{Panel, dashboard, panels};

/// Units of Grafana that are in use here.
const UNITS: &[&str] =
    &["none", "string", "short", "locale", "percentunit", "bytes", "s", "cps", "ops", "reqps", "bool_yes_no"];

/// Everything that is wrong with it.
fn faults(dashboard: &Value) -> Vec<String> {
    let mut faults = of_the_whole(dashboard);
    for variable in ["job", "instance", "policy"] {
        faults.extend(of_variable(dashboard, variable));
    }
    for panel in panels(dashboard) {
        let of_it = of_panel(&panel).into_iter().chain(of_targets(&panel)).chain(of_sums(&panel));
        faults.extend(of_it.map(|fault| format!("{}: {fault}", panel.title)));
    }
    faults
}

fn of_the_whole(dashboard: &Value) -> Vec<String> {
    let source = variable(dashboard, "datasource");
    let links = dashboard["links"].to_string();
    let checks = [
        (source["type"] == "datasource" && source["query"] == "prometheus", "the data source is no variable"),
        (source["label"] == "Data source", "the data source has another label"),
        (dashboard["editable"] == false, "a provisioned dashboard is editable"),
        (dashboard["id"].is_null() && dashboard["uid"] == "tidegate", "its identity is not fixed"),
        (dashboard["schemaVersion"].as_u64().is_some_and(|n| (39..=41).contains(&n)), "another schema"),
        (dashboard["graphTooltip"] == 1 && dashboard["timezone"] == "browser", "tooltip or time zone"),
        (links.contains("http://${daemon}/docs\""), "no link to the daemon"),
    ];
    checks.into_iter().filter(|(holds, _)| !holds).map(|(_, fault)| fault.to_owned()).collect()
}

fn variable<'a>(dashboard: &'a Value, name: &str) -> &'a Value {
    let list = dashboard["templating"]["list"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().find(|variable| variable["name"] == name).unwrap_or(&Value::Null)
}

fn of_variable(dashboard: &Value, name: &str) -> Vec<String> {
    let found = variable(dashboard, name);
    let label: String = name[..1].to_uppercase() + &name[1..];
    let definition = found["definition"].as_str().unwrap_or_default();
    let checks = [
        (
            found["type"] == "query" && found["datasource"]["uid"] == "${datasource}",
            "is no query of the data source",
        ),
        (found["label"] == label, "has another label"),
        (found["multi"] == true && found["includeAll"] == true && found["allValue"] == ".+", "cannot be all"),
        (found["refresh"] == 2, "is not read again when the time range changes"),
        (
            definition.starts_with("label_values(tidegate_") && definition == found["query"]["query"],
            "asks for something else",
        ),
    ];
    checks
        .into_iter()
        .filter(|(holds, _)| !holds)
        .map(|(_, fault)| format!("variable {name} {fault}"))
        .collect()
}

fn of_panel(panel: &Panel) -> Vec<String> {
    let json = &panel.json;
    let defaults = &json["fieldConfig"]["defaults"];
    let has_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let checks = [
        (json["datasource"]["uid"] == "${datasource}", "another data source"),
        (has_text(&json["title"]) && has_text(&json["description"]), "no title or description"),
        (
            json["description"].as_str().is_some_and(|text| text.ends_with('.')),
            "the description is no sentence",
        ),
        (defaults["unit"].as_str().is_some_and(|unit| UNITS.contains(&unit)), "no unit, or an unknown one"),
        (has_text(&defaults["noValue"]), "nothing is said where there is no data"),
        (!panel.queries.is_empty(), "no query"),
        (!panel.row.is_empty(), "it stands in no row"),
    ];
    checks.into_iter().filter(|(holds, _)| !holds).map(|(_, fault)| fault.to_owned()).collect()
}

fn of_targets(panel: &Panel) -> Vec<String> {
    let mut faults = Vec::new();
    for target in panel.json["targets"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let expr = target["expr"].as_str().unwrap_or_default();
        let ranges = expr.matches('[').count();
        if ranges != expr.matches("[$__rate_interval]").count() {
            faults.push(format!("another range than $__rate_interval in {expr}"));
        }
        let rates = expr.matches("rate(").count() + expr.matches("max_over_time(").count();
        if ranges != rates {
            faults.push(format!("a range that no function takes in {expr}"));
        }
        if target["datasource"]["uid"] != "${datasource}" {
            faults.push(format!("another data source for {expr}"));
        }
        if target["legendFormat"].as_str().is_none_or(str::is_empty) {
            faults.push(format!("no legend for {expr}"));
        }
        let is_matched = |s: &str| s.contains("{job=~\"$job\", instance=~\"$instance\"");
        if !super::files::selectors(expr).iter().all(|selector| is_matched(selector)) {
            faults.push(format!("a metric without matchers for job and instance in {expr}"));
        }
    }
    faults
}

/// An event, call or lane of several policies counts under each: who reads a sum over policies is told so. Limits are those
/// of one policy.
fn of_sums(panel: &Panel) -> Option<String> {
    let is_sum_over_policies = |expr: &str| {
        let by_policy = expr.contains("by (policy") || expr.contains(", policy)");
        let is_of_events = !expr.contains("(tidegate_limit");
        expr.contains("sum") && expr.contains("policy=~") && !by_policy && is_of_events
    };
    let sums = panel.queries.iter().any(|query| is_sum_over_policies(&query.expr));
    let is_told = panel.json["description"].as_str().is_some_and(|text| text.contains("several policies"));
    (sums && !is_told)
        .then(|| "a sum over policies, and nothing is said of events of several policies".to_owned())
}

#[test]
fn the_dashboard_keeps_the_rules_of_the_linter() {
    let faults = faults(&dashboard());
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_rows_have_their_order_and_no_two_panels_overlap() {
    let dashboard = dashboard();
    let mut rows: Vec<String> = panels(&dashboard).into_iter().map(|panel| panel.row).collect();
    rows.dedup();
    let expected = [
        "Service",
        "Policies: rate against limit",
        "Waits and calls",
        "Queue and store",
        "Ledger",
        "Process",
        "Endpoints",
    ];
    assert_eq!(rows, expected);
    let mut taken = std::collections::HashSet::new();
    let mut ids = std::collections::HashSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        assert!(ids.insert(panel["id"].as_u64()), "an id twice: {}", panel["id"]);
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a number"));
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cell.0 < 24 && taken.insert(cell), "{} lies over another panel", panel["title"]);
        }
    }
}

/// Each rule is shown a dashboard that breaks it.
#[test]
fn the_linter_finds_what_is_wrong() {
    let panel = panels(&dashboard()).iter().position(|panel| panel.title == "Wait").expect("a panel");
    let place = |dashboard: &Value| {
        let list = dashboard["panels"].as_array().expect("panels");
        let of_data: Vec<usize> = (0..list.len()).filter(|at| list[*at]["type"] != "row").collect();
        format!("/panels/{}", of_data[panel])
    };
    let at = place(&dashboard());
    let breaches = [
        ("/templating/list/0/query", json!("loki"), "data source"),
        ("/templating/list/1/allValue", json!(".*"), "variable job"),
        ("/templating/list/2/multi", json!(false), "variable instance"),
        ("/templating/list/3/label", json!("Which"), "variable policy"),
        ("/editable", json!(true), "editable"),
        ("/links", json!([]), "link"),
        ("@/description", json!(""), "description"),
        ("@/description", json!("Waits."), "several policies"),
        ("@/fieldConfig/defaults/unit", json!("furlong"), "unit"),
        ("@/fieldConfig/defaults/noValue", json!(null), "nothing is said"),
        ("@/datasource/uid", json!("abc"), "data source"),
        ("@/targets/0/legendFormat", json!(""), "legend"),
        ("@/targets/0/expr", json!("rate(tidegate_x{job=~\"$job\", instance=~\"$instance\"}[5m])"), "range"),
        ("@/targets/0/expr", json!("tidegate_x{job=~\"$job\"}"), "matchers"),
        ("@/targets/0/expr", json!("tidegate_x"), "matchers"),
    ];
    for (path, value, word) in breaches {
        let mut broken = dashboard();
        *broken.pointer_mut(&path.replace('@', &at)).expect(path) = value;
        let found = faults(&broken);
        assert!(found.iter().any(|fault| fault.contains(word)), "{path}: {found:?}");
    }
}
