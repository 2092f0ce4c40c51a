//! The rules of the house, checked on the source text: imports run one way, each third-party crate has an
//! owner, tasks are started in few places, every file says what it is and stays short.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may import. `app` sees all.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("manual", &[]),
    ("problem", &[]),
    ("event", &["clock"]),
    ("telemetry", &["clock", "event"]),
    ("store", &["clock", "event", "telemetry"]),
    ("queue", &["clock", "event", "store", "telemetry"]),
    ("policy", &["clock", "event", "store"]),
    ("limit", &["clock", "event", "policy"]),
    ("names", &["clock", "event", "telemetry"]),
    ("config", &["clock", "event", "policy"]),
    ("delivery", &["clock", "event", "names"]),
    ("dispatch", &["clock", "event", "queue", "limit", "policy", "delivery", "telemetry"]),
    ("ingest", &["clock", "event", "queue", "policy", "limit", "problem", "telemetry"]),
    ("manage", &["clock", "event", "policy", "config", "delivery", "problem"]),
    ("ops", &["clock", "event", "queue", "policy", "limit", "dispatch", "store", "problem", "telemetry"]),
    ("cli", &["app", "config", "clock", "manual"]),
];

/// Plain values of the store that the queue's methods take and give: whoever talks to the queue may name them.
const QUEUE_VALUES: &[&str] = &[
    "store::Usage",
    "store::UsageStore",
    "store::Appended",
    "store::Dedup",
    "store::Lookup",
    "store::ReadLimit",
    "store::StoreError",
];

/// Where each third-party crate with an owner may be named: path prefixes below `src`.
const OWNERS: &[(&str, &[&str])] = &[
    ("sled", &["store/index"]),
    ("rmp_serde", &["store/"]),
    ("lz4_flex", &["store/"]),
    ("crc32c", &["store/"]),
    ("governor", &["limit/smoother"]),
    ("reqwest", &["delivery/"]),
    ("rustls", &["delivery/"]),
    // The log filter names its modules.
    ("hickory_resolver", &["names/", "telemetry/logging"]),
    ("axum", &["problem", "ingest/", "manage/", "ops/", "app/"]),
    // `delivery` names their error types, which tell what broke, and the trait of bodies.
    ("hyper", &["ingest/", "manage/", "ops/", "app/", "cli/", "delivery/classify", "delivery/begun"]),
    ("h2", &["delivery/classify"]),
    ("hyper_util", &["ingest/", "manage/", "ops/", "app/", "cli/"]),
    ("utoipa", &["problem", "ingest/", "manage/", "ops/", "app/api_doc"]),
    ("regex_automata", &["policy/"]),
    ("url", &["event/", "ingest/cloudevents"]),
    ("clap", &["cli/"]),
    ("pulldown_cmark", &["manual/"]),
    ("clap_complete", &["cli/"]),
    ("clap_mangen", &["cli/"]),
    // For digests; its other parts are the business of the TLS library.
    ("ring", &["cli/enqueue"]),
    ("toml", &["config/"]),
    ("metrics", &["telemetry/"]),
    ("metrics_exporter_prometheus", &["telemetry/"]),
    ("metrics_process", &["telemetry/"]),
    ("metrics_util", &["telemetry/series"]),
    ("tracing_subscriber", &["telemetry/"]),
    ("indicatif", &["cli/"]),
    ("console", &["cli/"]),
    ("anyhow", &["main.rs", "cli/"]),
];

/// Where tasks may be set free; everywhere else futures belong to whoever awaits them.
const MAY_SPAWN: &[&str] = &["app/", "dispatch/service", "names/", "queue/", "ingest/"];

/// What the folder of a dialect may hold, as a file or as a folder; what every dialect has is marked.
const PARTS_OF_A_DIALECT: &[(&str, bool)] = &[
    ("mod", true),
    ("options", true),
    ("objects", true),
    ("wire", true),
    ("check", false),
    ("derive", false),
    ("routes", true),
    ("errors", true),
    ("says", false),
    ("hears", false),
    ("usage", false),
    ("doc", true),
    ("contract", true),
    ("tests", true),
];

