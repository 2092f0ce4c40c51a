//! The manual is checked against the program: metrics, settings, errors; and its links.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tidegate::config::DEFAULTS;
use tidegate::manual;
use tidegate::problem::codes;
use tidegate::telemetry::names;

/// The text of a chapter. A missing one reads as empty, which lacks every row.
fn chapter(name: &str) -> &'static str {
    manual::chapter(name).map_or("", |chapter| chapter.text)
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
    let written: BTreeSet<_> = rows(chapter("metrics"), "tidegate_").into_iter().collect();
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
    let written: BTreeSet<String> = rows(chapter("configuration"), "[").iter().filter_map(cell).collect();
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
    let written: Vec<Vec<String>> = rows(chapter("errors"), "");
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
    let changed = chapter("metrics")
        .replace("| `tidegate_build_info` | gauge |", "| `tidegate_build_info` | counter |");
    let written: BTreeSet<_> = rows(&changed, "tidegate_").into_iter().collect();
    assert!(!written.contains(&metric_row(&names::BUILD_INFO)));
    assert!(rows(chapter("metrics"), "tidegate_").contains(&metric_row(&names::BUILD_INFO)));
}

/// The targets of the links in `text`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

#[test]
fn links_lead_to_files_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap_or_default();
    let of_readme = links(&readme).map(|link| (root.join(link), link.to_owned()));
    let of_chapters = manual::CHAPTERS
        .iter()
        .flat_map(|chapter| links(chapter.text))
        .map(|link| (root.join("src/manual").join(link), link.to_owned()));
    let inner: Vec<_> = of_readme.chain(of_chapters).filter(|(_, link)| !link.starts_with("http")).collect();
    assert!(inner.len() > manual::CHAPTERS.len(), "{inner:?}");
    let broken: Vec<_> = inner.iter().filter(|(path, _)| !path.exists()).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_chapter_is_named_in_the_readme_and_has_a_title() {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap_or_default();
    for chapter in manual::CHAPTERS {
        assert!(readme.contains(&format!("](src/manual/{}.md)", chapter.name)), "{}", chapter.name);
        assert!(chapter.text.starts_with(&format!("# {}\n\n", chapter.title())), "{}", chapter.name);
    }
}
