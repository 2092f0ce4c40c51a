//! The manual is checked against the program: metrics, settings, errors, exit codes; its links, its examples of TOML, the
//! README's promises. Examples that need a daemon are run by `tests/it/manual`.

#![expect(clippy::expect_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tidegate::testkit::config::{Config, DEFAULTS, File, Flag, Inputs};
use tidegate::testkit::event::Reason;
use tidegate::testkit::manual;
use tidegate::testkit::problem::codes;
use tidegate::testkit::telemetry::names;

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

/// The rows of the settings: name, default, meaning, values, and from when a change is active.
fn settings() -> Vec<Vec<String>> {
    rows(chapter("configuration"), "").into_iter().filter(|row| row.len() == 5).collect()
}

/// The settings of the defaults with their values.
fn defaults() -> Vec<(String, toml::Value)> {
    let sections: toml::Table = DEFAULTS.parse().expect("TOML");
    let of_section = |(section, settings): (String, toml::Value)| {
        let settings = settings.as_table().cloned().unwrap_or_default();
        settings.into_iter().map(move |(key, value)| (format!("{section}.{key}"), value)).collect::<Vec<_>>()
    };
    sections.into_iter().flat_map(of_section).collect()
}

#[test]
fn the_settings_table_has_every_setting_with_its_default() {
    let default = |row: &Vec<String>| format!("value = {}", row[1].trim_matches('`')).parse::<toml::Table>();
    let written: Vec<(String, toml::Value)> = settings()
        .iter()
        .map(|row| {
            (row[0].trim_matches('`').to_owned(), default(row).expect("a value of TOML")["value"].clone())
        })
        .collect();
    let real = defaults();
    let missing: Vec<_> = real.iter().filter(|setting| !written.contains(setting)).collect();
    let invented: Vec<_> = written.iter().filter(|setting| !real.contains(setting)).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing {missing:#?}\ninvented {invented:#?}");
    assert_eq!(written.len(), real.len(), "a setting stands there twice");
    let unknown = settings().into_iter().find(|row| !["start", "SIGHUP"].contains(&row[4].as_str()));
    assert_eq!(unknown, None);
}

/// What is wrong with a value of a setting; nothing when it is taken.
fn problem(setting: &str, value: u64) -> Option<String> {
    let setting: &'static str = setting.to_owned().leak();
    let flags = vec![Flag { flag: "test", setting, values: vec![value.to_string()] }];
    Config::load(&Inputs { file: File::Absent, flags, ..Inputs::default() })
        .err()
        .map(|error| error.to_string())
}

#[test]
fn the_ranges_of_the_settings_table_are_those_of_the_program() {
    let mut checked = 0;
    for row in settings() {
        let values = row[3].split(',').next().unwrap_or_default();
        let Some((low, high)) = values.split_once(" to ") else { continue };
        let (Ok(low), Ok(high)) = (low.parse::<u64>(), high.parse::<u64>()) else { continue };
        let name = row[0].trim_matches('`');
        let told = format!("from {low} to {high}");
        let beyond = problem(name, high + 1).unwrap_or_default();
        assert!(beyond.contains(&told), "{name}: {values}, but {beyond}");
        for edge in [low, high] {
            let problem = problem(name, edge).unwrap_or_default();
            assert!(!problem.contains("from"), "{name}: {edge}: {problem}");
        }
        checked += 1;
    }
    assert!(checked > 30, "{checked}");
}

/// Runs the program where no file or variable changes what it does.
fn tidegate(arguments: &[&str], directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).current_dir(directory).env_remove("TIDEGATE_CONFIG");
    command.output().expect("the program")
}

#[test]
fn the_table_of_exit_codes_is_that_of_the_program() {
    let help = tidegate(&["--help"], Path::new("/"));
    let help = String::from_utf8_lossy(&help.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, listed) = help.split_once("Exit codes: ").expect("a list of codes");
    let code = |text: &str| text.trim().split(' ').next()?.parse::<u8>().ok();
    let real: BTreeSet<u8> = listed.split(',').filter_map(code).collect();
    let written = chapter("exit-codes").lines().filter_map(|line| line.strip_prefix('|'));
    let written: BTreeSet<u8> = written.filter_map(code).collect();
    assert!(real.len() > 5, "{listed}");
    assert_eq!(written, real);
}