/// Folders of `src/manage` that are no dialects: what several dialects of one vendor share.
const SHARED_BY_DIALECTS: &[&str] = &["adobe"];

/// Names of partner systems beside those of their dialects' folders.
const PARTNERS: &[&str] = &["oracle", "tibco", "mics"];

/// Where partner systems may be named: the dialects, their sections of the configuration, the manual, and the
/// demonstration, which is a client of one.
const MAY_NAME_PARTNERS: &[&str] = &["manage/", "config/", "manual/", "cli/demo/"];

/// Longest source file, in lines.
const MAX_LINES: usize = 450;

/// What no file may contain. In pieces, so that this file does not.
const BANNED: &[&str] = &[
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("db", "g!("),
    concat!("#[ign", "ore]"),
    concat!("#[all", "ow("),
];

#[test]
fn rooms_import_only_downwards() {
    let mut broken = Vec::new();
    for (path, text) in product_files() {
        let room = room_of(&path);
        if matches!(room.as_str(), "app" | "lib" | "main") {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room) else {
            broken.push(format!("{path}: the room {room} has no rule in this test"));
            continue;
        };
        for used in imports(&text) {
            let below = used.split("::").next().unwrap_or("");
            let of_queue = allowed.contains(&"queue") && QUEUE_VALUES.contains(&used.as_str());
            if below != room && !allowed.contains(&below) && !of_queue {
                broken.push(format!("{path}: {room} must not know {used}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn each_third_party_crate_stays_with_its_owner() {
    let mut broken = Vec::new();
    for (path, text) in product_files() {
        for (name, owners) in OWNERS {
            if names_crate(&text, name) && !owners.iter().any(|owner| path.starts_with(owner)) {
                broken.push(format!("{path}: {name} belongs to {owners:?}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn tasks_are_started_in_few_places() {
    let mut broken = Vec::new();
    for (path, text) in product_files() {
        let spawns = text.contains("tokio::spawn(") || text.contains("task::spawn(");
        if spawns && !MAY_SPAWN.iter().any(|place| path.starts_with(place)) {
            broken.push(path);
        }
    }
    assert!(broken.is_empty(), "tasks are set free in {broken:#?}");
}

#[test]
fn every_file_says_what_it_is_and_stays_short() {
    let mut broken = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for path in rust_files(&root().join(folder)) {
            let text = read(&path);
            let lines = text.lines().count();
            let head = text.lines().next().unwrap_or("");
            if head.strip_prefix("//! ").is_none_or(|words| words.trim().len() < 10) {
                broken.push(format!("{}: the first line must be a //! head", path.display()));
            }
            if lines > MAX_LINES {
                broken.push(format!("{}: {lines} lines, at most {MAX_LINES}", path.display()));
            }
            for banned in BANNED.iter().filter(|banned| text.contains(**banned)) {
                broken.push(format!("{}: contains {banned}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn dialects_have_the_same_shape() {
    let mut broken = Vec::new();
    for (dialect, parts) in dialects() {
        for part in parts.iter().filter(|part| !PARTS_OF_A_DIALECT.iter().any(|(name, _)| name == part)) {
            broken.push(format!("manage/{dialect}: {part} is no part of a dialect"));
        }
        for (part, _) in PARTS_OF_A_DIALECT.iter().filter(|(name, always)| *always && !parts.contains(*name))
        {
            broken.push(format!("manage/{dialect}: has no {part}"));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn partner_systems_are_named_in_few_places() {
    let folders = dialects().into_iter().map(|(dialect, _)| dialect);
    let shared = SHARED_BY_DIALECTS.iter().chain(PARTNERS).map(|name| (*name).to_owned());
    let partners: BTreeSet<String> = folders.chain(shared).collect();
    let mut broken = Vec::new();
    for (path, text) in product_files() {
        if !MAY_NAME_PARTNERS.iter().any(|place| path.starts_with(place)) {
            broken.extend(named(&text, &partners).into_iter().map(|name| format!("{path}: names {name}")));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The rules above would see a breach: each finder is shown one.
#[test]
fn the_finders_find() {
    let text = "use crate::store::{self, Lookup, record::Form};\nfn f(x: crate::limit::Gate) {}\n\
                // crate::app is only named here\nuse crate::{event::{Entry, Lane}, clock::Clock};\n";
    let found: Vec<String> = imports(text).into_iter().collect();
    assert_eq!(found, ["clock", "event", "limit::Gate", "store::Lookup", "store::record", "store::self"]);

    assert!(names_crate("let db = sled::open(path);", "sled"));
    assert!(names_crate("use sled::Db;", "sled"));
    assert!(!names_crate("use crate::store::sled::Db;", "sled"));
    assert!(!names_crate("let x = unsled::open();", "sled"));
    assert!(!names_crate("/// like sled::Db", "sled"));

    let with_tests = "use a;\n#[cfg(test)]\nmod tests {\n    use crate::app::App;\n}\n";
    assert_eq!(without_tests(with_tests), "use a;\n");
    assert_eq!(room_of("store/index/rows.rs"), "store");

    let partners = BTreeSet::from(["mashery".to_owned(), "mics".to_owned()]);
    assert_eq!(named("/// As Mashery has it.\nconst DELAY: &str = \"x-mics-delay\";", &partners), partners);
    assert_eq!(named("use std::sync::atomics;", &partners), BTreeSet::new());
    assert_eq!(room_of("clock.rs"), "clock");
}

#[test]
fn the_room_rules_have_no_cycle() {
    let rank = |room: &str| MAY_IMPORT.iter().position(|(name, _)| *name == room);
    for (room, allowed) in MAY_IMPORT.iter().filter(|(room, _)| *room != "cli") {
        for below in *allowed {
            assert!(rank(below) < rank(room), "{room} may import {below}, which stands above it");
        }
    }
}

/// Path below `src` and text without unit tests, of every file that is in the program.
fn product_files() -> Vec<(String, String)> {
    let src = root().join("src");
    let files = rust_files(&src).into_iter().filter_map(|path| {
        let below = path.strip_prefix(&src).unwrap_or(&path).display().to_string();
        let for_tests =
            below.ends_with("/tests.rs") || below.ends_with("/testing.rs") || below.contains("/tests/");
        (!for_tests).then(|| (below, without_tests(&read(&path))))
    });
    let files: Vec<_> = files.collect();
    assert!(files.len() > 20, "the source was not found");
    files
}

/// Which of these words, in lower case, a text has, in comments too.
fn named(text: &str, words: &BTreeSet<String>) -> BTreeSet<String> {
    let text = text.to_lowercase();
    let found = text.split(|c: char| !c.is_alphanumeric()).filter(|word| words.contains(*word));
    found.map(str::to_owned).collect()
}

/// The folders of the dialects, each with the names of what lies in it, without endings.
fn dialects() -> Vec<(String, BTreeSet<String>)> {
    let names = |folder: &Path| -> Vec<(String, PathBuf)> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let named = entries.filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)));
        named.collect()
    };
    let folders = names(&root().join("src/manage")).into_iter();
    let folders =
        folders.filter(|(name, path)| path.is_dir() && !SHARED_BY_DIALECTS.contains(&name.as_str()));
    let dialects: Vec<_> = folders
        .map(|(name, path)| (name, names(&path).into_iter().map(|(part, _)| part).collect()))
        .collect();
    assert!(dialects.len() > 4, "the dialects were not found");
    dialects
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// An unreadable file reads as empty, which has no head and fails the test on heads.
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
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

/// Unit tests stand at the bottom and may reach further.
fn without_tests(text: &str) -> String {
    let cut = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..cut].to_owned()
}

fn room_of(path: &str) -> String {
    path.split(['/', '.']).next().unwrap_or("").to_owned()
}

/// The text without comment lines.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// `room::Item` for everything named through `crate::`, one level of braces opened.
fn imports(text: &str) -> BTreeSet<String> {
    let code = code(text);
    let mut found = BTreeSet::new();
    for (at, mark) in code.match_indices("crate::") {
        let rest = &code[at + mark.len()..];
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
    found
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

fn leading_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Whether the code has a path that begins with the crate's name.
fn names_crate(text: &str, name: &str) -> bool {
    let code = code(text);
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}
