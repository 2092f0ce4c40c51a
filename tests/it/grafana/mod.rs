//! The dashboard and the rules below `grafana/`, held against the running program: Debian's Prometheus scrapes it while
//! everything happens, and every query and every rule has data. It needs the package `prometheus`.

mod agreement;
mod files;
mod lint;
mod load;
mod picture;
mod prometheus;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use files::{Panel, Query};
use load::Load;
use picture::Drawn;
use prometheus::{Prometheus, Series, promtool};

/// The part of the run that is looked at, in seconds before its end.
const LOOK_BACK_S: f64 = 40.0;

/// Alerts that the run brings about, be it that they wait for their time.
const ACTIVE: &[&str] = &[
    "TidegateCallsFail",
    "TidegateDeadLettersGrow",
    "TidegateDrainEndsSoon",
    "TidegateEndpointDown",
    "TidegateEventsExpired",
    "TidegatePausedWithBacklog",
];

/// Alerts that a busy machine may bring about.
const OF_THE_MACHINE: &[&str] = &["TidegateDiskFills", "TidegateDispatchLags", "TidegateStoreSlow"];

/// Selectors without data in this run: nothing of the kind happens.
const WITHOUT_DATA: &[&str] = &["tidegate_store_errors_total", "tidegate_http_connections_refused_total"];

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_every_rule_has_data_when_everything_happens() {
    let load = Load::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let prometheus = Prometheus::scraping(load.server.addr, dir.path()).await;
    load.run().await;
    // The last samples are scraped and the rules evaluated.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let now_s = prometheus.now_s().await;

    let mut empty = Vec::new();
    let panels = files::panels(&files::dashboard());
    let mut drawn = Vec::new();
    for panel in &panels {
        let mut series = Vec::new();
        for query in &panel.queries {
            let found = prometheus.over(&query.expr, now_s - LOOK_BACK_S, now_s).await;
            println!("{:3} series: {} | {} | {}", found.len(), panel.row, panel.title, query.legend);
            if found.is_empty() {
                empty.push(format!("{}: {}", panel.title, query.expr));
            }
            empty.extend(without_data(&prometheus, &query.expr, now_s).await);
            series.extend(found.into_iter().map(|one| (legend(query, &one), one)));
        }
        drawn.push(Drawn { panel, series });
    }
    draw(&panels, drawn);
    let ledger =
        prometheus.over("instance:tidegate_ledger_events:difference", now_s - LOOK_BACK_S, now_s).await;
    let differences: Vec<f64> = ledger.iter().flat_map(|one| &one.samples).map(|(_, value)| *value).collect();
    assert!(differences.len() > 20 && differences.iter().all(|value| *value == 0.0), "{differences:?}");
    empty.extend(rules(&prometheus, now_s).await);
    assert!(empty.is_empty(), "no data: {empty:#?}");

    let (status, text) = load.server.api().get("/metrics").await;
    assert_eq!(status, 200);
    let (is_well, said) = promtool(&["check", "metrics"], &text);
    assert!(is_well, "promtool check metrics:\n{said}");
    let strange = agreement::unlisted(&text);
    assert!(strange.is_empty(), "metrics that the manual does not have: {strange:?}");
}

/// The selectors of an expression that have no series of their own over the run.
async fn without_data(prometheus: &Prometheus, expr: &str, now_s: f64) -> Vec<String> {
    let mut empty = Vec::new();
    for selector in files::selectors(expr) {
        let is_excused = WITHOUT_DATA.iter().any(|name| selector.starts_with(name));
        if !is_excused && prometheus.over(&selector, now_s - LOOK_BACK_S, now_s).await.is_empty() {
            empty.push(format!("{selector} in {expr}"));
        }
    }
    empty
}

/// What is wrong with the rules as they stand: no data, an error, alerts that should be active or should not.
async fn rules(prometheus: &Prometheus, now_s: f64) -> Vec<String> {
    let mut faults = Vec::new();
    let mut active = BTreeSet::new();
    let rules = prometheus.rules().await;
    for rule in &rules {
        let (name, expr) = (text(&rule["name"]), text(&rule["query"]));
        if rule["health"] != "ok" {
            faults.push(format!("{name} fails: {}", rule["lastError"]));
        }
        faults.extend(without_data(prometheus, expr, now_s).await);
        let found = prometheus.at(expr, now_s).await.len();
        println!("{found:3} series: {} {name} {}", text(&rule["type"]), text(&rule["state"]));
        if rule["type"] == "recording" && prometheus.at(name, now_s).await.is_empty() {
            faults.push(format!("nothing is recorded as {name}"));
        }
        if rule["type"] == "alerting" && rule["state"] != "inactive" {
            active.insert(name);
        }
    }
    assert!(rules.len() > 30, "{} rules", rules.len());
    let is_of_the_program = |name: &&&str| !OF_THE_MACHINE.contains(*name);
    let active: Vec<_> = active.iter().filter(is_of_the_program).copied().collect();
    assert_eq!(active, ACTIVE, "the alerts that are active");
    faults
}

/// One picture for each row of the dashboard.
fn draw(panels: &[Panel], drawn: Vec<Drawn<'_>>) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    std::fs::create_dir_all(&folder).expect("a directory");
    let mut rows: Vec<&str> = panels.iter().map(|panel| panel.row.as_str()).collect();
    rows.dedup();
    let mut drawn = drawn.into_iter().peekable();
    for (n, row) in rows.iter().enumerate() {
        let of_row: Vec<_> = std::iter::from_fn(|| drawn.next_if(|one| one.panel.row == *row)).collect();
        let word = row.split([' ', ':']).next().unwrap_or_default().to_lowercase();
        let file = folder.join(format!("{}-{word}.png", n + 1));
        picture::draw(&of_row, &file);
        println!("drawn: {}", file.display());
    }
}

/// The legend of a series: `{{label}}` is the value of the label.
fn legend(query: &Query, series: &Series) -> String {
    let mut text = query.legend.clone();
    for (label, value) in series.labels.as_object().into_iter().flatten() {
        text = text.replace(&format!("{{{{{label}}}}}"), value.as_str().unwrap_or_default());
    }
    // A table has its labels in columns of their own.
    let policy = series.labels["policy"].as_str().filter(|_| !query.legend.contains("{{"));
    policy.map_or(text.clone(), |policy| format!("{text} of {policy}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
