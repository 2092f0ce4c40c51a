//! The README is checked against the program: metrics, settings, exit codes, flags.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tidegate::config::DEFAULTS;
use tidegate::problem::codes;
use tidegate::telemetry::names;

/// A missing README reads as empty, which lacks every row.
fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap_or_default()
}

/// The cells of every table row whose first cell is a name in back-quotes with this start.
fn rows(text: &str, start: &str) -> Vec<Vec<String>> {
    text.lines()
        .filter(|line| line.starts_with(&format!("| `{start}")))
        .map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

fn metric_row(metric: &names::Metric) -> Vec<String> {
    let quoted: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let labels = if quoted.is_empty() { "–".to_owned() } else { quoted.join(", ") };
    let help = metric.help.trim_end_matches('.').to_owned();
    vec![format!("`{}`", metric.name), metric.kind.word().to_owned(), labels, help]
}

#[test]
fn the_metrics_table_is_the_list_of_metrics() {
    let written: BTreeSet<_> = rows(&readme(), "tidegate_").into_iter().collect();
    let real: BTreeSet<_> = names::ALL.iter().map(metric_row).collect();
    let missing: Vec<_> = real.difference(&written).collect();
    let invented: Vec<_> = written.difference(&real).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing {missing:#?}\ninvented {invented:#?}");
}

#[test]
fn the_settings_table_has_every_section() {
    let section = |line: &str| line.strip_prefix('[')?.strip_suffix(']').map(str::to_owned);
    let real: BTreeSet<String> = DEFAULTS.lines().filter_map(section).collect();
    let cell = |row: &Vec<String>| row.first().map(|cell| cell.trim_matches(['`', '[', ']']).to_owned());
    let written: BTreeSet<String> = rows(&readme(), "[").iter().filter_map(cell).collect();
    assert_eq!(written, real);
}

/// Whether a source file under `directory` has `text`.
fn sources_have(directory: &Path, text: &str) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| match path.is_dir() {
        true => sources_have(&path, text),
        false if path.ends_with("problem/codes.rs") => false,
        false => fs::read_to_string(&path).is_ok_and(|source| source.contains(text)),
    })
}

#[test]
fn the_errors_table_is_the_list_of_codes_and_each_is_answered() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let text = readme();
    let table = text.split_once("### Errors").map_or("", |(_, rest)| rest);
    let table = table.split_once("\n## ").map_or("", |(table, _)| table);
    let written: Vec<Vec<String>> = rows(table, "");
    let real: Vec<Vec<String>> = codes::ALL
        .iter()
        .map(|code| vec![format!("`{}`", code.word), code.status.to_string(), code.when.to_owned()])
        .collect();
    let missing: Vec<_> = real.iter().filter(|row| !written.contains(row)).collect();
    let invented: Vec<_> = written.iter().filter(|row| !real.contains(row)).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing {missing:#?}\ninvented {invented:#?}");
    assert_eq!(written.len(), real.len(), "a row stands there twice");
    let unused = |code: &&codes::Code| !sources_have(&sources, &format!("\"{}\"", code.word));
    assert_eq!(codes::ALL.iter().find(unused), None);
    assert!(!sources_have(&sources, "\"no_such_code\""), "the search would find anything");
}

#[test]
fn a_changed_row_would_be_noticed() {
    let changed =
        readme().replace("| `tidegate_build_info` | gauge |", "| `tidegate_build_info` | counter |");
    let written: BTreeSet<_> = rows(&changed, "tidegate_").into_iter().collect();
    assert!(!written.contains(&metric_row(&names::BUILD_INFO)));
    assert!(rows(&readme(), "tidegate_").contains(&metric_row(&names::BUILD_INFO)));
}
