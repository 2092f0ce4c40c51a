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
    "TidegateEventsNearExpiry",
    "TidegatePausedWithBacklog",
];

/// Alerts that a busy machine may bring about.
const OF_THE_MACHINE: &[&str] = &["TidegateDiskFills", "TidegateDispatchLags", "TidegateStoreSlow"];

/// Selectors without series: nothing of the kind happens in the run.
const NOT_IN_THIS_RUN: &[&str] = &["tidegate_events_rejected_total{reason=~\"outcome_unknown|"];

/// What the run shows: a line for each query, and what is wrong.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    faults: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_every_rule_has_data_when_everything_happens() {
    let load = Load::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let prometheus = Prometheus::scraping(load.server.addr, dir.path()).await;
    load.run().await;
    // The last samples are scraped and the rules evaluated.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let now_s = prometheus.now_s().await;

    let mut report = Report::default();
    let panels = files::panels(&files::dashboard());
    let drawn = report.ask_for_panels(&prometheus, &panels, now_s).await;
    report.ask_for_rules(&prometheus, now_s).await;
    report.lines.extend(draw(&panels, drawn));
    println!("{}", report.lines.join("\n"));
    let mut control = Report::default();
    control.ask_for_selectors(&prometheus, "rate(tidegate_no_such_metric[5m])", now_s).await;
    assert_eq!(control.faults.len(), 1, "an absent metric would not be noticed");
    assert!(report.faults.is_empty(), "{:#?}", report.faults);

    let ledger =
        prometheus.over("instance:tidegate_ledger_events:difference", now_s - LOOK_BACK_S, now_s).await;
    let differences: Vec<f64> = ledger.iter().flat_map(|one| &one.samples).map(|(_, value)| *value).collect();
    assert!(differences.len() > 20 && differences.iter().all(|value| *value == 0.0), "{differences:?}");
    let (status, text) = load.server.api().get("/metrics").await;
    assert_eq!(status, 200);
    let (is_well, said) = promtool(&["check", "metrics"], &text);
    assert!(is_well, "promtool check metrics:\n{said}");
    let strange = agreement::unlisted(&text);
    assert!(strange.is_empty(), "metrics that the manual does not have: {strange:?}");
}

impl Report {
    /// Every query of every panel; returns what they have to draw.
    async fn ask_for_panels<'a>(
        &mut self,
        prometheus: &Prometheus,
        panels: &'a [Panel],
        now_s: f64,
    ) -> Vec<Drawn<'a>> {
        let mut drawn = Vec::new();
        for panel in panels {
            let mut series = Vec::new();
            for query in &panel.queries {
                let found = prometheus.over(&query.expr, now_s - LOOK_BACK_S, now_s).await;
                let place = format!("{} | {} | {}", panel.row, panel.title, query.legend);
                self.lines.push(format!("{:3} series: {place}", found.len()));
                if found.is_empty() {
                    self.faults.push(format!("no data: {place}: {}", query.expr));
                }
                self.ask_for_selectors(prometheus, &query.expr, now_s).await;
                series.extend(found.into_iter().map(|one| (legend(query, &one), one)));
            }
            drawn.push(Drawn { panel, series });
        }
        drawn
    }

    /// Each metric that an expression names, with its matchers, has series of its own over the run.
    async fn ask_for_selectors(&mut self, prometheus: &Prometheus, expr: &str, now_s: f64) {
        for selector in files::selectors(expr) {
            let is_excused = NOT_IN_THIS_RUN.iter().any(|start| selector.starts_with(start));
            if !is_excused && prometheus.over(&selector, now_s - LOOK_BACK_S, now_s).await.is_empty() {
                self.faults.push(format!("no series of {selector} in {expr}"));
            }
        }
    }

    /// Every rule as it stands: it has data and no error, and the alerts are active that should be.
    async fn ask_for_rules(&mut self, prometheus: &Prometheus, now_s: f64) {
        let mut active = BTreeSet::new();
        let rules = prometheus.rules().await;
        for rule in &rules {
            let (name, expr) = (text(&rule["name"]), text(&rule["query"]));
            if rule["health"] != "ok" {
                self.faults.push(format!("{name} fails: {}", rule["lastError"]));
            }
            self.ask_for_selectors(prometheus, expr, now_s).await;
            let found = prometheus.at(expr, now_s).await.len();
            let (kind, state) = (text(&rule["type"]), text(&rule["state"]));
            self.lines.push(format!("{found:3} series: {kind} {name} {state}"));
            if kind == "recording" && prometheus.at(name, now_s).await.is_empty() {
                self.faults.push(format!("nothing is recorded as {name}"));
            }
            if kind == "alerting" && state != "inactive" && !OF_THE_MACHINE.contains(&name) {
                active.insert(name);
            }
        }
        assert!(rules.len() > 30, "{} rules", rules.len());
        if !active.iter().eq(ACTIVE) {
            self.faults.push(format!("alerts are active: {active:?}, not {ACTIVE:?}"));
        }
    }
}

/// One picture for each row of the dashboard; says where they are.
fn draw(panels: &[Panel], drawn: Vec<Drawn<'_>>) -> Vec<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    std::fs::create_dir_all(&folder).expect("a directory");
    let mut rows: Vec<&str> = panels.iter().map(|panel| panel.row.as_str()).collect();
    rows.dedup();
    let mut drawn = drawn.into_iter().peekable();
    let mut said = Vec::new();
    for (n, row) in rows.iter().enumerate() {
        let of_row: Vec<_> = std::iter::from_fn(|| drawn.next_if(|one| one.panel.row == *row)).collect();
        let word = row.split([' ', ':']).next().unwrap_or_default().to_lowercase();
        let file = folder.join(format!("{}-{word}.png", n + 1));
        picture::draw(&of_row, &file);
        said.push(format!("drawn: {}", file.display()));
    }
    said
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
