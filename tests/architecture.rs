//! The rules of the house, checked on the source text: imports run one way, each third-party crate has an
//! owner, tasks are started in few places, every file says what it is and stays short.

#[path = "architecture/dialects.rs"]
mod dialects;
#[path = "architecture/duties.rs"]
mod duties;
#[path = "architecture/source.rs"]
mod source;

use std::collections::BTreeSet;

use dialects::{SHARED_BY_DIALECTS, dialects};
use source::{
    File, declared, depth_of, imports, masked, named_for_tests, names_crate, read, room_of, root, rust_files,
    source as read_source, without_tests, written,
};

/// Which rooms a room may import. `app` sees all, and `testkit` hands parts of all on to tests.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("manual", &[]),
    ("problem", &[]),
    ("event", &["clock"]),
    ("telemetry", &["clock", "event"]),
    ("traces", &["clock", "event", "telemetry"]),
    ("store", &["clock", "event", "telemetry"]),
    ("queue", &["clock", "event", "store", "telemetry"]),
    ("policy", &["clock", "event", "store"]),
    ("limit", &["clock", "event", "policy", "telemetry"]),
    ("names", &["clock", "event", "telemetry"]),
    ("delivery", &["clock", "event", "names", "telemetry"]),
    ("dispatch", &["clock", "event", "queue", "limit", "policy", "delivery", "telemetry", "traces"]),
    ("ingest", &["clock", "event", "queue", "policy", "limit", "problem", "telemetry", "traces"]),
    ("manage", &["clock", "event", "policy", "delivery", "problem"]),
    // It parses into the options of the rooms; none of them knows it.
    (
        "config",
        &[
            "event",
            "telemetry",
            "traces",
            "store",
            "policy",
            "names",
            "delivery",
            "dispatch",
            "ingest",
            "manage",
        ],
    ),
    (
        "ops",
        &[
            "clock",
            "event",
            "queue",
            "policy",
            "limit",
            "dispatch",
            "ingest",
            "store",
            "problem",
            "telemetry",
        ],
    ),
    ("cli", &["app", "config", "clock", "manual"]),
];

/// Plain values of the store that the queue's methods take and give: whoever talks to the queue may name them.
const QUEUE_VALUES: &[&str] = &[
    "store::Usage",
    "store::UsageStore",
    "store::Appended",
    "store::Dedup",
    "store::FlightMarks",
    "store::FlightsFound",
    "store::Lookup",
    "store::Owner",
    "store::ReadLimit",
    "store::StoreError",
];

/// Where each third-party crate with an owner may be named: path prefixes below `src`.
const OWNERS: &[(&str, &[&str])] = &[
    ("sled", &["store/embedded/index"]),
    ("rmp_serde", &["store/"]),
    ("lz4_flex", &["store/embedded/"]),
    ("crc32c", &["store/embedded/"]),
    ("governor", &["limit/meter/smoother"]),
    ("smallvec", &["limit/"]),
    ("reqwest", &["traces/collector", "delivery/credentials/fetch", "delivery/tests"]),
    ("rustls", &["delivery/"]),
    ("hyper_rustls", &["delivery/connect"]),
    ("rustls_platform_verifier", &["delivery/tls"]),
    // The log filter names its modules.
    ("hickory_resolver", &["names/", "telemetry/logging"]),
    ("axum", &["problem", "ingest/", "manage/", "ops/", "app/"]),
    ("hyper", &["ingest/", "manage/", "ops/", "app/", "cli/", "delivery/"]),
    ("h2", &["delivery/classify"]),
    ("hyper_util", &["ingest/", "manage/", "ops/", "app/", "cli/", "delivery/"]),
    ("utoipa", &["problem", "ingest/", "manage/", "ops/", "app/api_doc"]),
    ("regex_automata", &["policy/"]),
    ("url", &["event/", "ingest/cloudevents", "delivery/tests"]),
    ("clap", &["cli/"]),
    ("pulldown_cmark", &["manual/"]),
    ("clap_complete", &["cli/"]),
    ("clap_mangen", &["cli/"]),
    // For digests, signatures and encryption at rest; its other parts are the business of the TLS library.
    ("ring", &["cli/enqueue", "delivery/signing", "store/embedded/keys"]),
    ("toml", &["config/"]),
    ("metrics", &["telemetry/"]),
    ("metrics_exporter_prometheus", &["telemetry/"]),
    ("metrics_process", &["telemetry/"]),
    ("metrics_util", &["telemetry/series"]),
    ("tracing_subscriber", &["telemetry/"]),
    ("opentelemetry_proto", &["traces/spans"]),
    ("prost", &["traces/spans"]),
    ("indicatif", &["cli/"]),
    ("console", &["cli/"]),
    ("anyhow", &["main.rs", "cli/"]),
];

/// Where tasks may be set free; everywhere else futures belong to whoever awaits them.
const MAY_SPAWN: &[&str] = &["app/", "dispatch/service", "names/", "queue/", "ingest/"];

/// Names of partner systems beside those of their dialects' folders.
const PARTNERS: &[&str] = &["oracle", "tibco", "mics"];