#[test]
fn the_program_prints_each_chapter_and_names_the_nearest_one() {
    let list = tidegate(&["manual"], Path::new("/"));
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    for chapter in manual::CHAPTERS {
        assert!(list.contains(&format!("{} ", chapter.name)) && list.contains(chapter.title()), "{list}");
        let printed = tidegate(&["manual", chapter.name], Path::new("/"));
        assert_eq!(String::from_utf8_lossy(&printed.stdout), chapter.text);
    }
    let unknown = tidegate(&["manual", "operation"], Path::new("/"));
    let message = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(message.contains("'operations'"), "{message}");
}

/// The blocks of code in a language, with the chapter or file that they stand in.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let start = format!("```{language}\n");
    text.split(&start).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

/// What `tidegate print-config` says about a file; nothing when it is good. It does not read the files of secrets, which
/// the examples only name.
fn check_config(text: &str) -> Option<String> {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("tidegate.toml"), text).expect("written");
    let checked = tidegate(&["print-config"], directory.path());
    (!checked.status.success()).then(|| String::from_utf8_lossy(&checked.stderr).into_owned())
}

#[test]
fn every_example_of_toml_is_a_good_configuration() {
    let mut count = 0;
    for chapter in manual::CHAPTERS {
        for block in blocks(chapter.text, "toml") {
            assert_eq!(check_config(block), None, "{}: {block}", chapter.name);
            count += 1;
        }
    }
    assert!(count >= 4, "{count}");
    assert!(check_config("[listen]\naddres = \"127.0.0.1:0\"").is_some(), "a fault would be found");
}

#[test]
fn every_promise_of_the_readme_names_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap_or_default();
    assert!(readme.lines().count() <= 200, "the README is a front door");
    let mut count = 0;
    for line in readme.lines().filter(|line| line.starts_with("| ") && line.contains(".rs` `")) {
        let named: Vec<&str> = line.split('`').collect();
        let [.., file, _, test, _] = named[..] else { panic!("{line}") };
        let source = fs::read_to_string(root.join(file)).unwrap_or_default();
        assert!(source.contains(&format!("fn {test}()")), "{file} has no test {test}");
        count += 1;
    }
    assert!(count >= 15, "{count}");
}

/// Whether a source file under `directory` has `text` as whole words. What lists or describes codes does not count.
fn sources_have(directory: &Path, text: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    let has = |source: &str| source.match_indices(text).any(|(at, _)| ends(&source[at + text.len()..]));
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| match path.is_dir() {
        true => sources_have(&path, text),
        false if path.ends_with("problem/codes.rs") || path.ends_with("doc.rs") => false,
        false => fs::read_to_string(&path).is_ok_and(|source| has(&source)),
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
    // By its constant, or as the code of a kind of limit.
    let is_answered = |word: &str| {
        sources_have(&sources, &format!("codes::{}", word.to_uppercase()))
            || sources_have(&sources, &format!("code: \"{word}\""))
    };
    assert_eq!(codes::ALL.iter().find(|code| !is_answered(code.word)), None);
    for part in ["no_such_code", "invalid_id", "invalid_i"] {
        assert_eq!(is_answered(part), codes::ALL.iter().any(|code| code.word == part), "{part}");
    }
}

#[test]
fn a_changed_row_would_be_noticed() {
    let changed = chapter("metrics")
        .replace("| `tidegate_build_info` | gauge |", "| `tidegate_build_info` | counter |");
    let written: BTreeSet<_> = rows(&changed, "tidegate_").into_iter().collect();
    let of = |name: &str| names::ALL.iter().find(|metric| metric.name == name).expect("a metric");
    let real = metric_row(of("tidegate_build_info"));
    assert!(!written.contains(&real));
    assert!(rows(chapter("metrics"), "tidegate_").contains(&real));
}

/// The targets of the links in `text`, without places in them: `app/api_doc/docs` checks those.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next())
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

#[test]
fn the_table_of_reasons_is_the_list_of_reasons() {
    let table = chapter("events").split("| `reason` | when |").nth(1).unwrap_or_default();
    let table = table.split("\n\n").next().unwrap_or_default();
    let written: Vec<Vec<String>> =
        rows(table, "").into_iter().filter(|row| !row[0].starts_with("`http_404`")).collect();
    let row = |(reason, when): &(Reason, &str)| vec![format!("`{}`", reason.word()), (*when).to_owned()];
    let real: Vec<Vec<String>> = Reason::WORDS.iter().map(row).collect();
    assert_eq!(written, real);
}
