//! The source text as the rules read it: without comments, literals and test items, with the modules that it
//! declares and the paths that it names. Knows no rule.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
pub(crate) struct File {
    /// Path below `src`.
    pub(crate) path: String,
    /// Code without comments, contents of literals and whatever stands under `#[cfg(test)]`.
    pub(crate) text: String,
}

/// The files below `src`, by how the modules reach them.
pub(crate) struct Source {
    /// In the program.
    pub(crate) product: Vec<File>,
    /// Declared under `#[cfg(test)]`, or by a file that is.
    pub(crate) tests: Vec<String>,
    /// Declared nowhere.
    pub(crate) stray: Vec<String>,
}

/// Follows the module declarations from the roots of the library and of the binary.
pub(crate) fn source() -> Source {
    let src = root().join("src");
    let all: Vec<String> = rust_files(&src).iter().map(|path| below(path, &src)).collect();
    let product = reached(&src, without_tests);
    let compiled = reached(&src, masked);
    assert!(product.len() > 300, "the modules were not followed: {} files", product.len());
    let among = |files: &[File], path: &String| files.iter().any(|file| file.path == *path);
    let (tests, stray) =
        all.into_iter().filter(|path| !among(&product, path)).partition(|path| among(&compiled, path));
    Source { product, tests, stray }
}