/// Where partner systems may be named: the dialects, their sections of the configuration, the manual, and the
/// demonstration, which is a client of one.
const MAY_NAME_PARTNERS: &[&str] = &["manage/", "config/", "manual/", "cli/demo/"];

/// Where the store in a directory may be named, beside the store itself: where it is built and its options are parsed, and the
/// commands that are about directories. Everybody else knows the traits.
const MAY_NAME_EMBEDDED: &[&str] = &[
    "store/",
    "app/build",
    "app/keys",
    // It hands the keys of the store on when they are read again.
    "app/live",
    "app/backup.rs",
    "app/restore.rs",
    "app/offline.rs",
    "app/doubts_at_rest.rs",
    "config/",
    "testkit.rs",
];

/// In how many files the methods of one type may stand.
const FILES_OF_A_TYPE: usize = 2;

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
    for File { path, text } in read_source().product {
        let room = room_of(&path);
        if matches!(room.as_str(), "app" | "lib" | "main" | "testkit") {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room) else {
            broken.push(format!("{path}: the room {room} has no rule in this test"));
            continue;
        };
        for used in imports(&text, depth_of(&path)) {
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
    for File { path, text } in read_source().product {
        for (name, owners) in OWNERS {
            if names_crate(&text, name) && !owners.iter().any(|owner| path.starts_with(owner)) {
                broken.push(format!("{path}: {name} belongs to {owners:?}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_store_in_a_directory_is_named_in_few_places() {
    let mut broken = Vec::new();
    for File { path, text } in read_source().product {
        let named =
            text.contains("store::embedded") || imports(&text, depth_of(&path)).contains("store::embedded");
        if named && !MAY_NAME_EMBEDDED.iter().any(|place| path.starts_with(place)) {
            broken.push(path);
        }
    }
    assert!(broken.is_empty(), "they may know the traits of the store alone: {broken:#?}");
}

#[test]
fn tasks_are_started_in_few_places() {
    let mut broken = Vec::new();
    for File { path, text } in read_source().product {
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

/// A type whose methods stand in many files has many duties, and each of these files may touch all of its fields.
#[test]
fn no_type_has_its_methods_in_more_than_two_files() {
    let spread = duties::spread(&read_source().product, FILES_OF_A_TYPE);
    assert!(spread.is_empty(), "give each duty a type of its own: {spread:#?}");
}

/// The rule above would see a breach, also where another type has the same name.
#[test]
fn methods_in_three_files_are_found() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: masked(text) };
    let methods = "impl<T: Fn() -> u8> super::Planner<T> where T: Copy { fn f(&self) {} }";
    let mut files = vec![
        file(
            "a/planner.rs",
            "pub struct Planner<T>(T);\nimpl<T> Planner<T> {}\nimpl Drop for Planner<u8> {}",
        ),
        file("a/starts.rs", &format!("use x;\n{methods}\n// impl Planner {{}}")),
        file("a/timers.rs", "impl From<u8> for Planner<u8> {}\nfn f(x: impl Fn()) -> impl Planner {}"),
        file("b/planner.rs", "enum Planner {}\nimpl Planner {}"),
    ];
    assert!(duties::spread(&files, 2).is_empty());
    files.push(file("a/purge/mod.rs", methods));
    let found = duties::spread(&files, 2);
    let places = ["a/planner.rs", "a/purge/mod.rs", "a/starts.rs"].map(str::to_owned);
    assert_eq!(found, [("a/planner.rs: Planner".to_owned(), places.into())].into());
}

/// Four rooms once had a way of their own to escape a JSON pointer, and cut names at two lengths.
#[test]
fn json_pointers_are_escaped_in_one_place() {
    let escapes = |path: &String| written(path).contains("\"~1\"");
    let places: Vec<_> = read_source().product.into_iter().map(|file| file.path).filter(escapes).collect();
    assert_eq!(places, ["event/pointer.rs"]);
}

#[test]
fn partner_systems_are_named_in_few_places() {
    let folders = dialects().into_iter().map(|(dialect, _)| dialect);
    let shared = SHARED_BY_DIALECTS.iter().chain(PARTNERS).map(|name| (*name).to_owned());
    let partners: BTreeSet<String> = folders.chain(shared).collect();
    let mut broken = Vec::new();
    for File { path, .. } in read_source().product {
        let text = written(&path);
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
                // crate::app is only named here\nuse crate::{event::{Entry, Lane}, clock::Clock};\n\
                const A: &str = \"crate::cli\"; /* crate::ops */ use super::super::manage::Desk;\n";
    let found: Vec<String> = imports(&masked(text), 2).into_iter().collect();
    let below =
        ["clock", "event", "limit::Gate", "manage::Desk", "store::Lookup", "store::record", "store::self"];
    assert_eq!(found, below);
    assert_eq!(imports("use super::super::store::Lookup;", 3).len(), 0, "it stays in the room");

    assert!(names_crate("let db = sled::open(path);", "sled"));
    assert!(names_crate("use sled::Db;", "sled"));
    assert!(names_crate("use sled as database;", "sled"));
    assert!(!names_crate("use crate::store::sled::Db;", "sled"));
    assert!(!names_crate("let x = unsled::open();", "sled"));
    assert!(!names_crate(&masked("/// like sled::Db"), "sled"));

    assert_eq!(depth_of("lib.rs"), 0);
    assert_eq!(depth_of("store/mod.rs"), 1);
    assert_eq!(depth_of("store/embedded/index/rows.rs"), 4);
    assert!(named_for_tests("queue/tests/slow.rs") && named_for_tests("telemetry/testing.rs"));
    assert!(named_for_tests("store/memory/contents.rs") && named_for_tests("store/memory.rs"));
    assert!(!named_for_tests("store/embedded/memory.rs") && !named_for_tests("store/contract.rs"));
    assert_eq!(room_of("store/embedded/index/rows.rs"), "store");

    let partners = BTreeSet::from(["mashery".to_owned(), "mics".to_owned()]);
    assert_eq!(named("/// As Mashery has it.\nconst DELAY: &str = \"x-mics-delay\";", &partners), partners);
    assert_eq!(named("use std::sync::atomics;", &partners), BTreeSet::new());
    assert_eq!(room_of("clock.rs"), "clock");
}

/// Only test items are cut, and each to its end: what stands behind a mere `mod tests;` is checked too.
#[test]
fn only_test_items_are_cut() {
    let cut = |text: &str| without_tests(text).split_whitespace().collect::<Vec<_>>().join(" ");

    assert_eq!(cut("use a;\n#[cfg(test)]\nmod tests {\n    use crate::app::App;\n}\n"), "use a;");
    assert_eq!(cut("#[cfg(test)]\nmod tests;\nuse crate::app::App;"), "use crate::app::App;");
    assert_eq!(cut("#[cfg(test)]\npub(crate) mod testing;\nuse b;"), "use b;");
    assert_eq!(cut("#[cfg(test)]\nmod tests { fn f() { g(\"}\", '}', r#\"}\"#); } } use b;"), "use b;");
    assert_eq!(cut("#[cfg(test)] mod tests { /* } */ fn f<'a>(x: &'a str) {} // }\n} use b;"), "use b;");
    assert_eq!(
        cut("impl A { #[cfg(test)]\n#[must_use]\nfn f(&self) -> [u8; 2] { [1; 2] } fn g() {} }"),
        "impl A { fn g() {} }"
    );
    assert_eq!(declared(&masked("mod a; // mod b;\npub(super) mod c;\nmod d {}")), ["a", "c"]);
}

/// Files for tests say so in their names, and files of the program do not.
#[test]
fn test_files_are_named_for_tests() {
    let source = read_source();
    let mut broken =
        source.stray.iter().map(|path| format!("{path}: no module declares it")).collect::<Vec<_>>();
    for path in source.tests.iter().filter(|path| !named_for_tests(path)) {
        broken.push(format!("{path}: is for tests and belongs into a folder `tests`"));
    }
    for File { path, text } in &source.product {
        if named_for_tests(path) || text.contains("#[test]") || text.contains("#[tokio::test") {
            broken.push(format!("{path}: is in the program, but its name or text is of a test"));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The page that a newcomer reads first names rooms, files and tests that are there; so does the chapter on contributing.
#[test]
fn the_architecture_page_names_what_is_there() {
    let page = read(&root().join("src/architecture.md"));
    let files = ["src", "tests"].map(|folder| rust_files(&root().join(folder))).concat();
    let sources: Vec<String> = files.iter().map(|path| read(path)).collect();
    let chapter = read(&root().join("src/manual/contributing.md"));
    let quoted = || page.split('`').skip(1).step_by(2);
    let of_chapter = || chapter.split('`').skip(1).step_by(2);
    let mut broken = Vec::new();
    for (room, _) in MAY_IMPORT {
        if !page.contains(&format!("| [`{room}`] |")) {
            broken.push(format!("the room {room} has no row"));
        }
    }
    let is_path = |word: &&str| word.starts_with("src/") || word.starts_with("tests/");
    assert!(of_chapter().filter(is_path).count() > 10, "the files were not found in the chapter");
    for path in quoted().chain(of_chapter()).filter(is_path) {
        if !root().join(path).exists() {
            broken.push(format!("{path} is not there"));
        }
    }
    let is_test = |word: &&str| {
        word.matches('_').count() >= 3 && word.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
    };
    for test in quoted().filter(is_test) {
        if !sources.iter().any(|text| text.contains(&format!("fn {test}("))) {
            broken.push(format!("no test is named {test}"));
        }
    }
    assert!(quoted().filter(is_test).count() >= 15, "the tests were not found on the page");
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(read(&root().join("src/glossary.md")).lines().count() <= 60, "the glossary is too long");
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

/// Which of these words, in lower case, a text has, in comments too.
fn named(text: &str, words: &BTreeSet<String>) -> BTreeSet<String> {
    let text = text.to_lowercase();
    let found = text.split(|c: char| !c.is_alphanumeric()).filter(|word| words.contains(*word));
    found.map(str::to_owned).collect()
}
