//! What holds for all dialects: how they are told apart, and what the texts for people have to say of each.

use std::collections::BTreeSet;

use super::*;
use crate::config::DEFAULTS;
use crate::event::{Labels, Said};
use crate::manual::chapter;

#[test]
fn names_of_the_forms_of_dialects_are_known() {
    let uuid = "0198c4f0-5f3a-4c00-8000-00000000000f";
    for (name, owner) in [
        (uuid.to_owned(), Some("throttling")),
        (format!("{uuid}.action"), Some("capping")),
        (format!("{uuid}.dataSource"), Some("capping")),
        (format!("{uuid}.keys"), Some("mashery")),
        ("responsys.login.block".to_owned(), Some("responsys")),
        ("mics.1001".to_owned(), Some("mediarithmics")),
        ("crm".to_owned(), None),
        ("orders.action".to_owned(), None),
        ("responsys".to_owned(), None),
        (uuid.replace('f', "g"), None),
    ] {
        let id = PolicyId::parse(&name).expect("valid");
        assert_eq!(owner_of_form(&id), owner, "{name}");
    }
}

/// The text of a chapter; a missing one reads as empty, which lacks everything.
fn text(name: &str) -> &'static str {
    chapter(name).map_or("", |chapter| chapter.text)
}

/// What stands in back-quotes.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What endpoints may say, in the words of every dialect.
fn said() -> Vec<Said> {
    let words = hears().iter().map(|one| one.words()).collect::<Vec<_>>();
    words.iter().flat_map(|words| words.waits.iter().chain(words.denials)).copied().collect()
}

#[test]
fn dialects_are_told_apart() {
    let names: BTreeSet<_> = all().iter().map(|dialect| dialect.name()).collect();
    assert_eq!(names.len(), all().len(), "two have one name, by which their policies and objects are kept");
    let series: BTreeSet<_> = said().iter().map(|said| said.label).collect();
    assert_eq!(series.len(), said().len(), "two say different things under one label of metrics");
}

/// The list of known labels stands in two texts: each has those that dialects look at, and no others.
#[test]
fn the_known_labels_are_those_of_the_dialects() {
    let known: BTreeSet<_> = labels().into_iter().chain([Labels::FAIRNESS_KEY]).collect();
    let (_, listed) = DEFAULTS.split_once("than the known ones:").expect("a list");
    let (listed, _) = listed.split_once(", and ...").expect("its end");
    let listed =
        listed.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    assert_eq!(listed.collect::<BTreeSet<_>>(), known, "defaults.toml");
    let (_, listed) = text("limits").split_once("the known labels (").expect("a list");
    let (listed, _) = listed.split_once(')').expect("its end");
    assert_eq!(quoted(listed), known, "limits.md");
}

#[test]
fn the_manual_has_every_dialect() {
    let mut missing = Vec::new();
    let systems = text("systems");
    for dialect in all() {
        let name = dialect.name();
        if chapter(name).is_none() {
            missing.push(format!("a chapter {name}"));
        }
        if !systems.contains(&format!("]({name}.md) |")) {
            missing.push(format!("systems.md: a row that leads to {name}.md"));
        }
        let unnamed = dialect.labels().iter().filter(|label| !quoted(systems).contains(**label));
        missing.extend(unnamed.map(|label| format!("systems.md: the label {label} of {name}")));
    }
    let busy = quoted(text("promises"));
    let unnamed = said().into_iter().filter(|said| !busy.iter().any(|words| words.contains(said.code)));
    missing.extend(unnamed.map(|said| format!("promises.md: the busy answer {}", said.code)));
    assert!(missing.is_empty(), "{missing:#?}");
}