/// The files that the modules reach when each is read through `read_as`.
fn reached(src: &Path, read_as: fn(&str) -> String) -> Vec<File> {
    let mut open = vec![src.join("lib.rs"), src.join("main.rs")];
    let mut files = Vec::new();
    while let Some(path) = open.pop() {
        let text = read_as(&read(&path));
        let folder = path.parent().unwrap_or(src);
        let stem = path.file_stem().unwrap_or_default();
        let home = if ["lib", "main", "mod"].iter().any(|root| stem == *root) {
            folder.to_owned()
        } else {
            folder.join(stem)
        };
        for name in declared(&text) {
            let file = home.join(format!("{name}.rs"));
            open.push(if file.exists() { file } else { home.join(name).join("mod.rs") });
        }
        files.push(File { path: below(&path, src), text });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn below(path: &Path, src: &Path) -> String {
    path.strip_prefix(src).unwrap_or(path).display().to_string()
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// An unreadable file reads as empty, which has no head and fails the test on heads.
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Names of the modules that stand in files of their own.
pub(crate) fn declared(masked: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, mark) in masked.match_indices("mod ") {
        let name = leading_word(&masked[at + mark.len()..]);
        let follows = masked[at + mark.len() + name.len()..].chars().next();
        if starts_word(masked, at) && follows == Some(';') {
            names.push(name);
        }
    }
    names
}

/// The text with comments and the contents of literals blanked out; every other byte keeps its place.
pub(crate) fn masked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => block_end(bytes, at),
            b'"' => string_end(bytes, at + 1),
            b'r' if starts_word(text, at) || bytes[at - 1] == b'b' => raw_end(bytes, at),
            b'\'' => char_end(text, at),
            _ => at,
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn block_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of `r"…"` or `r#"…"#`; where none begins, the place itself.
fn raw_end(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(at + 1 + hashes) != Some(&b'"') {
        return at;
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let body = at + 2 + hashes;
    let length = bytes[body..].windows(close.len()).position(|window| window == close);
    length.map_or(bytes.len(), |length| body + length + close.len())
}

/// The end of a character literal; a lifetime is none.
fn char_end(text: &str, at: usize) -> usize {
    let mut rest = text[at + 1..].char_indices();
    match rest.next() {
        Some((_, '\\')) => {
            rest.next();
            rest.find(|(_, character)| *character == '\'').map_or(at, |(offset, _)| at + offset + 2)
        }
        Some(_) => match rest.next() {
            Some((offset, '\'')) => at + offset + 2,
            _ => at,
        },
        None => at,
    }
}

/// The masked text without the items that stand under `#[cfg(test)]`, each cut from its attribute to its
/// closing brace or semicolon.
pub(crate) fn without_tests(text: &str) -> String {
    let masked = masked(text);
    cut_tests(&masked, &masked)
}

/// A file below `src` as it is written, comments and literals with it, without its test items.
pub(crate) fn written(path: &str) -> String {
    let text = read(&root().join("src").join(path));
    cut_tests(&masked(&text), &text)
}

/// What is left of a text without its test items. They are found in the masked text, where everything has the
/// same place.
fn cut_tests(masked: &str, text: &str) -> String {
    let mut kept = String::new();
    let mut at = 0;
    while let Some(before) = masked[at..].find("#[cfg(test)]") {
        kept.push_str(&text[at..at + before]);
        at += before;
        at += item_length(&masked[at..]);
        at += usize::from(masked[at..].starts_with('\n'));
    }
    kept + &text[at..]
}

/// Length of the item that begins here with its attributes, in masked text.
fn item_length(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' if depth == 1 => return at + 1 + usize::from(text[at + 1..].starts_with(';')),
            b'}' | b')' | b']' => depth = depth.saturating_sub(1),
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `room::Item` for everything named through `crate::`, or through as many `super::` as lead to the root from
/// a module at this depth; one level of braces opened.
pub(crate) fn imports(masked: &str, depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let to_root = "super::".repeat(depth);
    for mark in ["crate::", &to_root].into_iter().filter(|mark| !mark.is_empty()) {
        for (at, _) in masked.match_indices(mark) {
            if starts_word(masked, at) {
                named(&masked[at + mark.len()..], &mut found);
            }
        }
    }
    found
}

/// What a path or a list names that begins at the root.
fn named(rest: &str, found: &mut BTreeSet<String>) {
    let room = leading_word(rest);
    let item = rest[room.len()..].strip_prefix("::").unwrap_or("");
    if rest.starts_with('{') {
        found.extend(listed(rest));
    } else if item.starts_with('{') {
        found.extend(listed(item).into_iter().map(|item| format!("{room}::{item}")));
    } else if item.is_empty() {
        found.insert(room);
    } else {
        found.insert(format!("{room}::{}", leading_word(item)));
    }
}

/// The leading words of a list in braces.
fn listed(list: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut depth = 0_usize;
    let mut start = true;
    for (offset, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => start = true,
            _ if start && depth == 1 && character.is_alphabetic() => {
                words.push(leading_word(&list[offset..]));
                start = false;
            }
            _ => {}
        }
    }
    words
}

/// Whether the code has a path that begins with the crate's name, or takes the crate in whole.
pub(crate) fn names_crate(masked: &str, name: &str) -> bool {
    masked.match_indices(name).any(|(at, _)| {
        let rest = &masked[at + name.len()..];
        let whole = masked[..at].ends_with("use ") && (rest.starts_with(';') || rest.starts_with(" as "));
        starts_word(masked, at) && !masked[..at].ends_with(':') && (rest.starts_with("::") || whole)
    })
}

fn starts_word(text: &str, at: usize) -> bool {
    !text[..at].chars().next_back().is_some_and(|before| before.is_alphanumeric() || before == '_')
}

fn leading_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Folders for tests whose names do not say so.
const FOR_TESTS: &[&str] = &["store/conformance", "store/memory"];

/// The room that a path below `src` belongs to.
pub(super) fn room_of(path: &str) -> String {
    path.split(['/', '.']).next().unwrap_or("").to_owned()
}

/// How many modules stand between the root and what is written in the file.
pub(super) fn depth_of(path: &str) -> usize {
    let own_name = !path.ends_with("/mod.rs") && path != "lib.rs" && path != "main.rs";
    path.matches('/').count() + usize::from(own_name)
}

/// Whether a path below `src` says that the file is for tests.
pub(super) fn named_for_tests(path: &str) -> bool {
    let path = path.trim_end_matches(".rs");
    let lies_in =
        |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    FOR_TESTS.iter().any(|folder| lies_in(folder))
        || path.split('/').any(|part| matches!(part, "tests" | "testing") || part.ends_with("_tests"))
}
