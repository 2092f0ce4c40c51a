//! Which files hold the methods of a type. Trait implementations do not count: they belong to their traits.

use std::collections::{BTreeMap, BTreeSet};

use super::source::File;

/// The types with inherent `impl` blocks in more than `most` of these files, each with the files.
pub(crate) fn spread(files: &[File], most: usize) -> BTreeMap<String, BTreeSet<String>> {
    let mut defined: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for File { path, text } in files {
        for name in names_after(text, &["struct ", "enum ", "union "]) {
            defined.entry(name).or_default().push(path);
        }
    }
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for File { path, text } in files {
        for name in inherent(text) {
            let home = defined.get(&name).and_then(|homes| nearest(path, homes)).unwrap_or("?");
            places.entry(format!("{home}: {name}")).or_default().insert(path.clone());
        }
    }
    places.retain(|_, files| files.len() > most);
    places
}

/// Of several types of one name the one that stands in the file, or else nearest to it.
fn nearest<'h>(path: &str, homes: &[&'h str]) -> Option<&'h str> {
    let common = |home: &str| {
        let parts = |path: &str| -> Vec<String> {
            path.trim_end_matches(".rs").trim_end_matches("/mod").split('/').map(str::to_owned).collect()
        };
        parts(home).iter().zip(&parts(path)).take_while(|(a, b)| a == b).count()
    };
    let depth = |home: &str| usize::MAX - home.matches('/').count();
    homes.iter().copied().max_by_key(|home| (*home == path, common(home), depth(home)))
}

/// The names of the types that the blocks `impl Type { … }` of a masked text are for.
fn inherent(masked: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, mark) in masked.match_indices("impl") {
        let before = masked[..at].trim_end();
        let begins = before.is_empty() || before.ends_with(['}', ';', ']', '{']);
        let rest = &masked[at + mark.len()..];
        if !begins || !rest.starts_with([' ', '<']) {
            continue;
        }
        let rest = after_generics(rest);
        let head = rest.split(['{', ';']).next().unwrap_or("");
        let head = head.split(" where ").next().unwrap_or("");
        if head.split_whitespace().any(|word| word == "for") {
            continue;
        }
        let path = head.split('<').next().unwrap_or("").trim();
        let name = path.rsplit("::").next().unwrap_or("");
        if !name.is_empty() {
            names.push(name.to_owned());
        }
    }
    names
}

/// What follows the parameters in `<…>`, if the text begins with some.
fn after_generics(text: &str) -> &str {
    if !text.starts_with('<') {
        return text;
    }
    let mut depth = 0_usize;
    let mut last = ' ';
    for (at, character) in text.char_indices() {
        match character {
            '<' => depth += 1,
            // Of an arrow, not of parameters.
            '>' if last == '-' => {}
            '>' if depth == 1 => return &text[at + 1..],
            '>' => depth -= 1,
            _ => {}
        }
        last = character;
    }
    ""
}

/// The words that follow any of these.
fn names_after(masked: &str, marks: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for mark in marks {
        for (at, _) in masked.match_indices(mark) {
            let is_word = !masked[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let rest = &masked[at + mark.len()..];
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if is_word && !name.is_empty() {
                names.insert(name);
            }
        }
    }
    names
}
